// Topics: from their publishers to all that have subscribed.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
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
#include "support/reports.h"
#include "support/sizes.h"
#include "topic_fixture.h"

namespace ivmq {

// A value that is written in place, or throws.
struct Sample {
  std::string text;
  bool throws = false;
};
template <>
struct Encoder<Sample> {
  static MessageType Type(const Sample& /*value*/) {
    return {.kind = FrameKind::kTypedByName, .type = 9, .name = "pkg.Sample"};
  }
  static std::uint64_t Size(const Sample& value) { return value.text.size(); }
  static void Write(const Sample& value, std::span<std::byte> to) {
    if (value.throws) throw std::runtime_error("no");
    if (!to.empty()) std::memcpy(to.data(), value.text.data(), to.size());
  }
};

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

class TopicTest : public testing::TopicFixture {};

// ---- Who gets what ----

TEST_F(TopicTest, WhatIsPublishedArrivesInOrder) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "camera/front", got);
  Topic topic = Advertise(*a_, "camera/front");
  EXPECT_EQ(topic.subscribers(), 1U);
  PublishNumbers(topic, 1, 5);
  AwaitCount(*b_, got, 5);
  EXPECT_EQ(TextsOf(got), Numbers(1, 5));
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].topic, "camera/front");
    EXPECT_EQ(got[i].publisher, a_->id());
    EXPECT_EQ(got[i].sequence, i + 1);
    EXPECT_EQ(got[i].missed, 0U);
    EXPECT_FALSE(got[i].is_history);
  }
  EXPECT_EQ(subscription.received(), 5U);
  EXPECT_EQ(subscription.missed(), 0U);
  EXPECT_EQ(topic.published(), 5U);
  EXPECT_EQ(topic.dropped(), 0U);
}

TEST_F(TopicTest, EachSubscriptionGetsTheTopicsOfItsPattern) {
  const auto c = Open("c");
  std::vector<Got> front;
  std::vector<Got> cameras;
  std::vector<Got> all;
  std::vector<Got> other;
  const Subscription subscriptions[] = {Subscribe(*b_, "camera/front", front),
                                        Subscribe(*b_, "camera/*", cameras),
                                        Subscribe(*c, "**", all), Subscribe(*c, "lidar/**", other)};
  Topic camera_front = Advertise(*a_, "camera/front");
  Topic camera_back = Advertise(*a_, "camera/back");
  Topic raw = Advertise(*a_, "camera/front/raw");
  EXPECT_EQ(camera_front.subscribers(), 3U);
  EXPECT_EQ(camera_back.subscribers(), 2U);
  EXPECT_EQ(raw.subscribers(), 1U);
  ASSERT_EQ(camera_front.Publish("front"), SendResult::kOk);
  ASSERT_EQ(camera_back.Publish("back"), SendResult::kOk);
  ASSERT_EQ(raw.Publish("raw"), SendResult::kOk);
  AwaitCount(*b_, cameras, 2);
  AwaitCount(*c, all, 3);
  EXPECT_THAT(TextsOf(front), ElementsAre("front"));
  EXPECT_THAT(TextsOf(cameras), ElementsAre("front", "back"));
  EXPECT_THAT(TextsOf(all), ElementsAre("front", "back", "raw"));
  EXPECT_EQ(all[2].topic, "camera/front/raw");
  EXPECT_THAT(other, IsEmpty());
}

TEST_F(TopicTest, SeveralPublishersOfATopicAreToldApart) {
  const auto c = Open("c");
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*c, "news", got);
  Topic of_a = Advertise(*a_, "news");
  Topic of_b = Advertise(*b_, "news");
  PublishNumbers(of_a, 1, 3);
  PublishNumbers(of_b, 1, 3);
  AwaitCount(*c, got, 6);
  std::vector<Got> first;
  std::vector<Got> second;
  for (const Got& one : got) (one.publisher == a_->id() ? first : second).push_back(one);
  for (const auto& of_one : {first, second}) {
    EXPECT_EQ(TextsOf(of_one), Numbers(1, 3));
    for (const Got& one : of_one) EXPECT_EQ(std::to_string(one.sequence), one.text);
  }
  EXPECT_EQ(subscription.missed(), 0U);
}

TEST_F(TopicTest, ANodeGetsItsOwnTopics) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*a_, "own", got);
  Topic topic = Advertise(*a_, "own", {.history = 1});
  PublishNumbers(topic, 1, 3);
  AwaitCount(*a_, got, 3);
  EXPECT_EQ(TextsOf(got), Numbers(1, 3));
}

