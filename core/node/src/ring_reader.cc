#include "src/ring_reader.h"

#include <cassert>
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

// What looks damaged at so many looks of housekeeping in a row is damaged: who may write it would
// have put it right. The looks come four times a second, also while the node sleeps.
constexpr std::uint32_t kLooksOfDamage = 4;

// Whether a correct producer may have written `cell` after `former`, having let go of that ring.
bool HasLetGo(const Cell& cell, const Cell& former) noexcept {
  return (cell.state == CellState::kEmpty || cell.state == CellState::kCarving) &&
         static_cast<std::int32_t>(cell.generation - former.generation) >= 0;
}

}  // namespace

void RingReader::Apply(ReaderEvent event) noexcept {
  const std::optional<ReaderState> next = After(state_, event);
  assert(next);
  state_ = next.value_or(ReaderState::kNone);
}

bool RingReader::IsGone(const Life& life) const noexcept {
  if (life.state == PeerState::kFree) return true;
  return !IsDurable(life) && (life.state == PeerState::kDead || life.incarnation != opened_life_);
}

// ---- The cell ----

std::optional<RingView> RingReader::LiveRing(std::uint64_t word) const {
  const Cell cell = Cell::FromWord(word);
  if (cell.state != CellState::kLive) return std::nullopt;
  std::optional<RingView> ring = context_->region.RingOf(cell);
  // A cell that somebody overwrote may name the ring of another pair.
  if (ring && !ring->IsDescribed(CellIndex(), cell)) return std::nullopt;
  return ring;
}

bool RingReader::ReadCell() {
  const std::uint64_t word = cell().load(std::memory_order_acquire);
  if (is_open() && word == cell_word_) return true;
  const Cell cell = Cell::FromWord(word);
  if (state_ == ReaderState::kGivenUp && word == cell_word_) {
    Close(word);  // somebody overwrote the answer
    return true;
  }
  const bool withdrawn = cell.state == CellState::kWithdrawn;
  // The ring that the cell names, also if it is to be read to its end only.
  const std::uint64_t live_word = cell.With(CellState::kLive).ToWord();
  const std::optional<RingView> ring =
      cell.state == CellState::kLive || withdrawn ? LiveRing(live_word) : std::nullopt;
  if (!ring && !withdrawn) {
    if (!is_open() && (cell.state == CellState::kLive || cell.state > CellState::kClosed)) {
      if (std::exchange(cell_word_, word) != word) {
        odd_looks_ = 0;
        Apply(ReaderEvent::kForget);
      }
      opened_life_ = LoadLife().incarnation;
      oddity_ = "its directory cell, or its header, was overwritten";
    }
    return true;
  }
  // Whatever the cell says now, first what the old ring holds.
  if (is_open() && consumer_.HasRecord()) return state_ == ReaderState::kStalled;
  const bool is_new = state_ == ReaderState::kNone || cell_word_ != live_word;
  if (ring && is_new) {
    if (!holds_.empty()) return true;  // when their leases have ended
    Open(*ring, live_word);
    return !withdrawn;
  }
  if (is_open()) {
    GiveUp("its producer cannot go on with it");
  } else {
    Close(word);
  }
  return true;
}

void RingReader::Open(const RingView& ring, std::uint64_t cell_word) {
  EndAssembly();
  cell_word_ = cell_word;
  ring_ = ring;
  odd_looks_ = 0;
  const Life life = LoadLife();
  opened_life_ = life.incarnation;
  const std::uint64_t sender = ring.header->sender.load(std::memory_order_relaxed);
  const bool by_former_life = sender != 0 && sender < life.incarnation && IsDurable(life);
  SetSender(by_former_life ? static_cast<std::uint32_t>(sender) : life.incarnation);
  Result<Consumer> consumer = Consumer::Open(ring);
  if (!consumer.ok()) {
    GiveUp(consumer.status().message());
    return;
  }
  consumer_ = *std::move(consumer);
  Apply(ReaderEvent::kOpen);
  IVMQ_CRASH_POINT("read.opened");
}

