// Servers of one socket, one after the other: when one is killed, the next one starts.
#ifndef IVMQ_TESTS_PROCESS_SERVER_SUCCESSION_H_
#define IVMQ_TESTS_PROCESS_SERVER_SUCCESSION_H_

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "service_manager.h"

namespace ivmq::testing {

// Thread-safe. Make it before other threads of the test allocate much: it forks.
class Succession {
 public:
  using Command = std::vector<std::string>;

  // Starts `first`, in turn, one when the last one was killed; `then` when they are used up. What
  // they log goes to `log`. A server that ends otherwise fails the test. Returns when the first one
  // serves. With a `manager` that keeps what they have, not a keeper.
  Succession(std::string socket, std::deque<Command> first, Command then, std::string log,
             ServiceManager* manager = nullptr);
  // Kills the last one, and its keeper.
  ~Succession();
  Succession(const Succession&) = delete;
  Succession& operator=(const Succession&) = delete;

  // SIGKILL for the one that runs now; returns once the next one has been started.
  void Kill();
  // How many have been killed, by themselves or by Kill().
  [[nodiscard]] int killed() const { return killed_.load(); }
  // SIGTERM: no other one follows. Its exit status.
  int Terminate();
  // SIGTERM, and then the next one, as a service manager restarts a service.
  void Restart();
  [[nodiscard]] const std::string& socket() const noexcept { return socket_; }

 private:
  void Run();
  [[nodiscard]] pid_t Start(const Command& command) const;
  void AwaitEnd(pid_t pid);
  [[nodiscard]] bool HasEnded();
  // How many have said that they serve.
  [[nodiscard]] std::size_t CountServing() const;
  void AwaitServing(std::size_t count);

  const std::string socket_;
  const std::string log_;
  ServiceManager* const manager_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Command> first_;
  Command then_;
  pid_t pid_ = -1;  // under mutex_; -1: none runs at the moment
  bool ending_ = false;
  bool restarting_ = false;
  int status_ = -1;
  std::atomic<int> killed_ = 0;
  std::thread thread_;
};

// ivmqd with these arguments, and --keep.
Succession::Command Ivmqd(const std::string& socket, std::vector<std::string> arguments,
                          const std::string& keep = "keeper");
// stepping_ivmqd; see there.
Succession::Command SteppingIvmqd(const std::string& socket, std::vector<std::string> arguments);

// Ends the keeper of a server that is gone, if there is one.
void EndKeeper(const std::string& socket);

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_SERVER_SUCCESSION_H_
