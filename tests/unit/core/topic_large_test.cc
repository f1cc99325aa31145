// Large messages of topics: they lie in the heap once, for all subscribers.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/layout.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"
#include "topic_fixture.h"

namespace ivmq {
namespace {

using layout::Counter;
using testing::kIgnore;
using testing::kMiB;
using testing::kPatience;
using testing::OpenNode;
using testing::PollUntil;

constexpr std::size_t kLarge = 1'000'000;

class TopicLargeTest : public testing::TopicFixture {
 protected:
  // Where a subscriber found each message, and its number.
  struct Found {
    const std::byte* at;
    std::uint64_t sequence;
    bool is_history;
  };
  static Subscription Subscribe(Node& node, std::vector<Found>& found,
                                const SubscribeOptions& options = {}) {
    Result<Subscription> subscription = node.Subscribe(
        "camera",
        [&found](const TopicMessage& m) {
          EXPECT_TRUE(testing::HasPattern(m.message.payload, m.sequence));
          found.push_back({m.message.payload.data(), m.sequence, m.is_history});
        },
        options);
    EXPECT_TRUE(subscription.ok());
    return *std::move(subscription);
  }
  static void Await(Node& node, const std::vector<Found>& found, std::size_t count) {
    EXPECT_TRUE(PollUntil(node, kIgnore, [&] { return found.size() >= count; }));
  }
};

TEST_F(TopicLargeTest, AMessageLiesOnceWhateverTheNumberOfSubscribers) {
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<std::vector<Found>> found(4);
  std::vector<Subscription> subscriptions;
  for (std::size_t i = 0; i < found.size(); ++i) {
    nodes.push_back(Open("subscriber" + std::to_string(i), {.trust_peers = true}));
    subscriptions.push_back(Subscribe(*nodes.back(), found[i]));
  }
  Topic topic = Advertise(*a_, "camera");
  ASSERT_EQ(topic.Publish(testing::Pattern(kLarge, 1)), SendResult::kOk);
  TopicLoan loan = topic.Loan(kLarge);
  ASSERT_EQ(loan->result(), SendResult::kOk);
  testing::FillPattern(loan->payload(), 2);
  const std::byte* const lent = loan->payload().data();
  ASSERT_EQ(loan->Publish(), SendResult::kOk);
  for (std::size_t i = 0; i < found.size(); ++i) {
    Await(*nodes[i], found[i], 2);
    EXPECT_EQ(found[i][0].at, found[0][0].at);
    EXPECT_EQ(found[i][1].at, lent);
    EXPECT_EQ(nodes[i]->counter(Counter::kFragmentsReceived), 0U);
  }
}

TEST_F(TopicLargeTest, ItsRoomIsUsedAgainWhenAllHaveHandledIt) {
  const auto c = Open("c");
  std::vector<Found> at_b;
  std::vector<Found> at_c;
  const Subscription subscriptions[] = {Subscribe(*b_, at_b), Subscribe(*c, at_c)};
  Topic topic = Advertise(*a_, "camera", {.history = 1});
  for (std::uint64_t i = 1; i <= 50; ++i) {
    ASSERT_EQ(topic.Publish(testing::Pattern(kLarge, i)), SendResult::kOk);
    Await(*b_, at_b, i);
    Await(*c, at_c, i);
  }
  EXPECT_EQ(b_->counter(Counter::kFragmentsReceived), 0U);
  EXPECT_EQ(topic.dropped(), 0U);
}

TEST_F(TopicLargeTest, ALateSubscriberGetsTheLastOneAtOnce) {
  Topic topic = Advertise(*a_, "camera", {.history = 1});
  for (std::uint64_t i = 1; i <= 3; ++i) {
    ASSERT_EQ(topic.Publish(testing::Pattern(kLarge, i)), SendResult::kOk);
  }
  std::vector<Found> found;
  const Subscription subscription = Subscribe(*b_, found);
  Await(*b_, found, 1);
  EXPECT_EQ(found[0].sequence, 3U);
  EXPECT_TRUE(found[0].is_history);
}

TEST_F(TopicLargeTest, WithoutRoomInTheArenaAMessageGoesInFragmentsToEach) {
  testing::Hub small(kMiB, {.max_peers = 4});
  auto from = OpenNode(small, 1, {.name = "from"});
  auto one = OpenNode(small, 2, {.name = "one"});
  auto two = OpenNode(small, 3, {.name = "two"});
  std::vector<Found> at_one;
  std::vector<Found> at_two;
  const Subscription subscriptions[] = {Subscribe(*one, at_one),
                                        Subscribe(*two, at_two, {.when_slow = WhenSlow::kWait})};
  Topic topic = Advertise(*from, "camera", {.timeout = kPatience});
  std::thread publishing([&] {
    for (std::uint64_t i = 1; i <= 3; ++i) {
      EXPECT_EQ(topic.Publish(testing::Pattern(kLarge, i)), SendResult::kOk);
    }
  });
  std::thread reading([&] { Await(*one, at_one, 3); });
  Await(*two, at_two, 3);
  reading.join();
  publishing.join();
  EXPECT_GT(one->counter(Counter::kFragmentsReceived), 0U);
  EXPECT_EQ(topic.dropped(), 0U);
  EXPECT_EQ(Arena(small.region()).Stats().extents, 0U);
}

TEST_F(TopicLargeTest, WhoDoesNotReadFragmentsIsWaitedForOnce) {
  testing::Hub small(kMiB, {.max_peers = 4});
  auto from = OpenNode(small, 1, {.name = "from"});
  auto to = OpenNode(small, 2, {.name = "to"});
  std::vector<Found> found;
  const Subscription subscription = Subscribe(*to, found, {.when_slow = WhenSlow::kDropOldest});
  Topic topic = Advertise(*from, "camera", {.timeout = std::chrono::milliseconds(1)});
  for (std::uint64_t i = 1; i <= 20; ++i) {
    ASSERT_EQ(topic.Publish(testing::Pattern(kLarge, i)), SendResult::kOk);
  }
  EXPECT_EQ(topic.dropped(), 20U - 8) << "the one that was begun, and all but the last eight";
  EXPECT_TRUE(PollUntil(*to, kIgnore, [&] {
    (void)topic.Publish(testing::Pattern(10, topic.published() + 1));
    return !found.empty();
  }));
}

TEST_F(TopicLargeTest, LargeMessagesGoToSlowSubscribersToo) {
  constexpr std::uint64_t kCount = 20;
  const auto c = Open("c");
  std::atomic<std::uint64_t> quick{0};
  const Result<Subscription> quick_one =
      c->Subscribe("camera",
                   [&](const TopicMessage& m) {
                     EXPECT_TRUE(testing::HasPattern(m.message.payload, m.sequence));
                     quick = m.sequence;
                   },
                   {.when_slow = WhenSlow::kWait, .depth = 2});
  std::atomic<std::uint64_t> slow{0};
  std::atomic<bool> may_go_on{false};
  const Result<Subscription> slow_one =
      b_->Subscribe("camera",
                    [&](const TopicMessage& m) {
                      EXPECT_TRUE(testing::HasPattern(m.message.payload, m.sequence));
                      while (!may_go_on) std::this_thread::yield();
                      slow = m.sequence;
                    },
                    {.when_slow = WhenSlow::kDropOldest, .depth = 1});
  ASSERT_TRUE(quick_one.ok() && slow_one.ok());
  Topic topic = Advertise(*a_, "camera", {.timeout = kPatience});
  const auto poll_until_last = [](Node& node, std::atomic<std::uint64_t>& last) {
    EXPECT_TRUE(PollUntil(node, kIgnore, [&] { return last == kCount; }));
  };
  std::thread quickly([&] { poll_until_last(*c, quick); });
  std::thread slowly([&] { poll_until_last(*b_, slow); });
  for (std::uint64_t i = 1; i <= kCount; ++i) {
    ASSERT_EQ(topic.Publish(testing::Pattern(200'000, i)), SendResult::kOk);
  }
  quickly.join();
  EXPECT_LT(slow, kCount);
  may_go_on = true;
  poll_until_last(*a_, slow);
  slowly.join();
  EXPECT_EQ(quick_one->missed(), 0U);
  EXPECT_EQ(slow_one->received() + slow_one->missed(), kCount);
}

}  // namespace
}  // namespace ivmq
