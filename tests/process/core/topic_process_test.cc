// Topics between processes, some of which are killed or stopped.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/child.h"
#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using testing::Child;
using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::kPatience;
using testing::OpenNode;
using testing::PollUntil;
using testing::SharedCounter;

// Checks the messages of a topic as they come, whoever publishes it: whole, in order, and what is
// missing is said.
class Checker {
 public:
  void Take(const TopicMessage& m) {
    std::uint64_t& last = last_[{m.publisher.slot, m.publisher.incarnation}];
    EXPECT_GT(m.sequence, last);
    if (last != 0) {
      EXPECT_EQ(m.missed, m.sequence - last - 1);
    }
    last = m.sequence;
    EXPECT_TRUE(testing::HasPattern(m.message.payload, m.sequence)) << m.sequence;
    ++count_;
  }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t publishers() const noexcept { return last_.size(); }

 private:
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> last_;
  std::size_t count_ = 0;
};

// Parents fork first and open their node afterwards: a node has a thread.

// Subscribes, and counts what it gets.
Child ForkSubscriber(Hub& hub, std::uint16_t ivposition, SharedCounter& got,
                     const SubscribeOptions& options) {
  return Child::Fork([&hub, ivposition, &got, options] {
    auto node = OpenNode(hub, ivposition, {.name = "subscriber" + std::to_string(ivposition)});
    Checker checker;
    const Result<Subscription> subscription = node->Subscribe(
        "camera/*",
        [&](const TopicMessage& m) {
          checker.Take(m);
          got.Add();
        },
        options);
    ASSERT_TRUE(subscription.ok());
    for (;;) {
      (void)node->Poll(kIgnore);
      (void)node->Wait(kPatience);
    }
  });
}

// Publishes without an end.
Child ForkPublisher(Hub& hub, std::uint16_t ivposition, const TopicOptions& options) {
  return Child::Fork([&hub, ivposition, options] {
    auto node = OpenNode(hub, ivposition, {.name = "publisher" + std::to_string(ivposition)});
    Result<Topic> topic = node->Advertise("camera/front", options);
    ASSERT_TRUE(topic.ok());
    for (std::uint64_t i = 1;; ++i) {
      const std::size_t size = i % 64 == 0 ? 150'000 : i * 37 % 3'000;
      (void)topic->Publish(testing::Pattern(size, i));
      (void)node->Poll(kIgnore);
    }
  });
}

TEST(TopicProcessTest, AKilledSubscriberHoldsUpNobody) {
  Hub hub(8 * kMiB, {.max_peers = 8, .ring_capacity = 256U << 10});
  for (const WhenSlow when_slow : {WhenSlow::kWait, WhenSlow::kDropOldest, WhenSlow::kDropNewest}) {
    SharedCounter got;
    SharedCounter victims;
    Child subscriber = ForkSubscriber(hub, 1, got, {.when_slow = WhenSlow::kWait});
    Child victim = ForkSubscriber(hub, 2, victims, {.when_slow = when_slow, .depth = 2});
    auto node = OpenNode(hub, 3, {.name = "publisher"});
    Result<Topic> topic = node->Advertise("camera/front", {.timeout = kPatience});
    ASSERT_TRUE(topic.ok());
    while (topic->subscribers() != 2) std::this_thread::yield();
    std::uint64_t published = 0;
    const auto publish = [&] {
      ++published;
      EXPECT_EQ(topic->Publish(testing::Pattern(published * 37 % 3'000, published)),
                SendResult::kOk);
    };
    while (victims.value() < 5) publish();
    victim.Stop();  // so that it is slow before it dies
    std::thread publishing([&] {
      for (int i = 0; i < 50; ++i) publish();
    });
    victim.Kill();
    publishing.join();
    EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return topic->subscribers() == 1; }));
    publish();
    got.AwaitAtLeast(static_cast<unsigned>(published));
    EXPECT_EQ(got.value(), published) << "the other one missed nothing";
  }
}

