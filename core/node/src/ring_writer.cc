#include "src/ring_writer.h"

#include <cassert>
#include <cstring>
#include <utility>

#include "ivmq/internal/crash_point.h"
#include "ivmq/internal/peer_slot.h"
#include "ivmq/internal/str_cat.h"

namespace ivmq {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Counter;
using layout::Life;
using layout::PeerState;

bool TakesMessages(const Life& life) noexcept {
  return life.state == PeerState::kLive || (life.state == PeerState::kDead && IsDurable(life));
}

}  // namespace

void RingWriter::Begin(NodeContext& context, std::uint32_t slot) noexcept {
  context_ = &context;
  slot_number_ = slot;
  slot_ = &context.region.slot(slot);
}

// ---- States ----

void RingWriter::Apply(WriterEvent event) noexcept {
  const std::optional<WriterState> next = After(state_, event);
  assert(next);
  if (state_ == WriterState::kLive) {
    Disarm();
    space_armed_ = Armed();
    if (waiters_ != 0) context_->sleeper->Notify();
  }
  state_ = next.value_or(WriterState::kNone);
}

SendResult RingWriter::Open(PeerId to) {
  if (!context_->IsMyLife()) return SendResult::kPeerGone;
  const std::uint64_t life_word = slot_->life.load(std::memory_order_acquire);
  const Life life = Life::FromWord(life_word);
  if (life.incarnation != to.incarnation || !TakesMessages(life)) return SendResult::kPeerGone;
  to_ = to;
  life_word_ = life_word;
  wakeable_ = (life.flags & layout::kPeerWakeable) != 0 && context_->transport->info().can_ring;
  can_ring_ = (life.flags & layout::kPeerCanRing) != 0;
  vector_ = slot_->vector.load(std::memory_order_relaxed);
  // The same slot lives again: a durable peer has come back and goes on reading its rings.
  if (state_ == WriterState::kLive) return SendResult::kOk;

  const std::uint64_t word = cell().load(std::memory_order_acquire);
  const Cell cell = Cell::FromWord(word);
  if (state_ == WriterState::kLost) Apply(WriterEvent::kLetGo);
  if (state_ == WriterState::kWithdrawn || cell.state == CellState::kWithdrawn) {
    // A dead consumer reads nothing; a living one must answer before the units are let go of.
    if (life.state == PeerState::kLive && !(state_ == WriterState::kWithdrawn && IsClosed(word))) {
      if (state_ == WriterState::kNone) {
        // By a predecessor, which may have died before it said so.
        Apply(WriterEvent::kWithdraw);
        cell_word_ = word;
        StoreCell(word);
      }
      return SendResult::kFull;
    }
    return Carve(to);
  }
  if (cell.state == CellState::kLive || cell.state > CellState::kClosed) {
    const Result<Producer> producer = TakeUp(cell);
    if (producer.ok()) {
      Adopt(word, *context_->region.RingOf(cell), *producer);
      return SendResult::kOk;
    }
    if (producer.status().code() != StatusCode::kDataLoss) return SendResult::kFull;
    Withdraw(cell, producer.status().message());
    if (life.state == PeerState::kLive) return SendResult::kFull;
  }
  return Carve(to);
}

Result<Producer> RingWriter::TakeUp(const Cell& cell) {
  const std::optional<RingView> ring = context_->region.RingOf(cell);
  // A cell that somebody overwrote may name the ring of another pair; and who has no predecessor
  // finds no ring.
  if (!context_->self.resumed || !ring || cell.state != CellState::kLive ||
      !ring->IsDescribed(CellIndex(), cell)) {
    return Status(StatusCode::kDataLoss, "its directory cell, or its header, was overwritten");
  }
  // Before anything is written there.
  if (!context_->arena.HoldUnits(CellIndex(), cell)) {
    return Status(StatusCode::kDataLoss, "another ring has got its memory");
  }
  IVMQ_CRASH_POINT("takeover.units_held");
  Result<Producer> producer = Producer::Recover(*ring);
  if (!producer.ok()) return producer;
  // Nothing else is sent before the mark.
  std::span<std::byte> mark;
  if (producer->TryClaim(sizeof(layout::Frame), &mark) != ClaimResult::kOk) {
    return Status(StatusCode::kResourceExhausted, "the ring is full");
  }
  WriteHead({.kind = layout::FrameKind::kSuccessor, .type = context_->self.id.incarnation},
            mark.data());
  IVMQ_CRASH_POINT("takeover.mark_claimed");
  producer->Commit();
  IVMQ_CRASH_POINT("takeover.marked");
  // The predecessor may have died before it could say that there is a ring.
  StoreCell(cell.ToWord());
  IVMQ_CRASH_POINT("takeover.told");
  return producer;
}

