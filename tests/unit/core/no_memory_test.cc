// A call that finds no memory throws and leaves nothing locked. This program replaces operator new.
#include <cstddef>
#include <functional>
#include <new>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/allocations.h"
#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

class NoMemoryTest : public testing::NodePairTest {
 protected:
  NoMemoryTest() : NodePairTest(testing::kMiB, {.max_peers = 4}) {}

  // The first send carves a ring, for which it looks at the whole arena.
  void Fails(const std::function<void()>& send) {
    bool thrown = false;
    {
      const testing::NoMemory none;
      try {
        send();
      } catch (const std::bad_alloc&) {
        thrown = true;
      }
    }
    EXPECT_TRUE(thrown);
    EXPECT_EQ(a_->Send(b_->id(), "hello"), SendResult::kOk);
    EXPECT_EQ(testing::ReceiveTexts(*b_, 1).front(), "hello");
  }
};

TEST_F(NoMemoryTest, ASendLeavesTheRingToOthers) {
  Fails([&] { (void)a_->Send(b_->id(), "lost"); });
}

TEST_F(NoMemoryTest, ASendInPlaceLeavesTheRingToOthers) {
  Fails([&] { (void)a_->SendInPlace(b_->id(), {}, 8, [](std::span<std::byte>) {}); });
}

TEST_F(NoMemoryTest, ABatchLeavesTheRingToOthers) {
  Fails([&] {
    std::span<std::byte> payload;
    Batch batch = a_->StartBatch(b_->id());
    (void)batch.TryClaim({}, 8, &payload);
  });
}

TEST_F(NoMemoryTest, AWaitForRoomLeavesTheRingToOthers) {
  Fails([&] { (void)a_->AwaitRoom(b_->id(), {}, 8, testing::kWait); });
}

TEST_F(NoMemoryTest, APublishLeavesItsTopicToOthers) {
  std::vector<std::string> got;
  const auto subscribe = [&] {
    return b_->Subscribe("news",
                         [&](const TopicMessage& m) { got.emplace_back(m.message.text()); });
  };
  const Result<Subscription> subscription = subscribe();
  Result<Topic> topic = a_->Advertise("news", {.history = 1});
  ASSERT_TRUE(subscription.ok() && topic.ok());
  Fails([&] { (void)topic->Publish("lost"); });
  const auto await = [&](std::vector<std::string> texts) {
    EXPECT_TRUE(
        testing::PollUntil(*b_, testing::kIgnore, [&] { return got.size() >= texts.size(); }));
    EXPECT_EQ(got, texts);
  };
  ASSERT_EQ(topic->Publish("one"), SendResult::kOk);
  await({"one"});
  {
    const testing::NoMemory none;
    // Sent, though not kept.
    EXPECT_EQ(topic->Publish("two"), SendResult::kOk);
  }
  await({"one", "two"});
  got.clear();
  const Result<Subscription> late = subscribe();
  ASSERT_TRUE(late.ok());
  ASSERT_EQ(topic->Publish("three"), SendResult::kOk);
  await({"three", "three"});
}

}  // namespace
}  // namespace ivmq
