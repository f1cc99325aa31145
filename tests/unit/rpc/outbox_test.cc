// What waits to be sent to a peer: for whom it is kept, how much of it, and whom it costs.
#include "src/outbox.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/inproc.h"

namespace ivmq::rpc::internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

MessageType EndType(std::uint64_t call) {
  return {.kind = ToFrameKind(CallFrameKind::kEnd), .type = static_cast<std::uint32_t>(call)};
}
std::string EndBytes(std::size_t more = 0) { return std::string(sizeof(CallHeader) + more, '\0'); }

class OutboxTest : public ::testing::Test {
 protected:
  OutboxTest() {
    auto region =
        InprocRegion::Create(std::uint64_t{16} << 20, {.max_peers = 4, .ring_capacity = 64U << 10});
    EXPECT_TRUE(region.ok()) << region.status().ToString();
    region_ = *std::move(region);
    node_ = Open({.name = "sender"});
    deaf_ = Open({.name = "deaf", .durable = true});
    other_ = Open({.name = "other"});
    polling_ = std::make_unique<Polling>(
        *node_, [this] { return node_->Poll([](const Message& /*message*/) {}); });
    outbox_ = std::make_unique<Outbox>(*node_, *polling_);
    while (node_->Send(deaf_->id(), "full") == SendResult::kOk) {
    }
  }

  ~OutboxTest() override {
    outbox_->Stop();
    while (polling_->has_tasks()) (void)polling_->PollOnce();
  }

  std::unique_ptr<Node> Open(const NodeOptions& options) {
    auto node = Node::Open(*region_->Join(), options);
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *std::move(node);
  }
  // The calls that frames of a kind were about which the peer has now.
  static std::vector<std::uint32_t> Take(Node& peer, CallFrameKind kind) {
    std::vector<std::uint32_t> calls;
    while (peer.Poll([&](const Message& message) {
      if (message.kind == ToFrameKind(kind)) calls.push_back(message.type);
    }) != 0) {
    }
    return calls;
  }
  std::shared_ptr<InprocRegion> region_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<Node> deaf_;
  std::unique_ptr<Node> other_;
  std::unique_ptr<Polling> polling_;
  std::unique_ptr<Outbox> outbox_;
};

TEST_F(OutboxTest, WhatFindsNoRoomIsSentOnceThereIsSome) {
  outbox_->SendNote(deaf_->id(), {.kind = CallFrameKind::kCancel, .call = 1});
  outbox_->SendNote(deaf_->id(), {.kind = CallFrameKind::kCancel, .call = 2});
  (void)polling_->PollOnce();
  EXPECT_THAT(Take(*deaf_, CallFrameKind::kCancel), IsEmpty());
  (void)polling_->PollOnce();
  EXPECT_THAT(Take(*deaf_, CallFrameKind::kCancel), ElementsAre(1, 2));
  (void)polling_->PollOnce();
  EXPECT_THAT(Take(*deaf_, CallFrameKind::kCancel), IsEmpty());
}

TEST_F(OutboxTest, WhatOnePeerDoesNotTakeKeepsNothingFromAnother) {
  outbox_->SendNote(deaf_->id(), {.kind = CallFrameKind::kCancel, .call = 1});
  outbox_->Keep(deaf_->id(), EndType(2), 2, EndBytes());
  outbox_->Keep(other_->id(), EndType(3), 3, EndBytes());
  outbox_->SendNote(other_->id(), {.kind = CallFrameKind::kCancel, .call = 4});
  EXPECT_THAT(Take(*other_, CallFrameKind::kCancel), ElementsAre(4));
  (void)polling_->PollOnce();
  EXPECT_THAT(Take(*other_, CallFrameKind::kEnd), ElementsAre(3));
}

TEST_F(OutboxTest, WhatIsKeptForALifeGoesWithThatLife) {
  const PeerId former = deaf_->id();
  outbox_->SendNote(former, {.kind = CallFrameKind::kCancel, .call = 1});
  outbox_->Keep(former, EndType(2), 2, EndBytes());
  deaf_.reset();
  deaf_ = Open({.name = "deaf", .durable = true});
  ASSERT_EQ(deaf_->id().slot, former.slot);
  outbox_->Keep(deaf_->id(), EndType(3), 3, EndBytes());
  // Late, for the life that is over: it costs the holder nothing.
  outbox_->Keep(former, EndType(4), 4, EndBytes());
  outbox_->SendNote(former, {.kind = CallFrameKind::kCancel, .call = 5});
  std::vector<std::uint32_t> ended;
  std::vector<std::uint32_t> cancelled;
  const auto take = [&] {
    return deaf_->Poll([&](const Message& message) {
      if (message.kind == ToFrameKind(CallFrameKind::kEnd)) ended.push_back(message.type);
      if (message.kind == ToFrameKind(CallFrameKind::kCancel)) cancelled.push_back(message.type);
    });
  };
  while (ended.empty()) {
    (void)polling_->PollOnce();
    (void)take();
  }
  (void)polling_->PollOnce();
  while (take() != 0) {
  }
  EXPECT_THAT(ended, ElementsAre(3));
  EXPECT_THAT(cancelled, IsEmpty());
}

TEST_F(OutboxTest, EndsBeyondTheBoundOfAPeerAreRefusedBehindTheOthers) {
  constexpr std::size_t kBytes = std::size_t{8} << 10;
  constexpr std::uint32_t kCalls = (std::size_t{20} << 20) / kBytes;
  for (std::uint32_t call = 1; call <= kCalls; ++call) {
    outbox_->Keep(deaf_->id(), EndType(call), call, EndBytes(kBytes));
  }
  // Every call ends, in its turn.
  std::vector<std::uint32_t> all(kCalls);
  for (std::uint32_t call = 1; call <= kCalls; ++call) all[call - 1] = call;
  std::uint32_t whole = 0;
  std::vector<std::uint32_t> ended;
  while (ended.size() < kCalls) {
    (void)polling_->PollOnce();
    (void)deaf_->Poll([&](const Message& message) {
      if (message.kind != ToFrameKind(CallFrameKind::kEnd)) return;
      ended.push_back(message.type);
      if (message.payload.size() > kBytes) ++whole;
    });
  }
  EXPECT_EQ(ended, all);
  EXPECT_GT(whole, kCalls / 2);
  EXPECT_LT(whole, kCalls);
}

TEST_F(OutboxTest, AnEndLargerThanARecordIsSentWhileThePollerGoesOn) {
  outbox_->Keep(other_->id(), EndType(1), 1, EndBytes(std::size_t{1} << 20));
  std::vector<std::uint32_t> ended;
  while (ended.empty()) {
    (void)polling_->PollOnce();
    ended = Take(*other_, CallFrameKind::kEnd);
  }
  EXPECT_THAT(ended, ElementsAre(1));
}

}  // namespace
}  // namespace ivmq::rpc::internal
