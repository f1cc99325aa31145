// The ring's promises, one end at a time or both in turn.
#include "ivmq/internal/ring.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ring_ends.h"
#include "support/random.h"
#include "support/shared_memory.h"

namespace ivmq {
namespace {

using testing::kCapacity;
using testing::kMaxPayload;
using testing::RingEnds;
using testing::TestRing;

constexpr std::uint64_t kHalf = kCapacity / 2;

// Of an empty ring at any offset: the record fits at the end or, after a pad, at the start. One
// byte more would fit at neither for some offset, and is refused for all of them.
TEST(RingTest, AClaimThatFitsNeitherAtTheEndNorAtTheStartDoesNotExist) {
  TestRing ring;
  for (std::uint64_t offset = 0; offset < kCapacity; offset += 8) {
    RingEnds ends(ring.view, kCapacity * 3 + offset);
    std::span<std::byte> payload;
    ASSERT_EQ(ends.producer.TryClaim(kMaxPayload + 1, &payload), ClaimResult::kTooLarge);
    ASSERT_EQ(ends.Send(kMaxPayload, offset), ClaimResult::kOk) << "offset " << offset;
    ASSERT_TRUE(ends.Receives(kMaxPayload, offset)) << "offset " << offset;
    ASSERT_EQ(ends.Peek(), PeekResult::kEmpty);
  }
}

TEST(RingTest, TheLargestPayloadIsHalfTheCapacityWithoutAHeader) {
  for (const std::uint64_t capacity : {16U << 10, 64U << 10, 1U << 20}) {
    TestRing ring(capacity);
    EXPECT_EQ(Producer(ring.view).max_payload(), capacity / 2 - 8);
  }
}

TEST(RingTest, EverySizeFromNothingToTheLargestArrives) {
  TestRing ring;
  RingEnds ends(ring.view);
  for (std::uint64_t size = 0; size <= kMaxPayload; ++size) {
    ASSERT_EQ(ends.Send(size, size), ClaimResult::kOk) << size;
    ASSERT_TRUE(ends.Receives(size, size));
    ends.consumer.PublishReleased();
  }
  EXPECT_EQ(ends.consumer.position(), ends.producer.position());
}

// Many distances from the end, all of the shortest and longest; every size that just fits or does
// not.
TEST(RingTest, RecordsAroundTheEndOfTheRingArrive) {
  TestRing ring;
  for (std::uint64_t room = 8; room <= kHalf + 64;
       room += room < 512 || room > kHalf - 128 ? 8 : 264) {
    const std::uint64_t start = 2 * kCapacity - room;
    for (std::uint64_t size = room < 40 ? 0 : room - 40; size <= room + 24; ++size) {
      if (size > kMaxPayload) break;
      RingEnds ends(ring.view, start);
      ASSERT_EQ(ends.Send(size, size), ClaimResult::kOk);
      const bool wraps = layout::RecordSize(size) > room;
      ASSERT_EQ(ends.producer.position(), start + (wraps ? room : 0) + layout::RecordSize(size));
      ASSERT_TRUE(ends.Receives(size, size)) << "room " << room << ", size " << size;
      ends.consumer.PublishReleased();
      ASSERT_EQ(ends.Send(3, size + 1), ClaimResult::kOk);
      ASSERT_TRUE(ends.Receives(3, size + 1)) << "room " << room << ", size " << size;
      ASSERT_EQ(ends.Peek(), PeekResult::kEmpty);
    }
  }
}

TEST(RingTest, TheWrapIsFilledWithAPadThatTheConsumerSkips) {
  TestRing ring;
  RingEnds ends(ring.view, kCapacity - 48);
  ASSERT_EQ(ends.Send(48, 1), ClaimResult::kOk);  // 56 bytes with its header

  const std::uint64_t pad = ring.view.CommitWordAt(kCapacity - 48).load();
  EXPECT_EQ(layout::CommitKind(pad), layout::RecordKind::kPad);
  EXPECT_EQ(layout::CommitLength(pad), 40U);
  EXPECT_TRUE(layout::CommitTagMatches(pad, kCapacity - 48));
  EXPECT_TRUE(ends.Receives(48, 1));
  EXPECT_EQ(ends.consumer.position(), kCapacity + 56);
}

TEST(RingTest, AClaimIsInvisibleBeforeItsCommit) {
  TestRing ring;
  RingEnds ends(ring.view);
  ASSERT_EQ(ends.Claim(10, 1), ClaimResult::kOk);
  EXPECT_EQ(ends.Peek(), PeekResult::kEmpty);
  EXPECT_FALSE(ends.consumer.HasRecord());
  ends.producer.Commit();
  EXPECT_TRUE(ends.consumer.HasRecord());
  EXPECT_TRUE(ends.Receives(10, 1));
}

TEST(RingTest, ABatchAppearsAsAWholeAcrossTheWrap) {
  TestRing ring;
  RingEnds ends(ring.view, kCapacity - 96);
  for (std::uint64_t i = 0; i < 10; ++i) {
    ASSERT_EQ(ends.Claim(20 + i, i), ClaimResult::kOk);
    ASSERT_EQ(ends.Peek(), PeekResult::kEmpty);
    ASSERT_EQ(ends.producer.position(), kCapacity - 96);
  }
  ends.producer.Commit();
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(ends.Receives(20 + i, i));
  EXPECT_EQ(ends.Peek(), PeekResult::kEmpty);
}

TEST(RingTest, ACommitOfNothingDoesNothing) {
  TestRing ring;
  RingEnds ends(ring.view);
  ends.producer.Commit();
  EXPECT_EQ(ends.producer.position(), 0U);
  EXPECT_EQ(ends.Peek(), PeekResult::kEmpty);
}

TEST(RingTest, AnAbortedClaimWasNeverThere) {
  TestRing ring;
  RingEnds ends(ring.view);
  ASSERT_EQ(ends.Claim(100, 1), ClaimResult::kOk);
  ends.producer.Abort();
  ends.producer.Commit();
  EXPECT_EQ(ends.Peek(), PeekResult::kEmpty);
  ASSERT_EQ(ends.Send(7, 2), ClaimResult::kOk);
  EXPECT_TRUE(ends.Receives(7, 2));
  EXPECT_EQ(ends.Peek(), PeekResult::kEmpty);
}

// The inner commit words of the aborted batch are still in memory: a shorter batch must not end in
// one.
TEST(RingTest, AnAbortedBatchWithAPadLeavesNothingBehind) {
  TestRing ring;
  for (std::uint64_t first = 0; first <= 64; ++first) {
    RingEnds ends(ring.view, kCapacity - 40);
    ASSERT_EQ(ends.Claim(64, 1), ClaimResult::kOk);  // staged behind a pad
    for (std::uint64_t i = 0; i < 8; ++i) ASSERT_EQ(ends.Claim(0, i), ClaimResult::kOk);
    ends.producer.Abort();
    ASSERT_EQ(ends.Peek(), PeekResult::kEmpty);

    ASSERT_EQ(ends.Send(first, 5), ClaimResult::kOk);
    ASSERT_TRUE(ends.Receives(first, 5));
    ASSERT_EQ(ends.Peek(), PeekResult::kEmpty) << "after a record of " << first << " bytes";
  }
}

TEST(RingTest, AFullRingIsAResultAndLeavesTheBatchAsItWas) {
  TestRing ring;
  RingEnds ends(ring.view);
  std::uint64_t claimed = 0;
  while (ends.Claim(1000, claimed) == ClaimResult::kOk) ++claimed;
  EXPECT_EQ(claimed, (kCapacity - 8) / 1008);  // the next record's commit word needs room as well
  EXPECT_EQ(ends.Claim(1000, claimed), ClaimResult::kFull);
  std::span<std::byte> payload;
  EXPECT_EQ(ends.producer.TryClaim(kMaxPayload + 1, &payload), ClaimResult::kTooLarge);
  ends.producer.Commit();
  for (std::uint64_t i = 0; i < claimed; ++i) ASSERT_TRUE(ends.Receives(1000, i));
  EXPECT_EQ(ends.Peek(), PeekResult::kEmpty);
}

TEST(RingTest, ARingHoldsItsCapacityMinusOneHeader) {
  TestRing ring;
  RingEnds ends(ring.view);
  for (std::uint64_t i = 0; i < kCapacity / 8 - 1; ++i) {
    ASSERT_EQ(ends.Send(0, i), ClaimResult::kOk) << i;
  }
  EXPECT_EQ(ends.Send(0, 0), ClaimResult::kFull);
  ASSERT_TRUE(ends.Receives(0, 0));
  ends.consumer.PublishReleased();
  EXPECT_EQ(ends.Send(0, 0), ClaimResult::kOk);
  EXPECT_EQ(ends.Send(0, 0), ClaimResult::kFull);
}

TEST(RingTest, ReleasedIsPublishedForEveryEighthAndOnRequest) {
  TestRing ring;
  RingEnds ends(ring.view);
  const std::uint64_t payload = 120;  // 128 bytes a record, 16 of them are an eighth
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_EQ(ends.Send(payload, i), ClaimResult::kOk);
  for (std::uint64_t i = 0; i < 15; ++i) ASSERT_TRUE(ends.Receives(payload, i));
  EXPECT_EQ(ring.header().released.load(), 0U);
  EXPECT_TRUE(ends.consumer.has_unpublished());
  ASSERT_TRUE(ends.Receives(payload, 15));
  EXPECT_EQ(ring.header().released.load(), 16U * 128);
  EXPECT_TRUE(ends.consumer.has_unpublished()) << "a producer that sleeps has not been looked for";
  ASSERT_TRUE(ends.Receives(payload, 16));
  EXPECT_TRUE(ends.consumer.has_unpublished());
  ends.consumer.PublishReleased();
  EXPECT_EQ(ring.header().released.load(), 17U * 128);
  EXPECT_FALSE(ends.consumer.has_unpublished());
}

TEST(RingTest, PollStopsAtItsLimitAndSaysWhy) {
  TestRing ring;
  RingEnds ends(ring.view);
  for (std::uint64_t i = 0; i < 5; ++i) ASSERT_EQ(ends.Send(i, i), ClaimResult::kOk);
  std::uint64_t next = 0;
  const auto handler = [&](std::span<const std::byte> bytes) {
    EXPECT_EQ(bytes.size(), next);
    EXPECT_TRUE(testing::HasPattern(bytes, next));
    ++next;
  };
  PeekResult end = PeekResult::kCorrupt;
  EXPECT_EQ(ends.consumer.Poll(handler, 3, &end), 3U);
  EXPECT_EQ(end, PeekResult::kRecord);
  EXPECT_EQ(ends.consumer.Poll(handler, 3, &end), 2U);
  EXPECT_EQ(end, PeekResult::kEmpty);
  EXPECT_EQ(ends.consumer.Poll(handler, 0, &end), 0U);
}

TEST(RingTest, PeekShowsTheSameRecordUntilItIsReleased) {
  TestRing ring;
  RingEnds ends(ring.view);
  ASSERT_EQ(ends.Send(5, 1), ClaimResult::kOk);
  ASSERT_EQ(ends.Send(6, 2), ClaimResult::kOk);
  std::span<const std::byte> first;
  std::span<const std::byte> again;
  ASSERT_EQ(ends.consumer.Peek(&first), PeekResult::kRecord);
  ASSERT_EQ(ends.consumer.Peek(&again), PeekResult::kRecord);
  EXPECT_EQ(first.data(), again.data());
  EXPECT_EQ(first.size(), again.size());
  EXPECT_TRUE(ends.Receives(5, 1));
  EXPECT_TRUE(ends.Receives(6, 2));
}

TEST(RingTest, TheTagMayWrapAround) {
  TestRing ring;
  // Tags have 32 bits and count 8 bytes: they begin again at 2^35.
  const std::uint64_t wrap = std::uint64_t{1} << 35;
  RingEnds ends(ring.view, wrap - 4 * kCapacity - 8);
  for (std::uint64_t i = 0; i < 200; ++i) {
    const std::uint64_t size = (i * 37) % 900;
    ASSERT_EQ(ends.Send(size, i), ClaimResult::kOk) << i;
    ASSERT_TRUE(ends.Receives(size, i)) << i;
    if (i % 4 == 3) ends.consumer.PublishReleased();
  }
  EXPECT_GT(ends.producer.position(), wrap);
}

// ---- Damage that shows ----

TEST(RingTest, ARecordWhoseCommitWordWasZeroedIsMissed) {
  TestRing ring;
  for (const std::uint64_t start : {std::uint64_t{0}, kCapacity - 8, 3 * kCapacity + 64}) {
    RingEnds ends(ring.view, start);
    ASSERT_EQ(ends.Send(33, 1), ClaimResult::kOk);
    const std::uint64_t second = ends.producer.position();
    ASSERT_EQ(ends.Send(34, 2), ClaimResult::kOk);
    EXPECT_FALSE(ends.consumer.LacksRecords()) << "there are records";
    ring.view.CommitWordAt(second).store(0);
    ASSERT_TRUE(ends.Receives(33, 1));
    EXPECT_EQ(ends.Peek(), PeekResult::kEmpty);
    EXPECT_FALSE(ends.consumer.LacksRecords()) << "nobody has said that there is one";
    ends.producer.PublishCommitted();
    EXPECT_TRUE(ends.consumer.LacksRecords());
    EXPECT_EQ(Producer::Recover(ring.view).status().code(), StatusCode::kDataLoss);
  }
}

TEST(RingTest, NothingIsMissedInARingThatIsWhole) {
  TestRing ring;
  RingEnds ends(ring.view, kCapacity - 64);
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_EQ(ends.Claim(i, i), ClaimResult::kOk);
    ends.producer.PublishCommitted();
    EXPECT_FALSE(ends.consumer.LacksRecords()) << "a claim is no commit";
    ends.producer.Commit();
    ends.producer.PublishCommitted();
    EXPECT_FALSE(ends.consumer.LacksRecords());
    ASSERT_TRUE(ends.Receives(i, i));
    EXPECT_FALSE(ends.consumer.LacksRecords());
    ends.consumer.PublishReleased();
  }
}

TEST(RingTest, TheConsumersWordsArePutRight) {
  TestRing ring;
  RingEnds ends(ring.view, kCapacity - 8);
  ASSERT_EQ(ends.Send(100, 1), ClaimResult::kOk);
  ASSERT_TRUE(ends.Receives(100, 1));
  const std::uint64_t position = ends.consumer.position();
  for (layout::Word* const word :
       {&ring.header().delivered, &ring.header().acked, &ring.header().released}) {
    for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{7}, ~std::uint64_t{0}}) {
      word->store(value);
      ends.consumer.Restore();
      EXPECT_EQ(word->load(), position);
    }
  }
}

