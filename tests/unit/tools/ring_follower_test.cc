#include "common/ring_follower.h"

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/ring_messages.h"
#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq::inspect {
namespace {

using layout::FrameKind;
using testing::Below;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::kIgnore;
using testing::kMiB;
using testing::NodePairTest;

std::string TextOf(const RingMessage& message) {
  return {reinterpret_cast<const char*>(message.payload.data()), message.payload.size()};
}

// Rings of 64 KiB, and room for heaps.
class FollowerTest : public NodePairTest {
 protected:
  FollowerTest() : NodePairTest(32 * kMiB, {.max_peers = 8, .ring_capacity = 64 << 10}) {}

  void Send(std::string_view text) { ASSERT_EQ(a_->Send(b_->id(), text), SendResult::kOk); }

  // What a look finds.
  std::vector<std::string> Look() {
    std::vector<std::string> texts;
    (void)follower_.Look([&](const RingMessage& message) {
      last_ = message;
      texts.push_back(TextOf(message));
    });
    return texts;
  }
  void Drain() {
    while (b_->Poll(kIgnore) != 0) {
    }
  }

  RingFollower follower_{region(), a_->id().slot, b_->id().slot};
  RingMessage last_;
};

TEST_F(FollowerTest, SeesEachMessageOnceWhetherOrNotItWasHandled) {
  EXPECT_THAT(Look(), IsEmpty());
  EXPECT_FALSE(follower_.has_ring());
  Send("one");
  EXPECT_THAT(Look(), ElementsAre("one"));
  EXPECT_THAT(Look(), IsEmpty());
  Send("two");
  Send("three");
  Drain();
  EXPECT_THAT(Look(), ElementsAre("two", "three"));
  EXPECT_EQ(follower_.missed_bytes(), 0U);
  EXPECT_EQ(follower_.lost_messages(), 0U);
}

TEST_F(FollowerTest, BeginsWithWhatIsUnread) {
  Send("one");
  Send("two");
  EXPECT_EQ(b_->Poll(kIgnore, 1), 1U);
  EXPECT_THAT(Look(), ElementsAre("two"));
}

TEST_F(FollowerTest, KeepsTypesAndTopics) {
  ASSERT_EQ(a_->Send(b_->id(), {.kind = FrameKind::kTypedByName, .name = "pkg.T"},
                     std::as_bytes(std::span("x", 1))),
            SendResult::kOk);
  EXPECT_THAT(Look(), ElementsAre("x"));
  EXPECT_EQ(last_.kind, FrameKind::kTypedByName);
  EXPECT_EQ(last_.type_name, "pkg.T");

  const auto subscription = b_->Subscribe("camera/*", [](const TopicMessage&) {});
  ASSERT_TRUE(subscription.ok());
  auto topic = a_->Advertise("camera/front");
  ASSERT_TRUE(topic.ok());
  ASSERT_EQ(topic->PublishTyped({.type = 7}, std::as_bytes(std::span("frame", 5))),
            SendResult::kOk);
  EXPECT_THAT(Look(), ElementsAre("frame"));
  EXPECT_EQ(last_.topic, "camera/front");
  EXPECT_EQ(last_.sequence, 1U);
  EXPECT_EQ(last_.kind, FrameKind::kBytes);
  EXPECT_EQ(last_.type, 7U);
}

// More than a record holds, and less than the ring.
TEST_F(FollowerTest, PutsLargeMessagesTogether) {
  const std::string large(50'000, 'x');
  Send(large);
  EXPECT_THAT(Look(), ElementsAre(large));
  Drain();
  ASSERT_EQ(a_->Send(b_->id(), {.kind = FrameKind::kTypedByName, .name = "pkg.T"},
                     std::as_bytes(std::span(large))),
            SendResult::kOk);
  EXPECT_THAT(Look(), ElementsAre(large));
  EXPECT_EQ(last_.type_name, "pkg.T");
}

TEST_F(FollowerTest, ReadsWhatLiesInAHeapWhileItIsTheReceivers) {
  Result<Sender> sender = a_->OpenSender("b");
  ASSERT_TRUE(sender.ok());
  const std::uint64_t bytes = 256 << 10;
  const auto send = [&](char fill) {
    Loan loan = sender->Loan(bytes);
    ASSERT_EQ(loan.result(), SendResult::kOk);
    std::memset(loan.payload().data(), fill, bytes);
    ASSERT_EQ(loan.Publish(), SendResult::kOk);
  };
  send('x');
  EXPECT_THAT(Look(), ElementsAre(std::string(bytes, 'x')));
  send('y');
  Drain();  // its memory may be another message's now
  EXPECT_THAT(Look(), IsEmpty());
  EXPECT_EQ(follower_.lost_messages(), 1U);
}

TEST_F(FollowerTest, SaysWhatWasOverwritten) {
  Send("first");
  EXPECT_THAT(Look(), ElementsAre("first"));
  const std::string message(1000, 'x');
  for (int i = 0; i < 200; ++i) {
    Send(message);
    Drain();
  }
  EXPECT_LT(Look().size(), 200U);
  EXPECT_GT(follower_.missed_bytes(), 100'000U);
  Send("last");
  EXPECT_THAT(Look(), ElementsAre("last"));
}

TEST_F(FollowerTest, GoesOnInTheNextRing) {
  Send("one");
  EXPECT_THAT(Look(), ElementsAre("one"));
  Send("two");
  const std::uint64_t cell = CellWordOf(a_->id(), b_->id()).load();
  // As when its consumer lets go of it.
  CellWordOf(a_->id(), b_->id())
      .store(layout::Cell::FromWord(cell).With(layout::CellState::kClosed).ToWord());
  EXPECT_THAT(Look(), ElementsAre("two"));
  EXPECT_THAT(Look(), IsEmpty());
  EXPECT_FALSE(follower_.has_ring());
}

// ---- Any bytes at all ----

TEST_F(FollowerTest, AnyRecordIsParsedWithinItself) {
  testing::Random random(testing::TestSeed());
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> record(Below(random, 120));
    for (std::byte& byte : record) byte = static_cast<std::byte>(random());
    if (!record.empty()) record[0] = static_cast<std::byte>(Below(random, 20));
    if (record.size() > 3 && Below(random, 2) == 0) {
      record[2] = static_cast<std::byte>(Below(random, 130));
      record[3] = std::byte{0};
    }
    const FrameView view = ParseFrame(record);
    const auto within = [&record](const void* data, std::size_t size) {
      const auto* const begin = static_cast<const std::byte*>(data);
      return size == 0 || (begin >= record.data() && begin + size <= record.data() + record.size());
    };
    EXPECT_TRUE(within(view.body.data(), view.body.size()));
    EXPECT_TRUE(within(view.type_name.data(), view.type_name.size()));
    EXPECT_TRUE(within(view.topic_name.data(), view.topic_name.size()));
    MessageReader reader(region(), a_->id().slot);
    (void)reader.Take(record);
    (void)reader.Take(record);
  }
}

TEST_F(FollowerTest, SurvivesScribblers) {
  testing::Random random(testing::TestSeed());
  for (int round = 0; round < 200; ++round) {
    (void)a_->Send(b_->id(), "hello");
    const RingView ring = RingOf(a_->id(), b_->id());
    const std::uint64_t at = Below(random, 512) * 8;
    ring.CommitWordAt(at).store(Below(random, 2) == 0
                                    ? random()
                                    : layout::CommitWord(at, layout::RecordKind::kData,
                                                         static_cast<std::uint32_t>(random())));
    if (Below(random, 4) == 0) ring.header->acked.store(random());
    (void)Look();
  }
}

}  // namespace
}  // namespace ivmq::inspect
