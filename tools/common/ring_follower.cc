#include "common/ring_follower.h"

#include <atomic>
#include <utility>

#include "ivmq/internal/copy.h"

namespace ivmq::inspect {

using layout::Cell;
using layout::CellState;

bool RingFollower::Open() {
  const std::uint32_t index = region_.CellIndex(consumer_, producer_);
  const Cell cell = Cell::FromWord(region_.cell(index).load(std::memory_order_acquire));
  const bool is_first = !std::exchange(has_looked_, true);
  if (ring_) {
    if (cell == cell_) return true;
    // What is left in a ring that has ended, as long as its memory is nobody else's.
    RingCursor left(*ring_, position_);
    if (ring_->IsDescribed(index, cell_) && left.Next() == RingCursor::Step::kRecord) return true;
    if (reader_.Interrupt()) ++lost_messages_;
    ring_.reset();
  }
  if (cell.state != CellState::kLive) return false;
  const std::optional<RingView> ring = region_.RingOf(cell);
  if (!ring || !ring->IsDescribed(index, cell)) return false;
  ring_ = ring;
  cell_ = cell;
  // A ring that was carved meanwhile is followed from its start.
  position_ = is_first ? ring->header->acked.load(std::memory_order_acquire) : 0;
  if (position_ % layout::kRecordAlign != 0) position_ = 0;
  return true;
}

void RingFollower::Skip(std::uint64_t acked) {
  missed_bytes_ += acked - position_;
  if (reader_.Interrupt()) ++lost_messages_;
  position_ = acked;
}

bool RingFollower::IsIntact(const RingCursor& cursor, bool is_from_heap) const {
  // The copy comes first.
  std::atomic_thread_fence(std::memory_order_acquire);
  if (ring_->header->released.load(std::memory_order_acquire) <= cursor.start()) return true;
  if (is_from_heap) return false;
  const std::uint64_t next = ring_->CommitWordAt(cursor.position()).load(std::memory_order_acquire);
  return ring_->CommitWordAt(cursor.start()).load(std::memory_order_acquire) == cursor.word() &&
         (next == 0 || layout::CommitTagMatches(next, cursor.position()));
}

RingFollower::Step RingFollower::Pass(const std::function<void(const RingMessage&)>& take) {
  // Read first: up to it there were records.
  const std::uint64_t acked = ring_->header->acked.load(std::memory_order_acquire);
  const bool is_behind = acked > position_ && acked % layout::kRecordAlign == 0;
  RingCursor cursor(*ring_, position_);
  const RingCursor::Step step = cursor.Next();
  if (step == RingCursor::Step::kPad) {
    position_ = cursor.position();
    return Step::kPassed;
  }
  if (step != RingCursor::Step::kRecord) {
    // It stands in the middle of newer bytes.
    if (is_behind) Skip(acked);
    return is_behind ? Step::kPassed : Step::kEnd;
  }
  copy_.resize(cursor.payload().size());
  CopyBlock(copy_.data(), cursor.payload().data(), copy_.size());
  if (!IsIntact(cursor, /*is_from_heap=*/false)) {
    Skip(is_behind ? acked : cursor.position());
    return Step::kPassed;
  }
  position_ = cursor.position();
  const MessageReader::Took took = reader_.Take(copy_);
  if (took == MessageReader::Took::kPart) return Step::kPassed;
  if (took == MessageReader::Took::kMessage &&
      (!reader_.is_from_heap() || IsIntact(cursor, /*is_from_heap=*/true))) {
    take(reader_.message());
  } else {
    ++lost_messages_;
  }
  return Step::kPassed;
}

std::size_t RingFollower::Look(const std::function<void(const RingMessage&)>& take) {
  if (!Open()) return 0;
  const std::uint64_t start = position_;
  std::size_t passed = 0;
  while (position_ - start < ring_->capacity && Pass(take) == Step::kPassed) ++passed;
  return passed;
}

}  // namespace ivmq::inspect
