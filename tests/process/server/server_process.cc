#include "server_process.h"

#include <algorithm>
#include <csignal>
#include <utility>

namespace ivmq::testing {
namespace {

std::vector<std::string> Command(const std::string& socket, std::vector<std::string> arguments) {
  if (std::find(arguments.begin(), arguments.end(), "--log-limit") == arguments.end()) {
    arguments.insert(arguments.end(), {"--log-limit", "0"});
  }
  arguments.insert(arguments.begin(), {IVMQD_PATH, "--socket", socket, "--verbose"});
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
