// Topics of peers that come, leave and return, and of peers that write nonsense.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "topic_fixture.h"

namespace ivmq {
namespace {

using layout::Counter;
using layout::TopicHeader;
using ::testing::ElementsAre;
using testing::Got;
using ::testing::IsEmpty;
using testing::kIgnore;
using testing::kPatience;
using testing::Numbers;
using testing::PollUntil;
using testing::TextsOf;

class TopicLifeTest : public testing::TopicFixture {};

// ---- Publishers ----

TEST_F(TopicLifeTest, WhatAPublisherPublishedBeforeItLeftArrives) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "camera/*", got);
  {
    Topic topic = Advertise(*a_, "camera/front");
    PublishNumbers(topic, 1, 3);
  }
  a_.reset();
  AwaitCount(*b_, got, 3);
  EXPECT_EQ(TextsOf(got), Numbers(1, 3));
  EXPECT_EQ(got[0].topic, "camera/front");
}

TEST_F(TopicLifeTest, APublisherThatReturnsBeginsToCountAnew) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  for (int round = 0; round < 3; ++round) {
    {
      Topic topic = Advertise(*a_, "news");
      PublishNumbers(topic, 1, 2);
      AwaitCount(*b_, got, 2);
    }
    EXPECT_EQ(got[0].sequence, 1U);
    EXPECT_EQ(got[1].sequence, 2U);
    EXPECT_EQ(subscription.missed(), 0U);
    got.clear();
    a_.reset();
    a_ = Open("a");
  }
}

TEST_F(TopicLifeTest, ATopicThatIsOpenedAgainBeginsToCountAnew) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  for (int round = 0; round < 3; ++round) {
    Topic topic = Advertise(*a_, "news");
    PublishNumbers(topic, 1, 2);
  }
  AwaitCount(*b_, got, 6);
  EXPECT_EQ(subscription.missed(), 0U);
}

TEST_F(TopicLifeTest, ADurablePublisherThatReturnsFollowsOnItsFormerLife) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  std::vector<PeerId> lives;
  for (int round = 0; round < 2; ++round) {
    const auto durable = Open("durable", {.durable = true});
    lives.push_back(durable->id());
    Topic topic = Advertise(*durable, "news");
    PublishNumbers(topic, 1, 2);
  }
  AwaitCount(*b_, got, 4);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(got[i].publisher, lives[i / 2]);
    EXPECT_EQ(got[i].sequence, i % 2 + 1);
  }
}

