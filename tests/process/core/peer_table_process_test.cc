// Claims that race, and claimers that are killed.
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <functional>
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

class PeerTableRaceTest : public ::testing::TestWithParam<bool> {
 protected:
  // What a process claims, and what it must get, in each round.
  struct Claimer {
    std::function<ClaimRequest(unsigned process)> request;
    std::function<void(unsigned round, const Result<ClaimedSlot>&)> judge;
  };

  // The processes claim at the same instant, many rounds, and leave once all have claimed. `winners`
  // of them get a slot in each round.
  void Race(unsigned processes, unsigned rounds, unsigned winners, const Claimer& claimer) {
    SharedCounter arrived;
    SharedCounter won;
    SharedCounter judged;
    std::vector<Child> children;
    for (unsigned i = 0; i < processes; ++i) {
      children.push_back(Child::Fork([&, i] {
        EventfdTransport transport(hub_, static_cast<std::uint16_t>(i), {.locks = GetParam()});
        const PeerTable table(hub_.region());
        const ClaimRequest request = claimer.request(i);
        for (unsigned round = 0; round < rounds; ++round) {
          arrived.Add();
          arrived.AwaitAtLeast((round + 1) * processes);
          const Result<ClaimedSlot> claimed = table.Claim(request, transport);
          if (claimed.ok()) won.Add();
          claimer.judge(round, claimed);
          judged.Add();
          judged.AwaitAtLeast((round + 1) * processes);
          EXPECT_EQ(won.value(), (round + 1) * winners) << "winners up to round " << round;
          if (claimed.ok()) {
            EXPECT_EQ(table.Find(request.name)->id, claimed->id);
            table.Leave(*claimed, transport);
          }
          if (::testing::Test::HasFailure()) break;
        }
        // Whoever failed must not hold up the others.
        arrived.Add(rounds * processes);
        judged.Add(rounds * processes);
      }));
    }
    for (Child& child : children) EXPECT_EQ(child.Wait(), 0);
  }

  Hub hub_{kMiB, {.max_peers = 8}};
};

// One gets it, and the others are told by whom it is held.
TEST_P(PeerTableRaceTest, ExactlyOneProcessGetsAName) {
  Race(4, 300, 1,
       {.request = [](unsigned) { return Request("vm1"); },
        .judge =
            [](unsigned, const Result<ClaimedSlot>& claimed) {
              if (claimed.ok()) return;
              EXPECT_EQ(claimed.status().code(), StatusCode::kAlreadyExists)
                  << claimed.status().ToString();
              EXPECT_THAT(claimed.status().message(),
                          ::testing::AllOf(::testing::HasSubstr("'vm1' is held by slot"),
                                           ::testing::HasSubstr("pid "),
                                           ::testing::HasSubstr("ivposition ")));
            }});
  EXPECT_TRUE(PeerTable(hub_.region()).Snapshot().peers.empty());
}

TEST_P(PeerTableRaceTest, ProcessesThatClaimDifferentNamesAtOnceAllSucceed) {
  Race(4, 300, 4,
       {.request = [](unsigned process) { return Request("vm" + std::to_string(process)); },
        .judge =
            [](unsigned, const Result<ClaimedSlot>& claimed) {
              EXPECT_TRUE(claimed.ok()) << claimed.status().ToString();
            }});
}

// A durable name's slot: its successors race for it after a crash.
TEST_P(PeerTableRaceTest, ExactlyOneSuccessorResumesADurableName) {
  Race(3, 200, 1,
       {.request = [](unsigned) { return Request("db", true); },
        .judge =
            [](unsigned round, const Result<ClaimedSlot>& claimed) {
              if (claimed.ok()) {
                EXPECT_EQ(claimed->resumed, round != 0);
              }
            }});
  EXPECT_EQ(PeerTable(hub_.region()).Snapshot().peers.size(), 1U);
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
