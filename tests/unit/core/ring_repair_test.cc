// What an end may put right of a ring whose other end is away, and what it must leave alone.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/node.h"

#include "support/arena_check.h"
#include "support/node_pair.h"
#include "support/reports.h"

namespace ivmq {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Counter;
using testing::kIgnore;
using testing::OpenNode;
using testing::PollUntil;

// A durable producer, which is away, and the consumer that reads its ring.
class RingRepairTest : public testing::NodeTest {
 protected:
  RingRepairTest() {
    consumer_ = OpenNode(hub_, 1, {.name = "consumer", .on_report = reports_.Sink()});
    producer_ = OpenProducer();
    index_ = region().CellIndex(consumer_->id().slot, producer_->id().slot);
    EXPECT_EQ(producer_->Send(consumer_->id(), "first"), SendResult::kOk);
    EXPECT_EQ(testing::ReceiveTexts(*consumer_, 1).front(), "first");
    producer_.reset();
    live_ = Cell::FromWord(cell());
    EXPECT_TRUE(PollUntil(*consumer_, kIgnore, [&] {
      return ring().header->released.load() == ring().header->acked.load();
    })) << "it might tell later how much room there is";
  }

  std::unique_ptr<Node> OpenProducer() {
    return OpenNode(hub_, 2, {.name = "producer", .durable = true, .on_report = reports_.Sink()});
  }
  [[nodiscard]] layout::Word& cell() const { return region().cell(index_); }
  [[nodiscard]] RingView ring() const { return *region().RingOf(live_); }
  // Of two peers that do not exist.
  [[nodiscard]] std::uint32_t ThiefsCell() const { return region().CellIndex(6, 7); }
  [[nodiscard]] bool ConsumerGivesUp() {
    return PollUntil(*consumer_, kIgnore,
                     [&] { return consumer_->counter(Counter::kRingsPoisoned) != 0; });
  }
  [[nodiscard]] std::vector<std::byte> Memory() const {
    const auto* const begin = reinterpret_cast<const std::byte*>(ring().header);
    return {begin, begin + RingView::Footprint(ring().capacity)};
  }
  // What a consumer would put right, were it its ring's.
  void ChangeConsumersWords() const {
    ring().header->acked.store(8);
    ring().header->released.store(8);
    ring().header->sender.store(77);
    ring().header->dropped.store(77);
  }

  testing::Reports reports_;
  std::unique_ptr<Node> consumer_;
  std::unique_ptr<Node> producer_;
  std::uint32_t index_ = 0;
  Cell live_;
};

TEST_F(RingRepairTest, AConsumerWritesNothingIntoMemoryThatIsAnotherRings) {
  testing::StealUnits(region(), live_, ThiefsCell());
  ChangeConsumersWords();
  const std::vector<std::byte> before = Memory();
  EXPECT_TRUE(ConsumerGivesUp());
  EXPECT_TRUE(Memory() == before);
}

TEST_F(RingRepairTest, NorWhenItsProducerHasReturnedAndNotSent) {
  producer_ = OpenProducer();
  testing::StealUnits(region(), live_, ThiefsCell());
  ChangeConsumersWords();
  const std::vector<std::byte> before = Memory();
  EXPECT_TRUE(ConsumerGivesUp());
  EXPECT_TRUE(Memory() == before);
}

TEST_F(RingRepairTest, AProducerThatReturnsWritesNothingIntoMemoryThatIsAnotherRings) {
  testing::StealUnits(region(), live_, ThiefsCell());
  const std::vector<std::byte> before = Memory();
  producer_ = OpenProducer();
  EXPECT_EQ(producer_->Send(consumer_->id(), "second"), SendResult::kFull) << "it is withdrawn";
  EXPECT_EQ(Cell::FromWord(cell()).state, CellState::kWithdrawn);
  EXPECT_TRUE(Memory() == before);
  EXPECT_TRUE(PollUntil(*consumer_, kIgnore, [&] {
    return producer_->Send(consumer_->id(), "third") == SendResult::kOk;
  }));
  EXPECT_EQ(testing::ReceiveTexts(*consumer_, 1).front(), "third");
}

// Put back, the former ring would make the units of the one that is being carved look free.
TEST_F(RingRepairTest, AConsumerLeavesACellAloneThatIsBeingCarvedOrHasNoRing) {
  const std::pair<CellState, std::uint32_t> others[] = {
      {CellState::kCarving, 1}, {CellState::kEmpty, 1}, {CellState::kEmpty, 0}};
  for (const auto& [state, generations_later] : others) {
    Cell other = live_.With(state);
    other.generation += generations_later;
    cell().store(other.ToWord());
    const std::uint64_t poisoned = consumer_->counter(Counter::kRingsPoisoned);
    EXPECT_TRUE(PollUntil(*consumer_, kIgnore, [&] {
      return consumer_->counter(Counter::kRingsPoisoned) != poisoned || cell() != other.ToWord();
    }));
    EXPECT_EQ(Cell::FromWord(cell()), other);
    // The producer returns and carves.
    producer_ = OpenProducer();
    EXPECT_EQ(producer_->Send(consumer_->id(), "next"), SendResult::kOk);
    EXPECT_EQ(testing::ReceiveTexts(*consumer_, 1).front(), "next");
    producer_.reset();
    live_ = Cell::FromWord(cell());
  }
}

}  // namespace
}  // namespace ivmq
