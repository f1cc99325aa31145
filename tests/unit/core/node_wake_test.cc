// How nodes sleep and are woken.
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/random.h"

namespace ivmq {
namespace {

using layout::Counter;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using testing::kIgnore;
using testing::kWait;
using testing::NodeTest;
using testing::ReceiveTexts;

TEST_F(NodeTest, ALookSeesWhatAPollWouldFind) {
  auto a = Open("a");
  auto b = Open("b");
  while (b->Poll(kIgnore) != 0 || b->Look()) {
  }
  ASSERT_EQ(a->Send(b->id(), "first of its ring"), SendResult::kOk);
  EXPECT_TRUE(b->Look());
  EXPECT_EQ(b->Poll(kIgnore), 1U);
  EXPECT_FALSE(b->Look());
  ASSERT_EQ(a->Send(b->id(), "another"), SendResult::kOk);
  EXPECT_TRUE(b->Look());
  EXPECT_EQ(b->Poll(kIgnore), 1U);
  b->Wake();
  EXPECT_TRUE(b->Look());
  EXPECT_TRUE(b->Wait(milliseconds(0)));
  EXPECT_FALSE(b->Look());
  ASSERT_TRUE(b->Arm());
  EXPECT_TRUE(b->Look());  // senders would ring
  EXPECT_EQ(b->Poll(kIgnore), 0U);
  EXPECT_FALSE(b->Look());
}

TEST_F(NodeTest, WaitReturnsFalseWhenNothingCame) {
  for (const auto budget : {std::chrono::microseconds(0), std::chrono::microseconds(50)}) {
    auto a = Open("a", {.spin_budget = budget});
    EXPECT_FALSE(a->Wait(milliseconds(1)));
    EXPECT_FALSE(a->Wait(milliseconds(0)));
  }
}

TEST_F(NodeTest, WakeEndsThisOrTheNextWait) {
  for (const bool wakeable : {true, false}) {
    auto a = Open("a", {.spin_budget = std::chrono::nanoseconds(0)}, {.wakeable = wakeable});
    a->Wake();
    EXPECT_TRUE(a->Wait(testing::kPatience));
    std::thread waker([&] { a->Wake(); });
    EXPECT_TRUE(a->Wait(testing::kPatience));
    waker.join();
  }
}

TEST_F(NodeTest, AWakeBetweenArmAndPollIsNotTakenByThePoll) {
  // What the waker wants may be looked at only once a round: behind the sleep.
  auto a = Open("a", {.spin_budget = std::chrono::nanoseconds(0)});
  const auto arm = [&] {
    while (!a->Arm()) (void)a->Poll(kIgnore);
  };
  arm();
  a->Wake();
  EXPECT_EQ(a->Poll(kIgnore), 0U);
  EXPECT_FALSE(a->Arm());
  arm();
  a->Wake();
  EXPECT_EQ(a->Poll(kIgnore), 0U);
  EXPECT_TRUE(a->Wait(milliseconds(0)));
  // It counts once.
  EXPECT_FALSE(a->Wait(milliseconds(0)));
}

TEST_F(NodeTest, ASleepingReceiverIsRungAndTheNetFindsNothing) {
  auto a = Open("a");
  auto b = Open("b", {.spin_budget = std::chrono::nanoseconds(0)});
  constexpr int kMessages = 2000;
  std::thread sender([&] {
    for (int i = 0; i < kMessages; ++i) {
      EXPECT_EQ(a->Send(b->id(), "x", kWait), SendResult::kOk);
      if (i % 7 == 0) {
        // Until the receiver sleeps.
        for (int k = 0; k < 1000 && hub_.region().slot(b->id().slot).armed.load() % 2 == 0; ++k) {
          std::this_thread::yield();
        }
      }
    }
  });
  EXPECT_EQ(ReceiveTexts(*b, kMessages).size(), static_cast<std::size_t>(kMessages));
  sender.join();
  EXPECT_GT(b->counter(Counter::kSleeps), 0U);
  EXPECT_EQ(b->counter(Counter::kNetFinds), 0U);
  EXPECT_GT(a->counter(Counter::kDoorbellsRung), 0U);
}

// A peer whose doorbells do not arrive, although it rings.
class DeafTransport : public testing::EventfdTransport {
 public:
  using EventfdTransport::EventfdTransport;
  void Ring(std::uint16_t, std::uint32_t) noexcept override {}
};

TEST_F(NodeTest, OnlyWhatTheNetFindsIsCountedAsAMissedWakeUp) {
  auto b = Open("b", {.spin_budget = std::chrono::nanoseconds(0)});
  auto deaf = testing::OpenNode(std::make_unique<DeafTransport>(hub_, next_ivposition_++),
                                {.name = "deaf"});
  const layout::Word& armed = hub_.region().slot(b->id().slot).armed;
  const auto send_to_sleeper = [&] {
    while (armed.load() % 2 == 0) std::this_thread::yield();
    EXPECT_EQ(deaf->Send(b->id(), "x"), SendResult::kOk);
  };
  // What its own short waits find, it would have found with any doorbell.
  for (int i = 0; i < 50; ++i) {
    std::thread sender(send_to_sleeper);
    while (b->Poll(kIgnore) == 0) (void)b->Wait(milliseconds(1));
    sender.join();
  }
  EXPECT_EQ(b->counter(Counter::kNetFinds), 0U);
  // Unless something else wakes it, such as the news that a peer has joined.
  while (b->counter(Counter::kNetFinds) == 0) {
    std::thread sender(send_to_sleeper);
    while (b->Poll(kIgnore) == 0) (void)b->Wait(testing::kPatience);
    sender.join();
  }
}

// Nothing is open yet when it joins: a sleeper must not wait for its doorbell all the same.
TEST_F(NodeTest, TheFirstMessageOfAPeerThatCannotRingIsNotLeftToTheNet) {
  auto b = Open("b", {.spin_budget = std::chrono::nanoseconds(0)});
  std::thread receiver([&] {
    while (b->Poll(kIgnore) == 0) (void)b->Wait(testing::kPatience);
  });
  auto mute = Open("mute", {}, {.can_ring = false});
  const std::uint64_t before = b->counter(Counter::kSleeps);
  while (b->counter(Counter::kSleeps) < before + 100) std::this_thread::yield();
  EXPECT_EQ(mute->Send(b->id(), "first"), SendResult::kOk);
  receiver.join();
  EXPECT_EQ(b->counter(Counter::kNetFinds), 0U);
}

TEST_F(NodeTest, AReceiverThatDoesNotSleepCostsNoDoorbell) {
  auto a = Open("a");
  auto b = Open("b");
  const std::uint64_t before = hub_.rings();
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(a->Send(b->id(), "x"), SendResult::kOk);
    std::size_t received = 0;
    while (received == 0) received = b->Poll(kIgnore);
  }
  EXPECT_EQ(hub_.rings(), before);
  EXPECT_EQ(a->counter(Counter::kDoorbellsRung), 0U);
}

TEST_F(NodeTest, OneDoorbellIsRungForASleepThatManyMessagesEnd) {
  auto a = Open("a");
  auto b = Open("b");
  ASSERT_TRUE(b->Arm());
  for (int i = 0; i < 100; ++i) ASSERT_EQ(a->Send(b->id(), "x"), SendResult::kOk);
  EXPECT_EQ(a->counter(Counter::kDoorbellsRung), 1U);
}

TEST_F(NodeTest, APeerThatCannotRingDoesNotTry) {
  auto mute = Open("mute", {}, {.can_ring = false});
  auto b = Open("b");
  ASSERT_TRUE(b->Arm());
  const std::uint64_t before = hub_.rings();
  ASSERT_EQ(mute->Send(b->id(), "x"), SendResult::kOk);
  EXPECT_EQ(hub_.rings(), before);
  EXPECT_EQ(mute->counter(Counter::kDoorbellsRung), 0U);
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAre("x"));
}

