// Senders: handles that follow a name, shared by threads or exclusive, and what they lend.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/reports.h"
#include "support/sizes.h"

namespace ivmq {

// A value that is written in place, or throws.
struct Written {
  std::string text;
  bool throws = false;
};
template <>
struct Encoder<Written> {
  static MessageType Type(const Written& /*value*/) { return {.type = 7}; }
  static std::uint64_t Size(const Written& value) { return value.text.size(); }
  static void Write(const Written& value, std::span<std::byte> to) {
    if (value.throws) throw std::runtime_error("no");
    std::memcpy(to.data(), value.text.data(), to.size());
  }
};

namespace {

using layout::Cell;
using layout::Counter;
using ::testing::ElementsAre;
using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::kPatience;
using testing::kWait;
using testing::PollUntil;
using testing::ReceiveTexts;

struct Reading {
  std::uint32_t sensor;
  float value;
};

class SenderTest : public ::testing::TestWithParam<bool> {
 protected:
  SenderTest() : hub_(8 * kMiB, {.max_peers = 8, .ring_capacity = 256U << 10}) {
    a_ = testing::OpenNode(hub_, 1, {.name = "a", .on_report = reports_.Sink()});
  }

  void OpenB(bool durable = false) {
    b_ = testing::OpenNode(hub_, 2, {.name = "b", .durable = durable});
  }
  [[nodiscard]] static bool exclusive() { return GetParam(); }
  [[nodiscard]] Sender OpenSender(SenderOptions options = {}) {
    options.exclusive = exclusive();
    Result<Sender> sender = a_->OpenSender("b", options);
    EXPECT_TRUE(sender.ok()) << sender.status().ToString();
    return *std::move(sender);
  }
  // Sends until there is no room.
  static int Fill(Sender& sender) {
    int sent = 0;
    while (sender.Send(std::string(1000, 'x')) == SendResult::kOk) ++sent;
    return sent;
  }
  [[nodiscard]] layout::Word& CellOf(const Node& consumer) const {
    const Region& region = hub_.region();
    return region.cell(region.CellIndex(consumer.id().slot, a_->id().slot));
  }

