// The ring: a single-producer single-consumer queue of variable-size records in shared memory.
//
// The commit word is in the record itself, so a small message moves in one or two cache lines, and
// no index is polled. Each side keeps its position in private memory and checks every word that the
// other side could have written. No function here allocates, locks, enters the kernel or throws.
//
// A Producer and a Consumer are each thread-compatible: one thread at a time. The two may run
// anywhere.
#ifndef IVMQ_INTERNAL_RING_H_
#define IVMQ_INTERNAL_RING_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ivmq/internal/crash_point.h"
#include "ivmq/internal/layout.h"
#include "ivmq/internal/wake.h"
#include "ivmq/status.h"

namespace ivmq {

// Where a ring is. The capacity is kept privately: it is never read from the region again.
struct RingView {
  layout::RingHeader* header = nullptr;
  std::byte* data = nullptr;
  std::uint64_t capacity = 0;  // a power of two, kMinRingCapacity..kMaxRingCapacity
  std::uint64_t mask = 0;      // capacity - 1

  // The number of bytes that a ring of `capacity` takes in the region.
  static constexpr std::uint64_t Footprint(std::uint64_t capacity) noexcept {
    return sizeof(layout::RingHeader) + capacity;
  }
  // REQUIRES: `memory` is kPage-aligned and has Footprint(capacity) bytes.
  static RingView At(std::byte* memory, std::uint64_t capacity) noexcept {
    return {reinterpret_cast<layout::RingHeader*>(memory), memory + sizeof(layout::RingHeader),
            capacity, capacity - 1};
  }
  // Makes it an empty ring at position 0, for records of that incarnation. REQUIRES: nothing else
  // uses it yet.
  void Initialize(std::uint32_t sender) const noexcept;

  // Stores the words that say whose ring it is, if they differ.
  void Describe(std::uint32_t cell_index, const layout::Cell& cell) const noexcept;
  // Whether these words say that it is the ring of that cell.
  [[nodiscard]] bool IsDescribed(std::uint32_t cell_index, const layout::Cell& cell) const noexcept;

  // The address of a position.
  [[nodiscard]] std::byte* DataAt(std::uint64_t position) const noexcept {
    return data + (position & mask);
  }
  // The number of bytes from a position to the end of the ring.
  [[nodiscard]] std::uint64_t RoomAt(std::uint64_t position) const noexcept {
    return capacity - (position & mask);
  }
  [[nodiscard]] layout::Word& CommitWordAt(std::uint64_t position) const noexcept {
    return *reinterpret_cast<layout::Word*>(DataAt(position));
  }
};

enum class [[nodiscard]] ClaimResult : std::uint8_t{
    kOk,
    kFull,      // not enough released space now
    kTooLarge,  // more than max_payload(): never fits
};

class Producer {
 public:
  Producer() = default;
  // A producer for a ring that was just initialized.
  explicit Producer(RingView ring) noexcept;
  // A producer that continues where a dead one stopped: walks the committed records from
  // `released`. DATA_LOSS if the walk finds a word that no correct producer leaves, or ends before
  // `committed`.
  static Result<Producer> Recover(RingView ring);

  [[nodiscard]] std::uint64_t max_payload() const noexcept { return max_payload_; }

  // Claims a record of `size` bytes (0..max_payload) after those of the open batch. On kOk the
  // caller writes it through `*payload` (8-byte aligned); it is visible after Commit(). All other
  // results leave the open batch as it was.
  [[gnu::always_inline]] ClaimResult TryClaim(std::uint64_t size,
                                              std::span<std::byte>* payload) noexcept {
    if (size > max_payload_) return ClaimResult::kTooLarge;
    const std::uint64_t need = layout::RecordSize(size);
    const std::uint64_t room = ring_.RoomAt(tail_);
    const std::uint64_t pad = need > room ? room : 0;
    // The next record's commit word is cleared at commit, so it must be free as well.
    const std::uint64_t end = tail_ + pad + need;
    if (end + layout::kRecordHeader > limit_) [[unlikely]] {
      if (const ClaimResult result = ReadReleased(end + layout::kRecordHeader);
          result != ClaimResult::kOk) {
        return result;
      }
    }
    if (pad != 0) [[unlikely]] {
      Stage(layout::CommitWord(tail_, layout::RecordKind::kPad,
                               static_cast<std::uint32_t>(pad - layout::kRecordHeader)));
      tail_ += pad;
      IVMQ_CRASH_POINT("commit.padded");
    }
    Stage(layout::CommitWord(tail_, layout::RecordKind::kData, static_cast<std::uint32_t>(size)));
    *payload = {ring_.DataAt(tail_) + layout::kRecordHeader, size};
    tail_ = end;
    return ClaimResult::kOk;
  }

  // Whether records that take `bytes` bytes in all have room now, with the pad between them.
  [[nodiscard]] bool HasRoomFor(std::uint64_t bytes) noexcept {
    const std::uint64_t end = tail_ + bytes + layout::kRecordHeader;
    return end <= limit_ || ReadReleased(end) == ClaimResult::kOk;
  }

