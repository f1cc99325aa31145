#include "common/ring_cursor.h"

#include <algorithm>
#include <atomic>

#include <fmt/format.h>

namespace ivmq::inspect {
namespace {

// A ring that moves on is looked at again.
constexpr int kAttempts = 4;

// What nobody has counted: by the producer's own word, of a quarter of a second ago.
Unread Uncounted(const RingView& ring, std::uint64_t acked) {
  const std::uint64_t committed = ring.header->committed.load(std::memory_order_relaxed);
  return {.bytes = std::min(committed - std::min(acked, committed), ring.capacity),
          .complete = false};
}

Unread CountFrom(const RingView& ring, std::uint64_t acked, std::uint64_t* steps) {
  Unread unread;
  if (acked % layout::kRecordAlign != 0) {
    unread.problem = fmt::format("`acked` is {}, which is not a multiple of 8", acked);
    return unread;
  }
  // Before the records that it covers.
  const std::uint64_t committed = ring.header->committed.load(std::memory_order_acquire);
  RingCursor cursor(ring, acked);
  while (cursor.position() - acked < ring.capacity) {
    if (*steps == 0) return Uncounted(ring, acked);
    --*steps;
    const RingCursor::Step step = cursor.Next();
    if (step == RingCursor::Step::kEnd) break;
    if (step == RingCursor::Step::kDamaged) {
      unread.problem = fmt::format("{:#018x} at position {} is not a valid commit word",
                                   cursor.word(), cursor.position());
      break;
    }
    if (step == RingCursor::Step::kRecord) ++unread.messages;
  }
  unread.bytes = cursor.position() - acked;
  if (unread.problem.empty() && committed > cursor.position()) {
    unread.problem =
        fmt::format("there is no record at position {}, though {} bytes were committed",
                    cursor.position(), committed);
  }
  return unread;
}

}  // namespace

RingCursor::Step RingCursor::Next() noexcept {
  word_ = ring_.CommitWordAt(position_).load(std::memory_order_acquire);
  if (word_ == 0) return Step::kEnd;
  const std::uint64_t length = layout::CommitLength(word_);
  const std::uint64_t size = layout::RecordSize(length);
  const std::uint64_t room = ring_.RoomAt(position_);
  if (!layout::CommitTagMatches(word_, position_)) return Step::kDamaged;
  switch (layout::CommitKind(word_)) {
    case layout::RecordKind::kData:
      if (length > layout::MaxPayload(ring_.capacity) || size > room) return Step::kDamaged;
      start_ = position_;
      payload_ = {ring_.DataAt(start_) + layout::kRecordHeader, length};
      position_ += size;
      return Step::kRecord;
    case layout::RecordKind::kPad:
      if (size != room || room >= ring_.capacity / 2) return Step::kDamaged;
      position_ += size;
      return Step::kPad;
    case layout::RecordKind::kNone:
      break;
  }
  return Step::kDamaged;
}

Unread CountUnread(const RingView& ring, std::uint64_t* steps) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::uint64_t acked = ring.header->acked.load(std::memory_order_acquire);
    Unread unread = CountFrom(ring, acked, steps);
    // Space that the consumer has given back may be overwritten, so that only a still ring is
    // damaged.
    if (unread.problem.empty() || acked == ring.header->acked.load(std::memory_order_acquire)) {
      return unread;
    }
  }
  return Uncounted(ring, ring.header->acked.load(std::memory_order_relaxed));
}

}  // namespace ivmq::inspect
