// A call that finds no memory throws and leaves nothing locked. This program replaces operator new.
#include <cstddef>
#include <functional>
#include <new>
#include <span>

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

}  // namespace
}  // namespace ivmq