SendResult RingWriter::Carve(PeerId to) {
  if (state_ != WriterState::kNone) Apply(WriterEvent::kLetGo);
  Result<CarvedRing> carved = context_->arena.Carve(to.slot, context_->self.id.slot,
                                                    context_->self.id.incarnation, to.incarnation);
  if (!carved.ok()) {
    if (carved.status().code() == StatusCode::kUnavailable) return SendResult::kPeerGone;
    no_room_ = carved.status();
    return SendResult::kNoRoom;
  }
  // The consumer looks at its row of the directory when the first message makes it look at
  // anything.
  Adopt(carved->cell.ToWord(), carved->ring, Producer(carved->ring));
  return SendResult::kOk;
}

void RingWriter::Adopt(std::uint64_t cell_word, const RingView& ring, const Producer& producer) {
  Apply(WriterEvent::kAdopt);
  cell_word_ = cell_word;
  ring_ = ring;
  producer_ = producer;
  space_armed_ = Armed(ring.header->space_armed);
}

void RingWriter::Withdraw(Cell cell, std::string_view why) {
  Apply(WriterEvent::kWithdraw);
  cell_word_ = cell.With(CellState::kWithdrawn).ToWord();
  StoreCell(cell_word_);
  context_->Count(Counter::kRingsPoisoned);
  context_->Report(
      Status(StatusCode::kDataLoss,
             StrCat("the ring to slot ", slot_number_, " cannot be written any more: ", why,
                    "; what its consumer cannot read in it is lost, and a new ring follows")));
}

void RingWriter::ReportClosed() {
  context_->Count(Counter::kRingsPoisoned);
  context_->Report(Status(StatusCode::kDataLoss,
                          StrCat("the ring to slot ", slot_number_,
                                 " was given up by its consumer; what was unread in it is lost, "
                                 "and a new ring follows")));
}

void RingWriter::StoreCell(std::uint64_t cell_word) noexcept {
  cell().store(cell_word, std::memory_order_release);
  slot_->inbound_changes.fetch_add(1, std::memory_order_seq_cst);
}

// ---- Sending ----

SendResult RingWriter::ClaimSlowly(PeerId to, std::uint64_t bytes, std::span<std::byte>* record,
                                   bool behind) {
  if (behind && state_ != WriterState::kLive) return SendResult::kFull;
  for (;;) {
    if (const SendResult result = EnsureOpen(to); result != SendResult::kOk) return result;
    switch (producer_.TryClaim(bytes, record)) {
      case ClaimResult::kOk:
        return SendResult::kOk;
      case ClaimResult::kTooLarge:
        return SendResult::kTooLarge;
      case ClaimResult::kFull:
        break;
    }
    // Perhaps nobody reads it any more.
    if (!IsClosed(cell().load(std::memory_order_acquire))) return SendResult::kFull;
    ReportClosed();
    if (behind) {
      // Another ring follows once the batch has let go of this one.
      producer_.Abort();
      Apply(WriterEvent::kLose);
      return SendResult::kFull;
    }
    if (const SendResult result = Carve(to); result != SendResult::kOk) return result;
  }
}

SendResult RingWriter::TrySendBlock(PeerId to, std::span<const std::byte> head,
                                    const layout::BlockDescriptor& block, Hold hold,
                                    RingPosition* position) {
  std::span<std::byte> record;
  const SendResult result = ClaimRecord(to, BlockRecordBytes(head.size()), &record, hold);
  if (result != SendResult::kOk) return result;
  WriteHead({.kind = layout::FrameKind::kBlock}, record.data());
  std::byte* const behind = record.data() + sizeof(layout::Frame);
  std::memcpy(behind, &block, sizeof(block));
  std::memcpy(behind + sizeof(block), head.data(), head.size());
  Publish(1, block.bytes);
  IVMQ_CRASH_POINT("block.sent");
  *position = {.slot = slot_number_,
               .generation = Cell::FromWord(cell_word_).generation,
               .end = producer_.position()};
  return SendResult::kOk;
}

void RingWriter::RingDoorbell() noexcept {
  // Its ivposition may have changed since the ring was opened: see Doorbell::Attend().
  const Life life = Life::FromWord(slot_->life.load(std::memory_order_relaxed));
  context_->transport->Ring(life.ivposition, vector_);
  Add(doorbells_, 1);
}

// ---- What the heap asks ----

