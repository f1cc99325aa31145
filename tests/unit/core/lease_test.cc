// Messages that are kept beyond their handlers, and the loop that handles them.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/region.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using ::testing::ElementsAre;
using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::kPatience;
using testing::kWait;
using testing::OpenNode;
using testing::PollUntil;

class LeaseTest : public ::testing::Test {
 protected:
  LeaseTest()
      : hub_(8 * kMiB, {.max_peers = 8, .ring_capacity = 64U << 10}),
        sender_(OpenNode(hub_, 1, {.name = "sender"})) {}

  void OpenReceiver(NodeOptions options) {
    options.name = "receiver";
    receiver_.reset();
    receiver_ = OpenNode(hub_, 2, std::move(options));
  }
  SendResult Send(std::string_view text) { return sender_->Send(receiver_->id(), text); }
  // Keeps the next messages.
  std::vector<Message> Keep(std::size_t count) {
    std::vector<Message> kept;
    EXPECT_TRUE(PollUntil(
        *receiver_, [&](const Message& message) { kept.push_back(message.Keep()); },
        [&] { return kept.size() >= count; }));
    return kept;
  }
  // What comes now, and whether it came before.
  std::vector<std::pair<std::string, bool>> Take(std::size_t count) {
    std::vector<std::pair<std::string, bool>> taken;
    EXPECT_TRUE(PollUntil(
        *receiver_, [&](const Message& m) { taken.emplace_back(m.text(), m.redelivered); },
        [&] { return taken.size() >= count; }));
    return taken;
  }
  int Fill() {
    int sent = 0;
    while (Send(std::string(1000, 'f')) == SendResult::kOk) ++sent;
    return sent;
  }
  [[nodiscard]] RingView Ring() const {
    const Region& region = hub_.region();
    const std::uint32_t cell = region.CellIndex(receiver_->id().slot, sender_->id().slot);
    return *region.RingOf(layout::Cell::FromWord(region.cell(cell).load()));
  }
  [[nodiscard]] bool IsInRegion(const Message& message) const {
    const auto memory = hub_.memory();
    return message.payload.data() >= memory.data() &&
           message.payload.data() < memory.data() + memory.size();
  }

  Hub hub_;
  std::unique_ptr<Node> sender_;
  std::unique_ptr<Node> receiver_;
};

TEST_F(LeaseTest, WhatIsKeptStaysAsItWas) {
  for (const bool trust_peers : {false, true}) {
    OpenReceiver({.trust_peers = trust_peers});
    const MessageType by_name{.kind = FrameKind::kTypedByName, .name = "pkg.Type"};
    std::vector<Message> kept;
    // In place the ring has no room for a large one behind those that are kept.
    const std::size_t large = trust_peers ? 3'000 : 200'000;
    for (std::uint32_t i = 0; i < 20; ++i) {
      const auto message = testing::Pattern(i % 5 == 4 ? large : i * 100, i);
      std::thread sending([&] {
        EXPECT_EQ(sender_->Send(receiver_->id(), by_name, message, kWait), SendResult::kOk);
      });
      std::ranges::move(Keep(1), std::back_inserter(kept));
      sending.join();
    }
    for (std::uint32_t i = 0; i < 20; ++i) {
      EXPECT_TRUE(kept[i].is_kept());
      EXPECT_EQ(kept[i].from, sender_->id());
      EXPECT_EQ(kept[i].type_name, "pkg.Type");
      EXPECT_EQ(kept[i].payload.size(), i % 5 == 4 ? large : i * 100);
      EXPECT_TRUE(testing::HasPattern(kept[i].payload, i));
    }
    EXPECT_EQ(receiver_->counter(Counter::kKept), 20U);
    EXPECT_EQ(receiver_->counter(Counter::kKeptNow), 20U);
    kept.clear();
    EXPECT_EQ(receiver_->counter(Counter::kKeptNow), 0U);
  }
}

