// How a thread waits for what another thread or another peer does: it looks again and again for a
// while, then sleeps between two looks, longer each time where nobody says that it is time to look.
//
//   WaitStrategy wait(sleeper, limits);
//   for (;;) {
//     wait.BeginLook();
//     if (it is there) return kOk;
//     const Waited waited = wait.Pause(wait.Growing());
//     if (waited == Waited::kTimedOut || waited == Waited::kStopped) return waited;
//   }
//
// So there is a look after every pause, also after the last one.
#ifndef IVMQ_WAIT_STRATEGY_H_
#define IVMQ_WAIT_STRATEGY_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "ivmq/internal/spin.h"
#include "ivmq/sender.h"

#include "src/sleeper.h"

namespace ivmq {

// The sleeps between looks that nobody announces: each is twice as long as the one before.
class Backoff {
 public:
  explicit Backoff(std::chrono::nanoseconds longest) noexcept : longest_(longest) {}
  [[nodiscard]] std::chrono::nanoseconds Next() noexcept {
    const auto now = std::min(next_, longest_);
    next_ = std::min(next_ * 2, longest_);
    return now;
  }
  void Reset() noexcept { next_ = kFirst; }

 private:
  static constexpr std::chrono::nanoseconds kFirst = std::chrono::microseconds(50);
  std::chrono::nanoseconds longest_;
  std::chrono::nanoseconds next_ = kFirst;
};

// What ends a wait, whatever it is for.
struct WaitLimits {
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  const StopCondition* stop = nullptr;

  [[nodiscard]] static WaitLimits Of(const SendOptions& options) noexcept {
    return {DeadlineAfter(options.timeout), options.stop};
  }
  [[nodiscard]] static const WaitLimits& Of(const WaitLimits& limits) noexcept { return limits; }
  [[nodiscard]] bool IsStopped() const noexcept { return stop != nullptr && stop->IsStopped(); }
  [[nodiscard]] bool IsOver() const noexcept {
    return std::chrono::steady_clock::now() >= deadline;
  }
};

enum class [[nodiscard]] Waited : std::uint8_t{
    kAWhile,    // it spun, or slept as long as it was to
    kForEvent,  // an event ended the sleep, perhaps one that was meant for another thread
    kTimedOut,  // the deadline had passed before
    kStopped,   // the stop condition said so
};

// Thread-compatible.
class WaitStrategy {
 public:
  // Spins at first for `spin_budget`, and its growing sleeps grow up to `longest`.
  WaitStrategy(Sleeper& sleeper, const WaitLimits& limits,
               std::chrono::nanoseconds spin_budget = {},
               std::chrono::nanoseconds longest = std::chrono::milliseconds(1)) noexcept
      : sleeper_(sleeper),
        limits_(limits),
        backoff_(longest),
        spins_(spin_budget > std::chrono::nanoseconds(0)),
        spin_(std::min(limits.deadline, DeadlineAfter(spin_budget))) {}

  // Whether the next Pause() sleeps: then whoever is to wake this thread must know it.
  [[nodiscard]] bool is_spinning() const noexcept { return spins_; }

  // Before a look: what happens from here on ends the sleep that follows.
  void BeginLook() {
    if (!spins_) ticket_ = sleeper_.Ticket();
  }
  // After a look that found nothing. Sleeps for `longest` at most; less, if the deadline comes
  // before that, or a stop condition has to be asked.
  Waited Pause(std::chrono::nanoseconds longest) {
    if (limits_.IsStopped()) return Waited::kStopped;
    if (spins_) {
      spins_ = spin_.Pause();
      return Waited::kAWhile;
    }
    const auto left = limits_.deadline - std::chrono::steady_clock::now();
    if (left <= std::chrono::nanoseconds(0)) return Waited::kTimedOut;
    const auto most = limits_.stop == nullptr ? longest : std::min(longest, kStopLook);
    return sleeper_.Sleep(std::min<std::chrono::nanoseconds>(left, most), ticket_)
               ? Waited::kForEvent
               : Waited::kAWhile;
  }
  // The sleep of the growth rule, where no doorbell and no thread announces anything.
  [[nodiscard]] std::chrono::nanoseconds Growing() noexcept {
    return spins_ ? std::chrono::nanoseconds(0) : backoff_.Next();
  }

 private:
  static constexpr std::chrono::nanoseconds kStopLook = std::chrono::milliseconds(50);

  Sleeper& sleeper_;
  WaitLimits limits_;
  Backoff backoff_;
  bool spins_;
  Spin spin_;
  std::uint64_t ticket_ = 0;
};

// Of a wait for a send: kOk while it may go on.
[[nodiscard]] inline SendResult ToSendResult(Waited waited) noexcept {
  switch (waited) {
    case Waited::kTimedOut:
      return SendResult::kTimedOut;
    case Waited::kStopped:
      return SendResult::kStopped;
    case Waited::kAWhile:
    case Waited::kForEvent:
      break;
  }
  return SendResult::kOk;
}

}  // namespace ivmq

#endif  // IVMQ_WAIT_STRATEGY_H_
