#include "server_process.h"

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <utility>

namespace ivmq::testing {
namespace {

bool Has(const std::vector<std::string>& arguments, const std::string& argument) {
  return std::find(arguments.begin(), arguments.end(), argument) != arguments.end();
}

// Those of `defaults`, names and values, that are not given otherwise.
void AddDefaults(const std::vector<std::string>& defaults, std::vector<std::string>* arguments) {
  for (std::size_t i = 0; i < defaults.size(); i += 2) {
    if (Has(*arguments, defaults[i])) continue;
    arguments->insert(arguments->end(), {defaults[i], defaults[i + 1]});
  }
}

std::vector<std::string> Command(const std::string& socket, std::vector<std::string> arguments) {
  // Nothing is to stay when a test kills it.
  AddDefaults({"--log-limit", "0", "--log-level", "debug", "--keep", "none"}, &arguments);
  if (!socket.empty()) arguments.insert(arguments.begin(), {"--socket", socket});
  arguments.insert(arguments.begin(), IVMQD_PATH);
  return arguments;
}

}  // namespace

ServerProcess::ServerProcess(const std::string& socket, std::vector<std::string> arguments,
                             const std::function<void()>& before)
    : Program(Command(socket, std::move(arguments)), {.errors_apart = true, .before = before}),
      socket_(socket) {}

int ServerProcess::Terminate() {
  Signal(SIGTERM);
  return Wait();
}

}  // namespace ivmq::testing
