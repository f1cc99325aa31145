// Peers that have the doorbells of different servers: who knows of it, and how they find what the
// others send.
#include "ivmq/internal/doorbell_epochs.h"

#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/eventfd_transport.h"
#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using testing::kIgnore;
using testing::kPatience;
using testing::kWait;

class EpochsOfIdsTest : public ::testing::Test {
 protected:
  testing::Hub hub_{testing::kMiB, {.max_peers = 4}};
  layout::Header& header_ = hub_.region().header();
  DoorbellEpochs epochs_{hub_.region()};
};

TEST_F(EpochsOfIdsTest, WithoutFormerClientsAllAreTogether) {
  EXPECT_TRUE(epochs_.AreTogether(1, 2)) << "no server of ours";
  epochs_.Begin({});
  EXPECT_EQ(epochs_.Of(1), 1U);
  EXPECT_TRUE(epochs_.AreTogether(1, 2));
}

TEST_F(EpochsOfIdsTest, AFormerClientStaysInItsEpoch) {
  epochs_.Begin({});
  const std::uint64_t generation = header_.peers_generation.load();
  epochs_.Begin({1, 2});
  EXPECT_GT(header_.peers_generation.load(), generation) << "nobody looks again";
  EXPECT_TRUE(epochs_.AreTogether(1, 2));
  EXPECT_FALSE(epochs_.AreTogether(1, 3));
  EXPECT_TRUE(epochs_.AreTogether(3, 4));
  // The third server finds clients of both, but not 1.
  epochs_.Begin({2, 3});
  EXPECT_EQ(epochs_.Of(2), 1U);
  EXPECT_EQ(epochs_.Of(3), 2U);
  EXPECT_EQ(epochs_.Of(1), 3U);
  EXPECT_FALSE(epochs_.AreTogether(2, 3));
}

TEST_F(EpochsOfIdsTest, AnIdThatIsForgottenIsOfTheServersEpoch) {
  epochs_.Begin({});
  epochs_.Begin({1, 2});
  epochs_.Forget(1);
  EXPECT_TRUE(epochs_.AreTogether(1, 3));
  EXPECT_FALSE(epochs_.AreTogether(2, 3));
  epochs_.Forget(2);
  EXPECT_EQ(header_.apart_count.load(), 0U);
  const std::uint64_t generation = header_.peers_generation.load();
  epochs_.Forget(2);
  EXPECT_EQ(header_.peers_generation.load(), generation);
}

TEST_F(EpochsOfIdsTest, AClientThatIsNotToldOfOthersIsTogetherWithItselfOnly) {
  epochs_.Begin({});
  epochs_.SetApart(1);
  epochs_.SetApart(2);
  EXPECT_TRUE(epochs_.AreTogether(1, 1)) << "processes of one guest";
  EXPECT_FALSE(epochs_.AreTogether(1, 2));
  EXPECT_FALSE(epochs_.AreTogether(1, 3));
  EXPECT_FALSE(epochs_.AreTogether(3, 1));
  const std::uint64_t generation = header_.peers_generation.load();
  epochs_.SetApart(1);
  EXPECT_EQ(header_.peers_generation.load(), generation);
}

TEST_F(EpochsOfIdsTest, WhereTooManyAreApartNobodyIsTakenForTogether) {
  epochs_.Begin({});
  std::set<std::uint16_t> former;
  for (std::uint16_t id = 0; id < 1000; ++id) former.insert(id);
  for (int server = 0; server < 2; ++server) {
    epochs_.Begin(former);
    for (const std::uint16_t id : former) {
      ASSERT_FALSE(epochs_.AreTogether(id, 2000)) << id << ", server " << server;
    }
  }
  epochs_.Begin({7});
  EXPECT_FALSE(epochs_.AreTogether(7, 2000));
  EXPECT_TRUE(epochs_.AreTogether(2000, 2001));
}

TEST_F(EpochsOfIdsTest, WhateverStandsThereAnAnswerComes) {
  testing::Random random(1);
  for (int round = 0; round < 200; ++round) {
    header_.apart_count = random();
    for (layout::Word& word : header_.apart) word = random();
    for (std::uint16_t id = 0; id < 100; ++id) (void)epochs_.AreTogether(id, 0xffff);
    epochs_.SetApart(1);
    epochs_.Forget(2);
    epochs_.Begin({3});
  }
}

// Its doorbells reach nobody.
class StrangeTransport : public testing::EventfdTransport {
 public:
  using EventfdTransport::EventfdTransport;
  void Ring(std::uint16_t, std::uint32_t) noexcept override {}
};

