// One side of a stream by itself: what its reader is told.
#include "src/message_stream.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include <google/protobuf/wrappers.pb.h>
#include <gtest/gtest.h>

#include "ivmq/inproc.h"

namespace ivmq::rpc::internal {
namespace {

class MessageStreamTest : public ::testing::Test {
 protected:
  MessageStreamTest() {
    auto region = InprocRegion::Create(std::uint64_t{16} << 20, {.max_peers = 4});
    EXPECT_TRUE(region.ok()) << region.status().ToString();
    region_ = *std::move(region);
    node_ = Open("client");
    server_ = Open("server");
    to_ = server_->id();
    polling_ = std::make_unique<Polling>(
        *node_, [this] { return node_->Poll([](const Message& /*message*/) {}); });
    outbox_ = std::make_unique<Outbox>(*node_, *polling_);
    stream_ =
        std::make_unique<MessageStream>(*node_, *polling_, *outbox_, kClientKinds, to_, call_);
  }
  ~MessageStreamTest() override {
    outbox_->Stop();
    while (polling_->has_tasks()) (void)polling_->PollOnce();
  }

  std::unique_ptr<Node> Open(const std::string& name) {
    auto node = Node::Open(*region_->Join(), {.name = name});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *std::move(node);
  }

  std::shared_ptr<InprocRegion> region_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<Node> server_;
  PeerId to_;
  std::uint64_t call_ = 1;
  std::unique_ptr<Polling> polling_;
  std::unique_ptr<Outbox> outbox_;
  std::unique_ptr<MessageStream> stream_;
};

TEST_F(MessageStreamTest, WhatComesBetweenTheDeadlineAndTheEndIsNotReadAfterItsReaderHasGivenUp) {
  const std::atomic<bool> cancelled{false};
  const CallLife late(*node_, std::chrono::steady_clock::now(), cancelled, to_);
  std::string text;
  EXPECT_EQ(stream_->Read(&text, late), MessageStream::Outcome::kUnwanted);
  EXPECT_TRUE(stream_->OnMessage("too late"));
  stream_->OnEnd();
  EXPECT_EQ(stream_->Read(&text, late), MessageStream::Outcome::kEnd);
}

TEST_F(MessageStreamTest, NothingIsReadBehindAMessageThatDoesNotParse) {
  const std::atomic<bool> cancelled{false};
  const CallLife life(*node_, std::chrono::steady_clock::time_point::max(), cancelled, to_);
  EXPECT_TRUE(stream_->OnMessage("\xff\xff\xff"));
  EXPECT_TRUE(stream_->OnMessage(""));
  google::protobuf::StringValue message;
  EXPECT_EQ(stream_->Read(&message, life), MessageStream::Outcome::kNotParsed);
  EXPECT_TRUE(stream_->OnMessage(""));
  stream_->OnEnd();
  EXPECT_EQ(stream_->Read(&message, life), MessageStream::Outcome::kEnd);
}

}  // namespace
}  // namespace ivmq::rpc::internal
