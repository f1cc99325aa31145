#include "tool_process.h"

#include <utility>

#include <gtest/gtest.h>

namespace ivmq::testing {
namespace {

std::vector<std::string> Command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), IVMQ_PATH);
  return arguments;
}

}  // namespace

nlohmann::json Outcome::Json() const {
  auto json = nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(json.is_discarded()) << "no JSON: " << out << err;
  return json.is_discarded() ? nlohmann::json() : json;
}

Tool::Tool(std::vector<std::string> arguments, std::string_view address,
           const std::function<void()>& before)
    : Program(Command(std::move(arguments)),
              {.environment = {{"IVMQ_ADDRESS", std::string(address)}},
               .errors_apart = true,
               .before = before}) {}

Outcome Tool::Wait() {
  const int status = Program::Wait();
  return {status, Written(Stream::kOutput), Written(Stream::kErrors)};
}

Outcome RunTool(std::vector<std::string> arguments, std::string_view input,
                std::string_view address) {
  Tool tool(std::move(arguments), address);
  tool.WriteInput(input);
  return tool.Wait();
}

}  // namespace ivmq::testing