  // Publishes all claimed records with one store. Does nothing if nothing is claimed.
  void Commit() noexcept {
    const std::uint64_t first = first_;
    const std::uint64_t tail = tail_;
    if (tail == first) return;
    std::atomic_ref(first_).store(tail, std::memory_order_relaxed);
    layout::Word& published = ring_.CommitWordAt(first);
    IVMQ_CRASH_POINT("commit.begun");
    ring_.CommitWordAt(tail).store(0, std::memory_order_relaxed);
    IVMQ_CRASH_POINT("commit.next_cleared");
    // Pairs with the acquire in Consumer::Peek: payloads, inner commit words and the cleared next
    // one are visible before this word is.
    published.store(first_word_, std::memory_order_release);
    IVMQ_CRASH_POINT("commit.published");
  }

  // Fetches lines for those that a record of `bytes` bytes took, as far ahead as it takes them to
  // come while small records are sent as fast as it goes: so writing there will not wait. Call it
  // after Commit() and what is urgent, or within a batch after each claim.
  void PrefetchAhead(std::uint64_t bytes) const noexcept {
    constexpr std::uint64_t kAhead = 8 * layout::kCacheLine;
    constexpr std::uint64_t kMost = 16 * layout::kCacheLine;  // a core waits for about so many
    const std::uint64_t begin = tail_ + kAhead;
    // What lies beyond the limit, the consumer may not have read.
    const std::uint64_t end = std::min(begin + std::min(bytes, kMost) + layout::kCacheLine, limit_);
    for (std::uint64_t at = begin; at < end; at += layout::kCacheLine) {
      PrefetchForWrite(ring_.DataAt(at));
    }
  }

  // Drops all claimed records.
  void Abort() noexcept { tail_ = first_; }
  // Whether Commit() has something to publish.
  [[nodiscard]] bool has_claims() const noexcept { return tail_ != first_; }

  // The number of the large message that the consumer dropped last.
  [[nodiscard]] std::uint64_t dropped_large() const noexcept {
    return ring_.header->dropped.load(std::memory_order_relaxed);
  }

  // Bytes committed since the ring was carved, pads and headers included.
  [[nodiscard]] std::uint64_t position() const noexcept { return first_; }
  // Up to where the consumer says that it has handled everything. It may say anything.
  [[nodiscard]] std::uint64_t acknowledged() const noexcept {
    return ring_.header->acked.load(std::memory_order_acquire);
  }

  // The same for another thread, while the owner commits: what is published is below it.
  [[nodiscard]] std::uint64_t position_now() noexcept {
    return std::atomic_ref(first_).load(std::memory_order_relaxed);
  }
  // The position up to which the consumer has released, by its own word. For another thread, too.
  [[nodiscard]] std::uint64_t LoadReleased() const noexcept {
    return ring_.header->released.load(std::memory_order_acquire);
  }

  // Stores position() as `committed`, which reveals commit words that are damaged later. Call it
  // now and then, and when the producer leaves.
  void PublishCommitted() const noexcept;

  // For a producer that waits for room: make the word odd, fence, try once more, sleep. See wake.h.
  [[nodiscard]] layout::Word& space_armed() const noexcept { return ring_.header->space_armed; }

 private:
  // The first word of a batch is kept back: it publishes the batch. The others are not visible
  // before.
  void Stage(std::uint64_t word) noexcept {
    if (tail_ == first_) {
      first_word_ = word;
    } else {
      ring_.CommitWordAt(tail_).store(word, std::memory_order_relaxed);
    }
  }
  ClaimResult ReadReleased(std::uint64_t needed_limit) noexcept;

  RingView ring_;
  std::uint64_t max_payload_ = 0;
  std::uint64_t tail_ = 0;        // end of the last claimed record
  std::uint64_t first_ = 0;       // start of the open batch = end of the last committed record
  std::uint64_t first_word_ = 0;  // its commit word
  std::uint64_t limit_ = 0;       // last `released` read + capacity
};

enum class [[nodiscard]] PeekResult : std::uint8_t{
    kRecord, kEmpty,
    kCorrupt,  // a word that no correct producer writes: nothing more can be read
};

class Consumer {
 public:
  Consumer() = default;
  // Starts where `acked` stands: at 0 in a new ring, behind the last handled record after a
  // restart. DATA_LOSS if the consumer's words contradict each other.
  static Result<Consumer> Open(RingView ring);

  // Looks at the next record without giving it up; the same one until Release(). The payload lies
  // in shared memory: its bytes may change while they are read.
  [[gnu::always_inline]] PeekResult Peek(std::span<const std::byte>* payload) noexcept {
    for (;;) {
      const std::uint64_t position = position_;
      std::byte* const record = ring_.DataAt(position);
      // Pairs with the release in Producer::Commit.
      const std::uint64_t word =
          reinterpret_cast<const layout::Word*>(record)->load(std::memory_order_acquire);
      if (word == 0) return PeekResult::kEmpty;
      const std::uint64_t length = layout::CommitLength(word);
      const std::uint64_t size = layout::RecordSize(length);
      if (layout::CommitTagMatches(word, position) &&
          layout::CommitKind(word) == layout::RecordKind::kData && length <= max_payload_ &&
          size <= ring_.RoomAt(position)) [[likely]] {
        size_ = size;
        *payload = {record + layout::kRecordHeader, length};
        ring_.header->delivered.store(position + size, std::memory_order_relaxed);
        IVMQ_CRASH_POINT("release.delivered");
        return PeekResult::kRecord;
      }
      if (const PeekResult result = PassPad(word); result != PeekResult::kEmpty) return result;
    }
  }

