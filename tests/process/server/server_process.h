// An ivmqd process of a test, and what it logs.
#ifndef IVMQ_TESTS_PROCESS_SERVER_SERVER_PROCESS_H_
#define IVMQ_TESTS_PROCESS_SERVER_SERVER_PROCESS_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/program.h"

namespace ivmq::testing {

// Thread-compatible. Ends with the test.
class ServerProcess : public Program {
 public:
  // Starts `ivmqd --socket SOCKET ARGUMENTS... --log-limit 0 --log-level debug --keep none`, the last
  // three unless they are among the arguments; without a socket if it is empty. `before` runs in the
  // process before that.
  ServerProcess(const std::string& socket, std::vector<std::string> arguments,
                const std::function<void()>& before = {});

  // Waits until a line with `text` is logged after those that earlier calls passed. The line.
  std::string AwaitLog(std::string_view text) { return AwaitLine(Stream::kErrors, text); }
  // Waits until it serves.
  void AwaitReady() { AwaitLog("serving"); }
  // SIGTERM, then Wait().
  int Terminate();

  [[nodiscard]] const std::string& socket() const noexcept { return socket_; }
  // Everything logged so far.
  const std::string& Log() { return Written(Stream::kErrors); }

 private:
  std::string socket_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_SERVER_SERVER_PROCESS_H_
