// The sending half of a node: one link for each peer it talks to.
#ifndef IVMQ_OUTBOUND_H_
#define IVMQ_OUTBOUND_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "ivmq/internal/copy.h"
#include "ivmq/internal/ring.h"
#include "ivmq/internal/spin_lock.h"
#include "ivmq/internal/wake.h"
#include "ivmq/node.h"

#include "src/node_context.h"

namespace ivmq {

// Names the calling thread: an address that no other thread of the process has while it runs.
inline const void* ThisThread() noexcept {
  static constinit thread_local char token = 0;
  return &token;
}

// The ring to one slot, whoever lives there.
struct alignas(2 * layout::kCacheLine) OutLink {
  SpinLock lock;
  // Whose code writes into the ring with no lock held, in a Batch or for SendInPlace; nullptr:
  // nobody's. Set with `lock` held. Until it is cleared the ring is that thread's: others leave
  // the producer alone, also with `lock` held, and nothing takes or frees the memory.
  std::atomic<const void*> claimed_by{nullptr};
  layout::PeerSlot* slot = nullptr;  // the consumer's; constant

  // REQUIRES: `lock` is held.
  [[nodiscard]] bool is_claimed() const noexcept {
    return claimed_by.load(std::memory_order_acquire) != nullptr;
  }
  // Makes the ring the calling thread's and gives up `lock`. REQUIRES: `held` holds that, and the
  // ring is not claimed.
  void BeginClaim([[maybe_unused]] std::unique_lock<SpinLock> held) noexcept {
    claimed_by.store(ThisThread(), std::memory_order_relaxed);
  }
  // Drops what was not committed.
  void EndClaim() noexcept {
    producer.Abort();
    claimed_by.store(nullptr, std::memory_order_release);
  }

  // Guarded by `lock`.
  bool open = false;       // `producer` writes the ring that `cell_word` describes
  bool withdrawn = false;  // `cell_word` asks the consumer to let go; then a ring can be carved
  PeerId to;               // the consumer's life that the ring belongs to
  std::uint64_t life_word = 0;  // of the consumer, when last looked at
  bool wakeable = false;        // it sleeps on a doorbell, which we can ring
  bool can_ring = false;        // from that word: it can ring ours
  std::uint32_t vector = 0;
  std::uint64_t cell_word = 0;
  RingView ring;
  Producer producer;
  WakeCheck wake_check;
  Armed space_armed;
  std::uint32_t space_waiters = 0;  // threads that wait for room
  Status error;                     // why sending failed last
  // One large message at a time, so that a receiver needs to put together only one a sender.
  bool large_under_way = false;
  bool large_wanted = false;     // somebody waits for its end
  std::uint32_t last_large = 0;  // its number; 0 is none
  bool must_abandon = false;     // tell the receiver that the last one ends midway

  // Written under `lock`, read by the heartbeat.
  std::atomic<std::uint64_t> messages{0};
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<std::uint64_t> doorbells{0};
};

// How long, and how long only, a send waits.
struct Patience {
  explicit Patience(const SendOptions& options)
      : deadline(DeadlineAfter(options.timeout)), stop(options.stop) {}

  std::chrono::steady_clock::time_point deadline;
  const StopCondition* stop;

  [[nodiscard]] bool IsStopped() const noexcept { return stop != nullptr && stop->IsStopped(); }
  [[nodiscard]] bool IsOver() const noexcept {
    return std::chrono::steady_clock::now() >= deadline;
  }
  // A sleep that would last `longest`, cut so that `stop` is asked often enough.
  [[nodiscard]] std::chrono::nanoseconds Sleep(std::chrono::nanoseconds longest) const noexcept {
    return stop == nullptr ? longest : std::min(longest, kStopLook);
  }
  static constexpr std::chrono::nanoseconds kStopLook = std::chrono::milliseconds(50);
};

// Thread-safe, except that members that say so want the link's ring to be the caller's: its lock is
// held and the ring is not claimed, or it is claimed by the caller.
class Outbound {
 public:
  explicit Outbound(NodeContext& context);

  SendResult Send(PeerId to, const MessageType& type, std::span<const std::byte> message,
                  const SendOptions& options);
  SendResult AwaitRoom(PeerId to, std::uint64_t record_bytes, const SendOptions& options);
  std::uint64_t MaxRecord(PeerId to);
  Status LastError(PeerId to);

