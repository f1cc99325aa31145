// Whose a ring's producing end is.
//
// For a moment it is whoever holds the lock. For longer, and with no lock held, it is its owner's:
// of the thread whose code writes into the ring (a Batch, a Loan, a message that is written in
// place), or of an exclusive sender.
#ifndef IVMQ_RING_LOCK_H_
#define IVMQ_RING_LOCK_H_

#include <atomic>
#include <mutex>

#include "ivmq/internal/spin_lock.h"
#include "ivmq/sender.h"

#include "src/node_context.h"
#include "src/wait_strategy.h"

namespace ivmq {

// An address that only the owner has: of its thread, or of itself. nullptr: nobody.
using Owner = const void*;

inline Owner ThisThread() noexcept {
  static constinit thread_local char token = 0;
  return &token;
}

// Thread-safe. Meets BasicLockable: that lock is for looks, since the ring may have an owner all
// the same.
class RingLock {
 public:
  void lock() noexcept { lock_.lock(); }
  bool try_lock() noexcept { return lock_.try_lock(); }
  void unlock() noexcept { lock_.unlock(); }

  // Takes the lock once the ring is nobody's, or `me`'s. kBusy: it is this thread's, or for long an
  // exclusive sender's. kTimedOut, kStopped: it is another thread's for too long. kPeerGone: this
  // node's life is over. On kOk the lock is held. `limits`: SendOptions or WaitLimits.
  template <typename Limits>
  SendResult Lock(NodeContext& context, const Limits& limits, Owner me) {
    lock_.lock();
    if (owner_.load(std::memory_order_acquire) == me) [[likely]]
      return SendResult::kOk;
    lock_.unlock();
    return Await(context, WaitLimits::Of(limits), me);
  }

  // Whether it is not another's. REQUIRES: the lock is held.
  [[nodiscard]] bool IsFreeFor(Owner me) const noexcept {
    return owner_.load(std::memory_order_acquire) == me;
  }
  // Makes the ring `owner`'s and gives up the lock. REQUIRES: `held` holds that, and the ring is
  // nobody's.
  void Take([[maybe_unused]] std::unique_lock<RingLock> held, Owner owner,
            bool is_exclusive) noexcept {
    is_exclusive_.store(is_exclusive, std::memory_order_relaxed);
    owner_.store(owner, std::memory_order_release);
  }
  // The end of that. It says nothing to those that wait, so that it costs nothing.
  void GiveBack() noexcept {
    is_exclusive_.store(false, std::memory_order_relaxed);
    owner_.store(nullptr, std::memory_order_release);
  }

  // In a forked child: no thread is left that would give anything back.
  void UnlockInChild() noexcept {
    lock_.unlock();
    GiveBack();
  }

 private:
  SendResult Await(NodeContext& context, const WaitLimits& limits, Owner me);

  SpinLock lock_;
  // Set with the lock held. While it is another's, nobody touches the producer, nor takes or frees
  // the ring's memory, also with the lock held.
  std::atomic<Owner> owner_{nullptr};
  std::atomic<bool> is_exclusive_{false};
};

}  // namespace ivmq

#endif  // IVMQ_RING_LOCK_H_
