// The program ivmq, run by a test.
#ifndef IVMQ_TESTS_PROCESS_TOOLS_TOOL_PROCESS_H_
#define IVMQ_TESTS_PROCESS_TOOLS_TOOL_PROCESS_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "support/program.h"

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
class Tool : private Program {
 public:
  // `address`: the value of $IVMQ_ADDRESS; it is unset if that is empty. `before` runs in the
  // process before the program.
  explicit Tool(std::vector<std::string> arguments, std::string_view address = {},
                const std::function<void()>& before = {});

  // Waits for a line with `text` after those that earlier calls have passed. The line.
  std::string AwaitError(std::string_view text) { return AwaitLine(Stream::kErrors, text); }
  std::string AwaitOutput(std::string_view text) { return AwaitLine(Stream::kOutput, text); }
  // Closes its input and waits for its end.
  Outcome Wait();

  using Program::AwaitEnd;
  using Program::CloseInput;
  using Program::CloseOutput;
  using Program::Freeze;
  using Program::pid;
  using Program::Signal;
  using Program::WriteInput;
};

// Runs it to its end, with `input`.
Outcome RunTool(std::vector<std::string> arguments, std::string_view input = {},
                std::string_view address = {});

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_TOOLS_TOOL_PROCESS_H_
