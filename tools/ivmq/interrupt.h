// SIGINT and SIGTERM as an event, so that a command ends in order.
#ifndef IVMQ_TOOLS_IVMQ_INTERRUPT_H_
#define IVMQ_TOOLS_IVMQ_INTERRUPT_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

namespace ivmq::tool {

// Holds both signals back from this thread and those it starts from now on. Call it before a node
// starts threads of its own.
void HoldSignals();

// Takes the signals that HoldSignals() holds back. A second one ends the process at once.
// Thread-safe: requested() and fd().
class Interrupt {
 public:
  // `wake` is called from another thread when a signal comes.
  explicit Interrupt(std::function<void()> wake);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  [[nodiscard]] bool requested() const noexcept { return requested_.load(); }
  // Waits until a signal has come; false: not within `timeout`.
  [[nodiscard]] bool WaitFor(std::chrono::nanoseconds timeout) const;
  // Readable once a signal has come.
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  void Watch(const std::function<void()>& wake);

  int fd_;
  std::atomic<bool> requested_{false};
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_INTERRUPT_H_
