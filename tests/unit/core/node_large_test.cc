// Messages larger than a record.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using layout::FrameKind;
using std::chrono::milliseconds;
using testing::kIgnore;
using testing::kMiB;
using testing::kWait;
using testing::PollUntil;

class NodeLargeTest : public testing::NodeTest {};

TEST_F(NodeLargeTest, SixtyFourMiBArriveWhole) {
  auto a = Open("a");
  auto b = Open("b");
  std::thread sender([&] {
    EXPECT_EQ(a->Send(b->id(), {.kind = FrameKind::kTypedByName, .name = "pkg.Big"},
                      testing::Pattern(64 * kMiB, 3), kWait),
              SendResult::kOk);
  });
  bool received = false;
  EXPECT_TRUE(PollUntil(
      *b,
      [&](const Message& message) {
        EXPECT_EQ(message.type_name, "pkg.Big");
        EXPECT_EQ(message.payload.size(), 64 * kMiB);
        EXPECT_TRUE(testing::HasPattern(message.payload, 3));
        received = true;
      },
      [&] { return received; }));
  sender.join();
  EXPECT_GT(b->counter(Counter::kFragmentsReceived), 64U);
  EXPECT_EQ(b->counter(Counter::kAssembliesLost), 0U);
}

TEST_F(NodeLargeTest, SmallMessagesInterleaveWithALargeOne) {
  auto a = Open("a");
  auto b = Open("b");
  std::atomic<bool> large_sent{false};
  std::atomic<std::uint32_t> small_sent{0};
  std::thread large([&] {
    EXPECT_EQ(a->Send(b->id(), {.type = 1}, testing::Pattern(8 * kMiB, 1), kWait), SendResult::kOk);
    large_sent = true;
  });
  std::thread small([&] {
    while (!large_sent) {
      EXPECT_EQ(a->Send(b->id(), {.type = 2}, testing::Pattern(50, small_sent), kWait),
                SendResult::kOk);
      ++small_sent;
    }
  });
  std::uint32_t small_received = 0;
  std::uint32_t small_before_large = 0;
  bool large_received = false;
  EXPECT_TRUE(PollUntil(
      *b,
      [&](const Message& message) {
        if (message.type == 1) {
          EXPECT_EQ(message.payload.size(), 8 * kMiB);
          EXPECT_TRUE(testing::HasPattern(message.payload, 1));
          large_received = true;
          small_before_large = small_received;
        } else {
          EXPECT_TRUE(testing::HasPattern(message.payload, small_received));
          ++small_received;
        }
      },
      [&] { return large_received && large_sent && small_received == small_sent; }));
  large.join();
  small.join();
  EXPECT_GT(small_before_large, 0U);
}

// The bound holds one message of these; all senders get through in turn.
TEST_F(NodeLargeTest, SeveralLargeSendersShareABoundThatHoldsOne) {
  auto b = Open("b", {.max_message_bytes = kMiB, .reassembly_bytes = kMiB});
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<std::thread> senders;
  for (std::uint32_t i = 0; i < 3; ++i) {
    nodes.push_back(Open("n" + std::to_string(i)));
    senders.emplace_back([&, i, node = nodes.back().get()] {
      for (std::uint32_t k = 0; k < 4; ++k) {
        EXPECT_EQ(node->Send(b->id(), {.type = i}, testing::Pattern(kMiB - k, i), kWait),
                  SendResult::kOk);
      }
    });
  }
  std::map<std::uint32_t, std::uint64_t> received;
  EXPECT_TRUE(PollUntil(
      *b,
      [&](const Message& message) {
        EXPECT_EQ(message.payload.size(), kMiB - received[message.type]);
        EXPECT_TRUE(testing::HasPattern(message.payload, message.type));
        ++received[message.type];
      },
      [&] { return received[0] + received[1] + received[2] == 12; }));
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(b->counter(Counter::kAssembliesLost), 0U);
}

TEST_F(NodeLargeTest, ALargeMessageDoesNotStartInAFullRing) {
  auto a = Open("a");
  auto b = Open("b");
  std::size_t small = 0;
  while (a->Send(b->id(), testing::Pattern(100, 1)) == SendResult::kOk) ++small;
  EXPECT_EQ(a->Send(b->id(), testing::Pattern(kMiB, 1)), SendResult::kFull);
  EXPECT_EQ(a->Send(b->id(), testing::Pattern(kMiB, 1), {.when_full = WhenFull::kDrop}),
            SendResult::kDropped);
  std::size_t received = 0;
  EXPECT_TRUE(PollUntil(
      *b, [&](const Message&) { ++received; }, [&] { return received == small; }));
  EXPECT_EQ(b->counter(Counter::kFragmentsReceived), 0U);
}