  // nullptr if there is no such slot.
  [[nodiscard]] OutLink* link(std::uint32_t slot) noexcept {
    return slot < context_.region.max_peers() ? &links_[slot] : nullptr;
  }
  // Takes the lock once no user code writes into the ring. kBusy: this thread's does. kTimedOut,
  // kStopped: another's does for too long. On kOk the lock is held. `limits`: SendOptions or
  // Patience.
  template <typename Limits>
  SendResult LockRing(OutLink& link, const Limits& limits) {
    link.lock.lock();
    if (!link.is_claimed()) [[likely]]
      return SendResult::kOk;
    link.lock.unlock();
    return AwaitRing(link, Patience(limits));
  }
  // Claims a record and writes its frame and type name. `behind`: what is claimed already stays
  // claimed, so there is no other ring for it. REQUIRES: the ring is the caller's.
  SendResult Claim(OutLink& link, PeerId to, const MessageType& type, std::uint64_t bytes,
                   std::span<std::byte>* message, bool behind = false) {
    const SendResult result = ClaimMessage(link, to, type, bytes, message, behind);
    if (result == SendResult::kOk) [[likely]]
      WriteFrame(type, *message);
    return result;
  }
  // Commits what was claimed and wakes the consumer if it sleeps. REQUIRES: the ring is the
  // caller's, and this node's life went on when it was claimed.
  void Publish(OutLink& link, std::uint64_t messages, std::uint64_t bytes) noexcept {
    link.producer.Commit();
    Add(link.messages, messages);
    Add(link.bytes, bytes);
    if (link.wakeable) {
      FullFence();
      if (link.wake_check.MustRing(link.slot->armed)) [[unlikely]]
        RingDoorbell(link);
    }
    link.producer.PrefetchNext(bytes);
  }
  // The same some time after the claim, since users' code wrote the messages. kPeerGone: this
  // node's life is over, kFull: the ring was given up; nothing was published.
  SendResult PublishLate(OutLink& link, std::uint64_t messages, std::uint64_t bytes) noexcept {
    if (!context_.IsMyLife()) [[unlikely]]
      return SendResult::kPeerGone;
    if (!link.producer.has_claims()) [[unlikely]]
      return SendResult::kFull;
    Publish(link, messages, bytes);
    return SendResult::kOk;
  }

  // Looks after the rings and their cells, and frees the rings of consumers that are gone; four
  // times a second.
  void Housekeep();
  // Frees the rings of consumers that are gone.
  void FreeUnread();
  // Says in each ring how much was committed, when this node leaves: a successor and the consumers
  // find the rings whole.
  void PublishCommitted() noexcept;

  // In a forked child: no thread is left that would give back a link's lock or its ring.
  void UnlockInChild() noexcept;

  // What the links counted.
  [[nodiscard]] std::uint64_t Sum(layout::Counter counter) const noexcept;

 private:
  using Clock = std::chrono::steady_clock;

