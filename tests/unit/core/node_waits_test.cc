// Every wait of a node ends when its owner does not want it any more.
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using testing::kIgnore;
using testing::kMiB;
using testing::kWait;
using testing::PollUntil;

// Says stop once Stop() was called, or at the ask of that number.
class Wanted : public StopCondition {
 public:
  explicit Wanted(int stops_at = 0) : stops_at_(stops_at) {}

  [[nodiscard]] bool IsStopped() const noexcept override {
    const int asked = ++asked_;
    asked_.notify_all();
    return stopped_ || asked == stops_at_;
  }
  void Stop() { stopped_ = true; }
  void AwaitAsks(int count) const {
    for (int asked = asked_; asked < count; asked = asked_) asked_.wait(asked);
  }

 private:
  const int stops_at_;
  mutable std::atomic<int> asked_{0};
  std::atomic<bool> stopped_{false};
};

class NodeWaitsTest : public testing::NodePairTest,
                      public ::testing::WithParamInterface<testing::EventfdTransportOptions> {
 protected:
  NodeWaitsTest() : NodePairTest(GetParam()) {}

  [[nodiscard]] static SendOptions Until(const Wanted& wanted) {
    return {.when_full = WhenFull::kWait, .timeout = std::chrono::hours(24), .stop = &wanted};
  }
  void FillRing() {
    while (a_->Send(b_->id(), testing::Pattern(100, 1)) == SendResult::kOk) {
    }
  }
  // What `send` returns when it is stopped while it sleeps, woken or not.
  static SendResult Stopped(Node& node, bool wake,
                            const std::function<SendResult(const Wanted&)>& send) {
    Wanted wanted;
    SendResult result = SendResult::kOk;
    std::thread sender([&] { result = send(wanted); });
    wanted.AwaitAsks(20);
    wanted.Stop();
    if (wake) node.Wake();
    sender.join();
    return result;
  }
};

TEST_P(NodeWaitsTest, ASendThatWaitsForRoomEnds) {
  FillRing();
  for (const bool wake : {true, false}) {
    EXPECT_EQ(Stopped(*a_, wake,
                      [&](const Wanted& wanted) {
                        return a_->Send(b_->id(), testing::Pattern(100, 1), Until(wanted));
                      }),
              SendResult::kStopped);
    EXPECT_EQ(Stopped(*a_, wake,
                      [&](const Wanted& wanted) {
                        return a_->AwaitRoom(b_->id(), {}, 100, Until(wanted));
                      }),
              SendResult::kStopped);
  }
}

TEST_P(NodeWaitsTest, ALargeMessageThatWaitsForRoomEnds) {
  EXPECT_EQ(Stopped(*a_, true,
                    [&](const Wanted& wanted) {
                      return a_->Send(b_->id(), testing::Pattern(8 * kMiB, 1), Until(wanted));
                    }),
            SendResult::kStopped);
}

TEST_P(NodeWaitsTest, ALargeMessageThatWaitsForItsTurnEnds) {
  Wanted first_wanted;
  std::thread first([&] {
    EXPECT_EQ(a_->Send(b_->id(), testing::Pattern(8 * kMiB, 1), Until(first_wanted)),
              SendResult::kStopped);
  });
  first_wanted.AwaitAsks(20);
  EXPECT_EQ(Stopped(*a_, true,
                    [&](const Wanted& wanted) {
                      return a_->Send(b_->id(), testing::Pattern(kMiB, 2), Until(wanted));
                    }),
            SendResult::kStopped);
  first_wanted.Stop();
  first.join();
}

// Also when there is always room, and nothing of it stays in the receiver's memory.
TEST_P(NodeWaitsTest, ALargeMessageEndsBetweenItsFragments) {
  const Wanted wanted(10);
  std::atomic<bool> done{false};
  std::thread sender([&] {
    EXPECT_EQ(a_->Send(b_->id(), testing::Pattern(8 * kMiB, 1), Until(wanted)),
              SendResult::kStopped);
    EXPECT_EQ(a_->Send(b_->id(), testing::Pattern(64 * kMiB, 2), kWait), SendResult::kOk);
    done = true;
  });
  std::size_t handled = 0;
  EXPECT_TRUE(PollUntil(
      *b_,
      [&](const Message& message) {
        EXPECT_TRUE(testing::HasPattern(message.payload, 2));
        ++handled;
      },
      [&] { return done && handled != 0; }));
  sender.join();
  EXPECT_EQ(handled, 1U);
  EXPECT_EQ(b_->counter(Counter::kAssembliesLost), 1U);
}

TEST_P(NodeWaitsTest, WaitingForANameEnds) {
  Wanted wanted;
  StatusCode code = StatusCode::kOk;
  std::thread waiter([&] {
    code = a_->Await("nobody", std::chrono::nanoseconds::max(), &wanted).status().code();
  });
  wanted.AwaitAsks(20);
  wanted.Stop();
  a_->Wake();
  waiter.join();
  EXPECT_EQ(code, StatusCode::kCancelled);
}

// What finds its end at once asks nobody.
TEST_P(NodeWaitsTest, NothingIsAskedWhereNothingWaits) {
  const Wanted never(1);
  EXPECT_EQ(a_->Send(b_->id(), "x", Until(never)), SendResult::kOk);
  EXPECT_EQ(a_->AwaitRoom(b_->id(), {}, 100, Until(never)), SendResult::kOk);
  EXPECT_TRUE(a_->Await("b", std::chrono::hours(1), &never).ok());
}

TEST_P(NodeWaitsTest, LargeMessagesOfSeveralThreadsFollowEachOther) {
  constexpr std::uint32_t kThreads = 4;
  constexpr std::uint32_t kEach = 5;
  std::vector<std::thread> senders;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    senders.emplace_back([&, t] {
      for (std::uint32_t i = 0; i < kEach; ++i) {
        EXPECT_EQ(a_->Send(b_->id(), {.type = t}, testing::Pattern(kMiB, t + i), kWait),
                  SendResult::kOk);
      }
    });
  }
  std::vector<std::uint32_t> next(kThreads, 0);
  std::uint32_t received = 0;
  EXPECT_TRUE(PollUntil(
      *b_,
      [&](const Message& message) {
        EXPECT_TRUE(testing::HasPattern(message.payload, message.type + next.at(message.type)++));
        ++received;
      },
      [&] { return received == kThreads * kEach; }));
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(b_->counter(Counter::kAssembliesLost), 0U);
}

INSTANTIATE_TEST_SUITE_P(
    , NodeWaitsTest,
    ::testing::Values(testing::EventfdTransportOptions{},
                      testing::EventfdTransportOptions{.wakeable = false, .can_ring = false}),
    [](const auto& test) { return test.param.wakeable ? "WithDoorbells" : "WithoutDoorbells"; });

}  // namespace
}  // namespace ivmq
