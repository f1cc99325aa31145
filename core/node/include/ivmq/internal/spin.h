// Spinning for a while before sleeping is worth it.
#ifndef IVMQ_INTERNAL_SPIN_H_
#define IVMQ_INTERNAL_SPIN_H_

#include <sched.h>

#include <chrono>
#include <thread>

#include "ivmq/internal/fence.h"

namespace ivmq {

// Whether the thread that asks first, and so what it starts, may use several cores: otherwise who
// spins keeps the one that it waits for from working.
[[nodiscard]] inline bool HasSeveralCores() noexcept {
  static const bool several = [] {
    cpu_set_t cores;
    // An error: there are more than the set has room for.
    return sched_getaffinity(0, sizeof(cores), &cores) != 0 || CPU_COUNT(&cores) > 1;
  }();
  return several;
}

// Thread-compatible.
class Spin {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Spin(Clock::time_point until) noexcept : until_(until) {}

  // Call it between two checks. False: the time is over.
  [[nodiscard]] bool Pause() noexcept {
    if (++looks_ % kLooksPerClock == 0 && Clock::now() >= until_) return false;
    if (looks_ >= kTightLooks || !HasSeveralCores()) {
      std::this_thread::yield();
    } else {
      SpinPause();
    }
    return true;
  }

 private:
  // Reading the clock costs as much as several checks.
  static constexpr int kLooksPerClock = 16;
  // After this many checks (a few microseconds) no other core seems to be working on an answer, so
  // yield this one between checks.
  static constexpr int kTightLooks = 128;

  Clock::time_point until_;
  int looks_ = 0;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_SPIN_H_
