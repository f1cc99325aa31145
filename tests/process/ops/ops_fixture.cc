#include "ops_fixture.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "raw_client.h"
#include "support/child.h"

namespace ivmq::testing {
namespace {

std::vector<std::string> Command(std::vector<std::string> arguments) {
  // Nothing is to stay when a test kills it.
  if (std::find(arguments.begin(), arguments.end(), "--keep") == arguments.end()) {
    arguments.insert(arguments.begin(), {"--keep", "none"});
  }
  arguments.insert(arguments.begin(), IVMQD_PATH);
  return arguments;
}

}  // namespace

DaemonProcess::DaemonProcess(std::vector<std::string> arguments,
                             const std::function<void()>& before)
    : Program(Command(std::move(arguments)), {.errors_apart = true, .before = before}) {}

void DaemonProcess::Reload() {
  Signal(SIGHUP);
  AwaitLog("options were read again");
}

int DaemonProcess::Terminate() {
  Signal(SIGTERM);
  return Wait();
}

bool OpsTest::IsWelcome(uid_t uid, const std::string& socket) {
  constexpr int kRefused = 3;
  const int status = Child::Fork([&] {
                       if (setuid(uid) != 0) _exit(kRefused + 1);
                       RawClient client(socket);
                       const auto version = client.Read();
                       if (!version || version->value != 0) _exit(kRefused);
                     }).Wait();
  EXPECT_TRUE(status == 0 || status == kRefused) << status;
  return status == 0;
}

}  // namespace ivmq::testing