void RingReader::Close(std::uint64_t cell_word) noexcept {
  if (!holds_.empty()) return;  // when their leases have ended
  if (context_->arena.Close(CellIndex(), cell_word)) RingProducer();
}

void RingReader::GiveUp(std::string_view reason) {
  const std::uint64_t word = cell().load(std::memory_order_acquire);
  EndAssembly();
  Apply(ReaderEvent::kGiveUp);
  DropHolds();
  // Of another value it is the producer's turn to put it right, and then it is answered.
  if (word == cell_word_ || Cell::FromWord(word).state == CellState::kWithdrawn) Close(word);
  context_->Count(Counter::kRingsPoisoned);
  context_->Report(
      Status(StatusCode::kDataLoss,
             StrCat("the ring from slot ", slot_, " is given up: ", reason,
                    "; what was unread in it is lost, and its producer begins another")));
}

// ---- The producer's life ----

void RingReader::SetSender(std::uint32_t incarnation) noexcept {
  const PeerId from{slot_, incarnation};
  if (from == from_) return;
  from_ = from;
  // Each life numbers its own.
  assembly_.dropped = assembly_.skipped = assembly_.completed = 0;
}

void RingReader::PassSuccessor(std::uint32_t incarnation) {
  EndAssembly();
  SetSender(incarnation);
  // Before the mark is acknowledged: a successor of this node begins with or behind it.
  ring_.header->sender.store(incarnation, std::memory_order_relaxed);
  IVMQ_CRASH_POINT("read.successor_noted");
}

void RingReader::FollowLife() {
  if (state_ == ReaderState::kNone) return;
  // The cell first, then the life: of the producer that is judged the cell is then, and not of the
  // slot's next owner.
  const std::uint64_t cell_word = cell().load(std::memory_order_acquire);
  const Life life = LoadLife();
  if (IsDurable(life)) opened_life_ = life.incarnation;
  if (!IsGone(life)) {
    if (state_ == ReaderState::kEnding) Apply(ReaderEvent::kResume);
    return;
  }
  Apply(ReaderEvent::kEnd);
  // What a dead producer committed is handled first; if some of it lacks, that is found out.
  if (!context_->IsMyLife() || !holds_.empty() ||
      (is_open() && (consumer_.HasRecord() || consumer_.LacksRecords()))) {
    return;
  }
  EndAssembly();
  if (life.incarnation == opened_life_ && life.state == PeerState::kDead) {
    context_->arena.Free(CellIndex(), cell_word);
    IVMQ_CRASH_POINT("read.ring_freed");
  }
  Apply(ReaderEvent::kForget);
  cell_word_ = 0;
  odd_looks_ = 0;
  oddity_ = nullptr;
  from_ = PeerId{};
  assembly_ = Assembly{};
}

// ---- Leases ----

void RingReader::Hold(LeaseEnd end, bool in_place) {
  holds_.push_back({.position = consumer_.position(), .end = std::move(end), .in_place = in_place});
}

bool RingReader::HoldsMuch() const noexcept {
  return !holds_.empty() && consumer_.position() - holds_.front().position >= ring_.capacity / 2;
}

bool RingReader::IsInRecord(std::span<const std::byte> bytes) const noexcept {
  const std::byte* const record = ring_.DataAt(consumer_.position());
  const std::byte* const end = record + consumer_.record_size();
  return is_open() && bytes.data() >= record && bytes.data() + bytes.size() <= end;
}

void RingReader::DropHolds() noexcept {
  std::erase_if(holds_, [this](const Held& held) {
    return held.end->load(std::memory_order_acquire) || (!is_open() && !held.in_place);
  });
}

void RingReader::LookAtLeases() {
  if (holds_.empty()) return;
  DropHolds();
  if (!context_->IsMyLife()) return;
  if (is_open()) {
    consumer_.Acknowledge(holds_.empty() ? consumer_.position() : holds_.front().position);
    WakeProducer();
  } else if (holds_.empty()) {
    (void)ReadCell();  // it waits for the answer that nothing is read any more
  }
}