TEST_F(TopicLifeTest, OnceItsLifeIsOverANodePublishesNothingAndSaysWhy) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got, {.depth = 1});
  Topic topic = Advertise(*a_, "news", {.history = 1});
  PublishNumbers(topic, 1, 2);
  DeclareDead(*a_);
  EXPECT_EQ(topic.Publish("late"), SendResult::kPeerGone);
  EXPECT_EQ(topic.Explain(SendResult::kPeerGone).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(a_->Advertise("more").status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(a_->Subscribe("more", [](const TopicMessage&) {}).status().code(),
            StatusCode::kFailedPrecondition);
  (void)a_->Poll(kIgnore);
  EXPECT_EQ(topic.published(), 2U);
}

TEST_F(TopicLifeTest, APublishThatWaitsEndsWithTheOwnLife) {
  std::vector<Got> got;
  const Subscription subscription =
      Subscribe(*b_, "news", got, {.when_slow = WhenSlow::kWait, .depth = 1});
  Topic topic = Advertise(*a_, "news", {.timeout = kPatience});
  PublishNumbers(topic, 1, 1);
  std::thread publishing([&] { EXPECT_EQ(topic.Publish("2"), SendResult::kPeerGone); });
  while (topic.published() < 2) std::this_thread::yield();
  DeclareDead(*a_);
  publishing.join();
}

// ---- Subscribers ----

TEST_F(TopicLifeTest, ASubscriberThatLeavesIsForgotten) {
  std::vector<Got> got;
  for (const WhenSlow when_slow : {WhenSlow::kDropOldest, WhenSlow::kWait}) {
    std::optional<Subscription> subscription =
        Subscribe(*b_, "news", got, {.when_slow = when_slow, .depth = 1});
    Topic topic = Advertise(*a_, "news", {.timeout = std::chrono::milliseconds(1)});
    EXPECT_EQ(topic.Publish("1"), SendResult::kOk);
    EXPECT_EQ(topic.Publish("2"),
              when_slow == WhenSlow::kWait ? SendResult::kTimedOut : SendResult::kOk);
    subscription.reset();
    b_.reset();
    EXPECT_EQ(topic.subscribers(), 0U);
    const std::uint64_t dropped = topic.dropped();
    PublishNumbers(topic, 3, 9);
    EXPECT_EQ(topic.dropped(), dropped);
    b_ = Open("b");
  }
}

TEST_F(TopicLifeTest, APublishThatWaitsEndsWithItsSubscriber) {
  std::vector<Got> got;
  const Subscription subscription =
      Subscribe(*b_, "news", got, {.when_slow = WhenSlow::kWait, .depth = 1});
  Topic topic = Advertise(*a_, "news", {.timeout = kPatience});
  PublishNumbers(topic, 1, 1);
  std::thread publishing([&] { PublishNumbers(topic, 2, 2); });
  while (topic.published() < 2) std::this_thread::yield();
  DeclareDead(*b_);
  publishing.join();
}

TEST_F(TopicLifeTest, APublishThatWaitsEndsWithTheSubscription) {
  std::vector<Got> got;
  std::optional<Subscription> subscription =
      Subscribe(*b_, "news", got, {.when_slow = WhenSlow::kWait, .depth = 1});
  Topic topic = Advertise(*a_, "news", {.timeout = kPatience});
  PublishNumbers(topic, 1, 1);
  std::thread publishing([&] { PublishNumbers(topic, 2, 2); });
  while (topic.published() < 2) std::this_thread::yield();
  subscription.reset();
  publishing.join();
}

TEST_F(TopicLifeTest, ADurableSubscriberGetsNothingWhileItIsAway) {
  const auto open = [&] { return Open("durable", {.durable = true}); };
  auto durable = open();
  std::vector<Got> got;
  std::optional<Subscription> subscription = Subscribe(*durable, "news", got);
  Topic topic = Advertise(*a_, "news", {.history = 1});
  PublishNumbers(topic, 1, 2);
  subscription.reset();
  durable.reset();
  EXPECT_EQ(topic.subscribers(), 0U);
  PublishNumbers(topic, 3, 4);
  durable = open();
  subscription = Subscribe(*durable, "news", got);
  PublishNumbers(topic, 5, 5);
  AwaitCount(*durable, got, 2);
  EXPECT_EQ(TextsOf(got), Numbers(4, 5)) << "the last of the history, and what follows";
  EXPECT_EQ(durable->counter(Counter::kUnhandled), 2U) << "what was sent to its former life";
}

// ---- Damage ----

TEST_F(TopicLifeTest, WhatNoPublisherWritesEndsTheRing) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  const PeerTopic subscribed = b_->Lookup("b")->topics.at(0);
  const TopicHeader good{.sequence = 1,
                         .subscription = subscribed.id,
                         .incarnation = b_->id().incarnation,
                         .topic_bytes = 4};
  const auto head = [](const TopicHeader& header, std::string_view name) {
    std::string text(reinterpret_cast<const char*>(&header), sizeof(header));
    return text.append(name);
  };
  const auto with = [&](auto change) {
    TopicHeader header = good;
    change(header);
    return header;
  };
  using std::string_view_literals::operator""sv;
  const std::vector<std::string> bad = {
      "",
      head(good, "").substr(0, sizeof(good) - 1),
      head(good, ""),
      head(good, "news"),
      head(good, "nope\0\0\0\0"sv),
      head(good, "ne s\0\0\0\0"sv),
      head(with([](TopicHeader& h) { h.topic_bytes = 0; }), ""),
      head(with([](TopicHeader& h) { h.topic_bytes = 64; }), std::string(64, 'n')),
      head(with([](TopicHeader& h) { h.kind = FrameKind::kTopic; }), "news\0\0\0\0"sv),
      head(with([](TopicHeader& h) { h.kind = FrameKind::kFragment; }), "news\0\0\0\0"sv),
      head(with([](TopicHeader& h) { h.kind = FrameKind::kBlock; }), "news\0\0\0\0"sv),
      head(with([](TopicHeader& h) { h.kind = FrameKind::kFirstRpc; }), "news\0\0\0\0"sv)};
  const auto send = [&](const std::string& name) {
    const auto peer = Open("peer");
    ASSERT_EQ(peer->Send(b_->id(), {.kind = FrameKind::kTopic, .type = 1, .name = name}, {}),
              SendResult::kOk);
    Drain(*b_);
  };
  for (const std::string& name : bad) {
    SCOPED_TRACE(name);
    const std::uint64_t before = b_->counter(Counter::kRingsPoisoned);
    send(name);
    EXPECT_EQ(b_->counter(Counter::kRingsPoisoned), before + 1);
  }
  EXPECT_THAT(got, IsEmpty());
  send(head(good, "news\0\0\0\0"sv));
  EXPECT_THAT(TextsOf(got), ElementsAre(""));
}

