// What a node makes of the pieces of large messages; the test writes each of them.
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"
#include "support/still_peer.h"

namespace ivmq {
namespace {

using layout::Counter;
using layout::FragmentHeader;
using layout::Frame;
using layout::FrameKind;
using testing::kIgnore;
using testing::kMiB;
using testing::kWait;
using testing::OpenNode;
using testing::PollUntil;

constexpr std::uint64_t kPiece = 5000;
constexpr std::uint64_t kPieces = 4;
constexpr std::uint64_t kTotal = kPiece * kPieces;

class ReassemblyTest : public testing::NodeTest {
 protected:
  ReassemblyTest() {
    // Memory for one message of the raw peer's, and for nothing beside it.
    NodeOptions options{.max_message_bytes = kMiB, .reassembly_bytes = kMiB};
    options.on_report = [this](const Status& status) {
      EXPECT_EQ(status.code(), StatusCode::kDataLoss);
      ++losses_;
    };
    node_ = Open("node", std::move(options));
  }

  void OpenRingToNode() {
    const Result<CarvedRing> carved = Arena(region()).Carve(
        node_->id().slot, raw_.id().slot, raw_.id().incarnation, node_->id().incarnation);
    ASSERT_TRUE(carved.ok()) << carved.status().ToString();
    ring_ = carved->ring;
    producer_ = Producer(ring_);
  }
  void SendRecord(const Frame& frame, std::span<const std::byte> rest) {
    std::span<std::byte> record;
    ASSERT_EQ(producer_.TryClaim(sizeof(frame) + rest.size(), &record), ClaimResult::kOk);
    std::memcpy(record.data(), &frame, sizeof(frame));
    if (!rest.empty()) std::memcpy(record.data() + sizeof(frame), rest.data(), rest.size());
    producer_.Commit();
  }
  // Piece `piece` of message `number`, whose content is `content`.
  void SendPiece(std::uint32_t number, std::uint64_t piece, std::uint32_t content,
                 std::uint16_t begun_before = 0, std::uint64_t total = kTotal) {
    std::vector<std::byte> inner(sizeof(Frame));
    const Frame inner_frame{.type = content};
    std::memcpy(inner.data(), &inner_frame, sizeof(inner_frame));
    const auto pattern = testing::Pattern(total - sizeof(Frame), content);
    inner.insert(inner.end(), pattern.begin(), pattern.end());
    const FragmentHeader header{.total = total, .offset = piece * kPiece};
    std::vector<std::byte> rest(sizeof(header));
    std::memcpy(rest.data(), &header, sizeof(header));
    const auto begin = inner.begin() + static_cast<std::ptrdiff_t>(piece * kPiece);
    rest.insert(rest.end(), begin, begin + kPiece);
    SendRecord({.kind = FrameKind::kFragment, .name_bytes = begun_before, .type = number}, rest);
  }
  void SendWhole(std::uint32_t number, std::uint32_t content, std::uint16_t begun_before = 0) {
    for (std::uint64_t piece = 0; piece < kPieces; ++piece) {
      SendPiece(number, piece, content, begun_before);
    }
  }
  // Polls until a small message, which the raw peer sends now, has come: then all before it has
  // been handled. Returns what came of the large ones.
  std::vector<std::uint32_t> Received() {
    SendRecord({.kind = FrameKind::kBytes, .type = 0}, {});
    bool marked = false;
    EXPECT_TRUE(PollUntil(
        *node_,
        [&](const Message& message) {
          if (message.payload.empty()) {
            marked = true;
            return;
          }
          EXPECT_TRUE(testing::HasPattern(message.payload, message.type));
          received_.push_back(message.type);
        },
        [&] { return marked; }));
    return std::exchange(received_, {});
  }

