// The poller's waits: how it finds out that there is something to do, and sleeps until then.
#ifndef IVMQ_POLLER_H_
#define IVMQ_POLLER_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "ivmq/internal/wake.h"
#include "ivmq/peer.h"

#include "src/doorbell_reach.h"
#include "src/node_context.h"
#include "src/publications.h"
#include "src/readers.h"
#include "src/wait_strategy.h"

namespace ivmq {

// For one thread at a time, the node's poller; except Wake().
class Poller {
 public:
  using Watcher = std::function<void(const PeerSnapshot&)>;

  Poller(NodeContext& context, Readers& readers, Publications& publications)
      : context_(context),
        readers_(readers),
        publications_(publications),
        reach_(context),
        armed_(context.slot().armed),
        arm_backoff_(context.options.max_poll_interval) {}

  // As the members of Node.
  void SetPeerWatcher(Watcher watcher);
  [[nodiscard]] bool Look() noexcept { return armed_.armed() || LookSome(); }
  bool Wait(std::chrono::nanoseconds timeout);
  [[nodiscard]] bool Arm(std::chrono::nanoseconds look_again);
  void Wake() noexcept;

  // Whether a poll begins with Attend(): it ends what Arm() began, sends what waits for subscribers
  // that lag, and tells the watcher, whom `peers` says what it is told. Not within a handler.
  [[nodiscard]] bool HasToAttend() const noexcept {
    return armed_.armed() || PeersChanged() || context_.has_lagging();
  }
  [[gnu::noinline]] void Attend(const std::function<PeerSnapshot()>& peers);

 private:
  [[nodiscard]] bool PeersChanged() const noexcept {
    return watcher_ && context_.table.generation() != generation_seen_ &&
           !context_.is_forked_copy();
  }
  [[nodiscard]] bool TakeWakeRequest() noexcept {
    return wake_requested_.load(std::memory_order_relaxed) &&
           wake_requested_.exchange(false, std::memory_order_acquire);
  }
  // Whether Poll() has something to do; looks at some, or at everything.
  [[nodiscard]] bool LookSome() noexcept {
    return (readers_.LookSome() && context_.IsMyLife()) || PeersChanged() ||
           wake_requested_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool HasWork() noexcept {
    return (readers_.LookAll() && context_.IsMyLife()) || PeersChanged();
  }
  // Of the slot's word; once the slot is somebody else's, of one that nobody looks at.
  [[nodiscard]] Armed& OwnArmed() noexcept;
  // Ends with true if Poll() may have something to do.
  [[nodiscard]] bool Sleep(WaitStrategy& wait, const WaitLimits& limits);
  // Whether the doorbell of what the periodic check found comes after all: it had been published
  // just then.
  [[nodiscard]] bool IsRung();
  // How long it may sleep without a look of its own. `growing()` says it where no doorbell announces
  // what a peer sends.
  template <typename Growing>
  [[nodiscard]] std::chrono::nanoseconds LongestSleep(Announced announced, Growing growing) const {
    switch (announced) {
      case Announced::kAlways:
        return readers_.net();
      case Announced::kButForFirsts:
        return std::min(readers_.net(), 10 * std::min(context_.options.max_poll_interval, kNet));
      case Announced::kNotAlways:
        break;
    }
    return growing();
  }
  void TellWatcher(const PeerSnapshot& snapshot);

  NodeContext& context_;
  Readers& readers_;
  Publications& publications_;
  DoorbellReach reach_;
  Armed armed_;  // see OwnArmed()
  layout::Word armed_for_nobody_{0};
  std::shared_ptr<const Watcher> watcher_;
  std::uint64_t generation_seen_ = 0;  // of the peer table, by the watcher
  bool slept_long_ = false;
  Backoff arm_backoff_;  // of looks without a doorbell
  std::atomic<bool> wake_requested_{false};
};

}  // namespace ivmq

#endif  // IVMQ_POLLER_H_