TEST_F(LeaseTest, CopiesOfAKeptMessageShareItsLease) {
  OpenReceiver({});
  ASSERT_EQ(Send("shared"), SendResult::kOk);
  std::vector<Message> kept = Keep(1);
  Message copy = kept[0].Keep();
  kept.clear();
  EXPECT_EQ(copy.text(), "shared");
  EXPECT_EQ(receiver_->counter(Counter::kKeptNow), 1U);
  std::thread other([last = std::move(copy)] { EXPECT_EQ(last.text(), "shared"); });
  other.join();
}

TEST_F(LeaseTest, AHandlerMayLookAtAMessageWhoseLeaseItEnded) {
  OpenReceiver({});
  const std::string large(200'000, 'x');
  std::thread sending(
      [&] { EXPECT_EQ(sender_->Send(receiver_->id(), large, kWait), SendResult::kOk); });
  bool handled = false;
  EXPECT_TRUE(PollUntil(
      *receiver_,
      [&](const Message& message) {
        EXPECT_TRUE(message.Keep().is_kept());
        EXPECT_EQ(message.text(), large);
        handled = true;
      },
      [&] { return handled; }));
  sending.join();
}

TEST_F(LeaseTest, WhatIsCopiedHoldsBackNothing) {
  OpenReceiver({});
  ASSERT_EQ(Send("kept"), SendResult::kOk);
  const std::vector<Message> kept = Keep(1);
  for (int round = 0; round < 3; ++round) {
    const int sent = Fill();
    EXPECT_EQ(Take(static_cast<std::size_t>(sent)).size(), static_cast<std::size_t>(sent));
  }
  EXPECT_EQ(kept[0].text(), "kept");
}

TEST_F(LeaseTest, WhatIsKeptInPlaceHoldsBackTheRoomOfItsRing) {
  OpenReceiver({.trust_peers = true});
  ASSERT_EQ(Send("kept"), SendResult::kOk);
  std::vector<Message> kept = Keep(1);
  EXPECT_TRUE(IsInRegion(kept[0]));
  const int sent = Fill();
  EXPECT_EQ(Take(static_cast<std::size_t>(sent)).size(), static_cast<std::size_t>(sent));
  EXPECT_FALSE(receiver_->Wait(std::chrono::nanoseconds(0)));
  EXPECT_EQ(Send(std::string(1000, 'f')), SendResult::kFull);
  EXPECT_EQ(kept[0].text(), "kept");
  kept.clear();
  (void)receiver_->Poll(kIgnore);
  EXPECT_EQ(Send(std::string(1000, 'f')), SendResult::kOk);
}

TEST_F(LeaseTest, TheEndOfALeaseWakesWhoWaitsForItsRoom) {
  OpenReceiver({.trust_peers = true});
  ASSERT_EQ(Send("kept"), SendResult::kOk);
  std::vector<Message> kept = Keep(1);
  const int sent = Fill();
  EXPECT_EQ(Take(static_cast<std::size_t>(sent)).size(), static_cast<std::size_t>(sent));
  std::thread sending([&] {
    EXPECT_EQ(sender_->Send(receiver_->id(), std::string(60'000 / 2, 'l'), kWait), SendResult::kOk);
  });
  while (sender_->counter(Counter::kRingsFull) < 2) std::this_thread::yield();
  std::thread ending([&] { kept.clear(); });
  EXPECT_EQ(Take(1).size(), 1U);
  ending.join();
  sending.join();
}

TEST_F(LeaseTest, WhereHalfOfARingIsKeptMoreIsCopied) {
  OpenReceiver({.trust_peers = true});
  std::vector<Message> kept;
  bool copied = false;
  for (int i = 0; i < 100 && !copied; ++i) {
    ASSERT_EQ(Send(std::string(1000, 'x')), SendResult::kOk);
    std::ranges::move(Keep(1), std::back_inserter(kept));
    ASSERT_TRUE(kept.back().is_kept());
    copied = !IsInRegion(kept.back());
  }
  EXPECT_TRUE(copied);
  EXPECT_GT(kept.size(), 20U);
}

TEST_F(LeaseTest, BeyondTheBoundNothingIsKept) {
  OpenReceiver({.kept_bytes = 10'000});
  ASSERT_EQ(Send("small"), SendResult::kOk);
  ASSERT_EQ(Send(std::string(20'000, 'x')), SendResult::kOk);
  std::vector<Message> kept = Keep(2);
  EXPECT_TRUE(kept[0].is_kept());
  EXPECT_FALSE(kept[1].is_kept());
  EXPECT_EQ(kept[1].payload.size(), 0U);
  EXPECT_EQ(receiver_->counter(Counter::kKeepsRefused), 1U);
  kept.clear();
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(Send("x"), SendResult::kOk);
    std::ranges::move(Keep(1), std::back_inserter(kept));
  }
  EXPECT_EQ(receiver_->counter(Counter::kKeptNow), 38U) << "each counts as 256 bytes, and one more";
}

TEST_F(LeaseTest, OutsideItsHandlerAMessageIsNotKept) {
  OpenReceiver({});
  ASSERT_EQ(Send("x"), SendResult::kOk);
  Message view;
  EXPECT_TRUE(PollUntil(
      *receiver_, [&](const Message& message) { view = message; },
      [&] { return view.keeper != nullptr; }));
  EXPECT_FALSE(view.Keep().is_kept());
  EXPECT_FALSE(Message{}.Keep().is_kept());
}

// ---- Acknowledgement ----

TEST_F(LeaseTest, ADurableNodeGetsAgainWhatItHadNotDoneWith) {
  for (const bool trust_peers : {false, true}) {
    OpenReceiver({.durable = true, .trust_peers = trust_peers});
    for (const char* const text : {"done", "kept", "behind it"}) {
      ASSERT_EQ(Send(text), SendResult::kOk);
    }
    std::vector<Message> kept = Keep(3);
    kept[0] = Message{};
    kept[2] = Message{};
    (void)receiver_->Poll(kIgnore);
    const RingView ring = Ring();
    const std::uint64_t acked = ring.header->acked.load();
    EXPECT_GT(ring.header->delivered.load(), acked);
    EXPECT_GT(acked, 0U);
    EXPECT_LE(ring.header->released.load(), acked);
    kept.clear();
    (void)receiver_->Poll(kIgnore);
    EXPECT_EQ(ring.header->acked.load(), ring.header->delivered.load());
  }
}

TEST_F(LeaseTest, ADurableNodesSuccessorGetsWhatWasKept) {
  OpenReceiver({.durable = true});
  for (const char* const text : {"done", "kept", "behind it"}) {
    ASSERT_EQ(Send(text), SendResult::kOk);
  }
  std::vector<Message> kept = Keep(3);
  kept[0] = kept[2] = Message{};
  (void)receiver_->Poll(kIgnore);
  OpenReceiver({.durable = true});
  using ::testing::Pair;
  EXPECT_THAT(Take(2), ElementsAre(Pair("kept", true), Pair("behind it", true)));
  EXPECT_EQ(kept[1].text(), "kept");
}

TEST_F(LeaseTest, AMessageAtWhichItsHandlerThrowsComesAgainThoughItWasKept) {
  for (const std::size_t bytes : {std::size_t{100}, std::size_t{200'000}}) {
    OpenReceiver({});
    const std::string text(bytes, 'x');
    std::thread sending(
        [&] { EXPECT_EQ(sender_->Send(receiver_->id(), text, kWait), SendResult::kOk); });
    Message kept;
    const auto keep_and_throw = [&](const Message& message) {
      kept = message.Keep();
      throw std::runtime_error("no");
    };
    bool thrown = false;
    while (!thrown) {
      try {
        if (receiver_->Poll(keep_and_throw) == 0) (void)receiver_->Wait(kPatience);
      } catch (const std::runtime_error&) {
        thrown = true;
      }
    }
    EXPECT_THAT(Take(1), ElementsAre(::testing::Pair(text, true)));
    EXPECT_EQ(kept.text(), text);
    sending.join();
  }
}

// ---- Ends ----

TEST_F(LeaseTest, ACopyOutlivesItsNode) {
  OpenReceiver({});
  ASSERT_EQ(Send("still here"), SendResult::kOk);
  const std::vector<Message> kept = Keep(1);
  receiver_.reset();
  EXPECT_EQ(kept[0].text(), "still here");
}

TEST_F(LeaseTest, TheRingOfADeadSenderIsFreedWhenItsLastLeaseEnds) {
  OpenReceiver({.trust_peers = true});
  ASSERT_EQ(Send("kept"), SendResult::kOk);
  std::vector<Message> kept = Keep(1);
  const std::uint32_t slot = sender_->id().slot;
  const layout::Word& cell =
      hub_.region().cell(hub_.region().CellIndex(receiver_->id().slot, slot));
  sender_.reset();
  for (int i = 0; i < 1000; ++i) (void)receiver_->Poll(kIgnore);
  EXPECT_EQ(layout::Cell::FromWord(cell.load()).state, layout::CellState::kLive);
  EXPECT_EQ(kept[0].text(), "kept");
  kept.clear();
  EXPECT_TRUE(PollUntil(*receiver_, kIgnore, [&] {
    return layout::Cell::FromWord(cell.load()).state == layout::CellState::kEmpty;
  }));
}

TEST_F(LeaseTest, ARingThatIsGivenUpIsAnsweredWhenItsLastLeaseEnds) {
  OpenReceiver({.trust_peers = true});
  ASSERT_EQ(Send("kept"), SendResult::kOk);
  std::vector<Message> kept = Keep(1);
  const layout::Word& cell =
      hub_.region().cell(hub_.region().CellIndex(receiver_->id().slot, sender_->id().slot));
  const std::uint64_t word = cell.load();
  const RingView ring = Ring();
  ring.CommitWordAt(ring.header->delivered.load()).store(~0ULL);
  EXPECT_TRUE(PollUntil(*receiver_, kIgnore,
                        [&] { return receiver_->counter(Counter::kRingsPoisoned) != 0; }));
  EXPECT_EQ(cell.load(), word);
  EXPECT_EQ(kept[0].text(), "kept");
  kept.clear();
  EXPECT_TRUE(PollUntil(*receiver_, kIgnore, [&] { return cell.load() != word; }));
  // What its producer sends until it has seen that is lost.
  bool arrived = false;
  EXPECT_TRUE(PollUntil(
      *receiver_, [&](const Message&) { arrived = true; },
      [&] {
        (void)Send("again");
        return arrived;
      }));
}

// ---- Run ----

TEST_F(LeaseTest, RunHandlesMessagesUntilItIsToStop) {
  OpenReceiver({});
  std::stop_source stop;
  std::thread sending([&] {
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(sender_->Send(receiver_->id(), "x", kWait), SendResult::kOk);
    }
  });
  int handled = 0;
  EXPECT_TRUE(receiver_
                  ->Run(stop.get_token(),
                        [&](const Message&) {
                          if (++handled == 100) stop.request_stop();
                        })
                  .ok());
  EXPECT_EQ(handled, 100);
  sending.join();
}

TEST_F(LeaseTest, RunThatWaitsIsEndedByAnotherThread) {
  OpenReceiver({});
  std::jthread running(
      [&](const std::stop_token& stop) { EXPECT_TRUE(receiver_->Run(stop, kIgnore).ok()); });
  while (receiver_->counter(Counter::kSleeps) == 0) std::this_thread::yield();
}

TEST_F(LeaseTest, RunEndsWithTheOwnLifeAndWithinAHandlerAtOnce) {
  OpenReceiver({});
  ASSERT_EQ(Send("x"), SendResult::kOk);
  layout::Word& life = hub_.region().slot(receiver_->id().slot).life;
  const Status status = receiver_->Run(std::stop_token(), [&](const Message&) {
    EXPECT_EQ(receiver_->Run(std::stop_token(), kIgnore).code(), StatusCode::kFailedPrecondition);
    layout::Life dead = layout::Life::FromWord(life.load());
    dead.state = layout::PeerState::kDead;
    life.store(dead.ToWord());
  });
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace ivmq
