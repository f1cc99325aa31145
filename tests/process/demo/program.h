// A program of the project, run by a test.
#ifndef IVMQ_TESTS_PROCESS_DEMO_PROGRAM_H_
#define IVMQ_TESTS_PROCESS_DEMO_PROGRAM_H_

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ivmq::testing {

// A running program with pipes to its input and from its output. Thread-compatible; killed at the
// end of its life.
class Program {
 public:
  using Variables = std::vector<std::pair<std::string, std::string>>;

  explicit Program(std::vector<std::string> command, const Variables& environment = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Waits until the output (stdout and stderr) has `text`; false and a failure of the test if it
  // ends without.
  bool AwaitOutput(std::string_view text);
  void Write(std::string_view text) const;
  void CloseInput();
  void Signal(int signal) const;
  // Waits for the end of all its output, then for its own: exit status, or 128 + the signal.
  int Wait();
  [[nodiscard]] const std::string& output() const noexcept { return output_; }

 private:
  bool Read();  // false at the end

  pid_t pid_ = -1;
  int input_ = -1;
  int stream_ = -1;
  std::string output_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_DEMO_PROGRAM_H_
