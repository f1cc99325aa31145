// Carving rings from the arena and taking them back.
#include "ivmq/internal/arena.h"

#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/peer_table.h"

#include "support/arena_check.h"
#include "support/random.h"
#include "support/shared_memory.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Owner;
using layout::PeerState;
using testing::CellOf;
using testing::ExpectRunsDisjoint;
using testing::kKiB;
using testing::kMiB;
using testing::MakeLive;
using testing::SetState;
using testing::TestRegion;

TEST(ArenaTest, ACarverTakesTheFirstGenerationThatNoUnitBears) {
  TestRegion sut(4 * kMiB);
  MakeLive(sut.region, 2);
  const std::uint32_t index = sut.region.CellIndex(0, 1);
  sut.region.cell(index).store(Cell{.generation = ~0U - 5}.ToWord());
  const std::uint32_t units = sut.region.geometry().unit_count;
  for (std::uint32_t unit = 0; unit < units; ++unit) {
    sut.region.owner(unit).store(Owner{~0U - 4 + unit, index + 1}.ToWord());
  }
  const Result<CarvedRing> carved = Arena(sut.region).Carve(0, 1, 1, 1);
  ASSERT_TRUE(carved.ok()) << carved.status().ToString();
  EXPECT_EQ(carved->cell.generation, ~0U - 4 + units);
}

TEST(ArenaTest, AStarOf64In64MiBHasRingsOf256KiB) {
  TestRegion sut(64 * kMiB);
  MakeLive(sut.region, 64);
  const Arena arena(sut.region);
  for (std::uint32_t guest = 1; guest < 64; ++guest) {
    for (const auto& [to, from] : {std::pair{0U, guest}, std::pair{guest, 0U}}) {
      const Result<CarvedRing> ring = arena.Carve(to, from, 1, 1);
      ASSERT_TRUE(ring.ok()) << ring.status().ToString();
      ASSERT_GE(ring->ring.capacity, 256 * kKiB) << from << " to " << to;
    }
  }
  ExpectRunsDisjoint(sut.region);
  EXPECT_EQ(arena.Stats().rings, 126U);
  EXPECT_GE(arena.Stats().smallest_capacity, 256 * kKiB);
  // A latecomer pair still gets a ring.
  EXPECT_TRUE(arena.Carve(1, 2, 1, 1).ok());
}

TEST(ArenaTest, AMeshOf16In64MiBHasRingsOf128KiB) {
  TestRegion sut(64 * kMiB);
  MakeLive(sut.region, 16);
  const Arena arena(sut.region);
  for (std::uint32_t to = 0; to < 16; ++to) {
    for (std::uint32_t from = 0; from < 16; ++from) {
      if (to == from) continue;
      const Result<CarvedRing> ring = arena.Carve(to, from, 1, 1);
      ASSERT_TRUE(ring.ok()) << ring.status().ToString();
      ASSERT_GE(ring->ring.capacity, 128 * kKiB) << from << " to " << to;
    }
  }
  ExpectRunsDisjoint(sut.region);
}

TEST(ArenaTest, LatecomersGetSmallRings) {
  TestRegion sut(8 * kMiB);
  MakeLive(sut.region, 64);
  const Arena arena(sut.region);
  // Where the large rings end, and how many small ones follow.
  std::uint64_t last = 0;
  std::uint32_t in_last_quarter = 0;
  for (std::uint32_t index = 0; index < 64 * 64; ++index) {
    const Result<CarvedRing> ring = arena.Carve(index / 64, index % 64, 1, 1);
    if (!ring.ok()) break;
    EXPECT_TRUE(last == 0 || ring->ring.capacity <= last);
    last = ring->ring.capacity;
    if (ring->cell.first_unit >= sut.region.geometry().small_unit_first) {
      EXPECT_EQ(last, 16 * kKiB);
      if (++in_last_quarter == 20) break;
    }
  }
  EXPECT_EQ(in_last_quarter, 20U);
  ExpectRunsDisjoint(sut.region);
}

class FullArenaTest : public ::testing::TestWithParam<std::uint64_t> {};

