// Nodes in several processes, some of which are killed.
#include <sched.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/node.h"

#include "support/child.h"
#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using std::chrono::milliseconds;
using testing::Child;
using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::kWait;
using testing::OpenNode;
using testing::PollUntil;
using testing::Random;
using testing::SharedCounter;

NodeOptions Named(const std::string& name, bool durable = false) {
  NodeOptions options;
  options.name = name;
  options.durable = durable;
  return options;
}

// Parents fork first and open their node afterwards: a node has a thread.
TEST(NodeProcessTest, AKilledPeerIsGoneAndItsSlotAndRingsComeBack) {
  Hub hub(kMiB, {.max_peers = 4});
  const Arena arena(hub.region());
  const std::uint32_t all_units = arena.Stats().units_free;
  for (int round = 0; round < 5; ++round) {
    Child peer = Child::Fork([&] {
      auto node = OpenNode(hub, 2, Named("victim"));
      const Result<PeerInfo> parent = node->Await("parent", testing::kPatience);
      ASSERT_TRUE(parent.ok()) << parent.status().ToString();
      for (;;) {
        (void)node->Send(parent->id, "alive", kWait);
        (void)node->Poll(kIgnore);
      }
    });
    auto node = OpenNode(hub, 1, Named("parent"));
    bool heard = false;
    PeerId victim;
    ASSERT_TRUE(PollUntil(
        *node,
        [&](const Message& message) {
          victim = message.from;
          heard = true;
        },
        [&] { return heard; }));
    EXPECT_EQ(node->Send(victim, "x", kWait), SendResult::kOk);
    peer.Kill();
    EXPECT_TRUE(PollUntil(*node, kIgnore, [&] {
      return node->Send(victim, "x", {.when_full = WhenFull::kDrop}) == SendResult::kPeerGone;
    }));
    EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return node->Peers().peers.size() == 1; }));
    EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return arena.Stats().units_free == all_units; }));
    EXPECT_EQ(node->Lookup("victim").status().code(), StatusCode::kNotFound);
  }
}

TEST(NodeProcessTest, AWatcherHearsOfAKilledPeer) {
  Hub hub(kMiB, {.max_peers = 4});
  SharedCounter open;
  Child peer = Child::Fork([&] {
    auto node = OpenNode(hub, 2, Named("victim"));
    open.Add();
    for (;;) pause();
  });
  open.AwaitAtLeast(1);
  auto node = OpenNode(hub, 1, Named("parent"));
  std::set<std::string> names;
  node->SetPeerWatcher([&](const PeerSnapshot& snapshot) {
    names.clear();
    for (const PeerInfo& info : snapshot.peers) {
      if (info.state == layout::PeerState::kLive) names.insert(info.name);
    }
  });
  EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return names.size() == 2; }));
  peer.Kill();
  EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return names == std::set<std::string>{"parent"}; }));
}

// A stopped peer is suspected, and no more: when it goes on, so does the traffic.
TEST(NodeProcessTest, AStoppedPeerIsSuspectedAndGoesOn) {
  Hub hub(kMiB, {.max_peers = 4});
  Child peer = Child::Fork([&] {
    auto node = OpenNode(hub, 2, Named("echo"));
    for (;;) {
      (void)node->Poll(
          [&](const Message& message) { (void)node->Send(message.from, message.payload, kWait); });
      (void)node->Wait(milliseconds(100));
    }
  });
  auto node = OpenNode(hub, 1, Named("parent"));
  const Result<PeerInfo> echo = node->Await("echo", testing::kPatience);
  ASSERT_TRUE(echo.ok()) << echo.status().ToString();
  peer.Stop();
  EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return node->Lookup("echo")->suspected; }));
  EXPECT_EQ(node->Lookup("echo")->state, layout::PeerState::kLive);
  EXPECT_EQ(node->Send(echo->id, "kept", kWait), SendResult::kOk);
  peer.Continue();
  EXPECT_THAT(testing::ReceiveTexts(*node, 1), ::testing::ElementsAre("kept"));
  EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return !node->Lookup("echo")->suspected; }));
}