  static void Add(std::atomic<std::uint64_t>& counter, std::uint64_t amount) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  // Whether this node may write the ring, and it leads to the life of a peer that is meant.
  bool IsOpen(const OutLink& link, PeerId to) noexcept {
    return context_.IsMyLife() && link.open && link.to == to &&
           link.slot->life.load(std::memory_order_relaxed) == link.life_word;
  }
  SendResult EnsureOpen(OutLink& link, PeerId to) {
    return IsOpen(link, to) ? SendResult::kOk : Open(link, to);
  }
  SendResult Open(OutLink& link, PeerId to);
  SendResult AwaitRing(OutLink& link, const Patience& patience);
  // Takes up the ring that a predecessor with the same durable name left.
  Result<Producer> TakeUp(OutLink& link, const layout::Cell& cell);
  // Asks the consumer to let go of what it reads for this pair, since it is `why` no ring to write.
  // The units stay this cell's until it has.
  void Withdraw(OutLink& link, layout::Cell cell, std::string_view why);
  // Whether the consumer has let go of the open or withdrawn ring.
  [[nodiscard]] static bool IsClosed(const OutLink& link, std::uint64_t cell_word) noexcept {
    return cell_word ==
           layout::Cell::FromWord(link.cell_word).With(layout::CellState::kClosed).ToWord();
  }
  [[gnu::cold]] void ReportClosed(const OutLink& link);
  // What housekeeping does for a ring that is open or withdrawn.
  void LookAfter(OutLink& link);
  [[nodiscard]] std::uint32_t CellIndexOf(const OutLink& link) const noexcept {
    return context_.region.CellIndex(static_cast<std::uint32_t>(&link - links_.get()),
                                     context_.self.id.slot);
  }
  [[nodiscard]] layout::Word& CellOf(const OutLink& link) const noexcept {
    return context_.region.cell(CellIndexOf(link));
  }
  // Stores a word of the link's cell, and has the consumer look at it.
  void StoreCell(const OutLink& link, std::uint64_t cell_word) noexcept;
  // Before the ring's units may become another's: nothing is written into them any more, and
  // senders that wait for room in it look again. REQUIRES: link.lock is held.
  void LetGo(OutLink& link) noexcept;
  // REQUIRES: link.lock is held.
  void Disarm(OutLink& link) noexcept;
  SendResult CarveFor(OutLink& link, PeerId to);
  void Adopt(OutLink& link, PeerId to, std::uint64_t cell_word, const RingView& ring,
             const Producer& producer);
  // TryClaim, with a new ring in place of one that was given up, unless it is claimed `behind`
  // others. REQUIRES: the ring is the caller's.
  SendResult ClaimRecord(OutLink& link, PeerId to, std::uint64_t bytes,
                         std::span<std::byte>* record, bool behind = false) {
    if (IsOpen(link, to) && link.producer.TryClaim(bytes, record) == ClaimResult::kOk) [[likely]] {
      return SendResult::kOk;
    }
    if (!link.is_claimed()) return OpenAndClaimRecord(link, to, bytes, record);
    const std::lock_guard lock(link.lock);
    return behind ? ClaimRecordBehind(link, to, bytes, record)
                  : OpenAndClaimRecord(link, to, bytes, record);
  }
  SendResult ClaimRecordBehind(OutLink& link, PeerId to, std::uint64_t bytes,
                               std::span<std::byte>* record);
  SendResult OpenAndClaimRecord(OutLink& link, PeerId to, std::uint64_t bytes,
                                std::span<std::byte>* record);
  // Claim() but for the frame.
  SendResult ClaimMessage(OutLink& link, PeerId to, const MessageType& type, std::uint64_t bytes,
                          std::span<std::byte>* message, bool behind = false) {
    const std::size_t name_bytes = type.name.size();
    if (name_bytes > kMaxTypeName || bytes > context_.options.max_message_bytes) [[unlikely]] {
      return SendResult::kTooLarge;
    }
    const std::size_t before = sizeof(layout::Frame) + name_bytes;
    const SendResult result = ClaimRecord(link, to, before + bytes, message, behind);
    if (result == SendResult::kOk) [[likely]]
      *message = message->subspan(before);
    return result;
  }
  // The frame and the type name of a message that ClaimMessage() claimed.
  static void WriteFrame(const MessageType& type, std::span<std::byte> message) noexcept {
    const std::size_t name_bytes = type.name.size();
    const layout::Frame frame{
        .kind = type.kind, .name_bytes = static_cast<std::uint16_t>(name_bytes), .type = type.type};
    std::byte* const name = message.data() - name_bytes;
    if (name_bytes != 0) std::memcpy(name, type.name.data(), name_bytes);
    std::memcpy(name - sizeof(frame), &frame, sizeof(frame));
  }
  void RingDoorbell(OutLink& link) noexcept;
  // Sends the message if there is room in a record.
  template <typename Limits>
  [[gnu::always_inline]] SendResult TrySend(OutLink& link, PeerId to, const MessageType& type,
                                            std::span<const std::byte> message,
                                            const Limits& limits) {
    if (const SendResult locked = LockRing(link, limits); locked != SendResult::kOk) [[unlikely]]
      return locked;
    const std::lock_guard lock(link.lock, std::adopt_lock);
    std::span<std::byte> room;
    const SendResult result = ClaimMessage(link, to, type, message.size(), &room);
    if (result == SendResult::kOk) [[likely]] {
      CopyMessage(room.data(), message.data(), message.size());
      WriteFrame(type, room);  // last, for the reason that CopyMessage() has
      Publish(link, 1, message.size());
    }
    return result;
  }
  // What Send() does when there was no room at once.
  SendResult SendSlowly(OutLink& link, PeerId to, const MessageType& type,
                        std::span<const std::byte> message, const SendOptions& options,
                        SendResult first_result);
  SendResult SendLarge(OutLink& link, PeerId to, const MessageType& type,
                       std::span<const std::byte> message, const SendOptions& options,
                       const Patience& patience);
  // Frees the receiver's memory of a large message that ends midway, as soon as there is room to
  // say so and the ring is not claimed. REQUIRES: link.lock is held.
  void TryAbandon(OutLink& link);
  class LargeTurn;
  class SpaceWaiter;
  // Waits, as `options` says, until no other large message is under way.
  SendResult TakeLargeTurn(OutLink& link, const SendOptions& options, const Patience& patience);
  void EndLargeTurn(OutLink& link) noexcept;
  // Waits until a record of `bytes` has room. Never returns kFull.
  SendResult WaitForRoom(OutLink& link, PeerId to, std::uint64_t bytes, const Patience& patience);
  // One look: kFull if it has none.
  SendResult LookForRoom(OutLink& link, PeerId to, std::uint64_t bytes, const Patience& patience);
  // The same. REQUIRES: link.lock is held, and the ring is not claimed.
  SendResult LookForRoom(OutLink& link, PeerId to, std::uint64_t bytes);
  // What `when_full` makes of a full ring at once.
  SendResult Refuse(const SendOptions& options) noexcept;

  NodeContext& context_;
  std::unique_ptr<OutLink[]> links_;
};

}  // namespace ivmq

#endif  // IVMQ_OUTBOUND_H_