  testing::Reports reports_;
  Hub hub_;
  std::unique_ptr<Node> a_;
  std::unique_ptr<Node> b_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, SenderTest, ::testing::Bool(),
                         [](const auto& kind) { return kind.param ? "Exclusive" : "Shared"; });

// ---- What is sent ----

TEST_P(SenderTest, TextBytesAndValuesArriveAsTheirBytes) {
  OpenB();
  Sender sender = OpenSender();
  const std::vector<std::byte> bytes(3, std::byte{9});
  const std::array<std::uint16_t, 2> numbers = {1, 2};
  const Reading reading{.sensor = 4, .value = 0.5F};
  EXPECT_EQ(sender.Send("literal"), SendResult::kOk);
  EXPECT_EQ(sender.Send(std::string("string")), SendResult::kOk);
  EXPECT_EQ(sender.Send(bytes), SendResult::kOk);
  EXPECT_EQ(sender.Send(numbers), SendResult::kOk);
  EXPECT_EQ(sender.Send(reading), SendResult::kOk);
  EXPECT_EQ(sender.Send({}), SendResult::kOk);
  EXPECT_EQ(sender.Send("with options", {}), SendResult::kOk);
  EXPECT_EQ(sender.Send(Written{.text = "written"}), SendResult::kOk);
  EXPECT_EQ(sender.SendTyped({.type = 3}, bytes), SendResult::kOk);

  std::vector<std::pair<std::uint32_t, std::string>> got;
  ASSERT_TRUE(PollUntil(
      *b_, [&](const Message& m) { got.emplace_back(m.type, m.text()); },
      [&] { return got.size() == 9; }));
  const auto text = [](const auto& value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  using ::testing::Pair;
  EXPECT_THAT(got,
              ElementsAre(Pair(0, "literal"), Pair(0, "string"), Pair(0, "\x09\x09\x09"),
                          Pair(0, text(numbers)), Pair(0, text(reading)), Pair(0, ""),
                          Pair(0, "with options"), Pair(7, "written"), Pair(3, "\x09\x09\x09")));
}

TEST_P(SenderTest, MessagesOfAllSizesArriveWhole) {
  OpenB();
  Sender sender = OpenSender({.when_full = WhenFull::kWait, .timeout = kPatience});
  std::thread sending([&] {
    for (std::uint32_t i = 0; i < 40; ++i) {
      const auto message = testing::Pattern((i * 37'501) % (2 * kMiB), i);
      if (i % 2 == 0) {
        ASSERT_EQ(sender.SendTyped({.type = i}, message), SendResult::kOk);
      } else {
        Loan loan = sender.Loan(message.size(), {.type = i});
        ASSERT_EQ(loan.result(), SendResult::kOk);
        std::ranges::copy(message, loan.payload().begin());
        ASSERT_EQ(loan->Publish(), SendResult::kOk);
      }
    }
  });
  std::uint32_t next = 0;
  EXPECT_TRUE(PollUntil(
      *b_,
      [&](const Message& message) {
        EXPECT_EQ(message.type, next++);
        EXPECT_TRUE(testing::HasPattern(message.payload, message.type));
      },
      [&] { return next == 40; }));
  sending.join();
}

// ---- The name ----

TEST_P(SenderTest, NobodyNeedsToHaveTheNameYet) {
  Sender sender = OpenSender();
  EXPECT_EQ(sender.Send("lost"), SendResult::kPeerGone);
  EXPECT_EQ(sender.Send("lost"), SendResult::kPeerGone);
  EXPECT_EQ(sender.Explain(SendResult::kPeerGone).code(), StatusCode::kUnavailable);
  EXPECT_EQ(sender.peer(), PeerId{});
  EXPECT_EQ(sender.AwaitPeer(std::chrono::nanoseconds(1)).code(), StatusCode::kDeadlineExceeded);
  std::thread other([&] { OpenB(); });
  EXPECT_TRUE(sender.AwaitPeer(kPatience).ok());
  other.join();
  EXPECT_EQ(sender.Send("hello"), SendResult::kOk);
  EXPECT_EQ(sender.peer(), b_->id());
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("hello"));
}

TEST_P(SenderTest, ItFollowsAnEphemeralPeerThroughRestarts) {
  OpenB();
  Sender sender = OpenSender();
  // So that the name comes back in other slots too.
  std::unique_ptr<Node> in_the_way;
  for (int round = 0; round < 4; ++round) {
    ASSERT_EQ(sender.Send("hello"), SendResult::kOk);
    EXPECT_EQ(sender.peer(), b_->id());
    EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("hello"));
    b_.reset();
    EXPECT_EQ(sender.Send("to nobody"), SendResult::kPeerGone);
    in_the_way.reset();
    if (round % 2 == 0) in_the_way = testing::OpenNode(hub_, 3, {.name = "in_the_way"});
    OpenB();
  }
}

TEST_P(SenderTest, ItFollowsADurablePeerThroughRestarts) {
  OpenB(/*durable=*/true);
  Sender sender = OpenSender();
  ASSERT_EQ(sender.Send("here"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("here"));
  b_.reset();
  ASSERT_EQ(sender.Send("while away"), SendResult::kOk);
  OpenB(/*durable=*/true);
  ASSERT_EQ(sender.Send("back"), SendResult::kOk);
  EXPECT_EQ(sender.peer(), b_->id());
  EXPECT_THAT(ReceiveTexts(*b_, 2), ElementsAre("while away", "back"));
}

TEST_P(SenderTest, ASenderThatIsMovedGoesOn) {
  OpenB();
  Sender first = OpenSender();
  ASSERT_EQ(first.Send("one"), SendResult::kOk);
  Sender second = std::move(first);
  ASSERT_EQ(second.Send("two"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 2), ElementsAre("one", "two"));
}

TEST_F(SenderTest, ANameThatNobodyCanHaveIsRefused) {
  EXPECT_EQ(a_->OpenSender("").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(a_->OpenSender(std::string(64, 'x')).status().code(), StatusCode::kInvalidArgument);
}

// ---- A full ring ----

TEST_P(SenderTest, OptionsOfACallTakeThePlaceOfTheSenders) {
  OpenB();
  Sender sender = OpenSender({.when_full = WhenFull::kDrop});
  while (sender.Send(std::string(1000, 'x')) == SendResult::kOk) {
  }
  EXPECT_EQ(sender.Send(std::string(1000, 'x')), SendResult::kDropped);
  EXPECT_EQ(sender.Send(std::string(1000, 'x'), {.when_full = WhenFull::kFail}), SendResult::kFull);
  EXPECT_EQ(sender.Send(std::string(1000, 'x'),
                        {.when_full = WhenFull::kWait, .timeout = std::chrono::milliseconds(1)}),
            SendResult::kTimedOut);
  EXPECT_EQ(sender.Loan(1000, {}, {.when_full = WhenFull::kFail}).result(), SendResult::kFull);
}

TEST_P(SenderTest, AWaitForRoomEndsWhenThereIsSome) {
  OpenB();
  Sender sender = OpenSender();
  const int filled = Fill(sender);
  std::atomic<int> got{0};
  std::thread polling([&] {
    EXPECT_TRUE(PollUntil(
        *b_, [&](const Message&) { ++got; }, [&] { return got == filled + 3; }));
  });
  EXPECT_EQ(sender.Send(std::string(1000, 'x'), kWait), SendResult::kOk);
  EXPECT_EQ(sender.Send(Written{.text = std::string(1000, 'x')}, kWait), SendResult::kOk);
  Loan loan = sender.Loan(1000, {}, kWait);
  ASSERT_EQ(loan.result(), SendResult::kOk);
  std::ranges::fill(loan->payload(), std::byte{1});
  EXPECT_EQ(loan->Publish(), SendResult::kOk);
  polling.join();
}

// ---- Threads ----

TEST_F(SenderTest, ThreadsMayShareASender) {
  OpenB();
  Result<Sender> sender = a_->OpenSender("b", {.when_full = WhenFull::kWait, .timeout = kPatience});
  ASSERT_TRUE(sender.ok());
  constexpr int kEach = 500;
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const auto message = testing::Pattern(i % 100 == 0 ? 300'000 : 40, t);
        ASSERT_EQ(sender->SendTyped({.type = t}, message), SendResult::kOk);
        ASSERT_EQ(sender->Send(Written{.text = "x"}), SendResult::kOk);
      }
    });
  }
  int got = 0;
  EXPECT_TRUE(PollUntil(
      *b_,
      [&](const Message& m) {
        ++got;
        if (m.type != 7) {
          EXPECT_TRUE(testing::HasPattern(m.payload, m.type));
        }
      },
      [&] { return got == 4 * kEach; }));
  for (std::thread& thread : threads) thread.join();
}

TEST_F(SenderTest, ThreadsThatShareASenderFollowTheNameTogether) {
  OpenB();
  Result<Sender> sender = a_->OpenSender("b");
  ASSERT_TRUE(sender.ok());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        const SendResult result = sender->Send("x");
        ASSERT_TRUE(result == SendResult::kOk || result == SendResult::kFull ||
                    result == SendResult::kPeerGone);
      }
    });
  }
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(ReceiveTexts(*b_, 1).front(), "x");
    b_.reset();
    OpenB();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