TEST(RingTest, WhatIsPutRightKeepsTheMarkOfARecordThatMayHaveBeenHandled) {
  TestRing ring;
  RingEnds ends(ring.view);
  ASSERT_EQ(ends.Send(8, 1), ClaimResult::kOk);
  ASSERT_EQ(ends.Peek(), PeekResult::kRecord);
  Consumer successor = RingEnds::Opened(ring.view);
  ASSERT_TRUE(successor.redelivered());
  successor.Restore();
  EXPECT_TRUE(RingEnds::Opened(ring.view).redelivered());
}

// What it says is wrong for a moment only: its consumer stores it anew.
TEST(RingTest, AReleasedThatSomebodyOverwroteMakesNoRoomUntilItIsPutRight) {
  TestRing ring;
  RingEnds ends(ring.view);
  std::uint64_t sent = 0;
  while (ends.Send(100, sent) == ClaimResult::kOk) ++sent;
  for (std::uint64_t i = 0; i < 4; ++i) ASSERT_TRUE(ends.Receives(100, i));
  ring.header().released.store(std::uint64_t{1} << 20);
  EXPECT_EQ(ends.Send(100, sent), ClaimResult::kFull);
  ends.consumer.Restore();
  EXPECT_EQ(ends.Send(100, sent), ClaimResult::kOk);
  for (std::uint64_t i = 4; i <= sent; ++i) ASSERT_TRUE(ends.Receives(100, i));
}

