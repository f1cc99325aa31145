#include "ivmq/ring.h"

#include <algorithm>
#include <utility>

#include "src/str_cat.h"

namespace ivmq {

using layout::kRingClosed;
using layout::RecordKind;

void RingView::Initialize() const noexcept {
  header->delivered.store(0, std::memory_order_relaxed);
  header->acked.store(0, std::memory_order_relaxed);
  header->released.store(0, std::memory_order_relaxed);
  header->space_armed.store(0, std::memory_order_relaxed);
  CommitWordAt(0).store(0, std::memory_order_release);
}

Producer::Producer(RingView ring) noexcept
    : ring_(ring), max_payload_(layout::MaxPayload(ring.capacity)), limit_(ring.capacity) {}

Result<Producer> Producer::Recover(RingView ring) {
  Producer producer(ring);
  const std::uint64_t released = ring.header->released.load(std::memory_order_acquire);
  if (released == kRingClosed) {
    producer.limit_ = 0;
    return producer;
  }
  if (released % layout::kRecordAlign != 0) {
    return Status(StatusCode::kDataLoss, StrCat("the ring's released position ", released,
                                                " is not a multiple of ", layout::kRecordAlign));
  }
  std::uint64_t position = released;
  bool is_open = true;
  for (;;) {
    const std::uint64_t word = ring.CommitWordAt(position).load(std::memory_order_acquire);
    if (word == 0) break;
    const RecordKind kind = layout::CommitKind(word);
    const std::uint64_t length = layout::CommitLength(word);
    const std::uint64_t size = layout::RecordSize(length);
    const std::uint64_t room = ring.RoomAt(position);
    const bool tag_matches = layout::CommitTagMatches(word, position);
    if (tag_matches && kind == RecordKind::kEnd) {
      is_open = false;
      break;
    }
    const bool is_record =
        kind == RecordKind::kData && length <= producer.max_payload_ && size <= room;
    const bool is_pad = kind == RecordKind::kPad && size == room;
    if (!tag_matches || !(is_record || is_pad) || position + size - released >= ring.capacity) {
      return Status(StatusCode::kDataLoss,
                    StrCat("the word at position ", position, " of the ring is no commit word"));
    }
    position += size;
  }
  producer.tail_ = producer.first_ = position;
  producer.limit_ = is_open ? released + ring.capacity : 0;
  return producer;
}

ClaimResult Producer::ReadReleased(std::uint64_t needed_limit) noexcept {
  if (limit_ == 0) return ClaimResult::kClosed;
  // Pairs with the release in Consumer::PublishReleased: the consumer has read what it released.
  const std::uint64_t released = ring_.header->released.load(std::memory_order_acquire);
  // A correct consumer only moves it forward, record by record, up to what was committed.
  if (released == kRingClosed || released > first_ || released + ring_.capacity < limit_ ||
      released % layout::kRecordAlign != 0) {
    Close();
    return ClaimResult::kClosed;
  }
  limit_ = released + ring_.capacity;
  return needed_limit <= limit_ ? ClaimResult::kOk : ClaimResult::kFull;
}

bool Producer::ConsumerClosed() const noexcept {
  return ring_.header->released.load(std::memory_order_relaxed) == kRingClosed;
}

void Producer::Close() noexcept {
  Abort();
  if (limit_ == 0) return;
  limit_ = 0;
  // The commit word behind the last record was cleared at its commit, so there is room for the
  // mark.
  ring_.CommitWordAt(first_).store(layout::CommitWord(first_, RecordKind::kEnd, 0),
                                   std::memory_order_release);
}

Result<Consumer> Consumer::Open(RingView ring) {
  const std::uint64_t acked = ring.header->acked.load(std::memory_order_relaxed);
  const std::uint64_t delivered = ring.header->delivered.load(std::memory_order_relaxed);
  const std::uint64_t released = ring.header->released.load(std::memory_order_relaxed);
  if (released == kRingClosed) {
    return Status(StatusCode::kDataLoss, "the ring was given up by its consumer");
  }
  if (acked % layout::kRecordAlign != 0 || released % layout::kRecordAlign != 0 ||
      released > acked || acked > delivered || delivered - released > ring.capacity) {
    return Status(StatusCode::kDataLoss,
                  StrCat("the consumer's positions contradict each other: released ", released,
                         ", acked ", acked, ", delivered ", delivered));
  }
  Consumer consumer;
  consumer.ring_ = ring;
  consumer.max_payload_ = layout::MaxPayload(ring.capacity);
  consumer.position_ = acked;
  consumer.released_ = released;
  consumer.told_ = released;
  consumer.release_step_ = ring.capacity / 8;
  consumer.redelivered_below_ = delivered;
  return consumer;
}

void Consumer::PublishStep() noexcept {
  if (position_ - told_ >= ring_.capacity / 2) return PublishReleased();
  released_ = position_;
  ring_.header->released.store(position_, std::memory_order_release);
}

void Consumer::PublishReleased() noexcept {
  released_ = told_ = position_;
  // Pairs with the acquire in Producer::ReadReleased.
  ring_.header->released.store(position_, std::memory_order_release);
  // The producer's side of this: space_armed = odd, fence, read `released`. See wake.h.
  FullFence();
  wake_request_ |= wake_check_.MustRing(ring_.header->space_armed);
}

PeekResult Consumer::PassMark(std::uint64_t word) noexcept {
  const std::uint64_t room = ring_.RoomAt(position_);
  const std::uint64_t size = layout::RecordSize(layout::CommitLength(word));
  const RecordKind kind = layout::CommitKind(word);
  const bool tag_matches = layout::CommitTagMatches(word, position_);
  // A pad is shorter than the record that did not fit, so two never follow each other.
  if (tag_matches && kind == RecordKind::kPad && size == room && size < ring_.capacity / 2) {
    position_ += size;
    // What is released must have been acknowledged.
    if (!redelivered()) ring_.header->delivered.store(position_, std::memory_order_relaxed);
    ring_.header->acked.store(position_, std::memory_order_relaxed);
    return PeekResult::kEmpty;
  }
  Close();
  return tag_matches && kind == RecordKind::kEnd ? PeekResult::kClosed : PeekResult::kCorrupt;
}

void Consumer::Close() noexcept {
  if (std::exchange(closed_, true)) return;
  ring_.header->released.store(kRingClosed, std::memory_order_release);
  FullFence();
  wake_request_ |= wake_check_.MustRing(ring_.header->space_armed);
}

}  // namespace ivmq