// ---- Exclusive ----

TEST_F(SenderTest, APairHasOneExclusiveSenderAndNobodyElseSends) {
  OpenB();
  std::optional<Result<Sender>> sender = a_->OpenSender("b", {.exclusive = true});
  ASSERT_TRUE(sender->ok());
  EXPECT_EQ(a_->OpenSender("b", {.exclusive = true}).status().code(), StatusCode::kAlreadyExists);
  Result<Sender> shared = a_->OpenSender("b", {.when_full = WhenFull::kWait, .timeout = kPatience});
  ASSERT_TRUE(shared.ok());
  std::thread other([&] {
    EXPECT_EQ(shared->Send("no"), SendResult::kBusy);
    EXPECT_EQ(a_->Send(b_->id(), "no", kWait), SendResult::kBusy);
    EXPECT_EQ(a_->AwaitRoom(b_->id(), {}, 10, kWait), SendResult::kBusy);
  });
  other.join();
  EXPECT_EQ((*sender)->Send("one"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("one"));
  sender.reset();
  EXPECT_EQ(shared->Send("two"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("two"));
}

TEST_F(SenderTest, AnExclusiveSenderWaitsForABatchOfAnotherThread) {
  OpenB();
  std::optional<Batch> batch = a_->StartBatch(b_->id());
  std::thread other([&] {
    Result<Sender> sender = a_->OpenSender("b", {.exclusive = true, .timeout = kPatience});
    ASSERT_TRUE(sender.ok());
    EXPECT_EQ(sender->Send("after it"), SendResult::kOk);
  });
  batch.reset();
  other.join();
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("after it"));
}

TEST_F(SenderTest, AnExclusiveSenderLooksAfterItsRing) {
  OpenB();
  Result<Sender> sender = a_->OpenSender("b", {.exclusive = true});
  ASSERT_TRUE(sender.ok());
  ASSERT_EQ(sender->Send("x"), SendResult::kOk);
  layout::Word& cell = CellOf(*b_);
  const std::uint64_t word = cell.load();
  cell.store(0);
  int sent = 1;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (cell.load() != word && std::chrono::steady_clock::now() < deadline) {
    if (sender->Send("x") == SendResult::kOk) ++sent;
    std::this_thread::yield();
  }
  EXPECT_EQ(cell.load(), word);
}

TEST_F(SenderTest, AnExclusiveSenderGoesOnInAnotherRingAfterDamage) {
  OpenB();
  Result<Sender> sender = a_->OpenSender("b", {.exclusive = true});
  ASSERT_TRUE(sender.ok());
  ASSERT_EQ(sender->Send("lost"), SendResult::kOk);
  const std::uint64_t damaged = CellOf(*b_).load();
  // Its consumer finds a word that no producer writes.
  hub_.region().RingOf(Cell::FromWord(damaged))->CommitWordAt(0).store(~0ULL);
  bool arrived = false;
  EXPECT_TRUE(PollUntil(
      *b_, [&](const Message& m) { arrived |= m.text() == "again"; },
      [&] {
        if (CellOf(*b_).load() != damaged || b_->counter(Counter::kRingsPoisoned) != 0) {
          (void)sender->Send("again");
        }
        return arrived;
      }));
  EXPECT_NE(CellOf(*b_).load(), damaged);
}

TEST_F(SenderTest, TheSlotOfAPeerThatLeftAnExclusiveSenderComesBack) {
  OpenB();
  const std::uint32_t slot = b_->id().slot;
  Result<Sender> sender = a_->OpenSender("b", {.exclusive = true});
  ASSERT_TRUE(sender.ok());
  ASSERT_EQ(sender->Send("unread"), SendResult::kOk);
  b_.reset();
  EXPECT_EQ(sender->Send("to nobody"), SendResult::kPeerGone);
  EXPECT_TRUE(PollUntil(*a_, kIgnore, [&] {
    return layout::Life::FromWord(hub_.region().slot(slot).life.load()).state ==
           layout::PeerState::kFree;
  }));
}

// ---- Busy, exceptions ----

TEST_P(SenderTest, ALoanKeepsTheRingUntilItEnds) {
  OpenB();
  Sender sender = OpenSender();
  {
    Loan loan = sender.Loan(4);
    ASSERT_EQ(loan.result(), SendResult::kOk);
    EXPECT_EQ(sender.Send("no"), SendResult::kBusy);
    EXPECT_EQ(sender.Send(Written{.text = "no"}), SendResult::kBusy);
    EXPECT_EQ(sender.Loan(4).result(), SendResult::kBusy);
    EXPECT_EQ(a_->Send(b_->id(), "no"), SendResult::kBusy);
  }
  EXPECT_EQ(sender.Send("only this"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("only this")) << "the loan was not published";
}

TEST_P(SenderTest, ALargeLoanUsesItsBufferAgain) {
  OpenB();
  Sender sender = OpenSender({.when_full = WhenFull::kWait, .timeout = kPatience});
  const std::byte* first = nullptr;
  for (std::uint32_t round = 0; round < 3; ++round) {
    Loan loan = sender.Loan(kMiB);
    ASSERT_EQ(loan.result(), SendResult::kOk);
    ASSERT_EQ(loan->payload().size(), kMiB);
    if (first == nullptr) first = loan->payload().data();
    EXPECT_EQ(loan->payload().data(), first);
    std::ranges::fill(loan->payload(), static_cast<std::byte>(round));
    std::thread publishing([&] { EXPECT_EQ(loan->Publish(), SendResult::kOk); });
    EXPECT_EQ(ReceiveTexts(*b_, 1).front(), std::string(kMiB, static_cast<char>(round)));
    publishing.join();
  }
  EXPECT_EQ(sender.Loan(a_->max_message_bytes() + 1).result(), SendResult::kTooLarge);
}

TEST_P(SenderTest, ALoanIsPublishedOnce) {
  OpenB();
  Sender sender = OpenSender();
  Loan loan = sender.Loan(1);
  ASSERT_EQ(loan.result(), SendResult::kOk);
  loan->payload()[0] = std::byte{'x'};
  EXPECT_EQ(loan->Publish(), SendResult::kOk);
  EXPECT_NE(loan->Publish(), SendResult::kOk);
  EXPECT_EQ(sender.Send("y"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 2), ElementsAre("x", "y"));
}

TEST_P(SenderTest, AnEncoderThatThrowsSendsNothing) {
  OpenB();
  Sender sender = OpenSender({.when_full = WhenFull::kWait, .timeout = kPatience});
  for (const std::size_t bytes : {std::size_t{10}, std::size_t{kMiB}}) {
    const Written written{.text = std::string(bytes, 'x'), .throws = true};
    EXPECT_THROW((void)sender.Send(written), std::runtime_error);
  }
  EXPECT_EQ(sender.Send("next"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("next"));
}

// ---- The own life ----

TEST_P(SenderTest, OnceTheOwnLifeIsOverItSendsNothingAndSaysWhy) {
  OpenB();
  Sender sender = OpenSender();
  ASSERT_EQ(sender.Send("before"), SendResult::kOk);
  Loan loan = sender.Loan(4);
  ASSERT_EQ(loan.result(), SendResult::kOk);
  layout::Word& life = hub_.region().slot(a_->id().slot).life;
  layout::Life dead = layout::Life::FromWord(life.load());
  dead.state = layout::PeerState::kDead;
  life.store(dead.ToWord());
  EXPECT_EQ(loan->Publish(), SendResult::kPeerGone);
  EXPECT_EQ(sender.Send("after"), SendResult::kPeerGone);
  EXPECT_EQ(sender.Send(Written{.text = "after"}, kWait), SendResult::kPeerGone);
  EXPECT_EQ(sender.Loan(4).result(), SendResult::kPeerGone);
  EXPECT_EQ(sender.Explain(SendResult::kPeerGone).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(a_->OpenSender("b").status().code(), StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace ivmq