// ---- Waiting for space ----

TEST(RingTest, AProducerThatWaitsForSpaceIsRungOnceForEachWait) {
  TestRing ring;
  RingEnds ends(ring.view);
  std::uint64_t sent = 0;
  while (ends.Send(1000, sent) == ClaimResult::kOk) ++sent;
  layout::Word& armed = ends.producer.space_armed();

  ASSERT_TRUE(ends.Receives(1000, 0));
  ends.consumer.PublishReleased();
  EXPECT_FALSE(ends.consumer.TakeWakeRequest()) << "nobody waits";
  armed.store(1);
  ASSERT_TRUE(ends.Receives(1000, 1));
  ends.consumer.PublishReleased();
  EXPECT_TRUE(ends.consumer.TakeWakeRequest());
  EXPECT_FALSE(ends.consumer.TakeWakeRequest()) << "taken already";
  ASSERT_TRUE(ends.Receives(1000, 2));
  ends.consumer.PublishReleased();
  EXPECT_FALSE(ends.consumer.TakeWakeRequest()) << "rung for this value already";
  armed.store(3);
  ASSERT_TRUE(ends.Receives(1000, 3));
  ends.consumer.PublishReleased();
  EXPECT_TRUE(ends.consumer.TakeWakeRequest());
}

TEST(RingTest, AProducerThatWaitsForSpaceIsRungForHalfARing) {
  TestRing ring;
  RingEnds ends(ring.view);
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  const auto fill = [&] {
    while (ends.Send(100, sent) == ClaimResult::kOk) ++sent;
  };
  fill();
  ends.producer.space_armed().store(1);
  const std::uint64_t begin = ends.consumer.position();
  while (!ends.consumer.TakeWakeRequest()) ASSERT_TRUE(ends.Receives(100, received++));
  EXPECT_GE(ends.consumer.position() - begin, kCapacity / 2);
  EXPECT_LT(ends.consumer.position() - begin, kCapacity / 2 + kCapacity / 8 + 128);
  // Until then nothing was rung, but the room was there for a producer that looks.
  EXPECT_FALSE(ends.consumer.has_unpublished());
  ASSERT_TRUE(ends.Receives(100, received++));
  EXPECT_TRUE(ends.consumer.has_unpublished()) << "to be told before sleeping";
  fill();
  EXPECT_GT(sent, received);
}