TEST_F(TopicLifeTest, WhatIsForNobodyIsCountedAndDropped) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  const std::uint32_t id = b_->Lookup("b")->topics.at(0).id;
  const auto send = [&](std::uint32_t to, std::uint32_t incarnation) {
    const TopicHeader header{
        .sequence = 1, .subscription = to, .incarnation = incarnation, .topic_bytes = 4};
    std::string name(reinterpret_cast<const char*>(&header), sizeof(header));
    name.append("news").append(4, '\0');
    ASSERT_EQ(a_->Send(b_->id(), {.kind = FrameKind::kTopic, .type = 1, .name = name}, {}),
              SendResult::kOk);
  };
  send(id + 1, b_->id().incarnation);
  send(id, b_->id().incarnation + 1);
  Drain(*b_);
  EXPECT_EQ(b_->counter(Counter::kUnhandled), 2U);
  EXPECT_EQ(b_->counter(Counter::kRingsPoisoned), 0U);
  EXPECT_THAT(got, IsEmpty());
}

TEST_F(TopicLifeTest, ASubscriberThatLiesAboutWhatItHandledHarmsItself) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got, {.depth = 2});
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 1);
  AwaitCount(*b_, got, 1);
  PublishNumbers(topic, 2, 4);
  layout::Word& acked = RingOf(a_->id(), b_->id()).header->acked;
  for (const std::uint64_t lie : {~std::uint64_t{0}, std::uint64_t{1} << 40}) {
    acked.store(lie);
    PublishNumbers(topic, 5, 8);
    (void)a_->Poll(kIgnore);
  }
  EXPECT_EQ(topic.dropped(), 7U) << "nothing more was sent";
  Drain(*b_);
  (void)a_->Poll(kIgnore);
  AwaitCount(*b_, got, 5);
  EXPECT_THAT(TextsOf(got), ElementsAre("1", "2", "3", "7", "8"));
}

TEST_F(TopicLifeTest, WhatASlotSaysOfTopicsIsPutRight) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  layout::PeerSlot& slot = region().slot(b_->id().slot);
  for (layout::Word& word : slot.topics_text) word.store(~std::uint64_t{0});
  Topic topic = Advertise(*a_, "news");
  EXPECT_TRUE(PollUntil(*b_, kIgnore, [&] { return topic.subscribers() == 1; }));
  PublishNumbers(topic, 1, 1);
  AwaitCount(*b_, got, 1);
}

TEST_F(TopicLifeTest, ATopicGoesOnInAnotherRingAfterDamage) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got, {.depth = 2});
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 2);
  const RingView ring = RingOf(a_->id(), b_->id());
  ring.CommitWordAt(0).store(~std::uint64_t{0});
  EXPECT_TRUE(PollUntil(*b_, kIgnore, [&] {
    EXPECT_EQ(topic.Publish("again"), SendResult::kOk);
    return !got.empty();
  }));
  EXPECT_EQ(got.back().text, "again");
}

}  // namespace
}  // namespace ivmq