bool RingWriter::IsOver(const RingPosition& position) noexcept {
  const std::lock_guard lock(lock_);
  const std::uint64_t word = cell().load(std::memory_order_acquire);
  if (state_ == WriterState::kNone) {
    const Cell found = Cell::FromWord(word);
    const auto carved_since = static_cast<std::int32_t>(found.generation - position.generation);
    if (carved_since < 0) return false;  // damage
    if (found.state == CellState::kEmpty || found.state == CellState::kCarving ||
        found.state == CellState::kClosed) {
      return true;
    }
    // A predecessor's ring, which was not taken up.
    const std::optional<RingView> ring = context_->region.RingOf(found);
    return carved_since == 0 && ring &&
           ring->header->released.load(std::memory_order_acquire) == position.end;
  }
  if (Cell::FromWord(cell_word_).generation != position.generation) return true;
  // Its consumer lets go of a ring that was withdrawn, or is gone, and then another one follows.
  if (state_ != WriterState::kLive) return state_ == WriterState::kLost || IsClosed(word);
  const std::uint64_t released = producer_.LoadReleased();
  // Beyond what was sent it is damage, which the consumer puts right.
  return (released >= position.end && released <= producer_.position_now()) || IsClosed(word);
}

std::optional<RingPosition> RingWriter::PredecessorsEnd() noexcept {
  const std::lock_guard lock(lock_);
  const Cell found = Cell::FromWord(cell().load(std::memory_order_acquire));
  const std::optional<RingView> ring = context_->region.RingOf(found);
  if (!ring || (found.state != CellState::kLive && found.state != CellState::kWithdrawn)) {
    return std::nullopt;
  }
  // Of a damaged one the end is unknown; it is withdrawn before this node writes there.
  constexpr std::uint64_t kNever = ~std::uint64_t{0};
  const Result<Producer> producer = Producer::Recover(*ring);
  return RingPosition{.slot = slot_number_,
                      .generation = found.generation,
                      .end = producer.ok() ? producer->position() : kNever};
}

// ---- Housekeeping ----

bool RingWriter::HasCell() const noexcept {
  return Cell::FromWord(cell().load(std::memory_order_relaxed)).state != CellState::kEmpty;
}

void RingWriter::LookAfter() {
  std::uint64_t word = cell().load(std::memory_order_acquire);
  const bool has_ring = state_ == WriterState::kLive || state_ == WriterState::kWithdrawn;
  if (has_ring ? IsClosed(word) : Cell::FromWord(word).state == CellState::kClosed) {
    // Without a ring: a batch had claimed records in it, or a predecessor of this node wrote it.
    if (state_ == WriterState::kLive) ReportClosed();
    Apply(WriterEvent::kLetGo);
    context_->arena.Free(CellIndex(), word);  // the next send carves another one
    return;
  }
  if (!has_ring) return;
  // Only this node writes the cell while it lives, and its consumer only that answer.
  if (word != cell_word_ && cell().compare_exchange_strong(word, cell_word_)) {
    slot_->inbound_changes.fetch_add(1, std::memory_order_seq_cst);
  }
  if (state_ != WriterState::kLive) return;
  const Cell mine = Cell::FromWord(cell_word_);
  // Before anything is written there.
  if (!context_->arena.HoldUnits(CellIndex(), mine)) {
    space_armed_ = Armed();
    Withdraw(mine, "another ring has got its memory");
    return;
  }
  ring_.Describe(CellIndex(), mine);
  producer_.PublishCommitted();
  fragmenter_.TryAbandon();
}

void RingWriter::FreeIfUnread() {
  const std::uint64_t word = cell().load(std::memory_order_acquire);
  const Life life = Life::FromWord(slot_->life.load(std::memory_order_acquire));
  const bool same_life =
      state_ != WriterState::kLive || life.incarnation == to_.incarnation || IsDurable(life);
  const bool gone = life.state == PeerState::kFree ||
                    (life.state == PeerState::kDead && !TakesMessages(life)) ||
                    (life.state == PeerState::kLive && !same_life);
  if (!gone || !context_->IsMyLife()) return;
  Apply(WriterEvent::kLetGo);
  context_->arena.Free(CellIndex(), word);
  IVMQ_CRASH_POINT("write.ring_freed");
}

void RingWriter::Care() {
  care_due_.store(false, std::memory_order_relaxed);
  const std::lock_guard lock(lock_);
  if (!context_->IsMyLife()) return;
  LookAfter();
  if (HasCell()) FreeIfUnread();
}

void RingWriter::PublishCommitted() noexcept {
  if (state_ == WriterState::kLive && context_->IsMyLife()) producer_.PublishCommitted();
}

std::uint64_t RingWriter::Sum(Counter counter) const noexcept {
  switch (counter) {
    case Counter::kMessagesSent:
      return messages_.load(std::memory_order_relaxed);
    case Counter::kBytesSent:
      return bytes_.load(std::memory_order_relaxed);
    case Counter::kDoorbellsRung:
      return doorbells_.load(std::memory_order_relaxed);
    default:
      return 0;
  }
}

}  // namespace ivmq