// ---- After a crash ----

enum class Step { kClaimed, kWritten, kBatchStaged, kAborted, kCommitted };

class RingProducerCrashTest : public ::testing::TestWithParam<Step> {};

// A producer stops at each step, at many offsets; its successor goes on behind the committed
// records, and the consumer sees every committed record once and nothing of the others.
TEST_P(RingProducerCrashTest, TheSuccessorGoesOnBehindTheCommittedRecords) {
  TestRing ring;
  for (std::uint64_t offset = 0; offset < kCapacity; offset += 8 * 13) {
    RingEnds ends(ring.view, 5 * kCapacity + offset);
    ASSERT_EQ(ends.Send(500, 0), ClaimResult::kOk);
    ASSERT_EQ(ends.Claim(60, 1), ClaimResult::kOk);
    ASSERT_EQ(ends.Claim(0, 2), ClaimResult::kOk);
    ends.producer.Commit();
    std::uint64_t committed = 3;
    switch (GetParam()) {
      case Step::kClaimed: {
        std::span<std::byte> payload;
        ASSERT_EQ(ends.producer.TryClaim(700, &payload), ClaimResult::kOk);
        break;
      }
      case Step::kWritten:
        ASSERT_EQ(ends.Claim(700, 3), ClaimResult::kOk);
        break;
      case Step::kBatchStaged:
      case Step::kAborted:
        for (std::uint64_t i = 0; i < 20; ++i) ASSERT_EQ(ends.Claim(50, i), ClaimResult::kOk);
        if (GetParam() == Step::kAborted) ends.producer.Abort();
        break;
      case Step::kCommitted:
        ASSERT_EQ(ends.Send(700, 3), ClaimResult::kOk);
        committed = 4;
        break;
    }
    const std::uint64_t position = ends.producer.position();
    // Released may lag behind: the walk starts there.
    ASSERT_TRUE(ends.Receives(500, 0));

    Result<Producer> successor = Producer::Recover(ring.view);
    ASSERT_TRUE(successor.ok()) << successor.status().ToString();
    EXPECT_EQ(successor->position(), position);
    ends.producer = *successor;
    ASSERT_EQ(ends.Send(90, 9), ClaimResult::kOk);
    ASSERT_TRUE(ends.Receives(60, 1));
    ASSERT_TRUE(ends.Receives(0, 2));
    if (committed == 4) {
      ASSERT_TRUE(ends.Receives(700, 3));
    }
    ASSERT_TRUE(ends.Receives(90, 9));
    ASSERT_EQ(ends.Peek(), PeekResult::kEmpty);
  }
}

