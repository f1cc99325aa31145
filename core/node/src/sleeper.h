// Where the threads of a node sleep: an epoll set over its doorbell, its server's socket and an
// event of its own. Several threads may sleep at once (the poller, and senders that wait for
// space); one of them waits in the kernel for all. An event loop of the user's has a second set
// over the same descriptors: who takes an event out of the one leaves it in the other.
#ifndef IVMQ_SLEEPER_H_
#define IVMQ_SLEEPER_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

// A sleeper looks by itself this often, whatever the doorbells do.
inline constexpr std::chrono::nanoseconds kNet = std::chrono::seconds(1);

// Now and `timeout` after it, or the end of time.
inline std::chrono::steady_clock::time_point DeadlineAfter(std::chrono::nanoseconds timeout) {
  const auto now = std::chrono::steady_clock::now();
  constexpr auto kEnd = std::chrono::steady_clock::time_point::max();
  return timeout < kEnd - now ? now + timeout : kEnd;
}

// Thread-safe.
class Sleeper {
 public:
  // `doorbell` must outlive it.
  static Result<std::unique_ptr<Sleeper>> Create(Doorbell& doorbell);
  ~Sleeper();
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

  // Take a ticket, then look whether there is work, then sleep with the ticket: what happens
  // between the ticket and the sleep ends the sleep at once.
  [[nodiscard]] std::uint64_t Ticket();
  // Returns false when `timeout` has passed, true after any event (perhaps one meant for another
  // thread).
  bool Sleep(std::chrono::nanoseconds timeout, std::uint64_t ticket);
  // Ends every sleep.
  void Notify() noexcept;

  // Watches the descriptors that the doorbell has now, and no former ones. For one thread at a
  // time. Returns whether they have changed.
  bool Rewatch() noexcept;

  // Readable when a Sleep() would end. For event loops of the user's.
  [[nodiscard]] int fd() const noexcept { return loop_epoll_; }
  // Makes fd() readable after `delay` at the latest. For one thread at a time.
  void SetTimer(std::chrono::nanoseconds delay) noexcept;
  // Takes the events that made fd() readable, without blocking.
  void Drain();

  // In a forked child: leaves all descriptors, whose events are the parent's, to it.
  void LetGoInChild() noexcept;

 private:
  explicit Sleeper(Doorbell& doorbell) : doorbell_(doorbell) {}
  // Waits in the kernel for events of one set. Returns whether there was one.
  bool AwaitEvents(int epoll, std::chrono::nanoseconds timeout);

  Doorbell& doorbell_;
  int epoll_ = -1;       // for Sleep()
  int loop_epoll_ = -1;  // for fd() and Drain()
  int event_ = -1;
  int timer_ = -1;
  int wake_ = -1;  // the doorbell's, as they are watched
  int control_ = -1;
  bool takes_two_calls_ = false;  // to wait: there is no epoll_pwait2
  std::chrono::steady_clock::time_point timer_due_{};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t ticket_ = 0;  // grows with each event
  bool has_leader_ = false;   // somebody waits in the kernel
};

}  // namespace ivmq

#endif  // IVMQ_SLEEPER_H_
