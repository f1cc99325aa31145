// Nodes that publish and subscribe within one process.
#ifndef IVMQ_TESTS_UNIT_CORE_TOPIC_FIXTURE_H_
#define IVMQ_TESTS_UNIT_CORE_TOPIC_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/peer_table.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq::testing {

// What a subscription got.
struct Got {
  std::string topic;
  std::string text;
  PeerId publisher;
  std::uint64_t sequence = 0;
  std::uint64_t missed = 0;
  bool is_history = false;
};

inline std::vector<std::string> TextsOf(const std::vector<Got>& got) {
  std::vector<std::string> texts;
  for (const Got& one : got) texts.push_back(one.text);
  return texts;
}

// "1" .. "4" for (1, 4).
inline std::vector<std::string> Numbers(int first, int last) {
  std::vector<std::string> numbers;
  for (int i = first; i <= last; ++i) numbers.push_back(std::to_string(i));
  return numbers;
}

// A publisher `a_` and a subscriber `b_`.
class TopicFixture : public NodeTest {
 protected:
  TopicFixture() : NodeTest(8 * kMiB, {.max_peers = 8, .ring_capacity = 256U << 10}) {
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
                         .publisher = message.publisher,
                         .sequence = message.sequence,
                         .missed = message.missed,
                         .is_history = message.is_history});
        },
        options);
    EXPECT_TRUE(subscription.ok()) << subscription.status().ToString();
    return *std::move(subscription);
  }
  // Publishes the numbers, one message each.
  static void PublishNumbers(Topic& topic, int first, int last) {
    for (int i = first; i <= last; ++i) {
      EXPECT_EQ(topic.Publish(std::to_string(i)), SendResult::kOk);
    }
  }
  // Polls the node until the subscription has got so many.
  static void AwaitCount(Node& node, const std::vector<Got>& got, std::size_t count) {
    EXPECT_TRUE(PollUntil(node, kIgnore, [&] { return got.size() >= count; })) << got.size();
  }
  // Polls until nothing waits in the rings.
  static void Drain(Node& node) {
    while (node.Poll(kIgnore) != 0) {
    }
  }
  // As a server does that took the end of something for the node's death.
  void DeclareDead(const Node& node) {
    ASSERT_EQ(PeerTable(region()).MarkIvpositionDead(node.transport().info().ivposition), 1U);
  }

  std::unique_ptr<Node> a_;
  std::unique_ptr<Node> b_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_UNIT_CORE_TOPIC_FIXTURE_H_