INSTANTIATE_TEST_SUITE_P(AtEachStep, RingProducerCrashTest,
                         ::testing::Values(Step::kClaimed, Step::kWritten, Step::kBatchStaged,
                                           Step::kAborted, Step::kCommitted));

TEST(RingTest, RecoverOfAFullRingFindsItFull) {
  TestRing ring;
  for (const std::uint64_t start : {std::uint64_t{0}, kCapacity - 104, 7 * kCapacity + 8}) {
    RingEnds ends(ring.view, start);
    std::uint64_t sent = 0;
    while (ends.Send(0, sent) == ClaimResult::kOk) ++sent;
    Result<Producer> successor = Producer::Recover(ring.view);
    ASSERT_TRUE(successor.ok()) << successor.status().ToString();
    std::span<std::byte> payload;
    EXPECT_EQ(successor->TryClaim(0, &payload), ClaimResult::kFull);
    for (std::uint64_t i = 0; i < sent; ++i) ASSERT_TRUE(ends.Receives(0, i));
    ends.consumer.PublishReleased();
    EXPECT_EQ(successor->TryClaim(kMaxPayload, &payload), ClaimResult::kOk);
  }
}

TEST(RingTest, RecoverOfANewRingStartsAtZero) {
  TestRing ring;
  Result<Producer> producer = Producer::Recover(ring.view);
  ASSERT_TRUE(producer.ok()) << producer.status().ToString();
  EXPECT_EQ(producer->position(), 0U);
}