// In regions where the first rings are as small as they can be, and in larger ones.
TEST_P(FullArenaTest, NoRoomForTheSmallestRingIsLeftAndTheErrorHasTheNumbers) {
  TestRegion sut(GetParam(), {.max_peers = 32});
  MakeLive(sut.region, 32);
  const Arena arena(sut.region);
  const Geometry& g = sut.region.geometry();
  Status refusal;
  for (std::uint32_t index = 0; index < 32 * 32 && refusal.ok(); ++index) {
    const Result<CarvedRing> ring = arena.Carve(index / 32, index % 32, 1, 1);
    if (!ring.ok()) refusal = ring.status();
  }
  ASSERT_FALSE(refusal.ok());
  EXPECT_EQ(refusal.code(), StatusCode::kResourceExhausted);
  const ArenaStats stats = arena.Stats();
  EXPECT_THAT(refusal.message(), ::testing::HasSubstr(std::to_string(stats.rings)));
  EXPECT_THAT(refusal.message(), ::testing::HasSubstr(std::to_string(g.unit_count)));
  EXPECT_THAT(refusal.message(), ::testing::HasSubstr(std::to_string(stats.units_free)));
  ExpectRunsDisjoint(sut.region);
  // Rings were carved without a gap, so what is left is less than a ring in either part.
  const std::uint32_t smallest = g.UnitsFor(g.ring_capacity_small);
  EXPECT_LT(stats.units_free_small, smallest);
  EXPECT_LT(stats.units_free - stats.units_free_small, smallest);
}

INSTANTIATE_TEST_SUITE_P(Sizes, FullArenaTest, ::testing::Values(1 * kMiB, 4 * kMiB, 8 * kMiB));

TEST(ArenaTest, WhenTheArenaIsFullAttachedPairsGoOn) {
  TestRegion sut(kMiB, {.max_peers = 32});
  MakeLive(sut.region, 32);
  const Arena arena(sut.region);
  Result<CarvedRing> first = arena.Carve(1, 0, 1, 1);
  ASSERT_TRUE(first.ok());
  for (std::uint32_t index = 32 + 1; index < 32 * 32; ++index) {
    (void)arena.Carve(index / 32, index % 32, 1, 1);
  }
  ASSERT_EQ(arena.Carve(31, 31, 1, 1).status().code(), StatusCode::kResourceExhausted);
  Producer producer(first->ring);
  Consumer consumer = *Consumer::Open(first->ring);
  std::span<std::byte> payload;
  ASSERT_EQ(producer.TryClaim(100, &payload), ClaimResult::kOk);
  testing::FillPattern(payload, 1);
  producer.Commit();
  std::span<const std::byte> received;
  ASSERT_EQ(consumer.Peek(&received), PeekResult::kRecord);
  EXPECT_TRUE(testing::HasPattern(received, 1));
}

TEST(ArenaTest, ACarvedRingIsDescribedByItsCellAndItsHeader) {
  TestRegion sut(kMiB, {.max_peers = 4});
  MakeLive(sut.region, 4, 7);
  const Result<CarvedRing> ring = Arena(sut.region).Carve(2, 3, 7, 7);
  ASSERT_TRUE(ring.ok()) << ring.status().ToString();
  const Cell cell = CellOf(sut.region, 2, 3);
  EXPECT_EQ(cell, ring->cell);
  EXPECT_EQ(cell.state, CellState::kLive);
  EXPECT_EQ(cell.generation, 1U);
  const layout::RingHeader& header = *ring->ring.header;
  EXPECT_EQ(header.magic.load(), layout::kRingMagic);
  EXPECT_EQ(header.capacity_log2.load(), cell.capacity_log2);
  EXPECT_EQ(header.cell.load(), 2 * 4 + 3U);
  EXPECT_EQ(header.generation.load(), 1U);
  EXPECT_EQ(header.sender.load(), 7U);
  EXPECT_TRUE(ring->ring.IsDescribed(2 * 4 + 3U, cell));
  EXPECT_EQ(sut.region.slot(2).inbound_changes.load(), 1U);
  const std::optional<RingView> view = sut.region.RingOf(cell);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->header, ring->ring.header);
}

