// User code that a node calls: handlers, watchers and writers may throw, call the node
// again, and take their time.
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using ::testing::ElementsAre;
using testing::kIgnore;
using testing::kMiB;
using testing::kPatience;
using testing::kWait;
using testing::PollUntil;
using testing::ReceiveTexts;

class UserCodeTest : public testing::NodePairTest {
 protected:
  static void Throw() { throw std::runtime_error("no"); }
  // Each message as text, with a '!' if it is redelivered.
  static std::vector<std::string> Marked(Node& node, std::size_t count) {
    std::vector<std::string> texts;
    EXPECT_TRUE(PollUntil(
        node,
        [&](const Message& message) {
          texts.push_back(std::string(message.text()) + (message.redelivered ? "!" : ""));
        },
        [&] { return texts.size() >= count; }));
    return texts;
  }
  static void Write(std::span<std::byte> payload, std::string_view text) {
    std::memcpy(payload.data(), text.data(), text.size());
  }
};

// ---- Handlers ----

TEST_F(UserCodeTest, AMessageAtWhichItsHandlerThrowsComesAgainMarked) {
  for (const char* const text : {"one", "two", "three"}) {
    ASSERT_EQ(a_->Send(b_->id(), text), SendResult::kOk);
  }
  std::vector<std::string> handled;
  const auto throws_at_two = [&](const Message& message) {
    if (message.text() == "two") Throw();
    handled.emplace_back(message.text());
  };
  for (int i = 0; i < 3; ++i) EXPECT_THROW((void)b_->Poll(throws_at_two), std::runtime_error);
  EXPECT_THAT(handled, ElementsAre("one"));
  EXPECT_THAT(Marked(*b_, 2), ElementsAre("two!", "three"));
}

TEST_F(UserCodeTest, ALargeMessageAtWhichItsHandlerThrowsComesAgainWhole) {
  std::thread sender([&] {
    EXPECT_EQ(a_->Send(b_->id(), testing::Pattern(kMiB, 1), kWait), SendResult::kOk);
    EXPECT_EQ(a_->Send(b_->id(), testing::Pattern(kMiB, 2), kWait), SendResult::kOk);
  });
  int calls = 0;
  const auto handler = [&](const Message& message) {
    const int call = calls++;
    EXPECT_EQ(message.redelivered, call == 1 || call == 2);
    EXPECT_EQ(message.payload.size(), kMiB);
    EXPECT_TRUE(testing::HasPattern(message.payload, call < 3 ? 1 : 2));
    if (call < 2) Throw();
  };
  int thrown = 0;
  while (calls < 4) {
    try {
      if (b_->Poll(handler) == 0) (void)b_->Wait(kPatience);
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  }
  sender.join();
  EXPECT_EQ(thrown, 2);
  EXPECT_EQ(b_->counter(layout::Counter::kAssembliesLost), 0U);
}

TEST_F(UserCodeTest, ADurablePeerThatEndsAfterAThrowGetsTheMessageAgain) {
  auto durable = Open("durable", {.durable = true});
  ASSERT_EQ(a_->Send(durable->id(), "again"), SendResult::kOk);
  EXPECT_THROW((void)durable->Poll([](const Message&) { Throw(); }), std::runtime_error);
  durable.reset();
  durable = Open("durable", {.durable = true});
  EXPECT_THAT(Marked(*durable, 1), ElementsAre("again!"));
}

TEST_F(UserCodeTest, AHandlerThatPollsOrWaitsGetsNothing) {
  for (int i = 0; i < 2; ++i) ASSERT_EQ(a_->Send(b_->id(), "x"), SendResult::kOk);
  std::size_t handled = 0;
  EXPECT_TRUE(PollUntil(
      *b_,
      [&](const Message&) {
        ++handled;
        EXPECT_EQ(b_->Poll(kIgnore), 0U);
        EXPECT_FALSE(b_->Wait(kPatience));
        EXPECT_FALSE(b_->Arm());
      },
      [&] { return handled == 2; }));
}

// ---- The peer watcher ----

TEST_F(UserCodeTest, AWatcherThatThrowsIsCalledAgain) {
  int calls = 0;
  b_->SetPeerWatcher([&](const PeerSnapshot& snapshot) {
    EXPECT_EQ(snapshot.peers.size(), 2U);
    if (++calls < 3) Throw();
  });
  ASSERT_EQ(a_->Send(b_->id(), "x"), SendResult::kOk);
  for (int i = 0; i < 2; ++i) EXPECT_THROW((void)b_->Poll(kIgnore), std::runtime_error);
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("x"));
  EXPECT_EQ(calls, 3);
}