TEST(RingTest, AConsumerThatDiedBetweenDeliveredAndAckedRedeliversMarked) {
  TestRing ring;
  RingEnds ends(ring.view, kCapacity - 80);
  for (std::uint64_t i = 0; i < 4; ++i) ASSERT_EQ(ends.Send(30, i), ClaimResult::kOk);
  ASSERT_TRUE(ends.Receives(30, 0));
  ASSERT_EQ(ends.Peek(), PeekResult::kRecord);  // delivered, and the handler never returned

  ends.consumer = RingEnds::Opened(ring.view);
  EXPECT_EQ(ends.Peek(), PeekResult::kRecord);
  EXPECT_TRUE(ends.consumer.redelivered());
  EXPECT_TRUE(ends.Receives(30, 1));
  EXPECT_EQ(ends.Peek(), PeekResult::kRecord);
  EXPECT_FALSE(ends.consumer.redelivered());
  EXPECT_TRUE(ends.Receives(30, 2));
  EXPECT_TRUE(ends.Receives(30, 3));
}

TEST(RingTest, AConsumerThatDiedBetweenMessagesRedeliversNothing) {
  TestRing ring;
  RingEnds ends(ring.view);
  for (std::uint64_t i = 0; i < 3; ++i) ASSERT_EQ(ends.Send(30, i), ClaimResult::kOk);
  ASSERT_TRUE(ends.Receives(30, 0));

  ends.consumer = RingEnds::Opened(ring.view);
  EXPECT_EQ(ends.Peek(), PeekResult::kRecord);
  EXPECT_FALSE(ends.consumer.redelivered());
  EXPECT_TRUE(ends.Receives(30, 1));
  EXPECT_TRUE(ends.Receives(30, 2));
}

TEST(RingTest, SpacePublishedBehindAPadSurvivesARestart) {
  TestRing ring;
  RingEnds ends(ring.view, kCapacity - 40);
  ASSERT_EQ(ends.Send(100, 1), ClaimResult::kOk);
  ASSERT_EQ(ends.Peek(), PeekResult::kRecord);  // behind the pad; its handler runs
  ends.consumer.PublishReleased();
  ends.consumer = RingEnds::Opened(ring.view);
  EXPECT_EQ(ends.Peek(), PeekResult::kRecord);
  EXPECT_TRUE(ends.consumer.redelivered());
  EXPECT_TRUE(ends.Receives(100, 1));
}

TEST(RingTest, ASuccessorPublishesTheSpaceThatItsPredecessorDidNot) {
  TestRing ring;
  RingEnds ends(ring.view);
  for (std::uint64_t i = 0; i < 3; ++i) ASSERT_EQ(ends.Send(30, i), ClaimResult::kOk);
  for (std::uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(ends.Receives(30, i));
  ASSERT_EQ(ring.header().released.load(), 0U);
  ends.consumer = RingEnds::Opened(ring.view);
  EXPECT_TRUE(ends.consumer.has_unpublished());
  ends.consumer.PublishReleased();
  EXPECT_EQ(ring.header().released.load(), ends.producer.position());
}

}  // namespace
}  // namespace ivmq