TEST(ArenaTest, ARingCarvedFromUsedUnitsIsEmpty) {
  TestRegion sut(kMiB, {.max_peers = 4});
  MakeLive(sut.region, 4);
  const Arena arena(sut.region);
  for (std::uint32_t round = 1; round < 20; ++round) {
    const Result<CarvedRing> carved = arena.Carve(1, 0, 1, 1);
    ASSERT_TRUE(carved.ok()) << carved.status().ToString();
    EXPECT_EQ(carved->cell.generation, round);
    Result<Consumer> consumer = Consumer::Open(carved->ring);
    ASSERT_TRUE(consumer.ok()) << consumer.status().ToString();
    EXPECT_FALSE(consumer->HasRecord());
    Producer producer(carved->ring);
    std::span<std::byte> payload;
    ASSERT_EQ(producer.TryClaim(1000, &payload), ClaimResult::kOk);
    producer.Commit();
    ASSERT_TRUE(consumer->HasRecord());
  }
  EXPECT_EQ(arena.Stats().rings, 1U);
  ExpectRunsDisjoint(sut.region);
}

TEST(ArenaTest, FreeGivesTheUnitsBackAndKeepsTheGeneration) {
  TestRegion sut(kMiB, {.max_peers = 4});
  MakeLive(sut.region, 4);
  const Arena arena(sut.region);
  const std::uint32_t all = arena.Stats().units_free;
  const Result<CarvedRing> ring = arena.Carve(1, 0, 1, 1);
  ASSERT_TRUE(ring.ok());
  EXPECT_EQ(arena.Stats().units_free, all - sut.region.geometry().UnitsFor(ring->ring.capacity));
  const std::uint32_t index = sut.region.CellIndex(1, 0);
  arena.Free(index, ring->cell.ToWord() + (std::uint64_t{1} << 32));
  EXPECT_EQ(arena.Stats().rings, 1U) << "the cell had changed";
  arena.Free(index, ring->cell.ToWord());
  EXPECT_EQ(arena.Stats().units_free, all);
  EXPECT_EQ(CellOf(sut.region, 1, 0).state, CellState::kEmpty);
  EXPECT_EQ(CellOf(sut.region, 1, 0).generation, 1U);
  EXPECT_EQ(arena.Carve(1, 0, 1, 1)->cell.generation, 2U);
}

TEST(ArenaTest, AStaleOwnerWordIsReclaimed) {
  TestRegion sut(kMiB, {.max_peers = 4});
  MakeLive(sut.region, 4);
  const Arena arena(sut.region);
  // Owners that point at an empty cell, at another generation, at no cell, and at a run elsewhere.
  const Result<CarvedRing> other = arena.Carve(3, 2, 1, 1);
  ASSERT_TRUE(other.ok());
  const std::uint32_t first = sut.region.geometry().UnitsFor(other->ring.capacity);
  const std::uint32_t index = sut.region.CellIndex(3, 2) + 1;
  sut.region.owner(first).store(Owner{1, 2}.ToWord());
  sut.region.owner(first + 1).store(Owner{other->cell.generation + 1, index}.ToWord());
  sut.region.owner(first + 2).store(Owner{1, 4 * 4 + 1}.ToWord());
  sut.region.owner(first + 3).store(Owner{other->cell.generation, index}.ToWord());
  sut.region.owner(first + 4).store(~std::uint64_t{0});
  const Result<CarvedRing> ring = arena.Carve(1, 0, 1, 1);
  ASSERT_TRUE(ring.ok()) << ring.status().ToString();
  EXPECT_EQ(ring->cell.first_unit, first);
  ExpectRunsDisjoint(sut.region);
}

TEST(ArenaTest, NoRingIsCarvedToAPeerThatIsGone) {
  TestRegion sut(kMiB, {.max_peers = 4});
  MakeLive(sut.region, 4, 5);
  const Arena arena(sut.region);
  const std::uint32_t all = arena.Stats().units_free;
  EXPECT_EQ(arena.Carve(1, 0, 5, 4).status().code(), StatusCode::kUnavailable);
  for (const PeerState state : {PeerState::kFree, PeerState::kDead, PeerState::kClaiming}) {
    SetState(sut.region, 1, state);
    EXPECT_EQ(arena.Carve(1, 0, 5, 5).status().code(), StatusCode::kUnavailable);
    EXPECT_EQ(CellOf(sut.region, 1, 0).state, CellState::kEmpty);
    EXPECT_EQ(arena.Stats().units_free, all);
  }
}

// ---- Extents of heaps ----

