// What the server does to the region when a client has gone.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/peer_table.h"

#include "raw_client.h"
#include "server_process.h"
#include "slot_owner.h"
#include "support/child.h"
#include "support/huge_pages.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

class PeerDeathTest : public ::testing::Test {
 protected:
  PeerDeathTest() : server_(folder_ / "s", {"--size", "1M", "--vectors", "2"}) {
    server_.AwaitReady();
  }

  TempFolder folder_;
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

// O_NONBLOCK belongs to all who have an eventfd.
TEST_F(PeerDeathTest, ADoorbellThatSomebodyMadeBlockingAndFilledDoesNotHoldTheServerUp) {
  RawClient sleeper(server_.socket());
  RawClient hostile(server_.socket());
  ASSERT_TRUE(sleeper.Greet(2));
  ASSERT_TRUE(hostile.Greet(2));
  const MappedRegion mapped(sleeper.memory());
  const SlotOwner asleep(mapped.region(), "asleep", sleeper.id(), 1);
  const int doorbell = hostile.doorbell(sleeper.id(), 1);
  ASSERT_EQ(eventfd_write(doorbell, ~std::uint64_t{0} - 1), 0);
  ASSERT_EQ(fcntl(doorbell, F_SETFL, O_RDWR), 0);
  EXPECT_EQ(Child::Fork([&] {
              RawClient client(server_.socket());
              EXPECT_TRUE(client.Greet(2));
              const MappedRegion own(client.memory());
              const SlotOwner dies(own.region(), "dies", client.id());
            }).Wait(),
            0);
  server_.AwaitLog("1 peers that had not left are dead");
  RawClient newcomer(server_.socket());
  EXPECT_TRUE(newcomer.Greet(2));
}

// ---- The proof of death

// The end of a connection is none: whoever lost it may go on writing. The lock of what the client
// was given goes with the last descriptor and the last mapping of it.
class DeathProofTest : public ::testing::TestWithParam<const char*> {
 protected:
  DeathProofTest() {
    std::string region = GetParam();
    if (region == "file") region = "file:" + folder_ / "region";
    if (region == "shm") region = "shm:" + shm_;
    std::vector<std::string> arguments{"--size", "2M", "--vectors", "1"};
    if (region == "hugepages") {
      pages_.emplace(1);
      arguments.insert(arguments.end(), {"--hugepages", "2M"});
    } else {
      arguments.insert(arguments.end(), {"--region", region});
    }
    server_.emplace(folder_ / "s", arguments);
    server_->AwaitReady();
    watcher_.emplace(server_->socket());
    EXPECT_TRUE(watcher_->Greet(1));
    mapped_.emplace(watcher_->memory());
  }
  ~DeathProofTest() override { (void)shm_unlink(("/" + shm_).c_str()); }

  // Waits until the server has seen the end of the connection of client `id`, and not more.
  void AwaitDisconnect(std::uint16_t id) {
    server_->AwaitLog("id " + std::to_string(id) + ": pid");
  }
  void AwaitEnd(std::uint16_t id) { server_->AwaitLog("id " + std::to_string(id) + " has gone"); }
  // A newcomer gets another id, and the peer is not dead.
  void ExpectHeld(std::uint16_t id) {
    RawClient newcomer(server_->socket());
    ASSERT_TRUE(newcomer.Greet(1));
    EXPECT_NE(newcomer.id(), id);
    EXPECT_TRUE(PeerTable(mapped_->region()).Find("victim"));
  }
  void ExpectEnded(std::uint16_t id) {
    EXPECT_FALSE(PeerTable(mapped_->region()).Find("victim"));
    RawClient newcomer(server_->socket());
    ASSERT_TRUE(newcomer.Greet(1));
    EXPECT_EQ(newcomer.id(), id);
  }

