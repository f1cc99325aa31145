// The producer's end of a directed pair: the ring to one slot, whoever lives there.
#ifndef IVMQ_RING_WRITER_H_
#define IVMQ_RING_WRITER_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>

#include "ivmq/internal/copy.h"
#include "ivmq/internal/crash_point.h"
#include "ivmq/internal/ring.h"
#include "ivmq/internal/wake.h"
#include "ivmq/sender.h"

#include "src/fragmenter.h"
#include "src/frame.h"
#include "src/node_context.h"
#include "src/pair_state.h"
#include "src/ring_lock.h"

namespace ivmq {

// How a caller has the ring: it holds the lock and the ring is not another's, or it is the ring's
// owner and holds no lock. What changes the state needs the lock in any case.
enum class Hold : std::uint8_t { kLocked, kOwned };

// A place in a ring of this node: the end of a record.
struct RingPosition {
  std::uint32_t slot = 0;        // of the consumer
  std::uint32_t generation = 0;  // of the ring
  std::uint64_t end = 0;
};

// Thread-safe as its members say.
class alignas(2 * layout::kCacheLine) RingWriter {
 public:
  RingWriter() = default;
  // Once, before anything else.
  void Begin(NodeContext& context, std::uint32_t slot) noexcept;

  [[nodiscard]] RingLock& ring_lock() noexcept { return lock_; }
  template <typename Limits>
  SendResult Lock(const Limits& limits, Owner me) {
    return lock_.Lock(*context_, limits, me);
  }

  // ---- Sending. REQUIRES: the ring is the caller's, as `hold` says. ----

  // Sends the message if there is room in a record. Takes the lock itself for Hold::kLocked.
  template <Hold kHold, typename Limits>
  [[gnu::always_inline]] SendResult TrySend(PeerId to, const MessageType& type,
                                            std::span<const std::byte> message,
                                            const Limits& limits) {
    if constexpr (kHold == Hold::kLocked) {
      if (const SendResult locked = Lock(limits, nullptr); locked != SendResult::kOk) [[unlikely]]
        return locked;
      const std::lock_guard lock(lock_, std::adopt_lock);
      return CopyRecord<kHold>(to, type, message);
    } else {
      return CopyRecord<kHold>(to, type, message);
    }
  }
  // Sends the record of a message that lies in the heap, if there is room for it; it ends at
  // `*position`. `head`: the message's frame and type name.
  SendResult TrySendBlock(PeerId to, std::span<const std::byte> head,
                          const layout::BlockDescriptor& block, Hold hold, RingPosition* position);
  // Claims a record for a message of `bytes` bytes. WriteHead() is still to come. `behind`: what is
  // claimed already stays claimed, so there is no other ring for it.
  [[gnu::always_inline]] SendResult Claim(PeerId to, const MessageType& type, std::uint64_t bytes,
                                          std::span<std::byte>* message, Hold hold,
                                          bool behind = false) {
    const std::size_t head = HeadBytes(type);
    if (type.name.size() > kMaxTypeName || bytes > context_->options.max_message_bytes)
        [[unlikely]] {
      return SendResult::kTooLarge;
    }
    const SendResult result = ClaimRecord(to, head + bytes, message, hold, behind);
    if (result == SendResult::kOk) [[likely]]
      *message = message->subspan(head);
    return result;
  }
  // Claims a record, with a new ring in place of one that was given up, unless it is `behind`.
  [[gnu::always_inline]] SendResult ClaimRecord(PeerId to, std::uint64_t bytes,
                                                std::span<std::byte>* record, Hold hold,
                                                bool behind = false) {
    if (IsOpen(to) && producer_.TryClaim(bytes, record) == ClaimResult::kOk) [[likely]] {
      return SendResult::kOk;
    }
    if (hold == Hold::kLocked) return ClaimSlowly(to, bytes, record, behind);
    const std::lock_guard lock(lock_);
    return ClaimSlowly(to, bytes, record, behind);
  }
  // Commits what was claimed and wakes the consumer if it sleeps. REQUIRES: this node's life went
  // on when it was claimed.
  [[gnu::always_inline]] void Publish(std::uint64_t messages, std::uint64_t bytes) noexcept {
    producer_.Commit();
    CountSent(messages, bytes);
    if (wakeable_) {
      FullFence();
      if (wake_check_.MustRing(slot_->armed)) [[unlikely]] {
        IVMQ_CRASH_POINT("publish.consumer_sleeps");
        RingDoorbell();
      }
    }
    producer_.PrefetchAhead(bytes);
  }
  // The same some time after the claim, since users' code wrote the messages. kPeerGone: this
  // node's life is over, kFull: the ring was given up; nothing was published.
  SendResult PublishLate(std::uint64_t messages, std::uint64_t bytes) noexcept {
    if (!context_->IsMyLife()) [[unlikely]]
      return SendResult::kPeerGone;
    if (!producer_.has_claims()) [[unlikely]]
      return SendResult::kFull;
    Publish(messages, bytes);
    return SendResult::kOk;
  }
  // After a claim that another one of its batch may follow.
  void PrefetchAhead(std::uint64_t bytes) const noexcept { producer_.PrefetchAhead(bytes); }
  void Abort() noexcept { producer_.Abort(); }
  void CountSent(std::uint64_t messages, std::uint64_t bytes) noexcept {
    Add(messages_, messages);
    Add(bytes_, bytes);
  }