TEST(ExtentTest, ACarvedExtentIsDescribedByItsCellAndItsHeader) {
  TestRegion sut(8 * kMiB, {.max_peers = 4});
  MakeLive(sut.region, 4);
  const Arena arena(sut.region);
  const std::uint32_t all = arena.Stats().units_free;
  for (std::uint32_t round = 1; round < 4; ++round) {
    const Result<CarvedExtent> carved = arena.CarveExtent(2, 5, kMiB, kMiB);
    ASSERT_TRUE(carved.ok()) << carved.status().ToString();
    const std::uint32_t index = 4 * 4 + 2 * layout::kHeapExtents + 5;
    EXPECT_EQ(sut.region.cell(index).load(), carved->cell.ToWord());
    EXPECT_EQ(carved->cell.state, CellState::kLive);
    EXPECT_EQ(carved->cell.generation, round);
    EXPECT_EQ(carved->extent.memory.size(), kMiB);
    EXPECT_EQ(carved->extent.header->magic.load(), layout::kHeapMagic);
    EXPECT_EQ(carved->extent.header->capacity_log2.load(), 20U);
    EXPECT_EQ(carved->extent.header->cell.load(), index);
    EXPECT_EQ(carved->extent.header->generation.load(), round);
    EXPECT_EQ(arena.Stats().extents, 1U);
    EXPECT_EQ(arena.Stats().extent_bytes, kMiB);
    EXPECT_EQ(arena.Stats().units_free, all - sut.region.geometry().UnitsFor(kMiB));
    ExpectRunsDisjoint(sut.region);
    arena.Free(index, carved->cell.ToWord());
    EXPECT_EQ(arena.Stats().units_free, all);
  }
}

TEST(ExtentTest, HeapsLeaveFirstRingsTheirSize) {
  for (const std::uint64_t size : {4 * kMiB, 16 * kMiB, 64 * kMiB}) {
    SCOPED_TRACE(size);
    TestRegion sut(size, {.max_peers = 16});
    MakeLive(sut.region, 16);
    const Arena arena(sut.region);
    Status refusal;
    for (std::uint32_t i = 0; i < 16 * layout::kHeapExtents && refusal.ok(); ++i) {
      refusal = arena
                    .CarveExtent(i / layout::kHeapExtents, i % layout::kHeapExtents, 16 * kKiB,
                                 256 * kMiB)
                    .status();
    }
    EXPECT_EQ(refusal.code(), StatusCode::kResourceExhausted);
    const Result<CarvedRing> ring = arena.Carve(0, 1, 1, 1);
    ASSERT_TRUE(ring.ok()) << ring.status().ToString();
    EXPECT_EQ(ring->ring.capacity, sut.region.geometry().ring_capacity);
    ExpectRunsDisjoint(sut.region);
  }
}

TEST(ExtentTest, OneHeapLeavesRoomForAnother) {
  TestRegion sut(64 * kMiB, {.max_peers = 4});
  MakeLive(sut.region, 4);
  const Arena arena(sut.region);
  for (std::uint32_t slot = 0; slot < 4; ++slot) {
    const Result<CarvedExtent> carved = arena.CarveExtent(slot, 0, kMiB, 256 * kMiB);
    ASSERT_TRUE(carved.ok()) << "slot " << slot << ": " << carved.status().ToString();
    EXPECT_GE(carved->extent.memory.size(), 2 * kMiB);
  }
}

