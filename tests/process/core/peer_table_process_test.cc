// Claims that race, and claimers that are killed.
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/peer_table.h"

#include "support/child.h"
#include "support/eventfd_transport.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Life;
using layout::PeerState;
using testing::Child;
using testing::EventfdTransport;
using testing::Hub;
using testing::kMiB;
using testing::Random;
using testing::SharedCounter;

ClaimRequest Request(const std::string& name, bool durable = false) {
  return {.name = name,
          .durable = durable,
          .pid = static_cast<std::uint32_t>(getpid()),
          .boot_id = {1, 2}};
}

class PeerTableRaceTest : public ::testing::TestWithParam<bool> {};

// N processes claim one name at the same instant, many rounds: one gets it, and the others are told
// by whom it is held.
TEST_P(PeerTableRaceTest, ExactlyOneProcessGetsAName) {
  constexpr unsigned kProcesses = 4;
  constexpr unsigned kRounds = 300;
  Hub hub(kMiB, {.max_peers = 8});
  SharedCounter arrived;
  SharedCounter won;
  SharedCounter judged;
  std::vector<Child> children;
  for (unsigned i = 0; i < kProcesses; ++i) {
    children.push_back(Child::Fork([&, i] {
      EventfdTransport transport(hub, static_cast<std::uint16_t>(i), {.locks = GetParam()});
      const PeerTable table(hub.region());
      for (unsigned round = 0; round < kRounds; ++round) {
        arrived.Add();
        arrived.AwaitAtLeast((round + 1) * kProcesses);
        const Result<ClaimedSlot> claimed = table.Claim(Request("vm1"), transport);
        if (claimed.ok()) {
          won.Add();
        } else {
          EXPECT_EQ(claimed.status().code(), StatusCode::kAlreadyExists)
              << claimed.status().ToString();
          EXPECT_THAT(
              claimed.status().message(),
              ::testing::AllOf(::testing::HasSubstr("'vm1' is held by slot"),
                               ::testing::HasSubstr("pid "), ::testing::HasSubstr("ivposition ")));
        }
        judged.Add();
        judged.AwaitAtLeast((round + 1) * kProcesses);
        EXPECT_EQ(won.value(), round + 1) << "winners up to round " << round;
        if (claimed.ok()) table.Leave(*claimed, transport);
        if (::testing::Test::HasFailure()) break;
      }
      // Whoever failed must not hold up the others.
      arrived.Add(kRounds * kProcesses);
      judged.Add(kRounds * kProcesses);
    }));
  }
  for (Child& child : children) EXPECT_EQ(child.Wait(), 0);
  EXPECT_TRUE(PeerTable(hub.region()).Snapshot().peers.empty());
}

TEST_P(PeerTableRaceTest, ProcessesThatClaimDifferentNamesAtOnceAllSucceed) {
  constexpr unsigned kProcesses = 4;
  constexpr unsigned kRounds = 300;
  Hub hub(kMiB, {.max_peers = 8});
  SharedCounter arrived;
  SharedCounter done;
  std::vector<Child> children;
  for (unsigned i = 0; i < kProcesses; ++i) {
    children.push_back(Child::Fork([&, i] {
      EventfdTransport transport(hub, static_cast<std::uint16_t>(i), {.locks = GetParam()});
      const PeerTable table(hub.region());
      const std::string name = "vm" + std::to_string(i);
      for (unsigned round = 0; round < kRounds; ++round) {
        arrived.Add();
        arrived.AwaitAtLeast((round + 1) * kProcesses);
        const Result<ClaimedSlot> claimed = table.Claim(Request(name), transport);
        EXPECT_TRUE(claimed.ok()) << claimed.status().ToString();
        done.Add();
        done.AwaitAtLeast((round + 1) * kProcesses);
        if (!claimed.ok()) break;
        EXPECT_EQ(table.Find(name)->id, claimed->id);
        table.Leave(*claimed, transport);
      }
      arrived.Add(kRounds * kProcesses);
      done.Add(kRounds * kProcesses);
    }));
  }
  for (Child& child : children) EXPECT_EQ(child.Wait(), 0);
}

