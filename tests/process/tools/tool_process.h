// The program ivmq, run by a test.
#ifndef IVMQ_TESTS_PROCESS_TOOLS_TOOL_PROCESS_H_
#define IVMQ_TESTS_PROCESS_TOOLS_TOOL_PROCESS_H_

#include <sys/types.h>

#include <array>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/unique_fd.h"
#include "support/child.h"

namespace ivmq::testing {

// How it ended.
struct Outcome {
  int exit_code = -1;  // or 128 + the signal
  std::string out;
  std::string err;

  // The output as JSON; fails the test and gives null if it is none.
  [[nodiscard]] nlohmann::json Json() const;
};

// A running ivmq. Thread-compatible; killed at the end of its life.
class Tool {
 public:
  // `address`: the value of $IVMQ_ADDRESS; it is unset if that is empty. `before` runs in the
  // process before the program.
  explicit Tool(std::vector<std::string> arguments, std::string_view address = {},
                const std::function<void()>& before = {});
  Tool(const Tool&) = delete;
  Tool& operator=(const Tool&) = delete;

  // Waits until standard error (or output) has `text` in what earlier calls have not passed. The
  // line that has it; empty, and a failure of the test, if the program ends first.
  std::string AwaitError(const std::string& text) { return Await(1, text); }
  std::string AwaitOutput(const std::string& text) { return Await(0, text); }

  void WriteInput(std::string_view text);
  void CloseInput() { input_.reset(); }
  // The reader of its standard output goes away.
  void CloseOutput();
  void Signal(int signal) const { process_.Signal(signal); }
  // SIGSTOP; returns once it stands still.
  void Freeze() const { process_.Stop(); }
  // Waits until it has closed its output, as it does at its end.
  void AwaitEnd();
  // Closes its input and waits for its end.
  Outcome Wait();
  [[nodiscard]] pid_t pid() const noexcept { return process_.pid(); }

 private:
  std::string Await(std::size_t stream, const std::string& text);
  // Waits for something to read. False at the end of both streams.
  bool Read();

  Child process_;
  UniqueFd input_;
  std::array<UniqueFd, 2> streams_;  // output, error
  std::array<std::string, 2> texts_;
  std::array<std::size_t, 2> passed_{};
};

// Runs it to its end, with `input`.
Outcome RunTool(std::vector<std::string> arguments, std::string_view input = {},
                std::string_view address = {});

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_TOOLS_TOOL_PROCESS_H_
