// Which thread polls, and how its sleep ends.
#include "src/polling.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

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

TEST_F(PollingTest, ATaskWhoseWakeUpWasTakenKeepsTheLoopAwake) {
  // A thread that leads no more takes the wake-up: it slept as leader, and another one leads since.
  class Counted final : public PollTask {
   public:
    void Run() override { ++runs; }
    int runs = 0;
  };
  Counted task;
  Polling polling(*node_, [&] { return PollNode(); });
  polling.SetHasLoop();
  polling.Post(task);
  EXPECT_TRUE(node_->Wait(std::chrono::nanoseconds(0)));
  EXPECT_FALSE(polling.Arm());
  EXPECT_EQ(polling.PollOnce(), 1U);
  EXPECT_EQ(task.runs, 1);
}

TEST_F(PollingTest, AThreadThatIsToLeadAtItsDeadlineHandsTheLeadOn) {
  // The first one leads; the second one is next, and its deadline comes when the first one ends; the
  // third one can only end if it leads itself, or somebody else does.
  for (int round = 0; round < 200; ++round) {
    PollWaiter first;
    PollWaiter second;
    PollWaiter third;
    std::atomic<bool> leads{false};
    std::atomic<PollWaiter*> answered{nullptr};
    Polling* all = nullptr;
    Polling polling(*node_, [&] {
      leads.store(true);
      leads.notify_all();
      const std::size_t count = PollNode();
      if (PollWaiter* const waiter = answered.exchange(nullptr)) all->Complete(*waiter);
      return count;
    });
    all = &polling;
    const auto answer = [&](PollWaiter& waiter) {
      answered.store(&waiter);
      node_->Wake();
    };
    std::thread leader([&] { (void)polling.Await(first, Clock::time_point::max()); });
    leads.wait(false);
    const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(1);
    std::thread next([&] { (void)polling.Await(second, deadline); });
    std::atomic<bool> ended{false};
    std::thread last(
        [&] { ended = polling.Await(third, Clock::now() + std::chrono::seconds(20)); });
    std::this_thread::sleep_until(deadline);
    answer(first);
    leader.join();
    next.join();
    answer(third);
    last.join();
    ASSERT_TRUE(ended) << "round " << round;
  }
}

}  // namespace
}  // namespace ivmq::rpc::internal
