// How many messages of a topic are on their way to a subscriber, and which ones a publisher keeps.
#include "src/topic_window.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include "src/topic_log.h"
#include "support/random.h"

namespace ivmq {
namespace {

using testing::Below;

TEST(TopicWindowTest, ItIsFullWithItsDepthAndHasRoomWhenSomeAreHandled) {
  for (const std::uint32_t depth : {1U, 2U, 7U, 8U, 9U, 1024U}) {
    TopicWindow window(depth);
    std::uint64_t position = 0;
    for (int round = 0; round < 3; ++round) {
      for (std::uint32_t i = 0; i < depth; ++i) {
        EXPECT_FALSE(window.is_full());
        ASSERT_TRUE(window.Reserve());
        window.Sent(position += 8);
      }
      EXPECT_TRUE(window.is_full());
      window.Handled(position - 8);
      EXPECT_EQ(window.count(), 1U);
      window.Handled(position);
      EXPECT_EQ(window.count(), 0U);
    }
  }
}

TEST(TopicWindowTest, WhatWasHandledBeforeChangesNothing) {
  TopicWindow window(2);
  for (const std::uint64_t end : {100U, 200U}) {
    ASSERT_TRUE(window.Reserve());
    window.Sent(end);
  }
  window.Handled(100);
  window.Handled(0);
  window.Handled(100);
  EXPECT_EQ(window.count(), 1U);
}

TEST(TopicWindowTest, ABlockedOneIsFullUntilThatIsHandled) {
  TopicWindow window(4);
  ASSERT_TRUE(window.Reserve());
  window.Sent(100);
  window.Block(300);
  EXPECT_TRUE(window.is_full());
  window.Handled(200);
  EXPECT_TRUE(window.is_full());
  EXPECT_EQ(window.count(), 0U);
  window.Handled(300);
  EXPECT_FALSE(window.is_full());
  window.Block(400);
  window.Clear();
  EXPECT_FALSE(window.is_full());
}

TEST(TopicWindowTest, RandomOperationsAgreeWithADeque) {
  testing::Random random(testing::TestSeed());
  for (int round = 0; round < 20; ++round) {
    const auto depth = static_cast<std::uint32_t>(1 + Below(random, 40));
    TopicWindow window(depth);
    std::deque<std::uint64_t> expected;
    std::uint64_t position = 0;
    for (int i = 0; i < 2000; ++i) {
      if (!window.is_full() && Below(random, 3) != 0) {
        expected.push_back(position += 8 * (1 + Below(random, 10)));
        ASSERT_TRUE(window.Reserve());
        window.Sent(position);
      } else {
        const std::uint64_t handled = position - Below(random, position + 1) / 4;
        window.Handled(handled);
        while (!expected.empty() && expected.front() <= handled) expected.pop_front();
      }
      ASSERT_EQ(window.count(), expected.size());
      ASSERT_EQ(window.is_full(), expected.size() == depth);
    }
  }
}

std::shared_ptr<const StoredMessage> MessageOf(std::uint64_t size) {
  auto message = std::make_shared<StoredMessage>();
  message->memory.reset(new std::byte[size]);
  message->bytes = {message->memory.get(), size};
  return message;
}

TEST(TopicLogTest, ItHasTheMessagesFromTheFirstOneThatIsNeeded) {
  TopicLog log;
  EXPECT_TRUE(log.empty());
  EXPECT_FALSE(log.Has(0));
  for (std::uint64_t i = 5; i < 10; ++i) log.Append(i, MessageOf(i));
  EXPECT_EQ(log.first(), 5U);
  EXPECT_EQ(log.end(), 10U);
  EXPECT_EQ(log.bytes(), 5U + 6 + 7 + 8 + 9);
  EXPECT_FALSE(log.Has(4));
  EXPECT_TRUE(log.Has(5));
  EXPECT_TRUE(log.Has(9));
  EXPECT_FALSE(log.Has(10));
  EXPECT_EQ(log.At(7)->bytes.size(), 7U);
  log.Trim(8);
  EXPECT_EQ(log.first(), 8U);
  EXPECT_EQ(log.bytes(), 8U + 9);
  log.Trim(3);
  EXPECT_EQ(log.first(), 8U);
  log.Trim(100);
  EXPECT_TRUE(log.empty());
  EXPECT_EQ(log.bytes(), 0U);
  log.Append(200, MessageOf(1));
  EXPECT_EQ(log.first(), 200U);
}

TEST(TopicLogTest, ItHasNoGaps) {
  TopicLog log;
  log.Append(1, MessageOf(10));
  log.Append(3, MessageOf(20));
  EXPECT_FALSE(log.Has(1));
  EXPECT_TRUE(log.Has(3));
  EXPECT_EQ(log.bytes(), 20U);
  log.Append(4, nullptr);
  EXPECT_TRUE(log.empty());
  EXPECT_EQ(log.bytes(), 0U);
  log.Append(5, MessageOf(5));
  EXPECT_TRUE(log.Has(5));
}

TEST(TopicLogTest, WhoHasAMessageKeepsIt) {
  TopicLog log;
  log.Append(1, MessageOf(10));
  const TopicLog::Stored kept = log.At(1);
  log.Trim(2);
  EXPECT_EQ(kept->bytes.size(), 10U);
}

}  // namespace
}  // namespace ivmq