// A durable name's slot: its successors race for it after a crash.
TEST_P(PeerTableRaceTest, ExactlyOneSuccessorResumesADurableName) {
  constexpr unsigned kProcesses = 3;
  constexpr unsigned kRounds = 200;
  Hub hub(kMiB, {.max_peers = 8});
  SharedCounter arrived;
  SharedCounter won;
  SharedCounter judged;
  std::vector<Child> children;
  for (unsigned i = 0; i < kProcesses; ++i) {
    children.push_back(Child::Fork([&, i] {
      EventfdTransport transport(hub, static_cast<std::uint16_t>(i), {.locks = GetParam()});
      const PeerTable table(hub.region());
      for (unsigned round = 0; round < kRounds; ++round) {
        arrived.Add();
        arrived.AwaitAtLeast((round + 1) * kProcesses);
        const Result<ClaimedSlot> claimed = table.Claim(Request("db", true), transport);
        if (claimed.ok()) {
          won.Add();
          EXPECT_EQ(claimed->resumed, round != 0);
        }
        judged.Add();
        judged.AwaitAtLeast((round + 1) * kProcesses);
        EXPECT_EQ(won.value(), round + 1);
        if (claimed.ok()) table.Leave(*claimed, transport);
        if (::testing::Test::HasFailure()) break;
      }
      arrived.Add(kRounds * kProcesses);
      judged.Add(kRounds * kProcesses);
    }));
  }
  for (Child& child : children) EXPECT_EQ(child.Wait(), 0);
  EXPECT_EQ(PeerTable(hub.region()).Snapshot().peers.size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutLocks, PeerTableRaceTest, ::testing::Bool());

// Claimers that come and go are killed at any instant. Their names and slots come back.
TEST(PeerTableKillTest, AClaimerKilledAtAnyInstantLosesNoNameAndNoSlot) {
  Random random(testing::TestSeed());
  Hub hub(kMiB, {.max_peers = 2});
  const PeerTable table(hub.region());
  for (int round = 0; round < 60; ++round) {
    SharedCounter progress;
    Child claimer = Child::Fork([&] {
      EventfdTransport transport(hub, 1);
      for (;;) {
        const Result<ClaimedSlot> claimed = table.Claim(Request("a"), transport);
        EXPECT_TRUE(claimed.ok()) << claimed.status().ToString();
        progress.Add();
        if (claimed.ok()) table.Leave(*claimed, transport);
      }
    });
    progress.AwaitAtLeast(1 + static_cast<unsigned>(testing::Below(random, 50)));
    claimer.Kill();
    EventfdTransport observer(hub, 2);
    const Result<ClaimedSlot> claimed = table.Claim(Request("a"), observer);
    ASSERT_TRUE(claimed.ok()) << "round " << round << ": " << claimed.status().ToString();
    EventfdTransport second(hub, 3);
    const Result<ClaimedSlot> other = table.Claim(Request("b"), second);
    ASSERT_TRUE(other.ok()) << "round " << round << ": " << other.status().ToString();
    table.Leave(*other, second);
    table.Leave(*claimed, observer);
  }
}

// Killed after it went live: seen by the lock that nobody holds.
TEST(PeerTableKillTest, AKilledPeersSlotIsFreeForTheNext) {
  Hub hub(kMiB, {.max_peers = 2});
  const PeerTable table(hub.region());
  for (std::uint32_t round = 1; round <= 20; ++round) {
    SharedCounter live;
    Child peer = Child::Fork([&] {
      EventfdTransport transport(hub, 1);
      const Result<ClaimedSlot> claimed = table.Claim(Request("a"), transport);
      EXPECT_TRUE(claimed.ok()) << claimed.status().ToString();
      live.Add();
      for (;;) pause();
    });
    live.AwaitAtLeast(1);
    EventfdTransport observer(hub, 2);
    EXPECT_EQ(table.MarkUnlockedDead(observer, std::nullopt), 0U);
    EXPECT_EQ(table.Claim(Request("a"), observer).status().code(), StatusCode::kAlreadyExists);
    peer.Kill();
    EXPECT_EQ(table.MarkUnlockedDead(observer, std::nullopt), 1U);
    table.Reclaim();
    EXPECT_TRUE(table.Snapshot().peers.empty());
  }
}

}  // namespace
}  // namespace ivmq