  // ---- REQUIRES: the ring is the caller's, and the lock is held. ----

  // On kOk the ring leads to that life, and may be written.
  SendResult EnsureOpen(PeerId to) { return IsOpen(to) ? SendResult::kOk : Open(to); }
  // EnsureOpen() for a look that may come while the ring is another's.
  [[nodiscard]] bool IsOpen(PeerId to) noexcept {
    return context_->IsMyLife() && state_ == WriterState::kLive && to_ == to &&
           slot_->life.load(std::memory_order_relaxed) == life_word_;
  }
  // Claims a record in the ring that is open, without looking whether it still leads anywhere.
  [[nodiscard]] bool TryClaimHere(std::uint64_t bytes, std::span<std::byte>* record) noexcept {
    return producer_.TryClaim(bytes, record) == ClaimResult::kOk;
  }
  // Whether records of so many bytes in all have room in it.
  [[nodiscard]] bool HasRoomFor(std::uint64_t bytes) noexcept {
    return producer_.HasRoomFor(bytes);
  }
  [[nodiscard]] WriterState state() const noexcept { return state_; }
  [[nodiscard]] const Producer& producer() const noexcept { return producer_; }
  // Tells apart the rings that it has had.
  [[nodiscard]] std::uint64_t cell_word() const noexcept { return cell_word_; }
  // Why there was no room for a ring when one was carved last.
  [[nodiscard]] const Status& no_room() const noexcept { return no_room_; }
  [[nodiscard]] Fragmenter& fragmenter() noexcept { return fragmenter_; }
  [[nodiscard]] NodeContext& context() const noexcept { return *context_; }

  // While a thread waits for room the consumer is to ring. BeginWait() is the first of the thread,
  // Arm() comes before each look. Whether it will ring says the state, and RingsForRoom().
  void BeginWait() noexcept { ++waiters_; }
  void EndWait() noexcept {
    if (--waiters_ == 0) Disarm();
  }
  void Arm(PeerId to) {
    if (EnsureOpen(to) == SendResult::kOk) space_armed_.Arm();
  }
  [[nodiscard]] bool RingsForRoom() const noexcept {
    return state_ == WriterState::kLive && can_ring_ && context_->transport->info().wakeable &&
           context_->HasDoorbellOf(slot_number_);
  }

  // Looks after the ring and its cell.
  void LookAfter();
  // Frees the ring of a consumer that is gone.
  void FreeIfUnread();
  // Says in the ring how much was committed.
  void PublishCommitted() noexcept;

  // ---- At any time ----

