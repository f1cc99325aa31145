#include "ivmq/internal/ring.h"

#include <algorithm>

#include "ivmq/internal/str_cat.h"

#include "src/run_header.h"

namespace ivmq {

using layout::RecordKind;

void RingView::Initialize(std::uint32_t sender) const noexcept {
  header->delivered.store(0, std::memory_order_relaxed);
  header->acked.store(0, std::memory_order_relaxed);
  header->sender.store(sender, std::memory_order_relaxed);
  header->released.store(0, std::memory_order_relaxed);
  header->dropped.store(0, std::memory_order_relaxed);
  header->space_armed.store(0, std::memory_order_relaxed);
  header->committed.store(0, std::memory_order_relaxed);
  CommitWordAt(0).store(0, std::memory_order_release);
}

void RingView::Describe(std::uint32_t cell_index, const layout::Cell& cell) const noexcept {
  DescribeRun(*header, layout::kRingMagic, cell_index, cell);
}

bool RingView::IsDescribed(std::uint32_t cell_index, const layout::Cell& cell) const noexcept {
  return IsRunDescribed(*header, layout::kRingMagic, cell_index, cell);
}

Producer::Producer(RingView ring) noexcept
    : ring_(ring), max_payload_(layout::MaxPayload(ring.capacity)), limit_(ring.capacity) {}

Result<Producer> Producer::Recover(RingView ring) {
  Producer producer(ring);
  const std::uint64_t released = ring.header->released.load(std::memory_order_acquire);
  if (released % layout::kRecordAlign != 0) {
    return Status(StatusCode::kDataLoss, StrCat("the ring's released position ", released,
                                                " is not a multiple of ", layout::kRecordAlign));
  }
  std::uint64_t position = released;
  for (;;) {
    const std::uint64_t word = ring.CommitWordAt(position).load(std::memory_order_acquire);
    if (word == 0) break;
    const RecordKind kind = layout::CommitKind(word);
    const std::uint64_t length = layout::CommitLength(word);
    const std::uint64_t size = layout::RecordSize(length);
    const std::uint64_t room = ring.RoomAt(position);
    const bool is_record =
        kind == RecordKind::kData && length <= producer.max_payload_ && size <= room;
    const bool is_pad = kind == RecordKind::kPad && size == room;
    if (!layout::CommitTagMatches(word, position) || !(is_record || is_pad) ||
        position + size - released >= ring.capacity) {
      return Status(StatusCode::kDataLoss,
                    StrCat("the word at position ", position, " of the ring is no commit word"));
    }
    position += size;
  }
  if (const std::uint64_t committed = ring.header->committed.load(std::memory_order_relaxed);
      committed > position) {
    return Status(StatusCode::kDataLoss, StrCat("its records end at position ", position,
                                                ", though ", committed, " were committed"));
  }
  producer.tail_ = producer.first_ = position;
  producer.limit_ = released + ring.capacity;
  return producer;
}

ClaimResult Producer::ReadReleased(std::uint64_t needed_limit) noexcept {
  // Pairs with the release in Consumer::PublishReleased: the consumer has read what it released.
  const std::uint64_t released = ring_.header->released.load(std::memory_order_acquire);
  // A correct consumer only moves it forward, record by record, up to what was committed. It puts
  // right what somebody else wrote.
  if (released > first_ || released + ring_.capacity < limit_ ||
      released % layout::kRecordAlign != 0) {
    return ClaimResult::kFull;
  }
  limit_ = released + ring_.capacity;
  return needed_limit <= limit_ ? ClaimResult::kOk : ClaimResult::kFull;
}

void Producer::PublishCommitted() const noexcept {
  // Pairs with the acquire in Consumer::LacksRecords: the records are visible before this is.
  ring_.header->committed.store(first_, std::memory_order_release);
}

Result<Consumer> Consumer::Open(RingView ring) {
  const std::uint64_t acked = ring.header->acked.load(std::memory_order_relaxed);
  const std::uint64_t delivered = ring.header->delivered.load(std::memory_order_relaxed);
  const std::uint64_t released = ring.header->released.load(std::memory_order_relaxed);
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
  const std::uint64_t position = acknowledged();
  if (position - told_ >= ring_.capacity / 2) return PublishReleased();
  released_ = position;
  ring_.header->released.store(position, std::memory_order_release);
  IVMQ_CRASH_POINT("release.step_published");
}

void Consumer::PublishReleased() noexcept {
  released_ = told_ = acknowledged();
  // Pairs with the acquire in Producer::ReadReleased.
  ring_.header->released.store(released_, std::memory_order_release);
  // The producer's side of this: space_armed = odd, fence, read `released`. See wake.h.
  FullFence();
  IVMQ_CRASH_POINT("release.published");
  wake_request_ |= wake_check_.MustRing(ring_.header->space_armed);
}

void Consumer::Acknowledge(std::uint64_t position) noexcept {
  held_from_ = position == position_ ? kNotHeld : position;
  ring_.header->acked.store(position, std::memory_order_relaxed);
  if (position - released_ >= release_step_) PublishStep();
}

void Consumer::Restore() noexcept {
  ring_.header->delivered.store(std::max(position_, redelivered_below_), std::memory_order_relaxed);
  ring_.header->acked.store(acknowledged(), std::memory_order_relaxed);
  PublishReleased();
}

PeekResult Consumer::PassPad(std::uint64_t word) noexcept {
  const std::uint64_t size = layout::RecordSize(layout::CommitLength(word));
  // A pad is shorter than the record that did not fit, so two never follow each other.
  if (!layout::CommitTagMatches(word, position_) || layout::CommitKind(word) != RecordKind::kPad ||
      size != ring_.RoomAt(position_) || size >= ring_.capacity / 2) {
    return PeekResult::kCorrupt;
  }
  position_ += size;
  // What is released must have been acknowledged.
  if (!redelivered()) ring_.header->delivered.store(position_, std::memory_order_relaxed);
  IVMQ_CRASH_POINT("release.pad_delivered");
  ring_.header->acked.store(acknowledged(), std::memory_order_relaxed);
  return PeekResult::kEmpty;
}

}  // namespace ivmq
