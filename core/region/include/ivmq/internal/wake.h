// The sleep/wake protocol. A sleeper publishes a sequence that only it writes: odd means that it is
// about to sleep or asleep, even that it is awake. A waker that has something for it rings its
// doorbell once for each odd value that the waker sees. So an awake consumer costs its producers
// one load for each batch, and no doorbell.
//
//   sleeper                        waker
//   armed = odd                    publish the record
//   full fence                     full fence
//   check the rings again          read armed; odd and new: ring
//   sleep
//
// With a fence on both sides, at least one of the two sees what the other stored. A flag that
// wakers clear would lose wake-ups: one waker clears it and is paused before it rings, and the next
// one finds it clear and does not ring.
#ifndef IVMQ_INTERNAL_WAKE_H_
#define IVMQ_INTERNAL_WAKE_H_

#include <cstdint>

#include "ivmq/internal/fence.h"
#include "ivmq/internal/layout.h"

namespace ivmq {

// The sleeper's side of one armed word. Thread-compatible.
class Armed {
 public:
  // Without a word: Disarm() does nothing, and Arm() must not be called.
  Armed() = default;
  explicit Armed(layout::Word& word) noexcept
      : word_(&word), value_((word.load(std::memory_order_relaxed) | 1) + 1) {
    word.store(value_, std::memory_order_relaxed);
  }

  // Publishes that this side is about to sleep, with a value that has not been rung for yet. Check
  // everything once more before sleeping.
  void Arm() noexcept {
    value_ += armed() ? 2U : 1U;
    word_->store(value_, std::memory_order_relaxed);
    FullFence();
  }
  // Publishes that this side is awake.
  void Disarm() noexcept {
    if (armed()) word_->store(value_ += 1, std::memory_order_relaxed);
  }
  [[nodiscard]] bool armed() const noexcept { return (value_ & 1) != 0; }

 private:
  layout::Word* word_ = nullptr;
  std::uint64_t value_ = 0;
};

// What a waker remembers of one armed word. Thread-compatible.
class WakeCheck {
 public:
  // Call it after publishing and FullFence(). True: the sleeper's doorbell must be rung now.
  [[nodiscard]] bool MustRing(const layout::Word& armed) noexcept {
    const std::uint64_t value = armed.load(std::memory_order_relaxed);
    if ((value & 1) == 0 || value == rung_for_) [[likely]]
      return false;
    rung_for_ = value;
    return true;
  }

 private:
  std::uint64_t rung_for_ = 0;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_WAKE_H_