  // Whether there may be a ring.
  [[nodiscard]] bool HasCell() const noexcept;
  // Whether the consumer has released what ends at that position, or will not read it any more.
  // Takes the lock.
  [[nodiscard]] bool IsOver(const RingPosition& position) noexcept;
  // The end of what a predecessor has sent here, if there is a ring of it. Takes the lock.
  [[nodiscard]] std::optional<RingPosition> PredecessorsEnd() noexcept;
  // Asks an owner to look after the ring: nobody else does.
  void RequestCare() noexcept { care_due_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool is_care_due() const noexcept {
    return care_due_.load(std::memory_order_relaxed);
  }
  // By the owner, who holds no lock and has claimed nothing.
  void Care();

  [[nodiscard]] std::uint64_t Sum(layout::Counter counter) const noexcept;

 private:
  static void Add(std::atomic<std::uint64_t>& counter, std::uint64_t amount) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  template <Hold kHold>
  [[gnu::always_inline]] SendResult CopyRecord(PeerId to, const MessageType& type,
                                               std::span<const std::byte> message) {
    std::span<std::byte> room;
    const SendResult result = Claim(to, type, message.size(), &room, kHold);
    if (result == SendResult::kOk) [[likely]] {
      CopyMessage(room.data(), message.data(), message.size());
      WriteHead(type, room.data() - HeadBytes(type));  // last, for the reason of CopyMessage()
      Publish(1, message.size());
    }
    return result;
  }
  SendResult ClaimSlowly(PeerId to, std::uint64_t bytes, std::span<std::byte>* record, bool behind);

  // The only place that changes the state. What leaves kLive writes nothing to the ring any more,
  // and has those look again that wait for room in it.
  void Apply(WriterEvent event) noexcept;
  SendResult Open(PeerId to);
  // Takes up the ring that a predecessor with the same durable name left.
  Result<Producer> TakeUp(const layout::Cell& cell);
  SendResult Carve(PeerId to);
  void Adopt(std::uint64_t cell_word, const RingView& ring, const Producer& producer);
  // Asks the consumer to let go of what it reads for this pair, since it is `why` no ring to write.
  // The units stay this cell's until it has.
  void Withdraw(layout::Cell cell, std::string_view why);
  // Whether the consumer has let go of the ring.
  [[nodiscard]] bool IsClosed(std::uint64_t cell_word) const noexcept {
    return cell_word ==
           layout::Cell::FromWord(cell_word_).With(layout::CellState::kClosed).ToWord();
  }
  [[gnu::cold]] void ReportClosed();
  void Disarm() noexcept {
    if (context_->IsMyLife()) space_armed_.Disarm();
  }
  void RingDoorbell() noexcept;
  [[nodiscard]] std::uint32_t CellIndex() const noexcept {
    return context_->region.CellIndex(slot_number_, context_->self.id.slot);
  }
  [[nodiscard]] layout::Word& cell() const noexcept { return context_->region.cell(CellIndex()); }
  // Stores a word of the cell, and has the consumer look at it.
  void StoreCell(std::uint64_t cell_word) noexcept;

  RingLock lock_;

  // Guarded by `lock_`; read by the owner without it.
  WriterState state_ = WriterState::kNone;
  bool wakeable_ = false;  // the consumer sleeps on a doorbell, which we can ring
  bool can_ring_ = false;  // it can ring ours
  std::uint32_t slot_number_ = 0;
  layout::PeerSlot* slot_ = nullptr;  // the consumer's; constant
  NodeContext* context_ = nullptr;
  PeerId to_;                    // the consumer's life that the ring belongs to
  std::uint64_t life_word_ = 0;  // of the consumer, when last looked at
  std::uint64_t cell_word_ = 0;  // of the ring, while there is one
  Producer producer_;
  WakeCheck wake_check_;

  RingView ring_;
  std::uint32_t vector_ = 0;
  std::uint32_t waiters_ = 0;  // threads that wait for room
  Armed space_armed_;
  Status no_room_;
  Fragmenter fragmenter_{*this};
  std::atomic<bool> care_due_{false};

  // Written by whoever has the ring, read by the heartbeat.
  std::atomic<std::uint64_t> messages_{0};
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::uint64_t> doorbells_{0};
};

}  // namespace ivmq

#endif  // IVMQ_RING_WRITER_H_
