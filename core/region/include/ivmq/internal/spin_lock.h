// A lock for a few dozen instructions. Taking it costs one locked instruction, giving it back a
// store.
#ifndef IVMQ_INTERNAL_SPIN_LOCK_H_
#define IVMQ_INTERNAL_SPIN_LOCK_H_

#include <atomic>
#include <thread>

#include "ivmq/internal/fence.h"

namespace ivmq {

// Meets Lockable, so std::lock_guard and std::unique_lock work with it.
class SpinLock {
 public:
  void lock() noexcept {
    if (!try_lock()) [[unlikely]]
      Wait();
  }
  bool try_lock() noexcept { return !locked_.exchange(true, std::memory_order_acquire); }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

 private:
  [[gnu::noinline]] void Wait() noexcept {
    do {
      // The holder may have lost its core: give ours away after a while.
      for (int spins = 0; locked_.load(std::memory_order_relaxed); ++spins) {
        if (spins < kSpins) {
          SpinPause();
        } else {
          std::this_thread::yield();
        }
      }
    } while (!try_lock());
  }

  static constexpr int kSpins = 100;
  std::atomic<bool> locked_{false};
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_SPIN_LOCK_H_
