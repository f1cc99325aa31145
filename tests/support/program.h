// A program run by a test.
#ifndef IVMQ_TESTS_SUPPORT_PROGRAM_H_
#define IVMQ_TESTS_SUPPORT_PROGRAM_H_

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/child.h"

namespace ivmq::testing {

// What a program writes to.
enum class Stream : std::size_t { kOutput, kErrors };

struct ProgramOptions {
  // Variables of its environment; one without a value is unset.
  std::vector<std::pair<std::string, std::string>> environment{};
  // Its errors do not go to its output.
  bool errors_apart = false;
  // Runs in the process before the program does. Not for scripts.
  std::function<void()> before{};
};

// A running program with pipes to its input and from its output. Thread-compatible; killed at the
// end of its life.
class Program {
 public:
  explicit Program(std::vector<std::string> command, const ProgramOptions& options = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Waits for a line with `text` after those that earlier calls have passed, and passes it. The
  // line; empty, and a failure of the test, if the program ends before or is silent for a minute.
  std::string AwaitLine(Stream stream, std::string_view text);
  // Waits until all that it has written to its output has `text`, in one line or several; false,
  // and a failure of the test, if the program ends before.
  bool AwaitOutput(std::string_view text);
  // Waits until it has closed both streams, as it does at its end.
  void AwaitEnd();
  // All of it so far.
  const std::string& Written(Stream stream);
  [[nodiscard]] const std::string& output() const noexcept { return texts_[0]; }

  void WriteInput(std::string_view text);
  void CloseInput() noexcept;
  // The reader of its output goes away.
  void CloseOutput() noexcept;

  void Signal(int signal) const { process_.Signal(signal); }
  // SIGSTOP; returns once it stands still.
  void Freeze() const { process_.Stop(); }
  // SIGKILL, then Wait().
  int Kill();
  // Closes its input, and waits for its end: the exit status, or 128 + the signal.
  int Wait();
  // Says that somebody else has waited for it.
  void Forget() noexcept { process_.Release(); }
  [[nodiscard]] pid_t pid() const noexcept { return process_.pid(); }

 private:
  // Waits for something to read. False at the end of both streams, or when none came within
  // `timeout` milliseconds (-1: no limit).
  bool Read(int timeout = -1);

  Child process_;
  int input_ = -1;
  std::array<int, 2> streams_{-1, -1};
  std::array<std::string, 2> texts_;
  std::array<std::size_t, 2> passed_{};
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_PROGRAM_H_
