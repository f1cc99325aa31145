// Huge pages for a test.
#ifndef IVMQ_TESTS_SUPPORT_HUGE_PAGES_H_
#define IVMQ_TESTS_SUPPORT_HUGE_PAGES_H_

#include <string>

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

// A hugetlbfs with pages of 2 MiB that stands in no folder: it goes with this. A failure of the test if
// there can be none.
class HugePageFolder {
 public:
  HugePageFolder();
  ~HugePageFolder();
  HugePageFolder(const HugePageFolder&) = delete;
  HugePageFolder& operator=(const HugePageFolder&) = delete;

  // Of a file in it, as every process of the same user sees it.
  [[nodiscard]] std::string operator/(const std::string& name) const;

 private:
  int mount_ = -1;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_HUGE_PAGES_H_
