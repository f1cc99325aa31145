// Peers that are gone, and rings that ended.
#include <cstdint>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/random.h"

namespace ivmq {
namespace {

using layout::Counter;
using ::testing::ElementsAre;
using testing::kIgnore;
using testing::kWait;
using testing::NodeTest;
using testing::PollUntil;
using testing::ReceiveTexts;

TEST_F(NodeTest, ASendToALifeThatEndedIsPeerGone) {
  auto a = Open("a");
  auto b = Open("b");
  const PeerId old = b->id();
  ASSERT_EQ(a->Send(old, "unread"), SendResult::kOk);
  b.reset();
  EXPECT_EQ(a->Send(old, "x"), SendResult::kPeerGone);
  EXPECT_EQ(a->Explain(SendResult::kPeerGone, old).code(), StatusCode::kUnavailable);
  b = Open("b");
  EXPECT_EQ(a->Send(old, "x"), SendResult::kPeerGone) << "another life in the same slot";
  EXPECT_EQ(a->Send(b->id(), "new", kWait), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAre("new"));
  EXPECT_EQ(a->Send({1000, 1}, "x"), SendResult::kPeerGone);
  EXPECT_EQ(a->Send({7, 1}, "x"), SendResult::kPeerGone);
}

TEST_F(NodeTest, WhatAPeerSentBeforeItLeftArrives) {
  auto a = Open("a");
  auto b = Open("b");
  const PeerId from = a->id();
  ASSERT_EQ(a->Send(b->id(), "last words"), SendResult::kOk);
  a.reset();
  bool received = false;
  EXPECT_TRUE(PollUntil(
      *b,
      [&](const Message& message) {
        EXPECT_EQ(message.from, from);
        EXPECT_EQ(testing::AsText(message.payload), "last words");
        received = true;
      },
      [&] { return received; }));
}

TEST_F(NodeTest, TheLastFiguresOfAPeerThatLeftStayInItsSlot) {
  auto a = Open("a");
  auto b = Open("b");
  const std::uint32_t slot = a->id().slot;
  for (int i = 0; i < 3; ++i) ASSERT_EQ(a->Send(b->id(), "hello"), SendResult::kOk);
  EXPECT_EQ(ReceiveTexts(*b, 3).size(), 3U);
  ASSERT_EQ(a->Send(b->id(), "last"), SendResult::kOk);
  // Their sender may leave long before its heart would have beaten again.
  a.reset();
  const auto& counters = hub_.region().slot(slot).counters;
  EXPECT_EQ(counters[static_cast<std::size_t>(Counter::kMessagesSent)].load(), 4U);
  EXPECT_EQ(counters[static_cast<std::size_t>(Counter::kBytesSent)].load(), 19U);
}

TEST_F(NodeTest, RingsAndSlotOfAPeerThatLeftAreReclaimed) {
  auto a = Open("a");
  const Arena arena(hub_.region());
  const std::uint32_t all = arena.Stats().units_free;
  for (int round = 0; round < 3; ++round) {
    auto b = Open("b");
    ASSERT_EQ(a->Send(b->id(), "x", kWait), SendResult::kOk);
    ASSERT_EQ(b->Send(a->id(), "y", kWait), SendResult::kOk);
    EXPECT_EQ(arena.Stats().rings, 2U);
    b.reset();
    EXPECT_TRUE(PollUntil(*a, kIgnore, [&] {
      return arena.Stats().units_free == all &&
             PeerTable(hub_.region()).Snapshot().peers.size() == 1;
    }));
  }
}

// ---- Rings that ended ----

TEST_F(NodeTest, ARingThatWasGivenUpIsNotWrittenToAgain) {
  auto a = Open("a");
  auto b = Open("b");
  ASSERT_EQ(a->Send(b->id(), "x"), SendResult::kOk);
  const RingView ring = RingOf(a->id(), b->id());
  ring.CommitWordAt(0).store(1);
  EXPECT_TRUE(PollUntil(*b, kIgnore, [&] { return b->counter(Counter::kRingsPoisoned) == 1; }));
  // As if the units were another ring's.
  for (layout::Word* const word :
       {&ring.header->released, &ring.header->acked, &ring.header->delivered}) {
    word->store(64);
  }
  const auto beats = [&] { return hub_.region().slot(b->id().slot).heartbeat.load(); };
  const std::uint64_t before = beats();
  EXPECT_TRUE(PollUntil(*b, kIgnore, [&] { return beats() >= before + 2; }));
  (void)b->Poll(kIgnore);
  EXPECT_EQ(ring.header->released.load(), 64U);
  EXPECT_EQ(ring.header->acked.load(), 64U);
  EXPECT_EQ(ring.header->delivered.load(), 64U);
}

// Its predecessor may have died before it said so.
TEST_F(NodeTest, ARingThatASuccessorGoesOnWithIsAnnounced) {
  auto consumer = Open("consumer");
  auto durable = Open("durable", {.durable = true});
  ASSERT_EQ(durable->Send(consumer->id(), "first"), SendResult::kOk);
  durable.reset();
  durable = Open("durable", {.durable = true});
  const auto& changes = hub_.region().slot(consumer->id().slot).inbound_changes;
  const std::uint64_t before = changes.load();
  ASSERT_EQ(durable->Send(consumer->id(), "second"), SendResult::kOk);
  EXPECT_GT(changes.load(), before);
  EXPECT_THAT(ReceiveTexts(*consumer, 2), ElementsAre("first", "second"));
}

TEST_F(NodeTest, AWithdrawnRingIsNotReplacedBeforeItsReaderLetsGo) {
  auto consumer = Open("consumer");
  auto durable = Open("durable", {.durable = true});
  ASSERT_EQ(durable->Send(consumer->id(), "lost"), SendResult::kOk);
  const RingView ring = RingOf(durable->id(), consumer->id());
  durable.reset();
  ring.CommitWordAt(0).store(1);
  const std::uint32_t generation = CellOf({.slot = 1}, consumer->id()).generation;
  // Neither by the successor that withdraws it nor by the next one.
  for (int life = 0; life < 2; ++life) {
    durable = Open("durable", {.durable = true});
    EXPECT_EQ(durable->Send(consumer->id(), "x"), SendResult::kFull) << life;
    EXPECT_EQ(CellOf(durable->id(), consumer->id()).state, layout::CellState::kWithdrawn) << life;
    EXPECT_EQ(CellOf(durable->id(), consumer->id()).generation, generation) << life;
    if (life == 0) durable.reset();
  }
  std::thread sender(
      [&] { EXPECT_EQ(durable->Send(consumer->id(), "new", kWait), SendResult::kOk); });
  EXPECT_THAT(ReceiveTexts(*consumer, 1), ElementsAre("new"));
  sender.join();
}

}  // namespace
}  // namespace ivmq