TEST(ExtentTest, ADescriptorIsFollowedOnlyToABlockOfThatHeap) {
  TestRegion sut(8 * kMiB, {.max_peers = 4});
  MakeLive(sut.region, 4);
  const Result<CarvedExtent> carved = Arena(sut.region).CarveExtent(2, 5, kMiB, kMiB);
  ASSERT_TRUE(carved.ok());
  const layout::BlockDescriptor good{.extent = 5, .generation = 1, .offset = 64, .bytes = 1000};
  const auto block = BlockOf(sut.region, 2, good);
  ASSERT_TRUE(block);
  EXPECT_EQ(block->data(), carved->extent.memory.data() + 64);
  EXPECT_EQ(block->size(), 1000U);
  EXPECT_TRUE(BlockOf(sut.region, 2, {5, 1, 0, kMiB}));
  EXPECT_TRUE(BlockOf(sut.region, 2, {5, 1, kMiB, 0}));

  EXPECT_FALSE(BlockOf(sut.region, 1, good)) << "another peer's heap";
  for (const layout::BlockDescriptor bad : std::vector<layout::BlockDescriptor>{
           {4, 1, 64, 1000},
           {8, 1, 64, 1000},
           {~0U, 1, 64, 1000},
           {5, 0, 64, 1000},
           {5, 2, 64, 1000},
           {5, 1, 65, 1000},
           {5, 1, 8, 1000},
           {5, 1, 64, kMiB},
           {5, 1, 0, kMiB + 1},
           {5, 1, kMiB, 1},
           {5, 1, kMiB + 64, 0},
           {5, 1, 64, ~std::uint64_t{0} - 63},
           {5, 1, ~std::uint64_t{0} - 63, 64},
       }) {
    EXPECT_FALSE(BlockOf(sut.region, 2, bad))
        << bad.extent << ' ' << bad.generation << ' ' << bad.offset << ' ' << bad.bytes;
  }
  layout::Word& cell = sut.region.cell(sut.region.HeapCellIndex(2, 5));
  for (const CellState state :
       {CellState::kEmpty, CellState::kCarving, CellState::kWithdrawn, CellState::kClosed}) {
    cell.store(carved->cell.With(state).ToWord());
    EXPECT_FALSE(BlockOf(sut.region, 2, good));
  }
  Cell elsewhere = carved->cell;
  --elsewhere.first_unit;
  cell.store(elsewhere.ToWord());
  EXPECT_FALSE(BlockOf(sut.region, 2, good)) << "its header does not name it";
  elsewhere.first_unit = sut.region.geometry().unit_count - 1;
  cell.store(elsewhere.ToWord());
  EXPECT_FALSE(BlockOf(sut.region, 2, good)) << "it leaves the arena";
}

// ---- Reclaiming ----

class ReclaimTest : public ::testing::Test {
 protected:
  ReclaimTest() : sut_(kMiB, {.max_peers = 4}), arena_(sut_.region), table_(sut_.region) {
    MakeLive(sut_.region, 4);
    free_units_ = arena_.Stats().units_free;
  }
  PeerState StateOf(std::uint32_t slot) const {
    return layout::Life::FromWord(sut_.region.slot(slot).life.load()).state;
  }

  TestRegion sut_;
  Arena arena_;
  PeerTable table_;
  std::uint32_t free_units_ = 0;
};

TEST_F(ReclaimTest, RingsGoWhenBothEndsAreDead) {
  ASSERT_TRUE(arena_.Carve(1, 0, 1, 1).ok());
  ASSERT_TRUE(arena_.Carve(0, 1, 1, 1).ok());
  SetState(sut_.region, 0, PeerState::kDead);
  table_.Reclaim();
  EXPECT_EQ(arena_.Stats().rings, 2U) << "the living end may still use them";
  EXPECT_EQ(StateOf(0), PeerState::kDead) << "a slot is free only when its rings are gone";
  SetState(sut_.region, 1, PeerState::kDead);
  table_.Reclaim();
  EXPECT_EQ(arena_.Stats().units_free, free_units_);
  EXPECT_EQ(StateOf(0), PeerState::kFree);
  EXPECT_EQ(StateOf(1), PeerState::kFree);
}

TEST_F(ReclaimTest, ASlotIsFreeOnceTheLivingEndsHaveEmptiedItsCells) {
  const Result<CarvedRing> ring = arena_.Carve(1, 0, 1, 1);
  ASSERT_TRUE(ring.ok());
  SetState(sut_.region, 0, PeerState::kDead);
  table_.Reclaim();
  EXPECT_EQ(StateOf(0), PeerState::kDead);
  arena_.Free(sut_.region.CellIndex(1, 0), ring->cell.ToWord());
  table_.Reclaim();
  EXPECT_EQ(StateOf(0), PeerState::kFree);
}

TEST_F(ReclaimTest, TheFreedSlotKeepsItsIncarnation) {
  SetState(sut_.region, 0, PeerState::kDead);
  table_.Reclaim();
  EXPECT_EQ(layout::Life::FromWord(sut_.region.slot(0).life.load()).incarnation, 1U);
}

TEST_F(ReclaimTest, ADeadDurablePeerKeepsWhatItHasNotRead) {
  MakeLive(sut_.region, 1, 1, layout::kPeerDurable);
  ASSERT_TRUE(arena_.Carve(0, 1, 1, 1).ok());  // to the durable one
  SetState(sut_.region, 0, PeerState::kDead);
  SetState(sut_.region, 1, PeerState::kDead);
  table_.Reclaim();
  EXPECT_EQ(StateOf(0), PeerState::kDead);
  EXPECT_EQ(StateOf(1), PeerState::kDead);
  EXPECT_EQ(arena_.Stats().rings, 1U);
}

