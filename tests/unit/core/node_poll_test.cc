// Threads that send at once, and the handlers of a poll.
#include <array>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/random.h"

namespace ivmq {
namespace {

using ::testing::ElementsAre;
using testing::kIgnore;
using testing::kWait;
using testing::NodeTest;
using testing::PollUntil;
using testing::ReceiveTexts;

TEST_F(NodeTest, ThreadsMaySendAtOnceToOneAndToManyPeers) {
  auto a = Open("a");
  auto b = Open("b");
  auto c = Open("c");
  constexpr std::uint32_t kThreads = 4;
  constexpr std::uint32_t kEach = 1500;
  std::vector<std::thread> senders;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    senders.emplace_back([&, t] {
      for (std::uint32_t i = 0; i < kEach; ++i) {
        const auto bytes = testing::Pattern(i % 100, i);
        for (Node* to : {b.get(), c.get()}) {
          EXPECT_EQ(a->Send(to->id(), {.type = t << 24 | i}, bytes, kWait), SendResult::kOk);
        }
      }
    });
  }
  std::thread second_receiver;
  const auto receive = [&](Node& node) {
    std::array<std::uint32_t, kThreads> next{};
    std::uint32_t received = 0;
    EXPECT_TRUE(PollUntil(
        node,
        [&](const Message& message) {
          const std::uint32_t t = message.type >> 24;
          const std::uint32_t i = message.type & 0xffffff;
          ASSERT_LT(t, kThreads);
          EXPECT_EQ(i, next[t]++) << "each thread's messages keep their order";
          EXPECT_TRUE(testing::HasPattern(message.payload, i));
          ++received;
        },
        [&] { return received == kThreads * kEach; }));
  };
  second_receiver = std::thread([&] { receive(*c); });
  receive(*b);
  second_receiver.join();
  for (std::thread& sender : senders) sender.join();
}

TEST_F(NodeTest, AHandlerMaySendAndLookAround) {
  auto a = Open("a");
  auto b = Open("b");
  ASSERT_EQ(a->Send(b->id(), "question"), SendResult::kOk);
  bool answered = false;
  EXPECT_TRUE(PollUntil(
      *b,
      [&](const Message& message) {
        EXPECT_EQ(b->Poll(kIgnore), 0U) << "polling within a handler does nothing";
        EXPECT_EQ(b->Peers().peers.size(), 2U);
        EXPECT_EQ(b->Send(message.from, "answer"), SendResult::kOk);
        answered = true;
      },
      [&] { return answered; }));
  EXPECT_THAT(ReceiveTexts(*a, 1), ElementsAre("answer"));
}

TEST_F(NodeTest, ReceivingIsFairAmongSenders) {
  auto hub_node = Open("hub");
  auto busy = Open("busy");
  auto quiet = Open("quiet");
  while (busy->Send(hub_node->id(), "b") == SendResult::kOk) {
  }
  ASSERT_EQ(quiet->Send(hub_node->id(), "q"), SendResult::kOk);
  bool heard = false;
  for (int polls = 0; polls < 10 && !heard; ++polls) {
    (void)hub_node->Poll(
        [&](const Message& message) {
          if (message.from == quiet->id()) heard = true;
        },
        8);
    while (busy->Send(hub_node->id(), "b") == SendResult::kOk) {
    }
  }
  EXPECT_TRUE(heard) << "a busy ring starved a quiet one";
}

TEST_F(NodeTest, APollHandlesNoMoreThanItsLimit) {
  auto a = Open("a");
  auto b = Open("b");
  for (int i = 0; i < 10; ++i) ASSERT_EQ(a->Send(b->id(), "x"), SendResult::kOk);
  std::size_t calls = 0;
  EXPECT_EQ(b->Poll([&](const Message&) { ++calls; }, 3), 3U);
  EXPECT_EQ(calls, 3U);
  EXPECT_EQ(ReceiveTexts(*b, 7).size(), 7U);
}

}  // namespace
}  // namespace ivmq
