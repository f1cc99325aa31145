// Rings and arenas that are full: what a sender is told, and what wakes one that waits.
#include <poll.h>

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

#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::kWait;
using testing::OpenNode;
using testing::PollUntil;
using testing::ReceiveTexts;

class FullRingTest : public testing::NodePairTest {
 protected:
  FullRingTest() {
    while (a_->Send(b_->id(), bytes_) == SendResult::kOk) ++sent_;
  }

  // Until a sender has said in the ring that it waits.
  static void AwaitArmed(const RingView& ring) {
    while (ring.header->space_armed.load() % 2 == 0) std::this_thread::yield();
  }

  std::vector<std::byte> bytes_ = testing::Pattern(1000, 1);
  std::size_t sent_ = 0;
};

TEST_F(FullRingTest, EachChoiceGivesItsOwnResult) {
  EXPECT_GT(sent_, 10U);
  EXPECT_EQ(a_->Send(b_->id(), bytes_), SendResult::kFull);
  EXPECT_GE(a_->counter(Counter::kRingsFull), 2U);
  EXPECT_EQ(a_->counter(Counter::kDropped), 0U);
  EXPECT_EQ(a_->Send(b_->id(), bytes_, {.when_full = WhenFull::kDrop}), SendResult::kDropped);
  EXPECT_EQ(a_->counter(Counter::kDropped), 1U);
  EXPECT_EQ(a_->Send(b_->id(), bytes_, {.when_full = WhenFull::kWait, .timeout = milliseconds(1)}),
            SendResult::kTimedOut);
  EXPECT_EQ(a_->AwaitRoom(b_->id(), {}, 1000, {}), SendResult::kFull);
  EXPECT_EQ(ReceiveTexts(*b_, sent_).size(), sent_);
  EXPECT_EQ(b_->Poll(kIgnore), 0U) << "what was refused came all the same";
  EXPECT_EQ(a_->AwaitRoom(b_->id(), {}, 1000, {}), SendResult::kOk);
}

TEST_F(FullRingTest, AWaitingSenderIsWokenWhenThereIsRoom) {
  std::atomic<SendResult> result{SendResult::kFull};
  std::thread sender([&] { result.store(a_->Send(b_->id(), "last", kWait)); });
  AwaitArmed(RingOf(a_->id(), b_->id()));
  const std::vector<std::string> texts = ReceiveTexts(*b_, sent_ + 1);
  sender.join();
  EXPECT_EQ(result, SendResult::kOk);
  EXPECT_EQ(texts.back(), "last");
  EXPECT_GT(b_->counter(Counter::kDoorbellsRung), 0U) << "nobody rang for the waiting sender";
}

TEST_F(FullRingTest, AWaitingSenderIsWokenWhenItsReceiverEnds) {
  const RingView ring = RingOf(a_->id(), b_->id());
  const PeerId b = b_->id();
  SendResult result = SendResult::kOk;
  std::thread sender([&] { result = a_->Send(b, "last", kWait); });
  AwaitArmed(ring);
  const std::uint64_t before = hub_.rings();
  b_.reset();
  EXPECT_GT(hub_.rings(), before) << "nobody rang for the waiting sender";
  sender.join();
  EXPECT_EQ(result, SendResult::kPeerGone);
  EXPECT_EQ(ring.header->space_armed.load() % 2, 0U);
}

// The two take events from different sets.
TEST_F(FullRingTest, AWaitingSenderLeavesTheWakeUpOfAnEventLoop) {
  auto c = Open("c");
  const RingView ring = RingOf(a_->id(), b_->id());
  std::thread sender([&] { EXPECT_EQ(a_->Send(b_->id(), "last", kWait), SendResult::kOk); });
  AwaitArmed(ring);
  pollfd wait{.fd = a_->Fd(), .events = POLLIN, .revents = 0};
  do {
    while (!a_->Arm()) (void)a_->Poll(kIgnore);
    if (poll(&wait, 1, 0) == 0) break;
    (void)a_->Poll(kIgnore);  // takes what woke it before
  } while (true);
  const std::uint64_t armed = ring.header->space_armed.load();
  ASSERT_EQ(c->Send(a_->id(), "wake up"), SendResult::kOk);
  while (ring.header->space_armed.load() == armed) std::this_thread::yield();
  EXPECT_EQ(poll(&wait, 1, 0), 1) << "the sender took the doorbell of the loop";
  EXPECT_THAT(ReceiveTexts(*a_, 1), ElementsAre("wake up"));
  EXPECT_EQ(ReceiveTexts(*b_, sent_ + 1).back(), "last");
  sender.join();
}

TEST_F(FullRingTest, ManySendersMayWaitAtOnce) {
  constexpr int kSenders = 4;
  constexpr int kEach = 300;
  std::vector<std::thread> senders;
  for (int i = 0; i < kSenders; ++i) {
    senders.emplace_back([&] {
      for (int k = 0; k < kEach; ++k) EXPECT_EQ(a_->Send(b_->id(), bytes_, kWait), SendResult::kOk);
    });
  }
  std::size_t received = 0;
  EXPECT_TRUE(PollUntil(
      *b_,
      [&](const Message& message) {
        EXPECT_TRUE(testing::HasPattern(message.payload, 1));
        ++received;
      },
      [&] { return received == sent_ + kSenders * kEach; }));
  for (std::thread& sender : senders) sender.join();
}

TEST(NodeArenaTest, AFullArenaIsNoRoomWithNumbersAndAttachedPairsGoOn) {
  Hub hub(kMiB / 4, {.max_peers = 8});
  std::vector<std::unique_ptr<Node>> nodes;
  for (std::uint16_t i = 0; i < 8; ++i) {
    nodes.push_back(OpenNode(hub, i, {.name = "n" + std::to_string(i)}));
  }
  std::vector<std::pair<Node*, Node*>> pairs;
  bool refused = false;
  for (auto& from : nodes) {
    for (auto& to : nodes) {
      if (from == to) continue;
      const SendResult result = from->Send(to->id(), "x");
      if (result == SendResult::kOk) {
        pairs.emplace_back(from.get(), to.get());
      } else {
        refused = true;
        EXPECT_EQ(result, SendResult::kNoRoom);
        EXPECT_THAT(from->Explain(result, to->id()).message(),
                    HasSubstr(std::to_string(hub.region().geometry().unit_count)));
        EXPECT_EQ(from->Explain(result, to->id()).code(), StatusCode::kResourceExhausted);
      }
    }
  }
  ASSERT_TRUE(refused);
  ASSERT_FALSE(pairs.empty());
  for (const auto& [from, to] : pairs) EXPECT_EQ(from->Send(to->id(), "y"), SendResult::kOk);
  std::size_t received = 0;
  for (auto& node : nodes) {
    while (node->Poll([&](const Message&) { ++received; }) != 0) {
    }
  }
  EXPECT_EQ(received, 2 * pairs.size());
}

}  // namespace
}  // namespace ivmq