// ---- Housekeeping ----

bool RingReader::IsOurs() const noexcept {
  return cell().load(std::memory_order_acquire) == cell_word_ &&
         ring_.IsDescribed(CellIndex(), Cell::FromWord(cell_word_));
}

bool RingReader::LookAfter() {
  if (is_open()) LookAtRing();
  odd_looks_ = oddity_ != nullptr ? odd_looks_ + 1 : 0;
  if (odd_looks_ == kLooksOfDamage) GiveUp(oddity_);
  return odd_looks_ != 0;
}

void RingReader::LookAtRing() {
  // In this order, as in FollowLife().
  const Cell ours = Cell::FromWord(cell_word_);
  std::uint64_t cell_word = cell().load(std::memory_order_acquire);
  const Life life = LoadLife();
  if (cell_word != cell_word_ && !LiveRing(cell_word) &&
      Cell::FromWord(cell_word).state != CellState::kWithdrawn && !IsGone(life)) {
    // A living producer puts the cell right, too; one that is away, or came back and has not sent,
    // cannot. But whoever carves counts on it: two rings would get the same memory.
    if (HasLetGo(Cell::FromWord(cell_word), ours)) {
      oddity_ = "its directory cell names no ring any more";
    } else if (cell().compare_exchange_strong(cell_word, cell_word_)) {
      cell_word = cell_word_;
    }
  }
  // Before anything is written there. Its producer holds the units of a ring that it writes.
  const bool is_held = life.state == PeerState::kLive && life.incarnation == from_.incarnation;
  if (!IsOurs()) {
    if (cell_word == cell_word_) oddity_ = "its header does not name it any more";
  } else if (!is_held && !context_->arena.HoldUnits(CellIndex(), ours)) {
    oddity_ = "another ring has got its memory";
  } else {
    consumer_.Restore();
    ring_.header->sender.store(from_.incarnation, std::memory_order_relaxed);
    ring_.header->dropped.store(assembly_.dropped, std::memory_order_relaxed);
    WakeProducer();
  }
  if (consumer_.LacksRecords()) oddity_ = "a commit word in it was overwritten";
  LookAtAssembly(life);
}

void RingReader::LookAtAssembly(const Life& life) {
  if (!assembly_.is_under_way()) return;
  assembly_.idle_looks = consumer_.HasRecord() ? 0 : assembly_.idle_looks + 1;
  const bool sender_ended = life.incarnation != from_.incarnation ||
                            life.state == PeerState::kDead || life.state == PeerState::kFree;
  if (sender_ended && assembly_.idle_looks != 0) (void)DropAssembly();
}

bool RingReader::DropAssembly() {
  if (!IsOurs()) {
    EndAssembly();
    return true;
  }
  // Said first, then the last look, each with a fence behind it as in the sender's commit and its
  // look at `dropped`: either the sender sees this before it says that all was sent, or its last
  // piece is seen here. If both happen, it begins anew what is delivered, and that is passed over.
  assembly_.dropped = assembly_.number;
  ring_.header->dropped.store(assembly_.dropped, std::memory_order_relaxed);
  FullFence();
  if (consumer_.HasRecord()) {
    assembly_.dropped = 0;
    ring_.header->dropped.store(0, std::memory_order_relaxed);
    assembly_.idle_looks = 0;
    return false;
  }
  EndAssembly();
  return true;
}

// ---- Waking ----

void RingReader::PublishReleased() noexcept {
  if (!consumer_.has_unpublished() || !context_->IsMyLife()) return;
  consumer_.PublishReleased();
  WakeProducer();
}

void RingReader::RingProducer() const noexcept {
  const layout::PeerSlot& slot = context_->region.slot(slot_);
  const Life life = Life::FromWord(slot.life.load(std::memory_order_relaxed));
  if (life.state != PeerState::kLive || (life.flags & layout::kPeerWakeable) == 0) return;
  context_->transport->Ring(life.ivposition, slot.vector.load(std::memory_order_relaxed));
  context_->Count(Counter::kDoorbellsRung);
}

}  // namespace ivmq