TEST_F(ReclaimTest, AHeapStaysUntilWhatItsPeerSentIsRead) {
  const Result<CarvedRing> ring = arena_.Carve(1, 0, 1, 1);
  ASSERT_TRUE(ring.ok());
  ASSERT_TRUE(arena_.CarveExtent(0, 3, 16 * kKiB, 16 * kKiB).ok());
  SetState(sut_.region, 0, PeerState::kDead);
  table_.Reclaim();
  EXPECT_EQ(arena_.Stats().extents, 1U);
  arena_.Free(sut_.region.CellIndex(1, 0), ring->cell.ToWord());
  table_.Reclaim();
  EXPECT_EQ(arena_.Stats().extents, 0U);
  EXPECT_EQ(arena_.Stats().units_free, free_units_);
  EXPECT_EQ(StateOf(0), PeerState::kFree);
}

TEST_F(ReclaimTest, ADeadDurablePeerKeepsItsHeap) {
  MakeLive(sut_.region, 1, 1, layout::kPeerDurable);
  ASSERT_TRUE(arena_.CarveExtent(0, 3, 16 * kKiB, 16 * kKiB).ok());
  SetState(sut_.region, 0, PeerState::kDead);
  table_.Reclaim();
  EXPECT_EQ(arena_.Stats().extents, 1U);
}

// Killed with its cell in kCarving and any number of units taken: no consumer ever saw that ring.
TEST_F(ReclaimTest, ADeadCarversUnitsAreFree) {
  for (const bool consumer_lives : {false, true}) {
    for (std::uint32_t taken = 0; taken <= 5; ++taken) {
      MakeLive(sut_.region, 4);
      const std::uint32_t index = sut_.region.CellIndex(1, 0);
      const std::uint32_t generation = CellOf(sut_.region, 1, 0).generation + 1;
      sut_.region.cell(index).store(Cell{generation, 10, 14, CellState::kCarving}.ToWord());
      for (std::uint32_t i = 0; i < taken; ++i) {
        sut_.region.owner(10 + i).store(Owner{generation, index + 1}.ToWord());
      }
      const std::uint32_t heap = sut_.region.HeapCellIndex(0, 2);
      sut_.region.cell(heap).store(Cell{generation, 20, 14, CellState::kCarving}.ToWord());
      for (std::uint32_t i = 0; i < taken; ++i) {
        sut_.region.owner(20 + i).store(Owner{generation, heap + 1}.ToWord());
      }
      SetState(sut_.region, 0, PeerState::kDead);
      if (!consumer_lives) SetState(sut_.region, 1, PeerState::kDead);
      table_.Reclaim();
      EXPECT_EQ(arena_.Stats().units_free, free_units_) << taken << " units taken";
      EXPECT_EQ(StateOf(0), PeerState::kFree) << taken << " units taken";
    }
  }
}

TEST_F(ReclaimTest, ACellThatWasDamagedDoesNotKeepASlot) {
  testing::Random random(testing::TestSeed());
  for (int round = 0; round < 1000; ++round) {
    MakeLive(sut_.region, 4);
    for (std::uint32_t index = 0; index < sut_.region.geometry().cells(); ++index) {
      sut_.region.cell(index).store(random());
    }
    for (std::uint32_t unit = 0; unit < 20; ++unit) {
      sut_.region.owner(unit).store(random() & 0x0000000f0000001f);
    }
    (void)arena_.Stats();
    const Result<CarvedRing> ring = arena_.Carve(1, 0, 1, 1);
    EXPECT_TRUE(ring.ok() || ring.status().code() == StatusCode::kResourceExhausted);
    for (std::uint32_t s = 0; s < 4; ++s) SetState(sut_.region, s, PeerState::kDead);
    table_.Reclaim();
    EXPECT_EQ(arena_.Stats().units_free, free_units_);
    for (std::uint32_t s = 0; s < 4; ++s) EXPECT_EQ(StateOf(s), PeerState::kFree);
  }
}

}  // namespace
}  // namespace ivmq
