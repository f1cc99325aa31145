// Which thread polls, and how its sleep ends.
#include "src/polling.h"

#include <atomic>
#include <memory>

#include <gtest/gtest.h>

#include "ivmq/inproc.h"

namespace ivmq::rpc::internal {
namespace {

class PollingTest : public ::testing::Test {
 protected:
  PollingTest() {
    auto region = InprocRegion::Create(std::uint64_t{4} << 20, {.max_peers = 4});
    EXPECT_TRUE(region.ok()) << region.status().ToString();
    auto node = Node::Open(*(*region)->Join(), {.name = "a"});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    node_ = *std::move(node);
  }

  std::size_t PollNode() {
    return node_->Poll([](const Message& /*message*/) {});
  }

  std::unique_ptr<Node> node_;
};

TEST_F(PollingTest, ALoopThatIsStoppedWhileItPollsSleepsNoMore) {
  // The stop comes behind the loop's look at it, and its wake-up before the poll, which takes what
  // was rung for the sleep that another thread had armed for the loop.
  std::atomic<bool> stop{false};
  Polling polling(*node_, [&] {
    if (!stop.exchange(true)) {
      while (!node_->Arm()) PollNode();
      node_->Wake();
    }
    return PollNode();
  });
  polling.SetHasLoop();
  polling.Loop(stop);
}

}  // namespace
}  // namespace ivmq::rpc::internal