// Its receiver does not poll, so the sender gives up midway. Nobody else must wait for the rest.
TEST_F(NodeLargeTest, WithoutATimeoutALargeMessageIsSentAtOnceOrNotAtAll) {
  auto a = Open("a");
  auto b = Open("b");
  const std::uint64_t record = a->MaxRecordMessage(b->id(), {});
  const SendOptions at_once{.timeout = std::chrono::nanoseconds(0)};
  EXPECT_EQ(a->Send(b->id(), testing::Pattern(record * 5 / 2, 1), at_once), SendResult::kFull);
  EXPECT_EQ(a->Send(b->id(), testing::Pattern(record * 3 / 2, 2), at_once), SendResult::kOk);
  EXPECT_EQ(a->Send(b->id(), testing::Pattern(record * 3 / 2, 3), at_once), SendResult::kFull);
  EXPECT_EQ(a->Send(b->id(), testing::Pattern(record * 3 / 2, 3),
                    {.when_full = WhenFull::kDrop, .timeout = std::chrono::nanoseconds(0)}),
            SendResult::kDropped);
  std::size_t got = 0;
  EXPECT_TRUE(PollUntil(
      *b, [&](const Message& message) { got = message.payload.size(); }, [&] { return got != 0; }));
  EXPECT_EQ(got, record * 3 / 2);
  EXPECT_EQ(a->Send(b->id(), testing::Pattern(record * 3 / 2, 4), at_once), SendResult::kOk);
  EXPECT_EQ(b->Poll(kIgnore), 1U);
  EXPECT_EQ(b->counter(Counter::kAssembliesLost), 0U);
}

TEST_F(NodeLargeTest, AMessageGivenUpMidwayDoesNotBlockOtherSenders) {
  auto a = Open("a");
  auto c = Open("c");
  auto b = Open("b", {.max_message_bytes = kMiB, .reassembly_bytes = kMiB});
  ASSERT_EQ(a->Send(b->id(), testing::Pattern(kMiB, 1),
                    {.when_full = WhenFull::kWait, .timeout = milliseconds(1)}),
            SendResult::kTimedOut);
  std::thread sender(
      [&] { EXPECT_EQ(c->Send(b->id(), testing::Pattern(kMiB, 2), kWait), SendResult::kOk); });
  testing::ReceivePattern(*b, c->id(), 2);
  sender.join();
  EXPECT_EQ(b->counter(Counter::kAssembliesLost), 1U);
  // And the first sender goes on.
  EXPECT_EQ(a->Send(b->id(), "small", kWait), SendResult::kOk);
  EXPECT_THAT(testing::ReceiveTexts(*b, 1), ::testing::ElementsAre("small"));
}

TEST_F(NodeLargeTest, ASenderThatLeavesMidwayIsReportedAndItsMemoryIsFree) {
  std::atomic<int> reports{0};
  auto b = Open(
      "b",
      {.max_message_bytes = kMiB, .reassembly_bytes = kMiB, .on_report = [&](const Status& status) {
         EXPECT_EQ(status.code(), StatusCode::kDataLoss);
         ++reports;
       }});
  auto a = Open("a");
  ASSERT_EQ(a->Send(b->id(), testing::Pattern(kMiB, 1),
                    {.when_full = WhenFull::kWait, .timeout = milliseconds(1)}),
            SendResult::kTimedOut);
  a.reset();
  EXPECT_TRUE(PollUntil(*b, kIgnore, [&] { return reports > 0; }));
  EXPECT_EQ(b->counter(Counter::kAssembliesLost), 1U);
  auto c = Open("c");
  std::thread sender(
      [&] { EXPECT_EQ(c->Send(b->id(), testing::Pattern(kMiB, 2), kWait), SendResult::kOk); });
  EXPECT_EQ(testing::ReceiveTexts(*b, 1)[0].size(), kMiB);
  sender.join();
}

}  // namespace
}  // namespace ivmq