TEST(TopicProcessTest, AStoppedSubscriberCostsNobodyAnythingAndGoesOn) {
  Hub hub(8 * kMiB, {.max_peers = 8, .ring_capacity = 256U << 10});
  SharedCounter got;
  SharedCounter stopped;
  Child subscriber = ForkSubscriber(hub, 1, got, {.when_slow = WhenSlow::kWait});
  Child slow = ForkSubscriber(hub, 2, stopped, {.when_slow = WhenSlow::kDropOldest, .depth = 4});
  auto node = OpenNode(hub, 3, {.name = "publisher"});
  Result<Topic> topic = node->Advertise("camera/front", {.timeout = kPatience});
  ASSERT_TRUE(topic.ok());
  while (topic->subscribers() != 2) std::this_thread::yield();
  slow.Stop();
  const unsigned before = stopped.value();
  constexpr unsigned kCount = 500;
  for (std::uint64_t i = 1; i <= kCount; ++i) {
    ASSERT_EQ(topic->Publish(testing::Pattern(i * 37 % 3'000, i)), SendResult::kOk);
  }
  got.AwaitAtLeast(kCount);
  EXPECT_EQ(topic->dropped(), kCount - 8U);
  slow.Continue();
  EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return stopped.value() == before + 8; }));
}

TEST(TopicProcessTest, WhatAKilledPublisherPublishedArrivesWhole) {
  Hub hub(8 * kMiB, {.max_peers = 8, .ring_capacity = 256U << 10});
  std::vector<Child> publishers;
  for (std::uint16_t i = 1; i <= 2; ++i) {
    publishers.push_back(ForkPublisher(hub, i, {.history = 4, .timeout = kPatience}));
  }
  SharedCounter go_on;
  Child third = Child::Fork([&] {
    go_on.AwaitAtLeast(1);
    auto node = OpenNode(hub, 3, {.name = "third"});
    Result<Topic> topic = node->Advertise("camera/front");
    ASSERT_TRUE(topic.ok());
    while (topic->subscribers() == 0) std::this_thread::yield();
    EXPECT_EQ(topic->Publish(testing::Pattern(10, 1)), SendResult::kOk);
  });
  auto node = OpenNode(hub, 4, {.name = "subscriber"});
  Checker checker;
  const Result<Subscription> subscription =
      node->Subscribe("camera/*", [&](const TopicMessage& m) { checker.Take(m); },
                      {.when_slow = WhenSlow::kWait, .depth = 32});
  ASSERT_TRUE(subscription.ok());
  EXPECT_TRUE(PollUntil(*node, kIgnore,
                        [&] { return checker.publishers() == 2 && checker.count() > 200; }));
  for (Child& publisher : publishers) publisher.Kill();
  // Another one publishes the same topic.
  go_on.Add();
  EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return checker.publishers() == 3; }));
  EXPECT_EQ(third.Wait(), 0);
  EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return node->Peers().peers.size() == 1; }));
  EXPECT_EQ(subscription->missed(), 0U);
}

// Whenever either dies, what comes is whole and in order, and their memory comes back.
TEST(TopicProcessTest, PublishersAndSubscribersKilledAtAnyInstantLeaveTheOthersWell) {
  Hub hub(8 * kMiB, {.max_peers = 8, .ring_capacity = 256U << 10});
  testing::Random random(testing::TestSeed());
  SharedCounter steady;
  Child subscriber = ForkSubscriber(hub, 1, steady, {.when_slow = WhenSlow::kWait});
  for (int round = 0; round < 15; ++round) {
    SharedCounter got;
    const auto when_slow = static_cast<WhenSlow>(testing::Below(random, 3));
    Child victim = ForkSubscriber(hub, 2, got, {.when_slow = when_slow, .depth = 3});
    Child publisher = ForkPublisher(hub, 3, {.history = 2, .timeout = kPatience});
    got.AwaitAtLeast(1 + static_cast<unsigned>(testing::Below(random, 300)));
    if (testing::Below(random, 2) == 0) {
      victim.Kill();
      steady.AwaitAtLeast(steady.value() + 100);
      publisher.Kill();
    } else {
      publisher.Kill();
      victim.Kill();
    }
  }
  auto node = OpenNode(hub, 4, {.name = "observer"});
  EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return node->Peers().peers.size() == 2; }));
  subscriber.Kill();
}

}  // namespace
}  // namespace ivmq
