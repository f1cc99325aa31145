// Peers that come and go at any rate: slots of the dead come back when somebody needs one.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using std::chrono::milliseconds;
using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::kPatience;
using testing::kWait;
using testing::OpenNode;

class ChurnTest : public ::testing::TestWithParam<std::uint32_t> {};

// Each guest leaves a ring from it to the host; every other one also a ring to it.
TEST_P(ChurnTest, ALiveConsumerHoldsNoGuestUp) {
  constexpr unsigned kGuests = 3;
  constexpr unsigned kLives = 500;
  Hub hub(8 * kMiB, {.max_peers = GetParam()});
  auto host = OpenNode(hub, 0, {.name = "host"});
  const PeerId to = host->id();
  std::vector<std::thread> guests;
  for (unsigned g = 1; g <= kGuests; ++g) {
    guests.emplace_back([&, g] {
      for (unsigned life = 0; life < kLives; ++life) {
        const Result<std::unique_ptr<Node>> guest = Node::Open(
            MakeTransport(hub, static_cast<std::uint16_t>(g)), {.name = "g" + std::to_string(g)});
        ASSERT_TRUE(guest.ok()) << "life " << life << ": " << guest.status().ToString();
        ASSERT_EQ((*guest)->Send(to, {.type = life}, {}, kWait), SendResult::kOk);
      }
    });
  }
  unsigned received = 0;
  EXPECT_TRUE(testing::PollUntil(
      *host,
      [&](const Message& message) {
        ++received;
        if (message.type % 2 == 0) (void)host->Send(message.from, "welcome");
      },
      [&] { return received == kGuests * kLives; }));
  for (std::thread& guest : guests) guest.join();
}

INSTANTIATE_TEST_SUITE_P(Slots, ChurnTest, ::testing::Values(5, 16, 64));

// The poller of a live peer sleeps, as long as it likes.
TEST(SlotReuseTest, ASleepingConsumerFreesRingsOfTheDead) {
  Hub hub(kMiB, {.max_peers = 2});
  auto host = OpenNode(hub, 0, {.name = "host"});
  std::atomic<bool> stop{false};
  std::atomic<unsigned> received{0};
  std::thread poller([&] {
    while (!stop) {
      if (host->Poll([&](const Message&) { ++received; }) == 0) (void)host->Wait(kPatience);
    }
  });
  for (unsigned life = 1; life <= 20; ++life) {
    auto guest = OpenNode(hub, 1, {.name = "guest"});
    EXPECT_EQ(guest->Send(host->id(), "x", kWait), SendResult::kOk);
  }
  stop = true;
  host->Wake();
  poller.join();
  EXPECT_GE(received, 19U);
}

// The host has sent something, and neither polls nor sends any more: its heartbeat frees the ring.
TEST(SlotReuseTest, AClaimWaitsForTheHeartbeatOfAnIdlePeer) {
  Hub hub(kMiB, {.max_peers = 2});
  auto host = OpenNode(hub, 0, {.name = "host"});
  for (unsigned life = 0; life < 3; ++life) {
    auto guest = OpenNode(hub, 1, {.name = "guest"});
    ASSERT_EQ(host->Send(guest->id(), "x"), SendResult::kOk);
  }
}

// What nobody takes keeps its slot: that is said, and does not take for ever.
TEST(SlotReuseTest, ASlotWhoseMessagesNobodyTakesIsNotReused) {
  Hub hub(kMiB, {.max_peers = 2});
  auto host = OpenNode(hub, 0, {.name = "host"});
  auto guest = OpenNode(hub, 1, {.name = "guest"});
  ASSERT_EQ(guest->Send(host->id(), "x"), SendResult::kOk);
  guest.reset();
  const Status full = Node::Open(MakeTransport(hub, 1), {.name = "next"}).status();
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted) << full.ToString();
  EXPECT_EQ(testing::ReceiveTexts(*host, 1).size(), 1U);
  (void)host->Poll(kIgnore);
  EXPECT_TRUE(Node::Open(MakeTransport(hub, 1), {.name = "next"}).ok());
}

// Marked by somebody who does not say so: a guest's driver, or a process killed behind the store.
TEST(SlotReuseTest, ADeathThatNobodyAnnouncedIsSeenByASleeper) {
  Hub hub(kMiB, {.max_peers = 3});
  auto host = OpenNode(hub, 0, {.name = "host"});
  auto guest = OpenNode(hub, 1, {.name = "guest"});
  ASSERT_EQ(guest->Send(host->id(), "x"), SendResult::kOk);
  EXPECT_EQ(testing::ReceiveTexts(*host, 1).size(), 1U);
  layout::Word& cell = hub.region().cell(hub.region().CellIndex(host->id().slot, guest->id().slot));
  ASSERT_EQ(layout::Cell::FromWord(cell.load()).state, layout::CellState::kLive);
  layout::Word& life = hub.region().slot(guest->id().slot).life;
  layout::Life dead = layout::Life::FromWord(life.load());
  dead.state = layout::PeerState::kDead;
  std::atomic<bool> stop{false};
  std::thread poller([&] {
    while (!stop) {
      if (host->Poll(kIgnore) == 0) (void)host->Wait(kPatience);
    }
  });
  life.store(dead.ToWord());
  while (layout::Cell::FromWord(cell.load()).state != layout::CellState::kEmpty) {
    std::this_thread::yield();
  }
  stop = true;
  host->Wake();
  poller.join();
}

}  // namespace
}  // namespace ivmq
