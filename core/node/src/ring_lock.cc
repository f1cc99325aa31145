#include "src/ring_lock.h"

namespace ivmq {
namespace {

constexpr std::chrono::nanoseconds kLongestOwnerLook = std::chrono::milliseconds(1);

}  // namespace

SendResult RingLock::Await(NodeContext& context, const WaitLimits& limits, Owner me) {
  WaitStrategy wait(*context.sleeper, limits, context.options.spin_budget, kLongestOwnerLook);
  for (;;) {
    wait.BeginLook();
    const Owner owner = owner_.load(std::memory_order_acquire);
    if (owner == me) {
      lock_.lock();
      if (IsFreeFor(me)) return SendResult::kOk;
      lock_.unlock();
    } else if (owner == ThisThread() || is_exclusive_.load(std::memory_order_relaxed)) {
      return SendResult::kBusy;
    }
    if (!context.IsMyLife()) return SendResult::kPeerGone;
    if (const SendResult result = ToSendResult(wait.Pause(wait.Growing()));
        result != SendResult::kOk) {
      return result;
    }
  }
}

}  // namespace ivmq