TEST_F(TopicTest, WhoSubscribesLaterOrNoMoreGetsTheRest) {
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 2);
  std::vector<Got> got;
  {
    const Subscription subscription = Subscribe(*b_, "news", got);
    EXPECT_EQ(topic.subscribers(), 1U);
    PublishNumbers(topic, 3, 4);
    AwaitCount(*b_, got, 2);
    EXPECT_EQ(got.front().missed, 0U);
    PublishNumbers(topic, 5, 5);
  }
  EXPECT_EQ(topic.subscribers(), 0U);
  PublishNumbers(topic, 6, 6);
  Drain(*b_);
  EXPECT_EQ(TextsOf(got), Numbers(3, 4));
  EXPECT_EQ(b_->counter(Counter::kUnhandled), 1U) << "what was on its way is nobody's";
}

TEST_F(TopicTest, OtherMessagesAreNotOfTopics) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "**", got);
  Topic topic = Advertise(*a_, "news");
  ASSERT_EQ(a_->Send(b_->id(), "direct"), SendResult::kOk);
  ASSERT_EQ(topic.Publish("published"), SendResult::kOk);
  std::vector<std::string> direct;
  EXPECT_TRUE(PollUntil(
      *b_, [&](const Message& message) { direct.emplace_back(message.text()); },
      [&] { return !got.empty(); }));
  EXPECT_THAT(direct, ElementsAre("direct"));
  EXPECT_THAT(TextsOf(got), ElementsAre("published"));
}

TEST_F(TopicTest, MessagesOfTopicsCountInPollsLimitAndResult) {
  std::vector<Got> got;
  const Subscription subscription = Subscribe(*b_, "news", got);
  Topic topic = Advertise(*a_, "news");
  PublishNumbers(topic, 1, 5);
  EXPECT_EQ(b_->Poll(kIgnore, 3), 3U);
  EXPECT_EQ(TextsOf(got), Numbers(1, 3));
  EXPECT_EQ(b_->Poll(kIgnore, 3), 2U);
  EXPECT_EQ(TextsOf(got), Numbers(1, 5));
}

// ---- What is published ----

TEST_F(TopicTest, WhateverCanBeSentCanBePublished) {
  struct Typed {
    FrameKind kind;
    std::uint32_t type;
    std::string name;
    std::string text;
    bool operator==(const Typed&) const = default;
  };
  std::vector<Typed> got;
  const Result<Subscription> subscription = b_->Subscribe("a/topic", [&](const TopicMessage& m) {
    got.push_back({.kind = m.message.kind,
                   .type = m.message.type,
                   .name = std::string(m.message.type_name),
                   .text = std::string(m.message.text())});
    EXPECT_EQ(m.message.from, a_->id());
  });
  ASSERT_TRUE(subscription.ok());
  Topic topic = Advertise(*a_, "a/topic");
  const std::vector<std::byte> bytes(3, std::byte{'b'});
  EXPECT_EQ(topic.Publish("text"), SendResult::kOk);
  EXPECT_EQ(topic.Publish(bytes), SendResult::kOk);
  EXPECT_EQ(topic.Publish({}), SendResult::kOk);
  EXPECT_EQ(topic.Publish(Sample{.text = "sample"}), SendResult::kOk);
  EXPECT_EQ(topic.PublishTyped({.kind = FrameKind::kTypedById, .type = 4}, bytes), SendResult::kOk);
  TopicLoan loan = topic.Loan(4, {.type = 5});
  ASSERT_EQ(loan->result(), SendResult::kOk);
  std::memcpy(loan->payload().data(), "loan", 4);
  EXPECT_EQ(loan->Publish(), SendResult::kOk);
  EXPECT_EQ(loan->Publish(), SendResult::kBusy);
  EXPECT_TRUE(PollUntil(*b_, kIgnore, [&] { return got.size() == 6; }));
  EXPECT_THAT(
      got, ElementsAre(Typed{FrameKind::kBytes, 0, "", "text"},
                       Typed{FrameKind::kBytes, 0, "", "bbb"}, Typed{FrameKind::kBytes, 0, "", ""},
                       Typed{FrameKind::kTypedByName, 9, "pkg.Sample", "sample"},
                       Typed{FrameKind::kTypedById, 4, "", "bbb"},
                       Typed{FrameKind::kBytes, 5, "", "loan"}));
}

