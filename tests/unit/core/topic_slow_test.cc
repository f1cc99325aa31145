// Subscribers that are slow or late: what they get, and what they cost.
#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/layout.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/random.h"
#include "topic_fixture.h"

namespace ivmq {
namespace {

using layout::Counter;
using ::testing::ElementsAre;
using testing::Got;
using ::testing::IsEmpty;
using testing::kIgnore;
using testing::kPatience;
using testing::Numbers;
using testing::PollUntil;
using testing::TextsOf;

class TopicSlowTest : public testing::TopicFixture {
 protected:
  static std::vector<std::string> Concat(std::vector<std::string> first,
                                         const std::vector<std::string>& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
  }
  // Has the publisher's poller do what it does now and then, until the subscriber has so many.
  void AwaitWithBoth(const std::vector<Got>& got, std::size_t count) {
    EXPECT_TRUE(PollUntil(*b_, kIgnore, [&] {
      (void)a_->Poll(kIgnore);
      return got.size() >= count;
    }));
  }
};

// ---- As the subscriber chose ----

TEST_F(TopicSlowTest, TheNewestAreDropped) {
  std::vector<Got> got;
  const Subscription subscription =
      Subscribe(*b_, "news", got, {.when_slow = WhenSlow::kDropNewest, .depth = 4});
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 10);
  EXPECT_EQ(topic.dropped(), 6U);
  EXPECT_EQ(a_->counter(Counter::kTopicsDropped), 6U);
  Drain(*b_);
  EXPECT_EQ(TextsOf(got), Numbers(1, 4));
  PublishNumbers(topic, 11, 12);
  AwaitCount(*b_, got, 6);
  EXPECT_EQ(TextsOf(got), Concat(Numbers(1, 4), Numbers(11, 12)));
  EXPECT_EQ(got[4].missed, 6U);
  EXPECT_EQ(got[5].missed, 0U);
  EXPECT_EQ(subscription.missed(), 6U);
  EXPECT_EQ(b_->counter(Counter::kTopicsMissed), 6U);
}

TEST_F(TopicSlowTest, TheOldestAreDroppedAndTheNewestArrive) {
  std::vector<Got> got;
  const Subscription subscription =
      Subscribe(*b_, "news", got, {.when_slow = WhenSlow::kDropOldest, .depth = 3});
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 20);
  EXPECT_EQ(topic.dropped(), 14U) << "three are on their way, and three are kept";
  AwaitWithBoth(got, 6);
  EXPECT_EQ(TextsOf(got), Concat(Numbers(1, 3), Numbers(18, 20)));
  EXPECT_EQ(got[3].missed, 14U);
  EXPECT_EQ(subscription.missed(), 14U);
  EXPECT_EQ(topic.dropped(), 14U);
}

TEST_F(TopicSlowTest, WhoeverIsWaitedForMissesNothing) {
  std::vector<Got> got;
  const Subscription subscription =
      Subscribe(*b_, "news", got, {.when_slow = WhenSlow::kWait, .depth = 2});
  Topic topic = Advertise(*a_, "news", {.timeout = kPatience});
  std::thread publishing([&] { PublishNumbers(topic, 1, 300); });
  AwaitCount(*b_, got, 300);
  publishing.join();
  EXPECT_EQ(TextsOf(got), Numbers(1, 300));
  EXPECT_EQ(subscription.missed(), 0U);
  EXPECT_EQ(topic.dropped(), 0U);
}

