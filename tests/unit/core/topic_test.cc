// Topics: from one publisher to all that have subscribed.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using ::testing::ElementsAre;
using testing::kIgnore;
using testing::kMiB;
using testing::PollUntil;

// What a subscription got.
struct Got {
  std::string topic;
  std::string text;
  std::uint64_t sequence = 0;
  std::uint64_t missed = 0;
  bool is_history = false;
};

class TopicTest : public testing::NodeTest {
 protected:
  TopicTest() : NodeTest(8 * kMiB, {.max_peers = 8, .ring_capacity = 256U << 10}) {
    a_ = Open("a");
    b_ = Open("b");
  }

  static Topic Advertise(Node& node, std::string_view name, const TopicOptions& options = {}) {
    Result<Topic> topic = node.Advertise(name, options);
    EXPECT_TRUE(topic.ok()) << topic.status().ToString();
    return *std::move(topic);
  }
  static Subscription Subscribe(Node& node, std::string_view pattern, std::vector<Got>& got,
                                const SubscribeOptions& options = {}) {
    Result<Subscription> subscription = node.Subscribe(
        pattern,
        [&got](const TopicMessage& message) {
          got.push_back({.topic = std::string(message.topic),
                         .text = std::string(message.message.text()),
                         .sequence = message.sequence,
                         .missed = message.missed,
                         .is_history = message.is_history});
        },
        options);
    EXPECT_TRUE(subscription.ok()) << subscription.status().ToString();
    return *std::move(subscription);
  }
  static void AwaitCount(Node& node, const std::vector<Got>& got, std::size_t count) {
    EXPECT_TRUE(PollUntil(node, kIgnore, [&] { return got.size() >= count; }));
  }
  static std::vector<std::string> Texts(const std::vector<Got>& got) {
    std::vector<std::string> texts;
    for (const Got& one : got) texts.push_back(one.text);
    return texts;
  }

  std::unique_ptr<Node> a_;
  std::unique_ptr<Node> b_;
};

TEST_F(TopicTest, WhatIsPublishedArrivesInOrder) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "camera/front", got);
  Topic topic = Advertise(*a_, "camera/front");
  EXPECT_EQ(topic.subscribers(), 1U);
  EXPECT_EQ(topic.Publish("one"), SendResult::kOk);
  EXPECT_EQ(topic.Publish("two"), SendResult::kOk);
  AwaitCount(*b_, got, 2);
  EXPECT_THAT(Texts(got), ElementsAre("one", "two"));
  EXPECT_EQ(got[0].topic, "camera/front");
  EXPECT_EQ(got[0].sequence, 1U);
  EXPECT_EQ(got[1].sequence, 2U);
  EXPECT_EQ(subscription.received(), 2U);
  EXPECT_EQ(topic.published(), 2U);
}

}  // namespace
}  // namespace ivmq