TEST(NodeProcessTest, ADurableConsumerKilledInItsHandlerGetsTheMessageAgainMarked) {
  Hub hub(kMiB, {.max_peers = 4});
  SharedCounter open;
  const auto number = [](const Message& message) { return message.type; };
  Child first = Child::Fork([&] {
    auto node = OpenNode(hub, 2, Named("db", true));
    open.Add();
    (void)PollUntil(
        *node,
        [&](const Message& message) {
          EXPECT_FALSE(message.redelivered);
          if (number(message) == 3) (void)raise(SIGKILL);
        },
        [] { return false; });
  });
  open.AwaitAtLeast(1);
  // The second is forked before this process has threads; it waits for the first one's end.
  SharedCounter first_ended;
  Child second = Child::Fork([&] {
    first_ended.AwaitAtLeast(1);
    auto node = OpenNode(hub, 2, Named("db", true));
    std::uint32_t next = 3;
    EXPECT_TRUE(PollUntil(
        *node,
        [&](const Message& message) {
          EXPECT_EQ(number(message), next);
          EXPECT_EQ(message.redelivered, next == 3);
          ++next;
        },
        [&] { return next == 9; }));
    EXPECT_EQ(node->counter(Counter::kRedelivered), 1U);
  });
  {
    auto node = OpenNode(hub, 1, Named("parent"));
    const PeerId db = node->Await("db", testing::kPatience)->id;
    for (std::uint32_t i = 0; i < 6; ++i) {
      MessageType type;
      type.type = i;
      ASSERT_EQ(node->Send(db, type, {}, kWait), SendResult::kOk);
    }
    EXPECT_EQ(first.Wait(), 128 + SIGKILL);
    first_ended.Add();
    // It returns as another incarnation, with the same ring.
    PeerId again;
    ASSERT_TRUE(PollUntil(*node, kIgnore, [&] {
      const Result<PeerInfo> info = node->Lookup("db");
      if (!info.ok() || info->state != layout::PeerState::kLive || info->id == db) return false;
      again = info->id;
      return true;
    }));
    EXPECT_EQ(again.slot, db.slot);
    EXPECT_EQ(again.incarnation, db.incarnation + 1);
    for (std::uint32_t i = 6; i < 9; ++i) {
      MessageType type;
      type.type = i;
      ASSERT_EQ(node->Send(again, type, {}, kWait), SendResult::kOk);
    }
    EXPECT_EQ(second.Wait(), 0);
  }
}

// The sender of a durable name dies at any instant. What it had committed arrives, its successor
// goes on in the same ring, and nothing comes twice or torn.
TEST(NodeProcessTest, ADurableSenderKilledAtAnyInstantLosesNothingThatItSent) {
  Random random(testing::TestSeed());
  Hub hub(kMiB, {.max_peers = 4});
  testing::SharedMemory words(64);
  auto* sent = reinterpret_cast<std::atomic<std::uint32_t>*>(words.bytes().data());
  constexpr int kRounds = 15;
  SharedCounter round_started;
  SharedCounter progress;
  std::vector<Child> senders;
  for (unsigned round = 0; round < kRounds; ++round) {
    senders.push_back(Child::Fork([&, round] {
      round_started.AwaitAtLeast(round + 1);
      auto node = OpenNode(hub, 2, Named("source", true));
      const PeerId sink = node->Await("sink", testing::kPatience)->id;
      for (;;) {
        MessageType type;
        type.type = *sent;
        if (node->Send(sink, type, testing::Pattern(*sent % 500, *sent), kWait) ==
            SendResult::kOk) {
          // Killed between these two lines it sends one number again.
          ++*sent;
          progress.Add();
        }
      }
    }));
  }
  auto node = OpenNode(hub, 1, Named("sink"));
  std::uint32_t last = 0;
  bool first = true;
  std::uint32_t repeated = 0;
  const auto handler = [&](const Message& message) {
    if (!first && message.type == last) {
      ++repeated;
    } else {
      EXPECT_EQ(message.type, first ? 0 : last + 1);
    }
    EXPECT_TRUE(testing::HasPattern(message.payload, message.type));
    last = message.type;
    first = false;
  };
  for (unsigned round = 0; round < kRounds; ++round) {
    const unsigned before = progress.value();
    round_started.Add();
    const unsigned enough = before + 1 + static_cast<unsigned>(testing::Below(random, 3000));
    EXPECT_TRUE(PollUntil(*node, handler, [&] { return progress.value() >= enough; }));
    senders[round].Kill();
    EXPECT_TRUE(PollUntil(*node, handler, [&] { return !first && last + 1 >= *sent; }));
  }
  EXPECT_LE(repeated, static_cast<std::uint32_t>(kRounds));
  EXPECT_EQ(node->counter(Counter::kRingsPoisoned), 0U);
}

}  // namespace
}  // namespace ivmq
