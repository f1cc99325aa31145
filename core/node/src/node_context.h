// What the parts of a node share.
#ifndef IVMQ_NODE_CONTEXT_H_
#define IVMQ_NODE_CONTEXT_H_

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/doorbell_epochs.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"
#include "ivmq/node.h"
#include "ivmq/transport.h"

#include "src/reporter.h"
#include "src/sleeper.h"

namespace ivmq {

// Thread-safe: what is not atomic or guarded is constant once the node is open.
struct NodeContext {
  NodeContext(std::unique_ptr<Transport> transport_in, const Region& region_in,
              NodeOptions options_in)
      : transport(std::move(transport_in)),
        region(region_in),
        table(region_in),
        arena(region_in),
        options(std::move(options_in)),
        reporter(options.on_report) {}

  std::unique_ptr<Transport> transport;
  Region region;
  PeerTable table;
  Arena arena;
  NodeOptions options;
  Reporter reporter;
  std::unique_ptr<Sleeper> sleeper;
  ClaimRequest identity;
  ClaimedSlot self;  // its live_word is for Leave() only: it changes, see MoveLife()
  std::mutex services_mutex;
  std::vector<std::string> services;  // guarded by services_mutex; what this peer offers
  std::array<std::atomic<std::uint64_t>, layout::kCounterWords> counters{};

  [[nodiscard]] layout::PeerSlot& slot() const noexcept { return region.slot(self.id.slot); }

  // ---- The node's own life ----

  void BeginLife(const ClaimedSlot& claimed) noexcept;

  // Whether this life goes on. Asked before each store to the region: once it is over, the slot,
  // the rings and their units may be somebody else's. The process may be stopped behind the
  // question, so the store is safe only because a life is declared over when its memory cannot be
  // written any more; the question is for the case that this was wrong.
  [[nodiscard]] bool IsMyLife() noexcept {
    if (life_.load(std::memory_order_relaxed)->load(std::memory_order_relaxed) ==
        live_word_.load(std::memory_order_relaxed)) [[likely]] {
      return true;
    }
    return JudgeLife();
  }

  // By which others ring this node.
  [[nodiscard]] std::uint16_t ivposition() const noexcept {
    return layout::Life::FromWord(live_word_.load(std::memory_order_relaxed)).ivposition;
  }

  // Has this life go on under another ivposition. False: it is over, or damaged. Not while it is
  // being ended by its owner.
  bool MoveLife(std::uint16_t ivposition) noexcept;

  // Ends this life, since it `why`: "is over: ...". Does nothing if it is over.
  void EndLife(std::string_view why);

  // Why it is over: FAILED_PRECONDITION; OK while it goes on.
  [[nodiscard]] Status LifeStatus();

  // In a forked child: this life is the parent's. The memory becomes zeroes of the child's own, so
  // that nothing keeps the region's file, and its locks, but the parent.
  void BecomeForkedCopy() noexcept;
  [[nodiscard]] bool is_forked_copy() const noexcept {
    return forked_.load(std::memory_order_relaxed);
  }

  // Whether the slot's peer and this node have each other's doorbells, if they have any.
  [[nodiscard]] bool HasDoorbellOf(std::uint32_t slot) const noexcept {
    const layout::Word& word = region.slot(slot).life;
    const auto life = layout::Life::FromWord(word.load(std::memory_order_relaxed));
    return DoorbellEpochs(region).AreTogether(life.ivposition, ivposition());
  }
  // Whether there is a ring from or to the slot's peer.
  [[nodiscard]] bool HasRingWith(std::uint32_t slot) const noexcept;

  // How many subscriptions of this node's topics have messages that wait to be sent.
  void AddLagging(std::int32_t change) noexcept {
    lagging_.fetch_add(change, std::memory_order_relaxed);
  }
  [[nodiscard]] bool has_lagging() const noexcept {
    return lagging_.load(std::memory_order_relaxed) != 0;
  }

  void Count(layout::Counter counter, std::uint64_t amount = 1) noexcept {
    counters[static_cast<std::size_t>(counter)].fetch_add(amount, std::memory_order_relaxed);
  }
  // The same without a locked instruction, for counters that one thread only writes.
  void CountAlone(layout::Counter counter, std::uint64_t amount = 1) noexcept {
    auto& value = counters[static_cast<std::size_t>(counter)];
    value.store(value.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }

  void Report(const Status& status) { reporter.Report(status); }

 private:
  // The life word is not this life's: damage, which is put right, or the end. The end is reported
  // once, and ends every sleep.
  [[gnu::cold, gnu::noinline]] bool JudgeLife() noexcept;

  // Read with each message: on a line of their own, away from the counters. The slot's life word,
  // or, once the life is over, one that is nobody's; and what stands there while it lasts.
  alignas(layout::kCacheLine) std::atomic<const layout::Word*> life_;
  std::atomic<std::uint64_t> live_word_{0};
  std::atomic<bool> forked_{false};
  std::atomic<std::int32_t> lagging_{0};
  std::mutex life_mutex_;  // guards what follows, and stores to the life's words
  Status end_;             // why it is over; OK while it goes on
};

}  // namespace ivmq

#endif  // IVMQ_NODE_CONTEXT_H_