  TempFolder folder_;
  std::string shm_ = "ivmq-test-" + std::to_string(getpid());
  std::optional<HugePages> pages_;
  std::optional<ServerProcess> server_;
  std::optional<RawClient> watcher_;
  std::optional<MappedRegion> mapped_;
};

TEST_P(DeathProofTest, AClientThatHasTheRegionMappedIsNotDeadWithoutItsConnection) {
  RawClient client(server_->socket());
  ASSERT_TRUE(client.Greet(1));
  const std::uint16_t id = client.id();
  {
    const MappedRegion own(client.memory());
    const SlotOwner slot(own.region(), "victim", id);
    client.Close();
    AwaitDisconnect(id);
    ExpectHeld(id);
    EXPECT_TRUE(slot.IsLive());
    // The others are told what is wrong.
    EXPECT_TRUE(PeerTable(own.region()).Find("victim")->disconnected);
  }
  AwaitEnd(id);
  ExpectEnded(id);
}

TEST_P(DeathProofTest, ADescriptorThatWasPassedOnIsAsGoodAsAMapping) {
  std::optional<RawClient> client(server_->socket());
  ASSERT_TRUE(client->Greet(1));
  const std::uint16_t id = client->id();
  UniqueFd passed_on(dup(client->memory()));
  const SlotOwner slot(mapped_->region(), "victim", id);
  client.reset();
  AwaitDisconnect(id);
  ExpectHeld(id);
  passed_on.reset();
  AwaitEnd(id);
  ExpectEnded(id);
}

TEST_P(DeathProofTest, AChildThatStillHasTheMappingOfItsDeadParentKeepsItAlive) {
  std::array<int, 2> up{};
  std::array<int, 2> down{};
  ASSERT_EQ(pipe(up.data()), 0);
  ASSERT_EQ(pipe(down.data()), 0);
  Child parent = Child::Fork([&] {
    RawClient client(server_->socket());
    EXPECT_TRUE(client.Greet(1));
    const MappedRegion own(client.memory());
    const SlotOwner slot(own.region(), "victim", client.id());
    if (fork() == 0) {
      client.Close();
      close(down[1]);
      char byte = 0;
      (void)!read(down[0], &byte, 1);
      _exit(0);
    }
    const std::uint16_t id = client.id();
    EXPECT_EQ(write(up[1], &id, sizeof(id)), static_cast<ssize_t>(sizeof(id)));
    pause();
  });
  std::uint16_t id = 0;
  ASSERT_EQ(read(up[0], &id, sizeof(id)), static_cast<ssize_t>(sizeof(id)));
  parent.Kill();
  AwaitDisconnect(id);
  ExpectHeld(id);
  close(down[1]);
  AwaitEnd(id);
  ExpectEnded(id);
  for (const int fd : {up[0], up[1], down[0]}) close(fd);
}

TEST_P(DeathProofTest, WhatIsOnItsWayToAClientItMayStillTake) {
  RawClient client(server_->socket());
  ASSERT_EQ(shutdown(client.socket(), SHUT_WR), 0);
  AwaitDisconnect(2);
  const SlotOwner slot(mapped_->region(), "victim", 2);
  ExpectHeld(2);
  ASSERT_TRUE(client.Greet(1));
  client.Disconnect();
  ExpectHeld(2);
  client.Close();
  AwaitEnd(2);
  ExpectEnded(2);
}

TEST_P(DeathProofTest, AClientThatNeverTookTheRegionHasGoneWithItsConnection) {
  {
    RawClient client(server_->socket());
    const auto version = client.Read();
    ASSERT_TRUE(version);
  }
  AwaitEnd(2);
  ExpectEnded(2);
}

INSTANTIATE_TEST_SUITE_P(Regions, DeathProofTest,
                         ::testing::Values("memfd", "hugepages", "shm", "file"),
                         [](const auto& region) { return std::string(region.param); });

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
  for (std::uint32_t c = 0; c < mapped.region().geometry().cells(); ++c) {
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
