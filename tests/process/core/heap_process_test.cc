// Messages in heaps, while the processes at either end are killed.
#include <sched.h>

#include <chrono>
#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/node.h"

#include "support/arena_check.h"
#include "support/child.h"
#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using testing::Child;
using testing::Hub;
using testing::kKiB;
using testing::kMiB;
using testing::kWait;
using testing::OpenNode;
using testing::Random;
using testing::SharedCounter;

// Beyond a record, and not too large for many of them in a heap.
constexpr std::uint64_t kLarge = 100 * kKiB;
constexpr int kKills = 12;
constexpr FormatOptions kFormat{.max_peers = 4, .ring_capacity = 64 * kKiB};

// Polls until `done` says so, however long the other processes need.
template <typename Handler, typename Done>
void Receive(Node& node, Handler&& handler, Done&& done) {
  while (!done()) {
    if (node.Poll(handler) == 0) (void)node.Wait(std::chrono::milliseconds(100));
  }
}

// Sends a loan with the pattern of `number`, which is also its type.
void SendLoan(Sender& sender, std::uint32_t number) {
  Loan loan = sender.Loan(kLarge, {.type = number}, kWait);
  ASSERT_EQ(loan.result(), SendResult::kOk);
  testing::FillPattern(loan.payload(), number);
  ASSERT_EQ(loan.Publish(), SendResult::kOk);
}

class KilledSenderTest : public ::testing::TestWithParam<bool> {};

TEST_P(KilledSenderTest, WhatItPublishedArrivesWholeAndItsHeapComesBack) {
  const bool durable = GetParam();
  Random random(testing::TestSeed());
  Hub hub(32 * kMiB, kFormat);
  const Arena arena(hub.region());
  const std::uint32_t all = arena.Stats().units_free;
  SharedCounter open;
  SharedCounter published;
  SharedCounter handled;
  SharedCounter over;
  Child receiver = Child::Fork([&] {
    auto node = OpenNode(hub, 1, {.name = "receiver"});
    open.Add();
    PeerId from;
    std::uint32_t next = 0;
    Receive(
        *node,
        [&](const Message& message) {
          if (message.from != from) next = message.type;
          from = message.from;
          EXPECT_EQ(message.type, next) << "of one life nothing is missing";
          next = message.type + 1;
          EXPECT_TRUE(testing::HasPattern(message.payload, message.type));
          handled.Add();
        },
        [&] {
          if (over.value() == 0) return false;
          if (durable) (void)PeerTable(hub.region()).Forget("sender");
          return node->Peers().peers.size() == 1 && arena.Stats().extents == 0;
        });
  });
  open.AwaitAtLeast(1);
  for (int round = 0; round < kKills; ++round) {
    Child sender = Child::Fork([&] {
      auto node = OpenNode(hub, 2, {.name = "sender", .durable = durable});
      Result<Sender> to = node->OpenSender("receiver");
      for (std::uint32_t number = 0;; ++number) {
        SendLoan(*to, number);
        published.Add();
      }
    });
    published.AwaitAtLeast(published.value() + 1 +
                           static_cast<unsigned>(testing::Below(random, 30)));
    for (std::uint64_t i = testing::Below(random, 200); i > 0; --i) sched_yield();
    sender.Kill();
    testing::ExpectRunsDisjoint(hub.region());
  }
  over.Add();
  EXPECT_EQ(receiver.Wait(), 0);
  EXPECT_GE(handled.value(), published.value());
  PeerTable(hub.region()).Reclaim();
  EXPECT_EQ(arena.Stats().units_free, all);
}

INSTANTIATE_TEST_SUITE_P(Kinds, KilledSenderTest, ::testing::Bool(), [](const auto& durable) {
  return durable.param ? "Durable" : "Ephemeral";
});

TEST(KilledReceiverTest, ADurableOnesSuccessorsGetEveryMessageWhole) {
  Random random(testing::TestSeed());
  Hub hub(32 * kMiB, kFormat);
  SharedCounter handled;
  SharedCounter over;
  const auto receive = [&](bool is_last) {
    auto node = OpenNode(hub, 1, {.name = "receiver", .durable = true});
    Receive(
        *node,
        [&](const Message& message) {
          EXPECT_TRUE(testing::HasPattern(message.payload, message.type));
          if (message.type == handled.value()) {
            handled.Add();
          } else {
            EXPECT_LT(message.type, handled.value()) << "one is missing";
            EXPECT_TRUE(message.redelivered);
          }
        },
        [&] { return is_last && over.value() != 0 && node->Peers().peers.size() == 1; });
    EXPECT_EQ(node->counter(Counter::kFragmentsReceived), 0U);
  };
  Child receiver = Child::Fork([&] { receive(false); });
  Child sender = Child::Fork([&] {
    auto node = OpenNode(hub, 2, {.name = "sender"});
    ASSERT_TRUE(node->Await("receiver", testing::kPatience).ok());
    Result<Sender> to = node->OpenSender("receiver");
    for (std::uint32_t number = 0; over.value() == 0; ++number) {
      // So many that their memory is used again and again, and the heap has room for all.
      while (handled.value() + 8 <= number && over.value() == 0) sched_yield();
      SendLoan(*to, number);
    }
  });
  for (int round = 0; round < kKills; ++round) {
    handled.AwaitAtLeast(handled.value() + 1 + static_cast<unsigned>(testing::Below(random, 20)));
    for (std::uint64_t i = testing::Below(random, 200); i > 0; --i) sched_yield();
    receiver.Kill();
    testing::ExpectRunsDisjoint(hub.region());
    receiver = Child::Fork([&, round] { receive(round == kKills - 1); });
  }
  over.Add();
  EXPECT_EQ(sender.Wait(), 0);
  EXPECT_EQ(receiver.Wait(), 0);
}

}  // namespace
}  // namespace ivmq