TEST_F(NodeTest, PeersWithoutDoorbellsFindTheirMessages) {
  const testing::EventfdTransportOptions plain{.wakeable = false, .can_ring = false};
  auto a = Open("a", {}, plain);
  auto b = Open("b", {}, plain);
  auto rung = Open("rung");  // can be rung, but these two cannot ring
  std::thread sender([&] {
    for (int i = 0; i < 200; ++i) {
      EXPECT_EQ(a->Send(b->id(), "b", kWait), SendResult::kOk);
      EXPECT_EQ(a->Send(rung->id(), "r", kWait), SendResult::kOk);
    }
  });
  EXPECT_EQ(ReceiveTexts(*b, 200).size(), 200U);
  EXPECT_EQ(ReceiveTexts(*rung, 200).size(), 200U);
  sender.join();
  EXPECT_EQ(hub_.rings(), 0U);
}

TEST_F(NodeTest, FdAndArmFitIntoAnEventLoop) {
  for (const bool doorbells : {true, false}) {
    auto a = Open("a", {}, {.wakeable = doorbells, .can_ring = doorbells});
    auto b = Open("b", {}, {.wakeable = doorbells, .can_ring = doorbells});
    constexpr std::size_t kMessages = 3000;
    std::thread sender([&] {
      testing::Random random(1);
      for (std::size_t i = 0; i < kMessages; ++i) {
        EXPECT_EQ(a->Send(b->id(), {.type = static_cast<std::uint32_t>(i)}, {}, kWait),
                  SendResult::kOk);
        if (testing::Below(random, 10) == 0) std::this_thread::yield();
      }
    });
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {}};
    ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, b->Fd(), &event), 0);
    std::size_t received = 0;
    const auto handler = [&](const Message& message) { EXPECT_EQ(message.type, received++); };
    while (received < kMessages) {
      if (b->Poll(handler) != 0) continue;
      if (!b->Arm()) continue;
      ASSERT_EQ(epoll_wait(epoll, &event, 1, 30000), 1) << "Fd() never became readable";
    }
    sender.join();
    close(epoll);
  }
}

TEST_F(NodeTest, WakeMakesFdReadable) {
  auto a = Open("a");
  while (!a->Arm()) (void)a->Poll(kIgnore);
  a->Wake();
  pollfd wait{.fd = a->Fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&wait, 1, 30000), 1);
}

}  // namespace
}  // namespace ivmq
