// An ivmqd process of a test, and what it logs.
#ifndef IVMQ_TESTS_PROCESS_SERVER_SERVER_PROCESS_H_
#define IVMQ_TESTS_PROCESS_SERVER_SERVER_PROCESS_H_

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "src/unique_fd.h"
#include "support/child.h"

namespace ivmq::testing {

// A new folder, readable by everybody, that goes with its owner.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] std::string Path(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

// Thread-compatible. Ends with the test.
class ServerProcess {
 public:
  // Starts `ivmqd --socket SOCKET --verbose ARGUMENTS... --log-limit 0`, the last unless it is
  // among the arguments; `before` runs in the process before that.
  ServerProcess(std::string socket, std::vector<std::string> arguments,
                const std::function<void()>& before = {});
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // Waits until a line with `text` is logged after those that earlier calls found. The line; empty,
  // and a failure of the test, if the server ends or 30 s pass.
  std::string AwaitLog(const std::string& text);
  // Waits until it serves.
  void AwaitReady() { AwaitLog("serving"); }

  void Signal(int signal) const { process_.Signal(signal); }
  // Waits for the end of the process: its exit status, or 128 + the signal.
  int Wait() { return process_.Wait(); }
  // Says that somebody else has waited for it.
  void Forget() noexcept { process_.Release(); }
  // SIGTERM, then Wait().
  int Terminate();
  // SIGKILL, then Wait().
  void Kill() { process_.Kill(); }
  // Stops it; returns once it stands still.
  void Freeze() const { process_.Stop(); }

  [[nodiscard]] pid_t pid() const noexcept { return process_.pid(); }
  [[nodiscard]] const std::string& socket() const noexcept { return socket_; }
  // Everything logged so far, up to the end if it has ended.
  std::string Log();

 private:
  // Appends what the server has logged; waits for it if `timeout` (milliseconds) is not 0. False at
  // the end.
  bool ReadLog(int timeout);

  std::string socket_;
  Child process_;
  UniqueFd log_;
  std::string text_;
  std::size_t seen_ = 0;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_SERVER_SERVER_PROCESS_H_
