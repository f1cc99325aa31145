// Huge pages for a test.
#ifndef IVMQ_TESTS_SUPPORT_HUGE_PAGES_H_
#define IVMQ_TESTS_SUPPORT_HUGE_PAGES_H_

namespace ivmq::testing {

// Has the kernel reserve huge pages of 2 MiB beside those there are, and gives them back at the end.
// One test at a time has some: the next one waits. A failure of the test, with the reason, if they
// cannot be had. Thread-compatible.
class HugePages {
 public:
  explicit HugePages(int count);
  ~HugePages();
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;

 private:
  [[nodiscard]] int Read() const;
  void Write(int pages) const;

  int fd_ = -1;
  int before_ = -1;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_HUGE_PAGES_H_
