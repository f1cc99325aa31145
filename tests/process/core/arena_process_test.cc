// Several processes carve and free at the same time, and are killed while they do.
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_table.h"

#include "support/arena_check.h"
#include "support/child.h"
#include "support/random.h"
#include "support/shared_memory.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::PeerState;
using testing::Child;
using testing::kKiB;
using testing::kMiB;
using testing::Random;
using testing::SharedCounter;
using testing::TestRegion;

// Slot `producer` carves to every other slot and for its heap, and frees again, at random, `steps`
// times or for ever.
void CarveAndFree(const Region& region, std::uint32_t producer, std::uint64_t seed, int steps,
                  SharedCounter& progress) {
  Random random(seed);
  const Arena arena(region);
  for (int step = 0; steps == 0 || step < steps; ++step) {
    const bool is_ring = testing::Below(random, 4) != 0;
    const auto number = static_cast<std::uint32_t>(
        testing::Below(random, is_ring ? region.max_peers() : layout::kHeapExtents));
    const std::uint32_t index =
        is_ring ? region.CellIndex(number, producer) : region.HeapCellIndex(producer, number);
    if (testing::Below(random, 2) == 0) {
      arena.Free(index, region.cell(index).load());
    } else {
      const Status carved =
          is_ring ? arena.Carve(number, producer, 1, 1).status()
                  : arena.CarveExtent(producer, number, 16 * kKiB, 64 * kKiB).status();
      EXPECT_TRUE(carved.ok() || carved.code() == StatusCode::kResourceExhausted ||
                  carved.code() == StatusCode::kAborted)
          << carved.ToString();
    }
    progress.Add();
  }
}

TEST(ArenaProcessTest, RunsOfProcessesThatCarveAtOnceNeverOverlap) {
  const std::uint64_t seed = testing::TestSeed();
  for (const std::uint32_t peers : {4U, 16U}) {
    TestRegion sut(2 * kMiB, {.max_peers = peers});
    testing::MakeLive(sut.region, peers);
    SharedCounter progress;
    std::vector<Child> carvers;
    for (std::uint32_t producer = 0; producer < 4; ++producer) {
      carvers.push_back(Child::Fork(
          [&, producer] { CarveAndFree(sut.region, producer, seed + producer, 1500, progress); }));
    }
    for (Child& carver : carvers) EXPECT_EQ(carver.Wait(), 0);
    testing::ExpectRunsDisjoint(sut.region);
    EXPECT_GT(Arena(sut.region).Stats().rings, 0U);
  }
}

TEST(ArenaProcessTest, CarversKilledAtAnyInstantLeakNothing) {
  Random random(testing::TestSeed());
  TestRegion sut(kMiB, {.max_peers = 8});
  const PeerTable table(sut.region);
  const Arena arena(sut.region);
  const std::uint32_t all = arena.Stats().units_free;
  for (int round = 0; round < 150; ++round) {
    testing::MakeLive(sut.region, 8);
    SharedCounter progress;
    std::vector<Child> carvers;
    for (std::uint32_t producer = 0; producer < 2; ++producer) {
      const std::uint64_t seed = random();
      carvers.push_back(Child::Fork(
          [&, producer, seed] { CarveAndFree(sut.region, producer, seed, 0, progress); }));
    }
    progress.AwaitAtLeast(1 + static_cast<unsigned>(testing::Below(random, 40)));
    for (Child& carver : carvers) carver.Kill();
    testing::ExpectRunsDisjoint(sut.region);
    for (std::uint32_t s = 0; s < 8; ++s) testing::SetState(sut.region, s, PeerState::kDead);
    table.Reclaim();
    ASSERT_EQ(arena.Stats().units_free, all) << "round " << round;
    ASSERT_EQ(arena.Stats().rings, 0U);
    ASSERT_EQ(arena.Stats().extents, 0U);
    for (std::uint32_t s = 0; s < 8; ++s) {
      ASSERT_EQ(layout::Life::FromWord(sut.region.slot(s).life.load()).state, PeerState::kFree);
    }
  }
}

}  // namespace
}  // namespace ivmq
