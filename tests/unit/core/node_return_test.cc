// Durable peers that leave and come back: whose messages arrive, and from whom.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::kIgnore;
using testing::kMiB;
using testing::kWait;
using testing::OpenNode;
using ::testing::Pair;
using testing::PollUntil;

constexpr std::uint64_t kRing = std::uint64_t{64} << 10;
// Larger than a record, and yet a ring holds all of it.
constexpr std::uint64_t kLarge = kRing / 2 + kRing / 4;

class NodeReturnTest : public testing::NodeTest {
 protected:
  NodeReturnTest() : NodeTest(4 * kMiB, {.max_peers = 8, .ring_capacity = kRing}) {
    consumer_ = OpenDurable("consumer", 1);
    producer_ = OpenDurable("producer", 2);
  }

  std::unique_ptr<Node> OpenDurable(const std::string& name, std::uint16_t ivposition,
                                    NodeOptions options = {}) {
    options.name = name;
    options.durable = true;
    options.on_report = [this](const Status& status) {
      if (status.code() == StatusCode::kDataLoss) ++losses_;
    };
    return OpenNode(hub_, ivposition, std::move(options));
  }
  void ReturnProducer() {
    producer_.reset();
    producer_ = OpenDurable("producer", 2);
  }
  void ReturnConsumer() {
    consumer_.reset();
    consumer_ = OpenDurable("consumer", 1);
  }
  SendResult Send(std::string_view text) { return producer_->Send(consumer_->id(), text); }
  SendResult SendLarge(std::uint32_t number) {
    return producer_->Send(consumer_->id(), {.type = number}, testing::Pattern(kLarge, number));
  }
  // The next messages: text and incarnation of the sender.
  std::vector<std::pair<std::string, std::uint32_t>> Receive(std::size_t count) {
    std::vector<std::pair<std::string, std::uint32_t>> received;
    EXPECT_TRUE(PollUntil(
        *consumer_,
        [&](const Message& message) {
          received.emplace_back(message.text(), message.from.incarnation);
        },
        [&] { return received.size() >= count; }));
    return received;
  }
  // The numbers of the next messages, which must be large ones.
  std::vector<std::uint32_t> ReceiveLarge(std::size_t count) {
    std::vector<std::uint32_t> received;
    EXPECT_TRUE(PollUntil(
        *consumer_,
        [&](const Message& message) {
          EXPECT_EQ(message.payload.size(), kLarge);
          EXPECT_TRUE(testing::HasPattern(message.payload, message.type));
          received.push_back(message.type);
        },
        [&] { return received.size() >= count; }));
    return received;
  }

  std::atomic<int> losses_{0};
  std::unique_ptr<Node> consumer_;
  std::unique_ptr<Node> producer_;
};

TEST_F(NodeReturnTest, EveryMessageIsFromALifeThatCanBeAnswered) {
  for (int round = 0; round < 20; ++round) {
    ASSERT_EQ(Send("question"), SendResult::kOk);
    EXPECT_THAT(Receive(1), ElementsAre(Pair("question", producer_->id().incarnation)));
    EXPECT_EQ(consumer_->Send(producer_->id(), "answer"), SendResult::kOk);
    ReturnProducer();
  }
}

TEST_F(NodeReturnTest, WhatTheFormerLifeSentIsFromTheFormerLife) {
  const std::uint32_t first = producer_->id().incarnation;
  ASSERT_EQ(Send("of the first life"), SendResult::kOk);
  ReturnProducer();
  ASSERT_EQ(Send("of the second life"), SendResult::kOk);
  ReturnProducer();
  ReturnProducer();
  ASSERT_EQ(Send("of the fourth life"), SendResult::kOk);
  EXPECT_THAT(Receive(3),
              ElementsAre(Pair("of the first life", first), Pair("of the second life", first + 1),
                          Pair("of the fourth life", first + 3)));
}