class EpochsOfNodesTest : public testing::NodeTest {
 protected:
  EpochsOfNodesTest() : epochs_(region()) {
    epochs_.Begin({});
    former_ = OpenStrange("former");
    epochs_.Begin({1});
    late_ = OpenStrange("late");
  }
  std::unique_ptr<Node> OpenStrange(const std::string& name) {
    return testing::OpenNode(std::make_unique<StrangeTransport>(hub_, next_ivposition_++),
                             {.name = name, .spin_budget = std::chrono::nanoseconds(0)});
  }
  void AwaitSleep(const Node& node) const {
    const layout::Word& armed = region().slot(node.id().slot).armed;
    while (armed.load() % 2 == 0) std::this_thread::yield();
  }

  DoorbellEpochs epochs_;
  std::unique_ptr<Node> former_;
  std::unique_ptr<Node> late_;
};

TEST_F(EpochsOfNodesTest, WhatAPeerOfAnotherServerSendsIsNotLeftToTheNet) {
  for (const auto& [from, to] :
       {std::pair(former_.get(), late_.get()), std::pair(late_.get(), former_.get())}) {
    std::thread sender([this, from = from, to = to] {
      for (int i = 0; i < 100; ++i) {
        AwaitSleep(*to);
        EXPECT_EQ(from->Send(to->id(), "x", kWait), SendResult::kOk);
      }
    });
    for (std::size_t received = 0; received < 100;) {
      received += to->Poll(kIgnore);
      if (received < 100) {
        ASSERT_TRUE(to->Wait(kPatience));
      }
    }
    sender.join();
    EXPECT_EQ(to->counter(Counter::kNetFinds), 0U);
  }
}

TEST_F(EpochsOfNodesTest, AnEventLoopIsWokenForIt) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (int i = 0; i < 100; ++i) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "after " << i;
    while (!late_->Arm()) (void)late_->Poll(kIgnore);
    ASSERT_EQ(former_->Send(late_->id(), "x"), SendResult::kOk);
    while (late_->Poll(kIgnore) == 0) {
      if (!late_->Arm()) continue;
      pollfd wait{.fd = late_->Fd(), .events = POLLIN, .revents = 0};
      ASSERT_EQ(poll(&wait, 1, 30000), 1);
    }
  }
}

TEST_F(EpochsOfNodesTest, WhoWaitsForRoomOfAPeerOfAnotherServerLooksForItself) {
  const PeerId to = late_->id();
  SendResult result = SendResult::kOk;
  const std::string message(1000, 'x');
  while (result == SendResult::kOk) result = former_->Send(to, message);
  ASSERT_EQ(result, SendResult::kFull);
  std::thread sender([&] { EXPECT_EQ(former_->Send(to, message, kWait), SendResult::kOk); });
  // It grows at each look.
  const layout::Word& armed = RingOf(former_->id(), to).header->space_armed;
  const std::uint64_t before = armed.load();
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (armed.load() < before + 200 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_GE(armed.load(), before + 200);
  while (late_->Poll(kIgnore) != 0) {
  }
  sender.join();
}

// A sleeper that was alone sleeps as long as ever when it sends.
TEST_F(EpochsOfNodesTest, TheFirstMessageOfOneWhoHasJustComeIsNoMissedWakeUp) {
  late_.reset();
  std::atomic<std::uint64_t> received = 0;
  std::atomic<bool> end = false;
  std::thread sleeper([&] {
    while (!end) {
      received += former_->Poll(kIgnore);
      (void)former_->Wait(kPatience);
    }
  });
  const layout::Word& heartbeat = region().slot(former_->id().slot).heartbeat;
  for (std::uint64_t round = 1; round <= 4; ++round) {
    // Into the end of its sleep.
    const std::uint64_t before = heartbeat.load();
    while (heartbeat.load() < before + 3) std::this_thread::yield();
    const auto late = OpenStrange("late");
    ASSERT_EQ(late->Send(former_->id(), "x"), SendResult::kOk);
    while (received < round) std::this_thread::yield();
  }
  EXPECT_EQ(former_->counter(Counter::kNetFinds), 0U);
  end = true;
  former_->Wake();
  sleeper.join();
}

// A sleeper counts its sleeps, and its heartbeat the time.
TEST_F(EpochsOfNodesTest, WhereAllLiveOnesAreOfOneServerNobodyLooksForThem) {
  former_.reset();
  auto other = Open("other");
  std::atomic<bool> end = false;
  std::thread sleeper([&] {
    while (!end) {
      (void)late_->Poll(kIgnore);
      (void)late_->Wait(kPatience);
    }
  });
  const layout::Word& heartbeat = region().slot(late_->id().slot).heartbeat;
  const auto await_beats = [&](std::uint64_t count) {
    const std::uint64_t before = heartbeat.load();
    while (heartbeat.load() < before + count) std::this_thread::yield();
  };
  await_beats(2);
  const std::uint64_t before = late_->counter(Counter::kSleeps);
  await_beats(4);
  EXPECT_LT(late_->counter(Counter::kSleeps), before + 30);
  end = true;
  late_->Wake();
  sleeper.join();
}

}  // namespace
}  // namespace ivmq