TEST_F(TopicTest, AnEncoderThatThrowsPublishesNothing) {
  Topic topic = Advertise(*a_, "news");
  for (const std::size_t size : {10U, 100'000U}) {
    EXPECT_THROW((void)topic.Publish(Sample{.text = std::string(size, 'x'), .throws = true}),
                 std::runtime_error);
  }
  EXPECT_EQ(topic.published(), 0U);
}

TEST_F(TopicTest, ALoanThatIsNotPublishedIsNotSent) {
  Topic topic = Advertise(*a_, "news");
  { const TopicLoan loan = topic.Loan(100); }
  EXPECT_EQ(topic.published(), 0U);
}

TEST_F(TopicTest, MessagesOfAllSizesArriveWhole) {
  std::uint64_t next = 0;
  const Result<Subscription> subscription =
      b_->Subscribe("sizes",
                    [&](const TopicMessage& m) {
                      ++next;
                      EXPECT_EQ(m.sequence, next);
                      EXPECT_EQ(m.message.payload.size(), (next * 37'501) % 1'000'000);
                      EXPECT_TRUE(testing::HasPattern(m.message.payload, next));
                    },
                    {.when_slow = WhenSlow::kWait});
  ASSERT_TRUE(subscription.ok());
  Topic topic = Advertise(*a_, "sizes", {.timeout = kPatience});
  std::thread publishing([&] {
    for (std::uint64_t i = 1; i <= 40; ++i) {
      const auto message = testing::Pattern((i * 37'501) % 1'000'000, i);
      EXPECT_EQ(topic.Publish(message), SendResult::kOk) << i;
    }
  });
  EXPECT_TRUE(PollUntil(*b_, kIgnore, [&] { return next == 40; }));
  publishing.join();
  EXPECT_EQ(topic.dropped(), 0U);
}

TEST_F(TopicTest, WhatIsTooLargeIsNotPublished) {
  const auto c = Open("c", {.max_message_bytes = 1000, .reassembly_bytes = 1000});
  Topic topic = Advertise(*c, "news");
  EXPECT_EQ(topic.Publish(std::string(1001, 'x')), SendResult::kTooLarge);
  EXPECT_EQ(topic.Loan(1001).result(), SendResult::kTooLarge);
  EXPECT_EQ(
      topic.PublishTyped(
          {.kind = FrameKind::kTypedByName, .name = std::string(kMaxTopicTypeName + 1, 'x')}, {}),
      SendResult::kTooLarge);
  EXPECT_EQ(topic.Explain(SendResult::kTooLarge).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(topic.published(), 0U);
}

TEST_F(TopicTest, ALongTypeNameArrivesWithALongTopic) {
  const std::string type_name(kMaxTopicTypeName, 't');
  const std::string name(63, 'n');
  std::string got;
  const Result<Subscription> subscription = b_->Subscribe(name, [&](const TopicMessage& m) {
    EXPECT_EQ(m.topic, name);
    got = m.message.type_name;
  });
  ASSERT_TRUE(subscription.ok());
  Topic topic = Advertise(*a_, name);
  ASSERT_EQ(topic.PublishTyped({.kind = FrameKind::kTypedByName, .name = type_name}, {}),
            SendResult::kOk);
  EXPECT_TRUE(PollUntil(*b_, kIgnore, [&] { return got == type_name; }));
}

// ---- What cannot be ----

TEST_F(TopicTest, WhatIsNoTopicIsRefused) {
  EXPECT_EQ(a_->Advertise("camera/*").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(a_->Advertise("").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(a_->Advertise("a", {.history = kMaxTopicDepth + 1}).status().code(),
            StatusCode::kInvalidArgument);
  const auto ignore = [](const TopicMessage&) {};
  EXPECT_EQ(a_->Subscribe("a//b", ignore).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(a_->Subscribe("a", nullptr).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(a_->Subscribe("a", ignore, {.depth = 0}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(a_->Subscribe("a", ignore, {.depth = kMaxTopicDepth + 1}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(TopicTest, ANodePublishesATopicOnce) {
  std::optional<Topic> topic = Advertise(*a_, "news");
  EXPECT_EQ(a_->Advertise("news").status().code(), StatusCode::kAlreadyExists);
  topic.reset();
  EXPECT_TRUE(a_->Advertise("news").ok());
}

TEST_F(TopicTest, ASlotThatIsFullTakesNoMoreUntilSomeEnd) {
  std::vector<Topic> topics;
  for (;;) {
    Result<Topic> topic =
        a_->Advertise("a/topic/with/a/long/name/" + std::to_string(topics.size()));
    if (!topic.ok()) {
      EXPECT_EQ(topic.status().code(), StatusCode::kResourceExhausted);
      break;
    }
    topics.push_back(*std::move(topic));
  }
  EXPECT_GT(topics.size(), 50U);
  const std::string long_name(63, 'x');
  const auto ignore = [](const TopicMessage&) {};
  EXPECT_EQ(a_->Subscribe(long_name, ignore).status().code(), StatusCode::kResourceExhausted);
  topics.erase(topics.end() - 3, topics.end());
  EXPECT_TRUE(a_->Subscribe(long_name, ignore).ok());
}

TEST_F(TopicTest, PeersSeeWhatANodePublishesAndSubscribesTo) {
  std::vector<Got> got;
  std::optional<Topic> topic = Advertise(*a_, "camera/front", {.history = 2});
  std::optional<Subscription> subscription =
      Subscribe(*a_, "lidar/*", got, {.when_slow = WhenSlow::kWait, .depth = 5, .history = 1});
  const auto seen = [&] { return b_->Lookup("a")->topics; };
  const std::vector<PeerTopic> topics = seen();
  ASSERT_EQ(topics.size(), 2U);
  EXPECT_EQ(topics[0], (PeerTopic{.id = topics[0].id, .name = "camera/front", .history = 2}));
  EXPECT_EQ(topics[1], (PeerTopic{.is_subscription = true,
                                  .id = topics[1].id,
                                  .name = "lidar/*",
                                  .history = 1,
                                  .when_slow = WhenSlow::kWait,
                                  .depth = 5}));
  EXPECT_NE(topics[0].id, topics[1].id);
  const std::uint64_t generation = b_->peers_generation();
  topic.reset();
  EXPECT_NE(b_->peers_generation(), generation);
  subscription.reset();
  EXPECT_THAT(seen(), IsEmpty());
}

// ---- Handlers ----

TEST_F(TopicTest, AHandlerMayPublishSubscribeAndEndItsOwnSubscription) {
  Topic topic = Advertise(*a_, "question");
  Topic answers = Advertise(*b_, "answer");
  std::vector<Got> got;
  const Subscription listening = Subscribe(*a_, "answer", got);
  std::vector<Got> more;
  std::optional<Subscription> second;
  std::optional<Subscription> first;
  Result<Subscription> opened = b_->Subscribe("question", [&](const TopicMessage& m) {
    second = Subscribe(*b_, "question", more);
    EXPECT_EQ(answers.Publish(m.message.text()), SendResult::kOk);
    first.reset();
    EXPECT_EQ(m.topic, "question") << "what ends is there until its handler returns";
  });
  ASSERT_TRUE(opened.ok());
  first = *std::move(opened);
  ASSERT_EQ(topic.Publish("who?"), SendResult::kOk);
  EXPECT_TRUE(PollUntil(*b_, kIgnore, [&] { return second.has_value(); }));
  AwaitCount(*a_, got, 1);
  EXPECT_THAT(TextsOf(got), ElementsAre("who?"));
  ASSERT_EQ(topic.Publish("and now?"), SendResult::kOk);
  AwaitCount(*b_, more, 1);
  EXPECT_THAT(TextsOf(more), ElementsAre("and now?"));
}

TEST_F(TopicTest, TheEndOfASubscriptionWaitsForItsHandler) {
  Topic topic = Advertise(*a_, "news");
  std::atomic<bool> runs{false};
  std::atomic<bool> may_end{false};
  std::atomic<bool> has_ended{false};
  Result<Subscription> opened = b_->Subscribe("news", [&](const TopicMessage&) {
    runs = true;
    while (!may_end) std::this_thread::yield();
    has_ended = true;
  });
  ASSERT_TRUE(opened.ok());
  std::optional<Subscription> subscription = *std::move(opened);
  ASSERT_EQ(topic.Publish("x"), SendResult::kOk);
  std::thread polling(
      [&] { EXPECT_TRUE(PollUntil(*b_, kIgnore, [&] { return has_ended.load(); })); });
  while (!runs) std::this_thread::yield();
  std::thread ending([&] {
    subscription.reset();
    EXPECT_TRUE(has_ended);
  });
  while (!b_->Lookup("b")->topics.empty()) std::this_thread::yield();  // it is about to wait
  may_end = true;
  ending.join();
  polling.join();
}

TEST_F(TopicTest, AMessageAtWhichItsHandlerThrowsComesAgain) {
  Topic topic = Advertise(*a_, "news");
  int calls = 0;
  std::vector<bool> redelivered;
  std::vector<std::uint64_t> missed;
  const Result<Subscription> subscription = b_->Subscribe("news", [&](const TopicMessage& m) {
    redelivered.push_back(m.message.redelivered);
    missed.push_back(m.missed);
    if (++calls == 1) throw std::runtime_error("no");
  });
  ASSERT_TRUE(subscription.ok());
  ASSERT_EQ(topic.Publish("x"), SendResult::kOk);
  EXPECT_THROW((void)PollUntil(*b_, kIgnore, [] { return false; }), std::runtime_error);
  EXPECT_EQ(subscription->received(), 0U);
  EXPECT_TRUE(PollUntil(*b_, kIgnore, [&] { return calls == 2; }));
  EXPECT_THAT(redelivered, ElementsAre(false, true));
  EXPECT_THAT(missed, ElementsAre(0, 0));
  EXPECT_EQ(subscription->received(), 1U);
}

TEST_F(TopicTest, AMessageOfATopicCanBeKept) {
  for (const bool trust_peers : {false, true}) {
    const auto c = Open(trust_peers ? "trusting" : "careful", {.trust_peers = trust_peers});
    std::vector<Message> kept;
    const Result<Subscription> subscription =
        c->Subscribe("news", [&](const TopicMessage& m) { kept.push_back(m.message.Keep()); },
                     {.when_slow = WhenSlow::kWait});
    ASSERT_TRUE(subscription.ok());
    Topic topic = Advertise(*a_, "news", {.timeout = kPatience});
    for (std::uint64_t i = 0; i < 5; ++i) {
      ASSERT_EQ(topic.Publish(testing::Pattern(i * 1000, i)), SendResult::kOk);
    }
    EXPECT_TRUE(PollUntil(*c, kIgnore, [&] { return kept.size() == 5; }));
    for (std::uint64_t i = 0; i < 5; ++i) {
      EXPECT_TRUE(kept[i].is_kept());
      EXPECT_EQ(kept[i].payload.size(), i * 1000);
      EXPECT_TRUE(testing::HasPattern(kept[i].payload, i));
    }
  }
}

// ---- Threads ----

TEST_F(TopicTest, ThreadsMayShareATopic) {
  constexpr int kThreads = 3;
  constexpr int kEach = 200;
  std::vector<Got> got;
  const Subscription subscription =
      Subscribe(*b_, "news", got, {.when_slow = WhenSlow::kWait, .depth = 4});
  Topic topic = Advertise(*a_, "news", {.timeout = kPatience});
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        EXPECT_EQ(topic.Publish(std::to_string(t * kEach + i)), SendResult::kOk);
      }
    });
  }
  AwaitCount(*b_, got, kThreads * kEach);
  for (std::thread& thread : threads) thread.join();
  std::vector<int> next = {0, kEach, 2 * kEach};
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].sequence, i + 1);
    const int number = std::stoi(got[i].text);
    EXPECT_EQ(next[static_cast<std::size_t>(number / kEach)]++, number);
  }
  EXPECT_EQ(subscription.missed(), 0U);
}

TEST_F(TopicTest, SubscriptionsComeAndGoWhileOthersPublish) {
  Topic topic = Advertise(*a_, "news", {.history = 2});
  std::atomic<bool> done{false};
  std::thread publishing([&] {
    while (!done) {
      EXPECT_EQ(topic.Publish("x"), SendResult::kOk);
      std::this_thread::yield();
    }
  });
  std::thread polling([&] {
    while (!done) (void)b_->Poll(kIgnore);
  });
  for (int i = 0; i < 200; ++i) {
    std::atomic<int> got{0};
    const Result<Subscription> subscription =
        b_->Subscribe("news", [&](const TopicMessage&) { ++got; });
    ASSERT_TRUE(subscription.ok());
    if (i % 10 == 0) {
      while (got == 0) std::this_thread::yield();
    }
  }
  done = true;
  publishing.join();
  polling.join();
}

}  // namespace
}  // namespace ivmq