TEST_F(NodeReturnTest, AConsumerThatReturnsKnowsWhoSentWhatItHasNotHandled) {
  const std::uint32_t first = producer_->id().incarnation;
  for (const char* text : {"1", "2"}) ASSERT_EQ(Send(text), SendResult::kOk);
  ReturnProducer();
  for (const char* text : {"3", "4"}) ASSERT_EQ(Send(text), SendResult::kOk);
  std::vector<std::pair<std::string, std::uint32_t>> received;
  for (int i = 0; i < 4; ++i) {
    ReturnConsumer();
    while (consumer_->Poll(
               [&](const Message& message) {
                 received.emplace_back(message.text(), message.from.incarnation);
               },
               1) == 0) {
    }
  }
  EXPECT_THAT(received, ElementsAre(Pair("1", first), Pair("2", first), Pair("3", first + 1),
                                    Pair("4", first + 1)));
}

// The mark needs room as well.
TEST_F(NodeReturnTest, NothingIsSentBeforeTheMarkThoughTheRingIsFull) {
  std::size_t sent = 0;
  while (Send("x") == SendResult::kOk) ++sent;
  const std::uint32_t first = producer_->id().incarnation;
  ReturnProducer();
  EXPECT_EQ(Send("y"), SendResult::kFull);
  std::thread sender(
      [&] { EXPECT_EQ(producer_->Send(consumer_->id(), "y", kWait), SendResult::kOk); });
  const auto received = Receive(sent + 1);
  sender.join();
  EXPECT_EQ(received[sent - 1], std::make_pair(std::string("x"), first));
  EXPECT_EQ(received[sent], std::make_pair(std::string("y"), first + 1));
}

// ---- Large messages ----

TEST_F(NodeReturnTest, LargeMessagesOfEachLifeArrive) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint32_t> received{0};
  std::thread poller([&] {
    while (!stop) {
      if (consumer_->Poll([&](const Message& message) {
            EXPECT_TRUE(testing::HasPattern(message.payload, message.type));
            EXPECT_EQ(message.type, received++);
          }) == 0) {
        (void)consumer_->Wait(milliseconds(100));
      }
    }
  });
  constexpr std::uint32_t kRounds = 20;
  for (std::uint32_t i = 0; i < kRounds; ++i) {
    EXPECT_EQ(producer_->Send(consumer_->id(), {.type = i}, testing::Pattern(kMiB, i), kWait),
              SendResult::kOk);
    ReturnProducer();
  }
  const auto all = [&] { return received == kRounds; };
  const auto deadline = std::chrono::steady_clock::now() + testing::kPatience;
  while (!all() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  stop = true;
  consumer_->Wake();
  poller.join();
  EXPECT_EQ(received, kRounds);
  EXPECT_EQ(losses_, 0);
}

TEST_F(NodeReturnTest, ALargeMessageThatWasSentArrivesThoughItsSenderIsAway) {
  ASSERT_EQ(SendLarge(1), SendResult::kOk);
  producer_.reset();
  EXPECT_THAT(ReceiveLarge(1), ElementsAre(1));
  EXPECT_EQ(losses_, 0);
}

TEST_F(NodeReturnTest, ALargeMessageThatWasHalfTakenArrivesThoughItsSenderReturns) {
  ASSERT_EQ(SendLarge(1), SendResult::kOk);
  while (consumer_->counter(Counter::kFragmentsReceived) == 0) (void)consumer_->Poll(kIgnore, 1);
  ReturnProducer();
  // Several rounds of housekeeping see the new life before the rest is taken.
  const auto& beat = hub_.region().slot(consumer_->id().slot).heartbeat;
  for (const std::uint64_t before = beat.load(); beat.load() < before + 3;) {
    std::this_thread::yield();
  }
  EXPECT_THAT(ReceiveLarge(1), ElementsAre(1));
  ASSERT_EQ(SendLarge(2), SendResult::kOk);
  EXPECT_THAT(ReceiveLarge(1), ElementsAre(2));
  EXPECT_EQ(losses_, 0);
}