TEST_F(UserCodeTest, AWatcherMayPollInVainAndSetAnother) {
  ASSERT_EQ(a_->Send(b_->id(), "x"), SendResult::kOk);
  std::vector<std::string> calls;
  b_->SetPeerWatcher([&, first = std::string("first")](const PeerSnapshot&) {
    EXPECT_EQ(b_->Poll(kIgnore), 0U);
    b_->SetPeerWatcher([&](const PeerSnapshot&) { calls.emplace_back("second"); });
    calls.push_back(first);  // which lives in the watcher that was replaced
  });
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("x"));
  EXPECT_TRUE(PollUntil(*b_, kIgnore, [&] { return calls.size() == 2; }));
  EXPECT_THAT(calls, ElementsAre("first", "second"));
}

// ---- Writers and batches ----

TEST_F(UserCodeTest, AWriterThatThrowsSendsNothing) {
  EXPECT_THROW((void)a_->SendInPlace(b_->id(), {}, 4, [](std::span<std::byte>) { Throw(); }),
               std::runtime_error);
  EXPECT_EQ(b_->Poll(kIgnore), 0U);
  EXPECT_EQ(a_->Send(b_->id(), "next"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("next"));
  EXPECT_EQ(a_->counter(layout::Counter::kMessagesSent), 1U);
}

// Whatever would send to the peer, from the thread whose batch or writer has the ring.
void ExpectBusy(Node& node, PeerId to) {
  const auto large = testing::Pattern(kMiB, 1);
  for (const WhenFull when_full : {WhenFull::kFail, WhenFull::kWait, WhenFull::kDrop}) {
    const SendOptions options{.when_full = when_full, .timeout = std::chrono::hours(1)};
    EXPECT_EQ(node.Send(to, "x", options), SendResult::kBusy);
    EXPECT_EQ(node.Send(to, large, options), SendResult::kBusy);
    EXPECT_EQ(node.AwaitRoom(to, {}, 10, options), SendResult::kBusy);
    EXPECT_EQ(node.SendInPlace(
                  to, {}, 1, [](std::span<std::byte>) { FAIL(); }, options),
              SendResult::kBusy);
    Batch batch = node.StartBatch(to, options);
    std::span<std::byte> payload;
    EXPECT_EQ(batch.TryClaim({}, 1, &payload), SendResult::kBusy);
    EXPECT_EQ(batch.Commit(), SendResult::kBusy);
  }
  EXPECT_GT(node.MaxRecordMessage(to, {}), 0U);
  EXPECT_EQ(node.Explain(SendResult::kBusy, to).code(), StatusCode::kFailedPrecondition);
}

TEST_F(UserCodeTest, SendingToThePeerOfAnOpenBatchIsBusy) {
  auto c = Open("c");
  {
    Batch batch = a_->StartBatch(b_->id());
    std::span<std::byte> payload;
    ASSERT_EQ(batch.TryClaim({}, 3, &payload), SendResult::kOk);
    ExpectBusy(*a_, b_->id());
    EXPECT_EQ(a_->Send(c->id(), "other"), SendResult::kOk);
    Write(payload, "one");
    ASSERT_EQ(batch.TryClaim({}, 3, &payload), SendResult::kOk);
    Write(payload, "two");
    EXPECT_EQ(batch.Commit(), SendResult::kOk);
    EXPECT_EQ(a_->Send(b_->id(), "x"), SendResult::kBusy) << "until the batch is destroyed";
  }
  EXPECT_EQ(a_->Send(b_->id(), "three"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 3), ElementsAre("one", "two", "three"));
  EXPECT_THAT(ReceiveTexts(*c, 1), ElementsAre("other"));
}

TEST_F(UserCodeTest, SendingToThePeerThatAWriterWritesToIsBusy) {
  auto c = Open("c");
  ASSERT_EQ(c->Send(a_->id(), "hello"), SendResult::kOk);
  EXPECT_EQ(a_->SendInPlace(b_->id(), {}, 4,
                            [&](std::span<std::byte> payload) {
                              ExpectBusy(*a_, b_->id());
                              EXPECT_EQ(a_->Send(c->id(), "other"), SendResult::kOk);
                              EXPECT_THAT(ReceiveTexts(*a_, 1), ElementsAre("hello"));
                              std::memcpy(payload.data(), "here", 4);
                            }),
            SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("here"));
  EXPECT_THAT(ReceiveTexts(*c, 1), ElementsAre("other"));
}

// Also a send that would not wait for room.
TEST_F(UserCodeTest, OtherThreadsWaitForTheEndOfABatch) {
  std::atomic<int> asked{0};
  struct Count : StopCondition {
    explicit Count(std::atomic<int>& asked) : asked_(asked) {}
    [[nodiscard]] bool IsStopped() const noexcept override {
      ++asked_;
      asked_.notify_all();
      return false;
    }
    std::atomic<int>& asked_;
  };
  const Count count(asked);
  const SendOptions patient{.timeout = std::chrono::hours(1), .stop = &count};
  std::vector<std::thread> others;
  {
    Batch batch = a_->StartBatch(b_->id());
    others.emplace_back([&] { EXPECT_EQ(a_->Send(b_->id(), "x", patient), SendResult::kOk); });
    others.emplace_back(
        [&] { EXPECT_EQ(a_->AwaitRoom(b_->id(), {}, 10, patient), SendResult::kOk); });
    others.emplace_back([&] {
      EXPECT_EQ(
          a_->SendInPlace(
              b_->id(), {}, 1, [](std::span<std::byte> out) { out[0] = std::byte{'x'}; }, patient),
          SendResult::kOk);
    });
    others.emplace_back([&] {
      Batch second = a_->StartBatch(b_->id(), patient);
      std::span<std::byte> payload;
      ASSERT_EQ(second.TryClaim({}, 1, &payload), SendResult::kOk);
      payload[0] = std::byte{'x'};
      EXPECT_EQ(second.Commit(), SendResult::kOk);
    });
    for (int now = asked; now < 1000; now = asked) asked.wait(now);
    std::span<std::byte> payload;
    ASSERT_EQ(batch.TryClaim({}, 5, &payload), SendResult::kOk);
    Write(payload, "first");
    EXPECT_EQ(batch.Commit(), SendResult::kOk);
  }
  for (std::thread& other : others) other.join();
  EXPECT_THAT(ReceiveTexts(*b_, 4), ElementsAre("first", "x", "x", "x"));
}

TEST_F(UserCodeTest, OtherThreadsWaitNoLongerThanTheyWant) {
  struct Always : StopCondition {
    [[nodiscard]] bool IsStopped() const noexcept override { return true; }
  };
  const Always always;
  Batch batch = a_->StartBatch(b_->id());
  std::thread other([&] {
    for (const WhenFull when_full : {WhenFull::kFail, WhenFull::kWait}) {
      const SendOptions brief{.when_full = when_full, .timeout = std::chrono::milliseconds(1)};
      const SendOptions stopped{
          .when_full = when_full, .timeout = std::chrono::hours(1), .stop = &always};
      EXPECT_EQ(a_->Send(b_->id(), "x", brief), SendResult::kTimedOut);
      EXPECT_EQ(a_->Send(b_->id(), "x", stopped), SendResult::kStopped);
      EXPECT_EQ(a_->Send(b_->id(), testing::Pattern(kMiB, 1), brief), SendResult::kTimedOut);
      EXPECT_EQ(a_->AwaitRoom(b_->id(), {}, 10, stopped), SendResult::kStopped);
      Batch second = a_->StartBatch(b_->id(), brief);
      std::span<std::byte> payload;
      EXPECT_EQ(second.TryClaim({}, 1, &payload), SendResult::kTimedOut);
    }
  });
  other.join();
}

// What is claimed lies in the ring that was given up: no other ring may be carved before the batch
// has let go of it, since its units may become another's.
TEST_F(UserCodeTest, ABatchStaysInTheRingThatItBeganIn) {
  ASSERT_EQ(a_->Send(b_->id(), "lost"), SendResult::kOk);
  const layout::Cell before = CellOf(a_->id(), b_->id());
  RingOf(a_->id(), b_->id()).CommitWordAt(0).store(~std::uint64_t{0});
  Batch batch = a_->StartBatch(b_->id());
  std::span<std::byte> payload;
  ASSERT_EQ(batch.TryClaim({}, 1000, &payload), SendResult::kOk);
  ASSERT_EQ(b_->Poll(kIgnore), 0U);  // gives the ring up
  SendResult result = SendResult::kOk;
  while (result == SendResult::kOk) result = batch.TryClaim({}, 1000, &payload);
  EXPECT_EQ(result, SendResult::kFull);
  EXPECT_EQ(batch.TryClaim({}, 4, &payload), SendResult::kFull) << "though a new ring has room";
  EXPECT_EQ(CellOf(a_->id(), b_->id()), before.With(layout::CellState::kClosed));
  EXPECT_EQ(batch.Commit(), SendResult::kFull);
  ASSERT_EQ(batch.TryClaim({}, 4, &payload), SendResult::kOk);
  EXPECT_EQ(CellOf(a_->id(), b_->id()).generation, before.generation + 1);
  Write(payload, "here");
  EXPECT_EQ(batch.Commit(), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("here"));
}

TEST_F(UserCodeTest, TheRingThatABatchLeftIsFreedWithoutAnotherSend) {
  ASSERT_EQ(a_->Send(b_->id(), "lost"), SendResult::kOk);
  RingOf(a_->id(), b_->id()).CommitWordAt(0).store(~std::uint64_t{0});
  {
    Batch batch = a_->StartBatch(b_->id());
    std::span<std::byte> payload;
    ASSERT_EQ(batch.TryClaim({}, 1000, &payload), SendResult::kOk);
    ASSERT_EQ(b_->Poll(kIgnore), 0U);  // gives the ring up
    while (batch.TryClaim({}, 1000, &payload) == SendResult::kOk) continue;
  }
  EXPECT_TRUE(PollUntil(
      *b_, kIgnore, [&] { return CellOf(a_->id(), b_->id()).state == layout::CellState::kEmpty; }));
}

}  // namespace
}  // namespace ivmq
