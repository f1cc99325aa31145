#include "common/ring_cursor.h"

#include <cstring>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "ivmq/internal/ring.h"

#include "support/node_pair.h"

namespace ivmq::inspect {
namespace {

using testing::NodePairTest;

class UnreadTest : public NodePairTest {
 protected:
  UnreadTest() {
    for (const char* text : {"one", "two", "three"}) {
      EXPECT_EQ(a_->Send(b_->id(), text), SendResult::kOk);
    }
    ring_ = RingOf(a_->id(), b_->id());
  }

  Unread Count(std::uint64_t steps = 1000) const { return CountUnread(ring_, &steps); }

  RingView ring_;
};

TEST_F(UnreadTest, CountsWhatIsNotHandledYet) {
  EXPECT_EQ(Count().messages, 3U);
  EXPECT_TRUE(Count().complete);
  EXPECT_EQ(Count().problem, "");
  EXPECT_EQ(b_->Poll(testing::kIgnore, 2), 2U);
  EXPECT_EQ(Count().messages, 1U);
  EXPECT_EQ(b_->Poll(testing::kIgnore), 1U);
  EXPECT_EQ(Count().messages, 0U);
  EXPECT_EQ(Count().bytes, 0U);
}

TEST_F(UnreadTest, CountsAcrossTheEndOfTheRing) {
  EXPECT_EQ(b_->Poll(testing::kIgnore), 3U);
  const std::string large(ring_.capacity / 5, 'x');
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(a_->Send(b_->id(), large), SendResult::kOk);
    ASSERT_EQ(a_->Send(b_->id(), "small"), SendResult::kOk);
    EXPECT_EQ(Count().messages, 2U) << i;
    EXPECT_EQ(Count().problem, "") << i;
    EXPECT_EQ(b_->Poll(testing::kIgnore), 2U);
  }
}

TEST_F(UnreadTest, StopsWhereItMay) {
  std::uint64_t steps = 2;
  const Unread unread = CountUnread(ring_, &steps);
  EXPECT_FALSE(unread.complete);
  EXPECT_EQ(steps, 0U);
  EXPECT_EQ(unread.problem, "");
}

TEST_F(UnreadTest, NamesAWordThatIsNone) {
  std::optional<RingCursor> cursor(std::in_place, ring_, 0);
  ASSERT_EQ(cursor->Next(), RingCursor::Step::kRecord);
  ring_.CommitWordAt(cursor->position()).store(layout::CommitWord(8, layout::RecordKind::kData, 3));
  EXPECT_EQ(Count().messages, 1U);
  EXPECT_NE(Count().problem, "");
  ASSERT_EQ(cursor->Next(), RingCursor::Step::kDamaged);
}

TEST_F(UnreadTest, NamesARecordThatLacks) {
  ring_.header->committed.store(1 << 20);
  EXPECT_EQ(Count().messages, 3U);
  EXPECT_NE(Count().problem, "");
  ring_.header->acked.store(3);
  EXPECT_NE(Count().problem, "");
}

TEST_F(UnreadTest, ACursorShowsTheBytes) {
  RingCursor cursor(ring_, 0);
  ASSERT_EQ(cursor.Next(), RingCursor::Step::kRecord);
  EXPECT_EQ(cursor.start(), 0U);
  ASSERT_EQ(cursor.payload().size(), sizeof(layout::Frame) + 3);
  EXPECT_EQ(std::memcmp(cursor.payload().data() + sizeof(layout::Frame), "one", 3), 0);
}

}  // namespace
}  // namespace ivmq::inspect