TEST_F(NodeReturnTest, ALargeMessageThatWaitsForMemoryArrivesThoughItsSenderEnds) {
  consumer_.reset();
  consumer_ = OpenDurable("consumer", 1, {.max_message_bytes = kLarge, .reassembly_bytes = kLarge});
  auto other = OpenNode(hub_, 3, {.name = "other"});
  ASSERT_EQ(other->Send(consumer_->id(), {.type = 7}, testing::Pattern(kLarge, 7)),
            SendResult::kOk);
  while (consumer_->counter(Counter::kFragmentsReceived) == 0) (void)consumer_->Poll(kIgnore, 1);
  ASSERT_EQ(SendLarge(1), SendResult::kOk);
  ReturnProducer();
  EXPECT_THAT(ReceiveLarge(2), ::testing::UnorderedElementsAre(1, 7));
  EXPECT_EQ(losses_, 0);
}

TEST_F(NodeReturnTest, ALargeMessageIsTakenFromARingThatASuccessorCannotWrite) {
  ASSERT_EQ(SendLarge(1), SendResult::kOk);
  ASSERT_EQ(Send("lost"), SendResult::kOk);
  const RingView ring = RingOf(producer_->id(), consumer_->id());
  std::uint64_t position = 0;
  std::uint64_t last = 0;
  for (std::uint64_t word; (word = ring.CommitWordAt(position).load()) != 0;) {
    last = position;
    position += layout::RecordSize(layout::CommitLength(word));
  }
  ASSERT_GT(last, kLarge);
  ring.CommitWordAt(last).store(1);
  ReturnProducer();
  EXPECT_EQ(SendLarge(2), SendResult::kFull);
  EXPECT_THAT(ReceiveLarge(1), ElementsAre(1));
  std::thread sender([&] {
    EXPECT_EQ(producer_->Send(consumer_->id(), {.type = 2}, testing::Pattern(kLarge, 2), kWait),
              SendResult::kOk);
  });
  EXPECT_THAT(ReceiveLarge(1), ElementsAre(2));
  sender.join();
  EXPECT_TRUE(PollUntil(*consumer_, kIgnore, [&] { return losses_ > 0; }));
}

TEST_F(NodeReturnTest, ALargeMessageToAConsumerThatIsAwayArrivesWhenItReturns) {
  const PeerId to = consumer_->id();
  consumer_.reset();
  ASSERT_EQ(producer_->Send(to, {.type = 1}, testing::Pattern(kLarge, 1)), SendResult::kOk);
  producer_.reset();
  consumer_ = OpenDurable("consumer", 1);
  EXPECT_THAT(ReceiveLarge(1), ElementsAre(1));
  EXPECT_EQ(losses_, 0);
}

TEST_F(NodeReturnTest, ALargeMessageThatTheFormerLifeHalfTookIsReportedAsLost) {
  ASSERT_EQ(SendLarge(1), SendResult::kOk);
  while (consumer_->counter(Counter::kFragmentsReceived) == 0) (void)consumer_->Poll(kIgnore, 1);
  ReturnConsumer();
  ASSERT_EQ(Send("after"), SendResult::kOk);
  EXPECT_THAT(Receive(1), ElementsAre(Pair("after", producer_->id().incarnation)));
  EXPECT_TRUE(PollUntil(*consumer_, kIgnore, [&] { return losses_ == 1; }));
  EXPECT_EQ(consumer_->counter(Counter::kAssembliesLost), 1U);
}

TEST_F(NodeReturnTest, AHalfSentMessageOfTheFormerLifeEndsAtTheMark) {
  ASSERT_EQ(producer_->Send(consumer_->id(), testing::Pattern(kMiB, 1),
                            {.when_full = WhenFull::kWait, .timeout = milliseconds(1)}),
            SendResult::kTimedOut);
  ReturnProducer();
  std::thread sender([&] {
    EXPECT_EQ(producer_->Send(consumer_->id(), {.type = 2}, testing::Pattern(kLarge, 2), kWait),
              SendResult::kOk);
  });
  EXPECT_THAT(ReceiveLarge(1), ElementsAre(2));
  sender.join();
  EXPECT_EQ(consumer_->counter(Counter::kAssembliesLost), 1U);
}

}  // namespace
}  // namespace ivmq