TEST_F(TopicSlowTest, NobodyIsWaitedForLongerThanTheTimeout) {
  std::vector<Got> got;
  const Subscription subscription =
      Subscribe(*b_, "news", got, {.when_slow = WhenSlow::kWait, .depth = 2});
  Topic topic = Advertise(*a_, "news", {.timeout = std::chrono::milliseconds(1)});
  PublishNumbers(topic, 1, 2);
  for (const char* const late : {"3", "4"}) {
    EXPECT_EQ(topic.Publish(late), SendResult::kTimedOut);
  }
  EXPECT_EQ(topic.Explain(SendResult::kTimedOut).code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(topic.dropped(), 2U);
  Drain(*b_);
  PublishNumbers(topic, 5, 5);
  AwaitCount(*b_, got, 3);
  EXPECT_EQ(TextsOf(got), (std::vector<std::string>{"1", "2", "5"}));
  EXPECT_EQ(got[2].missed, 2U);
}

TEST_F(TopicSlowTest, ASlowSubscriberHoldsUpNobodyElse) {
  const auto c = Open("c");
  std::vector<Got> slow;
  std::vector<Got> quick;
  const Subscription slow_one =
      Subscribe(*b_, "news", slow, {.when_slow = WhenSlow::kWait, .depth = 1});
  const Subscription quick_one =
      Subscribe(*c, "news", quick, {.when_slow = WhenSlow::kWait, .depth = 1});
  Topic topic = Advertise(*a_, "news", {.timeout = kPatience});
  PublishNumbers(topic, 1, 1);
  std::atomic<bool> is_published{false};
  std::thread publishing([&] {
    PublishNumbers(topic, 2, 2);
    is_published = true;
  });
  // While the publisher waits for the slow one.
  AwaitCount(*c, quick, 2);
  EXPECT_FALSE(is_published);
  AwaitCount(*b_, slow, 2);
  publishing.join();
  EXPECT_EQ(TextsOf(slow), Numbers(1, 2));
}

TEST_F(TopicSlowTest, AnotherThreadPublishesWhileOneWaits) {
  std::vector<Got> got;
  std::vector<Got> other;
  const Subscription slow = Subscribe(*b_, "news", got, {.when_slow = WhenSlow::kWait, .depth = 1});
  Topic topic = Advertise(*a_, "news", {.timeout = kPatience});
  Topic elsewhere = Advertise(*a_, "other");
  const auto c = Open("c");
  const Subscription listens = Subscribe(*c, "*", other, {.depth = 100});
  PublishNumbers(topic, 1, 1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] { EXPECT_EQ(topic.Publish("waits"), SendResult::kOk); });
  }
  PublishNumbers(elsewhere, 1, 5);
  AwaitCount(*c, other, 9);
  AwaitCount(*b_, got, 4);
  for (std::thread& thread : threads) thread.join();
}

TEST_F(TopicSlowTest, SubscriptionsOfOnePeerAreSlowEachForItself) {
  std::vector<Got> one;
  std::vector<Got> two;
  const Subscription first =
      Subscribe(*b_, "news", one, {.when_slow = WhenSlow::kDropNewest, .depth = 2});
  const Subscription second =
      Subscribe(*b_, "*", two, {.when_slow = WhenSlow::kDropNewest, .depth = 5});
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 7);
  Drain(*b_);
  EXPECT_EQ(TextsOf(one), Numbers(1, 2));
  EXPECT_EQ(TextsOf(two), Numbers(1, 5));
}

TEST_F(TopicSlowTest, AFullRingIsLikeAFullWindow) {
  for (const WhenSlow when_slow : {WhenSlow::kDropOldest, WhenSlow::kDropNewest}) {
    std::vector<Got> got;
    const Subscription subscription =
        Subscribe(*b_, "news", got, {.when_slow = when_slow, .depth = kMaxTopicDepth});
    Topic topic = Advertise(*a_, "news");
    int sent = 0;
    while (a_->Send(b_->id(), std::string(10'000, 'f')) == SendResult::kOk) ++sent;
    while (a_->Send(b_->id(), "f") == SendResult::kOk) ++sent;
    PublishNumbers(topic, 1, 3);
    const bool is_kept = when_slow == WhenSlow::kDropOldest;
    EXPECT_EQ(topic.dropped(), is_kept ? 0U : 3U);
    Drain(*b_);
    PublishNumbers(topic, 4, 4);
    AwaitWithBoth(got, is_kept ? 4 : 1);
    EXPECT_EQ(TextsOf(got), Numbers(is_kept ? 1 : 4, 4));
  }
}

TEST_F(TopicSlowTest, WhoKeepsMessagesInTheirRingIsSlow) {
  const auto c = Open("c", {.trust_peers = true});
  std::vector<Message> kept;
  const Result<Subscription> subscription =
      c->Subscribe("news", [&](const TopicMessage& m) { kept.push_back(m.message.Keep()); },
                   {.when_slow = WhenSlow::kDropNewest, .depth = 2});
  ASSERT_TRUE(subscription.ok());
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 2);
  EXPECT_TRUE(PollUntil(*c, kIgnore, [&] { return kept.size() == 2; }));
  PublishNumbers(topic, 3, 3);
  EXPECT_EQ(topic.dropped(), 1U);
  kept.clear();
  EXPECT_TRUE(PollUntil(*c, kIgnore, [&] {
    EXPECT_EQ(topic.Publish("again"), SendResult::kOk);
    return !kept.empty();
  }));
}

// ---- When what waits is sent ----

TEST_F(TopicSlowTest, ThePollerSendsWhatWaits) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got, {.depth = 1});
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 2);
  Drain(*b_);
  EXPECT_EQ(TextsOf(got), Numbers(1, 1));
  (void)a_->Poll(kIgnore);
  Drain(*b_);
  EXPECT_EQ(TextsOf(got), Numbers(1, 2));
}

