// Spinning for a while before sleeping is worth it.
#ifndef IVMQ_INTERNAL_SPIN_H_
#define IVMQ_INTERNAL_SPIN_H_

#include <chrono>
#include <thread>

#include "ivmq/internal/fence.h"

namespace ivmq {

// Thread-compatible.
class Spin {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Spin(Clock::time_point until) noexcept : until_(until) {}

  // Call it between two checks. False: the time is over.
  [[nodiscard]] bool Pause() noexcept {
    static const bool one_core = std::thread::hardware_concurrency() <= 1;
    if (++looks_ % kLooksPerClock == 0 && Clock::now() >= until_) return false;
    if (one_core || looks_ >= kTightLooks) {
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
