// What the server does to the region when a client has gone.
#include <unistd.h>

#include <array>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/peer_table.h"

#include "raw_client.h"
#include "server_process.h"
#include "slot_owner.h"
#include "support/child.h"

namespace ivmq::testing {
namespace {

class PeerDeathTest : public ::testing::Test {
 protected:
  PeerDeathTest() : server_(folder_.Path("s"), {"--size", "1M", "--vectors", "2"}) {
    server_.AwaitReady();
  }

  TemporaryFolder folder_;
  ServerProcess server_;
};

TEST_F(PeerDeathTest, AKilledClientsSlotsAreReclaimedAndWhoeverCanBeWokenIsTold) {
  RawClient sleeper(server_.socket());
  RawClient busy(server_.socket());
  ASSERT_TRUE(sleeper.Greet(2));
  ASSERT_TRUE(busy.Greet(2));
  const MappedRegion mapped(sleeper.memory());
  SlotOwner asleep(mapped.region(), "asleep", sleeper.id(), 1);
  SlotOwner awake(mapped.region(), "awake", busy.id(), 1);
  const SlotOwner polls(mapped.region(), "polls", busy.id(), 0, /*wakeable=*/false);
  asleep.slot().armed.store(1);
  awake.slot().armed.store(2);

  std::array<int, 2> attached{};
  ASSERT_EQ(pipe(attached.data()), 0);
  Child victim = Child::Fork([&] {
    RawClient client(server_.socket());
    EXPECT_TRUE(client.Greet(2));
    const MappedRegion own(client.memory());
    // Two processes of one guest have one ivposition.
    const SlotOwner one(own.region(), "one", client.id());
    const SlotOwner two(own.region(), "two", client.id());
    EXPECT_EQ(write(attached[1], "x", 1), 1);
    pause();
  });
  char byte = 0;
  ASSERT_EQ(read(attached[0], &byte, 1), 1);
  const PeerTable table(mapped.region());
  ASSERT_TRUE(table.Find("one"));
  ASSERT_TRUE(table.Find("two"));
  const std::uint64_t generation = table.generation();

  victim.Kill();
  EXPECT_EQ(sleeper.AwaitRing(1), 1U);
  // Rung after the table was changed.
  EXPECT_FALSE(table.Find("one"));
  EXPECT_FALSE(table.Find("two"));
  EXPECT_GT(table.generation(), generation);
  EXPECT_EQ(table.Snapshot().peers.size(), 3U) << "slots of the dead were not freed";
  EXPECT_EQ(sleeper.TakeRings(0), 0U) << "another vector was rung";
  // Another of its threads may wait for room in a ring to the dead.
  EXPECT_EQ(busy.AwaitRing(1), 1U) << "a peer that is awake was not rung";
  server_.AwaitLog("2 peers that had not left are dead");
  EXPECT_EQ(busy.TakeRings(0), 0U) << "a peer that polls was rung";
  EXPECT_TRUE(asleep.IsLive());
  EXPECT_TRUE(awake.IsLive());
  EXPECT_TRUE(polls.IsLive());
  close(attached[0]);
  close(attached[1]);
}

// It has closed its socket, but its process runs and still has the region.
TEST_F(PeerDeathTest, ASlotClaimedAfterTheSocketsEndDiesWithTheProcess) {
  RawClient watcher(server_.socket());
  ASSERT_TRUE(watcher.Greet(2));
  const MappedRegion mapped(watcher.memory());
  std::array<int, 2> go{};
  std::array<int, 2> done{};
  ASSERT_EQ(pipe(go.data()), 0);
  ASSERT_EQ(pipe(done.data()), 0);
  Child late = Child::Fork([&] {
    RawClient client(server_.socket());
    EXPECT_TRUE(client.Greet(2));
    client.Close();
    char byte = 0;
    EXPECT_EQ(read(go[0], &byte, 1), 1);
    const MappedRegion own(client.memory());
    const SlotOwner slot(own.region(), "late", client.id());
    EXPECT_EQ(write(done[1], "x", 1), 1);
    pause();
  });
  server_.AwaitLog("id 2 has gone");
  char byte = 0;
  ASSERT_EQ(write(go[1], "x", 1), 1);
  ASSERT_EQ(read(done[0], &byte, 1), 1);
  const PeerTable table(mapped.region());
  ASSERT_TRUE(table.Find("late"));
  late.Kill();
  server_.AwaitLog("id 2 can be lent");
  EXPECT_FALSE(table.Find("late"));
  for (const int fd : {go[0], go[1], done[0], done[1]}) close(fd);
}

// Slots may hold anything: who maps the region can write it.
TEST_F(PeerDeathTest, NonsenseInThePeerTableHurtsNobody) {
  RawClient client(server_.socket());
  ASSERT_TRUE(client.Greet(2));
  const MappedRegion mapped(client.memory());
  for (std::uint32_t s = 0; s < mapped.region().max_peers(); ++s) {
    layout::PeerSlot& slot = mapped.region().slot(s);
    slot.life.store(0x0101010101010101U * s);
    slot.vector.store(~s);
    slot.armed.store(~std::uint64_t{0});
    slot.name_incarnation.store(s);
  }
  for (std::uint32_t c = 0; c < mapped.region().max_peers() * mapped.region().max_peers(); ++c) {
    mapped.region().cell(c).store(0x9e3779b97f4a7c15U * c);
  }
  for (int i = 0; i < 4; ++i) {
    RawClient passing(server_.socket());
    ASSERT_TRUE(passing.Greet(2));
    const layout::Life life{7, passing.id(), 0xff, layout::PeerState::kLive};
    mapped.region().slot(0).life.store(life.ToWord());
    passing.Close();
    server_.AwaitLog("has gone");
  }
  EXPECT_EQ(server_.Terminate(), 0);
}

}  // namespace
}  // namespace ivmq::testing