TEST_F(TopicSlowTest, APublisherThatSleepsIsWokenBySlowSubscribers) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got, {.depth = 1});
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 2);
  std::atomic<bool> done{false};
  std::thread sleeping([&] {
    while (!done) (void)a_->Wait(kPatience);
  });
  AwaitCount(*b_, got, 2);
  done = true;
  a_->Wake();
  sleeping.join();
  EXPECT_EQ(TextsOf(got), Numbers(1, 2));
}

TEST_F(TopicSlowTest, AnEventLoopOfThePublisherSendsWhatWaits) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got, {.depth = 1});
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 4);
  while (got.size() < 2) {
    if (a_->Arm()) {
      Drain(*b_);
      (void)b_->Arm();  // as a subscriber that sleeps, and says what it has handled
      pollfd readable{.fd = a_->Fd(), .events = POLLIN, .revents = 0};
      ASSERT_EQ(poll(&readable, 1, 30'000), 1);
      (void)b_->Poll(kIgnore);
    }
    (void)a_->Poll(kIgnore);
  }
  EXPECT_EQ(TextsOf(got), (std::vector<std::string>{"1", "4"}));
}

TEST_F(TopicSlowTest, APublisherThatDoesNothingIsHelpedByItsHeartbeat) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got, {.depth = 1});
  Topic topic = Advertise(*a_, "news", {.history = 2});
  PublishNumbers(topic, 1, 3);
  AwaitCount(*b_, got, 2);
  EXPECT_EQ(TextsOf(got), (std::vector<std::string>{"1", "3"}));
  std::vector<Got> late;
  const Subscription other = Subscribe(*b_, "news", late);
  AwaitCount(*b_, late, 2);
  EXPECT_EQ(TextsOf(late), Numbers(2, 3));
}

TEST_F(TopicSlowTest, WhatWaitsIsSentBeforeAPublisherThatFlushesEnds) {
  for (const WhenSlow when_slow : {WhenSlow::kWait, WhenSlow::kDropOldest, WhenSlow::kDropNewest}) {
    std::vector<Got> got;
    const Subscription subscription =
        Subscribe(*b_, "news", got, {.when_slow = when_slow, .depth = 3});
    const auto publisher = Open("publisher");
    std::optional<Topic> topic = Advertise(*publisher, "news", {.timeout = kPatience});
    // A subscriber that asks for it is waited for already here.
    const int last = when_slow == WhenSlow::kWait ? 3 : 6;
    PublishNumbers(*topic, 1, last);
    const bool has_all_sent = when_slow != WhenSlow::kDropOldest;
    EXPECT_EQ(topic->Flush(std::chrono::nanoseconds(0)),
              has_all_sent ? SendResult::kOk : SendResult::kTimedOut);
    std::thread flusher([&] {
      EXPECT_EQ(topic->Flush(kPatience), SendResult::kOk);
      topic.reset();
    });
    // The first three go before anything is handled.
    AwaitCount(*b_, got, 3);
    flusher.join();
    Drain(*b_);
    EXPECT_EQ(TextsOf(got), has_all_sent ? Numbers(1, 3) : Numbers(1, 6));
  }
}

TEST_F(TopicSlowTest, AFlushEndsWithTheOwnLifeAndWithTheSubscriber) {
  std::vector<Got> got;
  std::optional<Subscription> subscription = Subscribe(*b_, "news", got, {.depth = 1});
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 3);
  EXPECT_EQ(topic.Flush(std::chrono::nanoseconds(0)), SendResult::kTimedOut);
  std::thread flusher([&] { EXPECT_EQ(topic.Flush(kPatience), SendResult::kOk); });
  subscription.reset();
  flusher.join();
  DeclareDead(*a_);
  EXPECT_EQ(topic.Flush(kPatience), SendResult::kPeerGone);
}