  // Gives up the record that Peek() returned. REQUIRES: the last Peek() returned kRecord.
  void Release() noexcept {
    const std::uint64_t position = position_ + size_;
    position_ = position;
    IVMQ_CRASH_POINT("release.handled");
    ring_.header->acked.store(position, std::memory_order_relaxed);
    IVMQ_CRASH_POINT("release.acked");
    if (position - released_ >= release_step_) [[unlikely]]
      PublishStep();
  }

  // Instead of Release(): moves past the record, and acknowledges nothing from its start on until
  // Acknowledge(). Until then, every record must be passed. REQUIRES: as for Release.
  void Pass() noexcept {
    held_from_ = std::min(held_from_, position_);
    position_ += size_;
  }
  // Acknowledges the records before `position`: position() before one of the calls of Pass(), or
  // the current one, which acknowledges all.
  void Acknowledge(std::uint64_t position) noexcept;

  // True if the record that Peek() returned had been given to a handler before: before a restart,
  // or before Redeliver().
  [[nodiscard]] bool redelivered() const noexcept { return position_ < redelivered_below_; }
  // Instead of Release(): the next Peek() returns the same record, marked. REQUIRES: as for
  // Release.
  void Redeliver() noexcept {
    if (!redelivered()) redelivered_below_ = position_ + size_;
  }

  // Calls handler(std::span<const std::byte>) for up to `limit` records; returns how many. `*end`
  // says why it stopped: kRecord (the limit), kEmpty or kCorrupt.
  template <typename Handler>
  std::size_t Poll(Handler&& handler, std::size_t limit, PeekResult* end) {
    std::size_t count = 0;
    *end = PeekResult::kRecord;
    std::span<const std::byte> payload;
    while (count < limit) {
      *end = Peek(&payload);
      if (*end != PeekResult::kRecord) break;
      handler(payload);
      Release();
      ++count;
    }
    return count;
  }

  // True if a record (or a damaged word) waits. One load.
  [[nodiscard]] bool HasRecord() const noexcept {
    return ring_.CommitWordAt(position_).load(std::memory_order_acquire) != 0;
  }

  // Publishes all released room now, and checks whether the producer sleeps until there is room.
  // Release() publishes each eighth of the ring, but checks for a sleeper only at each half: a
  // doorbell is worth some room. So call this before sleeping, and when the ring has run empty.
  void PublishReleased() noexcept;
  // Whether PublishReleased() has something to publish.
  [[nodiscard]] bool has_unpublished() const noexcept { return acknowledged() != told_; }

  // Whether TakeWakeRequest() would return true.
  [[nodiscard]] bool has_wake_request() const noexcept { return wake_request_; }
  // True once after room was published for which the producer sleeps: ring its doorbell.
  [[nodiscard]] bool TakeWakeRequest() noexcept {
    const bool request = wake_request_;
    wake_request_ = false;
    return request;
  }

  // Stores the consumer's words again, so damage to them does not last. REQUIRES: no record is
  // being handled.
  void Restore() noexcept;

  // True if the ring is empty although its producer has committed more: a commit word was
  // overwritten, or `committed` was, which a live producer repairs.
  [[nodiscard]] bool LacksRecords() const noexcept {
    // What `committed` covers is visible once it is; so it is read first.
    return ring_.header->committed.load(std::memory_order_acquire) > position_ && !HasRecord();
  }

  // The bytes that the record returned by Peek() takes.
  [[nodiscard]] std::uint64_t record_size() const noexcept { return size_; }
  // Bytes consumed since the ring was carved.
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }

 private:
  // The position up to which records are acknowledged.
  [[nodiscard]] std::uint64_t acknowledged() const noexcept {
    return std::min(position_, held_from_);
  }
  // Handles a word that is not the commit word of a record. kEmpty: it was a pad, now passed.
  [[gnu::cold]] PeekResult PassPad(std::uint64_t word) noexcept;
  void PublishStep() noexcept;

  static constexpr std::uint64_t kNotHeld = ~std::uint64_t{0};

  RingView ring_;
  std::uint64_t max_payload_ = 0;
  std::uint64_t position_ = 0;
  std::uint64_t size_ = 0;              // of the record that Peek() returned
  std::uint64_t held_from_ = kNotHeld;  // where the first record stands that was passed
  std::uint64_t released_ = 0;          // last published
  std::uint64_t told_ = 0;              // last published with a look for a sleeping producer
  std::uint64_t release_step_ = 0;      // capacity / 8
  std::uint64_t redelivered_below_ = 0;
  WakeCheck wake_check_;  // of the producer's space_armed
  bool wake_request_ = false;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_RING_H_
