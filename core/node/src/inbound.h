// The receiving half of a node: one link for each peer that has a ring to it.
#ifndef IVMQ_INBOUND_H_
#define IVMQ_INBOUND_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "src/node_context.h"
#include "src/outbound.h"

namespace ivmq {

// A large message that is being put together. Its memory counts against the node's bound.
struct Assembly {
  std::uint32_t number = 0;
  std::uint64_t total = 0;  // 0: none is under way
  std::uint64_t received = 0;
  std::uint32_t idle_looks = 0;  // of housekeeping in a row that found its sender's ring empty
  std::unique_ptr<std::byte[]> bytes;
};

// The ring from one slot.
struct InLink {
  std::uint32_t slot = 0;  // of the producer
  bool open = false;       // `consumer` reads `ring`, which `cell_word` describes
  bool given_up = false;   // the ring of `cell_word` was closed here; its producer carves another
  bool stalled = false;    // its next fragment waits for memory
  bool ending = false;     // the producer was gone when last looked at: free the ring when empty
  std::uint32_t idle_looks = 0;
  std::uint32_t opened_life = 0;  // the producer's incarnation when the ring was opened
  std::uint64_t cell_word = 0;
  RingView ring;
  PeerId from;  // who wrote the next record
  Consumer consumer;
  // What looks damaged, and at how many looks of housekeeping in a row it did: its writer may put
  // it right.
  const char* oddity = nullptr;
  std::uint32_t odd_looks = 0;

  Assembly assembly;
  // Numbers of large messages. What the sender must begin anew; whose rest is passed over, as was
  // reported; the last one that was handled.
  std::uint32_t dropped = 0;
  std::uint32_t skipped = 0;
  std::uint32_t completed = 0;
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

  // How long a sleeper that doorbells wake may sleep without a look of its own: less than kNet
  // while housekeeping counts its looks at something, damage or a large message that stands still.
  [[nodiscard]] std::chrono::nanoseconds net() const noexcept {
    return looks_odd_ || reserved_ != 0 ? kLookAgain : kNet;
  }

  // What rarely is to be done: looks after the links if that was asked for, opens new rings. A part
  // of Poll(), and to be called before sleeping, since who sleeps does not poll. Does nothing
  // within a handler.
  void Attend();

  // Asks Attend() to look after the links: rings of dead producers, damaged words. Thread-safe.
  void RequestHousekeeping() noexcept { housekeeping_due_.store(true, std::memory_order_relaxed); }

 private:
  static constexpr std::chrono::milliseconds kLookAgain{250};

  enum class Outcome : std::uint8_t {
    kHandled,    // a message went to the handler
    kConsumed,   // a fragment, or something that is skipped
    kStalled,    // no memory for it now: leave it in the ring
    kMalformed,  // no correct peer sends this
  };

  [[nodiscard]] bool RowChanged() const noexcept {
    return row_changes_.load(std::memory_order_relaxed) != row_seen_;
  }
  [[nodiscard]] std::uint32_t CellIndexOf(const InLink& link) const noexcept {
    return context_.region.CellIndex(context_.self.id.slot, link.slot);
  }
  [[nodiscard]] layout::Life LifeOf(const InLink& link) const noexcept {
    return layout::Life::FromWord(
        context_.region.slot(link.slot).life.load(std::memory_order_acquire));
  }
  // The live ring that a word of the link's cell names, if its header says that it is this pair's.
  [[nodiscard]] std::optional<RingView> LiveRing(const InLink& link, std::uint64_t word) const;
  // Does what the cells of this node's row ask for: rings that have appeared, others to let go of.
  [[gnu::cold]] void ReadRow();
  // False: the ring that is open has to be read to its end first.
  bool ReadCell(InLink& link);
  void OpenRing(InLink& link, const RingView& ring, std::uint64_t cell_word);
  [[gnu::cold]] void Housekeep();
  // Frees the rings from and to peers that are gone; those that hold something still, once they are
  // empty.
  void FollowLives();
  void FollowLife(InLink& link);
  // Puts right what only this side may write for an open ring, and notes what is odd.
  void LookAfter(InLink& link);
  // Whether the cell and the ring's header still agree that the open ring is the link's.
  [[nodiscard]] bool IsOurs(const InLink& link) const noexcept;
  // What is read from now on was written by that life of the producer.
  static void SetSender(InLink& link, std::uint32_t incarnation) noexcept;

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
  // The mark of a producer that came back: what follows is from its new life.
  [[gnu::cold]] Outcome PassSuccessor(InLink& link, std::uint32_t incarnation);
  // A piece of a large one, which may complete it.
  [[gnu::noinline]] Outcome DeliverFragment(InLink& link, const layout::Frame& frame,
                                            std::span<const std::byte> fragment,
                                            HandlerFunction handler, void* handler_context);
  Outcome TakeFragment(InLink& link, const layout::Frame& frame,
                       std::span<const std::byte> fragment);
  // Memory for another large message, if need be from one whose sender stopped midway.
  [[gnu::cold]] bool MakeRoom(std::uint64_t bytes);
  // Gives up the large message that `link` is putting together; its sender, if it goes on, begins
  // it anew. False: a piece has just come.
  [[gnu::cold]] bool DropAssembly(InLink& link);
  [[gnu::cold]] void ReportTooLarge(const InLink& link, std::uint64_t bytes);
  // `link`'s ring was found empty for a while.
  [[gnu::noinline]] void CoolDown(InLink& link);
  // Some of the rings that were not active: one that has something becomes active.
  [[gnu::noinline]] void WarmUp();
  void EndAssembly(InLink& link, bool lost);
  // Lets go of the link's ring, open or not, and says so: `reason` it cannot be read (any more).
  [[gnu::cold]] void GiveUp(InLink& link, std::string_view reason);
  // Answers in the cell, if it still has that value, that nothing is read through it here. From
  // then on the units may be another ring's.
  [[gnu::cold]] void Close(const InLink& link, std::uint64_t cell_word) noexcept;
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
  bool looks_odd_ = false;  // a link did when last looked after

  std::vector<std::byte> copy_;         // where a message stands while it is handled
  std::uint64_t reserved_ = 0;          // bytes of all assemblies
  std::unique_ptr<std::byte[]> spare_;  // of the last one: always-new memory is slow
  std::uint64_t spare_size_ = 0;
};

}  // namespace ivmq

#endif  // IVMQ_INBOUND_H_
