// The consumer's end of a directed pair: the ring from one slot, whoever lives there.
#ifndef IVMQ_RING_READER_H_
#define IVMQ_RING_READER_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>

#include "ivmq/internal/ring.h"
#include "ivmq/peer.h"

#include "src/leases.h"
#include "src/node_context.h"
#include "src/pair_state.h"
#include "src/reassembler.h"

namespace ivmq {

// For one thread at a time: the node's poller. Thread-safety aside, each member leaves the state as
// the table in pair_state.h allows.
class RingReader {
 public:
  RingReader(NodeContext& context, Reassembler& reassembler, std::uint32_t slot) noexcept
      : context_(&context), reassembler_(&reassembler), slot_(slot) {}

  [[nodiscard]] ReaderState state() const noexcept { return state_; }
  [[nodiscard]] bool is_open() const noexcept { return IsOpen(state_); }
  // Whether a look at the ring, which is open, has something to do.
  [[nodiscard]] bool HasWork() const noexcept {
    return state_ != ReaderState::kStalled && consumer_.HasRecord();
  }
  [[nodiscard]] std::uint32_t slot() const noexcept { return slot_; }
  // Who wrote the next record.
  [[nodiscard]] PeerId from() const noexcept { return from_; }
  [[nodiscard]] Consumer& consumer() noexcept { return consumer_; }
  [[nodiscard]] const Consumer& consumer() const noexcept { return consumer_; }
  [[nodiscard]] Assembly& assembly() noexcept { return assembly_; }
  [[nodiscard]] const Assembly& assembly() const noexcept { return assembly_; }

  // The next fragment waits for memory; there may be memory again.
  void Stall() noexcept { Apply(ReaderEvent::kStall); }
  void Resume() noexcept {
    if (state_ == ReaderState::kStalled) Apply(ReaderEvent::kResume);
  }
  // The mark of a producer that came back: what follows is from its new life.
  [[gnu::cold]] void PassSuccessor(std::uint32_t incarnation);
  // Lets go of the ring, open or not, and says so: `reason` it cannot be read (any more).
  [[gnu::cold]] void GiveUp(std::string_view reason);
  // Gives up the large message that is being put together; its sender, if it goes on, begins it
  // anew. False: a piece has just come.
  [[gnu::cold]] bool DropAssembly();

  // ---- Leases. A record that is held stays in the ring, and so does all behind it. ----

  // Gives up the record that was handled: acknowledged, unless one before it is held.
  void Release() noexcept {
    if (holds_.empty()) [[likely]] {
      consumer_.Release();
    } else {
      consumer_.Pass();
    }
  }
  // Holds the record that is being handled until `end`. `in_place`: its bytes are used where they
  // lie. REQUIRES: Release() comes next.
  void Hold(LeaseEnd end, bool in_place);
  // Whether so much of the ring is held that no more should be.
  [[nodiscard]] bool HoldsMuch() const noexcept;
  // Whether those bytes are of the record that is being handled.
  [[nodiscard]] bool IsInRecord(std::span<const std::byte> bytes) const noexcept;
  // Acknowledges what is held no more.
  void LookAtLeases();

  // Does what the cell asks for: a ring that has appeared, one to let go of. False: the ring that
  // is open has to be read to its end first.
  bool ReadCell();
  // Frees the ring if its producer is gone; one that holds something still, once it is empty.
  void FollowLife();
  // Four times a second: puts right what only this side may write, and looks for damage, which is
  // given up when it has been there at some looks in a row. BeginLook() comes before ReadCell() and
  // FollowLife(). Returns whether something looks odd.
  void BeginLook() noexcept { oddity_ = nullptr; }
  bool LookAfter();

  // Tells the producer about all released space.
  void PublishReleased() noexcept;
  // Rings the producer's doorbell if it waits for room that there is now.
  void WakeProducer() noexcept {
    if (consumer_.TakeWakeRequest()) RingProducer();
  }

 private:
  // The only place that changes the state.
  void Apply(ReaderEvent event) noexcept;
  // The live ring that a word of the cell names, if its header says that it is this pair's.
  [[nodiscard]] std::optional<RingView> LiveRing(std::uint64_t word) const;
  void Open(const RingView& ring, std::uint64_t cell_word);
  void LookAtRing();
  // What is held no more, or need not be, since the ring is given up.
  void DropHolds() noexcept;
  void LookAtAssembly(const layout::Life& life);
  // Whether the cell and the ring's header still agree that the open ring is this pair's.
  [[nodiscard]] bool IsOurs() const noexcept;
  // True once the peer that the ring was opened for can write no more, and nobody follows it.
  [[nodiscard]] bool IsGone(const layout::Life& life) const noexcept;
  // What is read from now on was written by that life of the producer.
  void SetSender(std::uint32_t incarnation) noexcept;
  void EndAssembly() { reassembler_->End(slot_, assembly_, assembly_.is_under_way()); }
  // Answers in the cell, if it still has that value, that nothing is read through it here. From
  // then on the units may be another ring's.
  [[gnu::cold]] void Close(std::uint64_t cell_word) noexcept;
  void RingProducer() const noexcept;
  [[nodiscard]] std::uint32_t CellIndex() const noexcept {
    return context_->region.CellIndex(context_->self.id.slot, slot_);
  }
  [[nodiscard]] layout::Word& cell() const noexcept { return context_->region.cell(CellIndex()); }
  [[nodiscard]] layout::Life LoadLife() const noexcept {
    return layout::Life::FromWord(
        context_->region.slot(slot_).life.load(std::memory_order_acquire));
  }

  NodeContext* context_;
  Reassembler* reassembler_;
  std::uint32_t slot_;  // of the producer
  ReaderState state_ = ReaderState::kNone;
  std::uint32_t opened_life_ = 0;  // the producer's incarnation when the ring was opened
  std::uint64_t cell_word_ = 0;    // of the ring, open or given up; or that looks odd
  RingView ring_;
  PeerId from_;
  Consumer consumer_;
  // What looks damaged, and at how many looks in a row it did: its writer may put it right.
  const char* oddity_ = nullptr;
  std::uint32_t odd_looks_ = 0;
  Assembly assembly_;

  struct Held {
    std::uint64_t position;
    LeaseEnd end;
    bool in_place;
  };
  std::deque<Held> holds_;  // in the order of their positions
};

}  // namespace ivmq

#endif  // IVMQ_RING_READER_H_