  const testing::StillPeer raw_{MakeTransport(hub_, 2), "raw"};
  RingView ring_;
  Producer producer_;
  std::atomic<int> losses_{0};
  std::vector<std::uint32_t> received_;
  std::unique_ptr<Node> node_;
};

TEST_F(ReassemblyTest, PiecesBecomeTheMessage) {
  OpenRingToNode();
  SendWhole(1, 11);
  SendWhole(2, 12);
  EXPECT_EQ(Received(), (std::vector<std::uint32_t>{11, 12}));
}

TEST_F(ReassemblyTest, MemoryOfAMessageThatStoppedMidwayIsGivenToOneThatNeedsIt) {
  OpenRingToNode();
  const std::uint64_t total = kMiB / kPiece * kPiece;
  SendPiece(1, 0, 11, 0, total);
  EXPECT_TRUE(Received().empty());
  auto other = OpenNode(hub_, 3, {.name = "other"});
  std::thread sender([&] {
    EXPECT_EQ(other->Send(node_->id(), testing::Pattern(kMiB, 21), kWait), SendResult::kOk);
  });
  testing::ReceivePattern(*node_, other->id(), 21);
  sender.join();
  EXPECT_EQ(ring_.header->dropped.load(), 1U) << "its sender was not told";
  EXPECT_TRUE(PollUntil(*node_, kIgnore, [&] { return losses_ == 1; }));
  EXPECT_EQ(node_->counter(Counter::kAssembliesLost), 1U);

  // It goes on, does not know yet, and hears it then.
  SendPiece(1, 1, 11, 0, total);
  EXPECT_TRUE(Received().empty());
  SendWhole(2, 11, 1);
  EXPECT_EQ(Received(), std::vector<std::uint32_t>{11});
  EXPECT_EQ(losses_, 1);
}

// Otherwise it would look once a second, and the looks that it counts would take eight.
TEST_F(ReassemblyTest, AReceiverThatSleepsLooksAtEachHeartbeatForAMessageThatStopped) {
  OpenRingToNode();
  SendPiece(1, 0, 11, 0, kMiB / kPiece * kPiece);
  EXPECT_TRUE(Received().empty());
  auto other = OpenNode(hub_, 3, {.name = "other"});
  std::thread sender([&] {
    EXPECT_EQ(other->Send(node_->id(), testing::Pattern(kMiB, 21), kWait), SendResult::kOk);
  });
  const auto& beat = region().slot(node_->id().slot).heartbeat;
  const std::uint64_t first_beat = beat.load();
  const std::uint64_t sleeps = node_->counter(Counter::kSleeps);
  bool received = false;
  const auto handler = [&](const Message&) { received = true; };
  while (!received) {
    if (node_->Poll(handler) == 0) {
      ASSERT_TRUE(node_->Wait(testing::kPatience));
    }
  }
  sender.join();
  EXPECT_GT(node_->counter(Counter::kSleeps), sleeps);
  EXPECT_LT(beat.load() - first_beat, 20U);
}

TEST_F(ReassemblyTest, MemoryOfAMessageThatComesSlowlyIsKept) {
  OpenRingToNode();
  const std::uint64_t total = kMiB / kPiece * kPiece;
  auto other = OpenNode(hub_, 3, {.name = "other"});
  SendPiece(1, 0, 11, 0, total);
  EXPECT_TRUE(Received().empty());
  std::thread sender([&] {
    EXPECT_EQ(other->Send(node_->id(), {.type = 21}, testing::Pattern(kMiB, 21), kWait),
              SendResult::kOk);
  });
  std::vector<std::uint32_t> received;
  const auto handler = [&](const Message& message) { received.push_back(message.type); };
  const auto& beat = region().slot(node_->id().slot).heartbeat;
  for (std::uint64_t piece = 1; piece < 12; ++piece) {
    for (const std::uint64_t before = beat.load(); beat.load() == before;) {
      (void)node_->Poll(handler);
    }
    SendPiece(1, piece, 11, 0, total);
  }
  EXPECT_EQ(losses_, 0);
  EXPECT_TRUE(received.empty());
  for (std::uint64_t piece = 12; piece < total / kPiece; ++piece) {
    SendPiece(1, piece, 11, 0, total);
    (void)node_->Poll(handler);
  }
  EXPECT_TRUE(PollUntil(*node_, handler, [&] { return received.size() == 2; }));
  EXPECT_EQ(received, (std::vector<std::uint32_t>{11, 21}));
  sender.join();
  EXPECT_EQ(losses_, 0);
}

// Its sender was told to begin anew too late: the last piece had come.
TEST_F(ReassemblyTest, AMessageThatWasBegunAnewThoughItHadArrivedComesOnce) {
  OpenRingToNode();
  SendWhole(1, 11);
  SendWhole(2, 11, 1);
  SendWhole(3, 11, 2);
  SendWhole(4, 12);
  EXPECT_EQ(Received(), (std::vector<std::uint32_t>{11, 12}));
  EXPECT_EQ(losses_, 0);
}

TEST_F(ReassemblyTest, AMessageThatWasBegunAnewMidwayIsNotReported) {
  OpenRingToNode();
  SendPiece(1, 0, 11);
  SendPiece(1, 1, 11);
  SendWhole(2, 11, 1);
  EXPECT_EQ(Received(), std::vector<std::uint32_t>{11});
  EXPECT_EQ(losses_, 0);
}

TEST_F(ReassemblyTest, AMessageThatAnotherFollowsMidwayIsReported) {
  OpenRingToNode();
  SendPiece(1, 0, 11);
  SendWhole(2, 12);
  EXPECT_EQ(Received(), std::vector<std::uint32_t>{12});
  EXPECT_TRUE(PollUntil(*node_, kIgnore, [&] { return losses_ == 1; }));
}

}  // namespace
}  // namespace ivmq
