// The receiving half of a node: one link for each peer that has a ring to it.
#ifndef IVMQ_INBOUND_H_
#define IVMQ_INBOUND_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ivmq/node.h"
#include "ivmq/ring.h"

#include "src/node_context.h"
#include "src/outbound.h"

namespace ivmq {

// A large message that is being put together. Its memory counts against the node's bound.
struct Assembly {
  std::uint32_t number = 0;
  std::uint64_t total = 0;  // 0: none is under way
  std::uint64_t received = 0;
  std::unique_ptr<std::byte[]> bytes;
};

// The ring from one slot.
struct InLink {
  std::uint32_t slot = 0;  // of the producer
  bool open = false;       // `consumer` reads the ring that `cell_word` describes
  bool given_up = false;   // the ring of `cell_word` was closed here; its producer carves another
  bool stalled = false;    // its next fragment waits for memory
  bool ending = false;     // the producer was gone when last looked at: free the ring when empty
  std::uint32_t idle_looks = 0;
  std::uint64_t cell_word = 0;
  PeerId from;
  Consumer consumer;
  Assembly assembly;
};

// For one thread at a time: the node's poller.
class Inbound {
 public:
  using HandlerFunction = void (*)(void* context, const Message& message);

  Inbound(NodeContext& context, Outbound& outbound);

  // While one lives, code of the user's runs on the poller's thread, and a Poll() that it calls
  // does nothing.
  class Polling {
   public:
    explicit Polling(Inbound& inbound) noexcept : inbound_(inbound) { inbound_.polling_ = true; }
    ~Polling() { inbound_.polling_ = false; }
    Polling(const Polling&) = delete;
    Polling& operator=(const Polling&) = delete;

   private:
    Inbound& inbound_;
  };
  [[nodiscard]] bool is_polling() const noexcept { return polling_; }

  // Handles up to `limit` messages. What the handler throws leaves the message where it is.
  std::size_t Poll(HandlerFunction handler, void* handler_context, std::size_t limit);

  // Whether something waits: among the recently active rings and some of the others, or among all.
  [[nodiscard]] bool LookSome() noexcept;
  [[nodiscard]] bool LookAll() noexcept;

  // Whether nothing waits in the ring from that slot.
  [[nodiscard]] bool HasDrained(std::uint32_t slot) const noexcept;

  // Tells all producers about all released space. Before sleeping.
  void PublishReleased() noexcept;

  // Asks Poll() to look after the links: rings of dead producers, damaged words. Thread-safe.
  void RequestHousekeeping() noexcept { housekeeping_due_.store(true, std::memory_order_relaxed); }

 private:
  enum class Outcome : std::uint8_t {
    kHandled,    // a message went to the handler
    kConsumed,   // a fragment, or something that is skipped
    kStalled,    // no memory for it now: leave it in the ring
    kMalformed,  // no correct peer sends this
  };

  [[nodiscard]] bool RowChanged() const noexcept {
    return row_changes_.load(std::memory_order_relaxed) != row_seen_;
  }
  // Opens the rings that have appeared in this node's row of the directory.
  [[gnu::cold]] void ReadRow();
  void OpenRing(std::uint32_t producer, std::uint64_t cell_word);
  [[gnu::cold]] void Housekeep();
  // Frees the rings from and to peers that are gone; those that hold something still, once they are
  // empty.
  void FollowLives();
  void FollowLife(InLink& link);
  void UpdateProducer(InLink& link, std::uint32_t producer);

  // A look at every recently active ring.
  [[gnu::always_inline]] inline std::size_t PollHot(HandlerFunction handler, void* handler_context,
                                                    std::size_t limit);
  // The same after what is rarely to be done.
  [[gnu::noinline]] std::size_t AttendAndPoll(HandlerFunction handler, void* handler_context,
                                              std::size_t limit);
  // Handles up to `limit` records of one ring; returns how many messages that were.
  [[gnu::noinline]] std::size_t Drain(InLink& link, HandlerFunction handler, void* handler_context,
                                      std::size_t limit);
  // A whole message: its frame and what follows it. `is_private`: those bytes cannot change any
  // more. A part of Drain(): a call would cost as much as the work.
  [[gnu::always_inline]] inline Outcome Deliver(InLink& link, const layout::Frame& frame,
                                                std::span<const std::byte> rest, bool is_private,
                                                HandlerFunction handler, void* handler_context);
  // A piece of a large one, which may complete it.
  [[gnu::noinline]] Outcome DeliverFragment(InLink& link, std::uint32_t number,
                                            std::span<const std::byte> fragment,
                                            HandlerFunction handler, void* handler_context);
  Outcome TakeFragment(InLink& link, std::uint32_t number, std::span<const std::byte> fragment);
  [[gnu::cold]] void ReportTooLarge(const InLink& link, std::uint64_t bytes);
  // `link`'s ring was found empty for a while.
  [[gnu::noinline]] void CoolDown(InLink& link);
  // Some of the rings that were not active: one that has something becomes active.
  [[gnu::noinline]] void WarmUp();
  void EndAssembly(InLink& link, bool lost);
  [[gnu::cold]] void GiveUp(InLink& link, const std::string& reason);
  // Gives up a ring that has no consumer here, and wakes its producer. False: it was given up
  // before.
  [[gnu::cold]] [[nodiscard]] bool CloseUnread(const InLink& link, const RingView& ring) noexcept;
  // Rings the producer's doorbell if it waits for room that there is now.
  void WakeProducer(InLink& link) noexcept;
  void RingProducer(const InLink& link) noexcept;

  NodeContext& context_;
  Outbound& outbound_;
  const layout::Word& row_changes_;  // grows with a change of this node's row or of a peer's life
  std::vector<InLink> links_;
  std::vector<InLink*> hot_;   // whose rings were active lately
  std::vector<InLink*> cold_;  // the other open ones
  std::size_t next_hot_ = 0;
  std::size_t next_cold_ = 0;
  std::uint64_t row_seen_ = 0;
  bool polling_ = false;
  std::atomic<bool> housekeeping_due_{true};

  std::vector<std::byte> copy_;         // where a message stands while it is handled
  std::uint64_t reserved_ = 0;          // bytes of all assemblies
  std::unique_ptr<std::byte[]> spare_;  // of the last one: always-new memory is slow
  std::uint64_t spare_size_ = 0;
};

}  // namespace ivmq

#endif  // IVMQ_INBOUND_H_
