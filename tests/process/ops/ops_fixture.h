// ivmqd with a configuration file.
#ifndef IVMQ_TESTS_PROCESS_OPS_OPS_FIXTURE_H_
#define IVMQ_TESTS_PROCESS_OPS_OPS_FIXTURE_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "support/program.h"
#include "support/temp_folder.h"

namespace ivmq::testing {

// An ivmqd process. Thread-compatible.
class DaemonProcess : public Program {
 public:
  explicit DaemonProcess(std::vector<std::string> arguments,
                         const std::function<void()>& before = {});

  std::string AwaitLog(std::string_view text) { return AwaitLine(Stream::kErrors, text); }
  const std::string& Log() { return Written(Stream::kErrors); }
  // SIGHUP; returns when the options were read again, or when that failed.
  void Reload();
  // SIGTERM, then Wait().
  int Terminate();
};

class OpsTest : public ::testing::Test {
 protected:
  // Writes the configuration file.
  void Configure(std::string_view text) const { (void)folder_.Write("ivmqd.conf", text); }
  // What makes an ivmqd read it.
  [[nodiscard]] std::vector<std::string> arguments() const {
    return {"--config", folder_ / "ivmqd.conf"};
  }
  // Whether a process of this user gets the greeting of the server at `socket`, with one vector.
  static bool IsWelcome(uid_t uid, const std::string& socket);

  TempFolder folder_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_OPS_OPS_FIXTURE_H_