TEST_F(TopicSlowTest, WhatWaitsForTheOwnerOfTheRingIsSentAfterIt) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  Topic topic = Advertise(*a_, "news");
  {
    const Batch batch = a_->StartBatch(b_->id());
    PublishNumbers(topic, 1, 2);
  }
  {
    const Result<Sender> exclusive = a_->OpenSender("b", {.exclusive = true});
    ASSERT_TRUE(exclusive.ok());
    PublishNumbers(topic, 3, 4);
    Drain(*b_);
    EXPECT_TRUE(got.empty());
  }
  AwaitWithBoth(got, 4);
  EXPECT_EQ(TextsOf(got), Numbers(1, 4));
}

// ---- History ----

TEST_F(TopicSlowTest, ALateSubscriberGetsTheLastOnesMarked) {
  Topic topic = Advertise(*a_, "news", {.history = 3});
  PublishNumbers(topic, 1, 7);
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  PublishNumbers(topic, 8, 8);
  AwaitCount(*b_, got, 4);
  EXPECT_EQ(TextsOf(got), Numbers(5, 8));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(got[i].is_history, i < 3);
  EXPECT_EQ(got[0].sequence, 5U);
  EXPECT_EQ(subscription.missed(), 0U);
}

TEST_F(TopicSlowTest, AShortHistoryIsAllThereIs) {
  Topic topic = Advertise(*a_, "news", {.history = 100});
  PublishNumbers(topic, 1, 2);
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  AwaitWithBoth(got, 2);
  EXPECT_EQ(TextsOf(got), Numbers(1, 2));
}

TEST_F(TopicSlowTest, NobodyGetsMoreHistoryThanItWants) {
  Topic topic = Advertise(*a_, "news", {.history = 10});
  PublishNumbers(topic, 1, 10);
  std::vector<Got> none;
  std::vector<Got> two;
  std::vector<Got> shallow;
  const Subscription subscriptions[] = {Subscribe(*b_, "news", none, {.history = 0}),
                                        Subscribe(*b_, "news", two, {.history = 2}),
                                        Subscribe(*b_, "news", shallow, {.depth = 4})};
  PublishNumbers(topic, 11, 11);
  AwaitWithBoth(shallow, 5);
  EXPECT_EQ(TextsOf(none), Numbers(11, 11));
  EXPECT_EQ(TextsOf(two), Numbers(9, 11));
  EXPECT_EQ(TextsOf(shallow), Numbers(7, 11));
}

TEST_F(TopicSlowTest, OneThatLagsAnyhowKeepsNoMoreThanIsAskedFor) {
  std::vector<Got> slow;
  const Subscription lagging = Subscribe(*b_, "news", slow, {.depth = 5});
  Topic topic = Advertise(*a_, "news", {.history = 1});
  PublishNumbers(topic, 1, 20);
  const auto c = Open("c");
  std::vector<Got> late;
  const Subscription other = Subscribe(*c, "news", late);
  EXPECT_EQ(topic.subscribers(), 2U);
  AwaitCount(*c, late, 1);
  EXPECT_EQ(TextsOf(late), Numbers(20, 20));
}

// ---- What it costs ----

TEST_F(TopicSlowTest, WhatIsKeptForSlowSubscribersIsBounded) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got, {.depth = 100});
  Topic topic = Advertise(*a_, "news", {.history = 50, .kept_bytes = 10'000});
  int sent = 0;  // so that the ring takes none
  while (a_->Send(b_->id(), std::string(1'000, 'f')) == SendResult::kOk) ++sent;
  for (int i = 1; i <= 30; ++i) {
    ASSERT_EQ(topic.Publish(std::string(1'000, static_cast<char>('A' + i))), SendResult::kOk);
  }
  EXPECT_EQ(topic.dropped(), 20U);
  AwaitWithBoth(got, 10);
  EXPECT_EQ(got.front().text.front(), 'A' + 21);
  EXPECT_EQ(got.back().text.front(), 'A' + 30);
  std::vector<Got> late;
  const Subscription other = Subscribe(*b_, "news", late, {.depth = 100});
  AwaitWithBoth(late, 10);
}

TEST_F(TopicSlowTest, TheLastMessageIsKeptHoweverLargeItIs) {
  Topic topic = Advertise(*a_, "news", {.history = 5, .kept_bytes = 10});
  PublishNumbers(topic, 1, 2);
  ASSERT_EQ(topic.Publish(std::string(1'000, 'x')), SendResult::kOk);
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  AwaitWithBoth(got, 1);
  EXPECT_EQ(got.front().text.size(), 1'000U);
}

}  // namespace
}  // namespace ivmq
