// Looking again and again for a while, before it is worth sleeping.
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

  // What to do between two looks. False: the time is over.
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
  // The clock costs as much as several looks.
  static constexpr int kLooksPerClock = 16;
  // After so many looks (a few microseconds) nobody seems to be at work on an answer on another
  // core, so give this one away between looks.
  static constexpr int kTightLooks = 128;

  Clock::time_point until_;
  int looks_ = 0;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_SPIN_H_
