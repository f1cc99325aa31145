// One thread at each end of a ring, both sleeping on eventfds by the protocol of wake.h.
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <span>
#include <thread>

#include <gtest/gtest.h>

#include "support/random.h"
#include "support/shared_memory.h"
#include "support/sleeping_ends.h"

namespace ivmq {
namespace {

using testing::Random;
using testing::TestRing;

TEST(RingThreadsTest, EveryMessageArrivesOnceInOrderWhileBothSidesBatchAndAbort) {
  const std::uint64_t seed = testing::TestSeed();
  TestRing ring(64U << 10);
  constexpr std::uint64_t kMessages = 30000;
  std::thread producer_thread([&] {
    Random random(seed);
    Producer producer(ring.view);
    for (std::uint64_t sent = 0; sent < kMessages;) {
      const std::uint64_t batch = 1 + testing::Below(random, 8);
      const bool abort = testing::Below(random, 10) == 0;
      std::uint64_t claimed = 0;
      while (claimed < batch && sent + claimed < kMessages) {
        std::span<std::byte> payload;
        const std::uint64_t size = testing::SkewedSize(random, 700);
        if (producer.TryClaim(size, &payload) != ClaimResult::kOk) break;
        testing::FillPattern(payload, abort ? ~std::uint64_t{0} : sent + claimed);
        ++claimed;
      }
      if (abort) {
        producer.Abort();
        continue;
      }
      producer.Commit();
      sent += claimed;
      if (claimed == 0) sched_yield();
    }
  });
  Consumer consumer = *Consumer::Open(ring.view);
  std::uint64_t received = 0;
  while (received < kMessages && !HasFatalFailure()) {
    PeekResult end = PeekResult::kRecord;
    const std::size_t count = consumer.Poll(
        [&](std::span<const std::byte> bytes) {
          ASSERT_TRUE(testing::HasPattern(bytes, received)) << "message " << received;
          ++received;
        },
        64, &end);
    if (count == 0) {
      ASSERT_EQ(end, PeekResult::kEmpty);
      if (consumer.has_unpublished()) consumer.PublishReleased();
      sched_yield();
    }
  }
  producer_thread.join();
  EXPECT_EQ(received, kMessages);
}

// Many producers and one sleeper: each sleep ends by a doorbell, never by the net of one second.
TEST(WakeTest, NoWakeUpIsLostBetweenThreads) {
  const std::uint64_t seed = testing::TestSeed();
  constexpr unsigned kProducers = 3;
  constexpr std::uint64_t kMessages = 20000;
  testing::SleepingEnds ends(kProducers, layout::kMinRingCapacity);
  std::thread producers[kProducers];
  for (unsigned i = 0; i < kProducers; ++i) {
    producers[i] = std::thread([&, i] { ends.Produce(i, kMessages, seed + i); });
  }
  const testing::SleepFigures figures = ends.Consume(kMessages, seed);
  for (std::thread& thread : producers) thread.join();
  EXPECT_EQ(figures.received, kMessages * kProducers);
  EXPECT_EQ(figures.out_of_order, 0U);
  EXPECT_EQ(figures.net_finds, 0U) << "wake-ups were lost";
  EXPECT_GT(figures.sleeps, 0U) << "the consumer never slept: nothing was tested";
}

TEST(WakeTest, ArmedGrowsAndIsOddOnlyWhileArmed) {
  for (const std::uint64_t left : {0U, 1U, 4U, 5U}) {
    layout::Word word{left};
    Armed armed(word);
    EXPECT_FALSE(armed.armed());
    EXPECT_EQ(word.load() % 2, 0U);
    EXPECT_GT(word.load() + 1, left) << "a successor continues the sequence";
    const std::uint64_t awake = word.load();
    armed.Arm();
    EXPECT_TRUE(armed.armed());
    EXPECT_EQ(word.load(), awake + 1);
    armed.Disarm();
    EXPECT_FALSE(armed.armed());
    EXPECT_EQ(word.load(), awake + 2);
  }
}

// A producer that rang for the dead sleeper's value must ring for its successor's as well.
TEST(WakeTest, ASuccessorsFirstSleepIsANewValue) {
  layout::Word word{0};
  WakeCheck waker;
  Armed first(word);
  first.Arm();
  EXPECT_TRUE(waker.MustRing(word));
  Armed successor(word);
  EXPECT_FALSE(waker.MustRing(word));
  successor.Arm();
  EXPECT_TRUE(waker.MustRing(word));
}

TEST(WakeTest, EachWakerRingsOnceForEachSleep) {
  layout::Word word{0};
  Armed sleeper(word);
  WakeCheck one;
  WakeCheck two;
  EXPECT_FALSE(one.MustRing(word)) << "awake";
  for (int i = 0; i < 3; ++i) {
    sleeper.Arm();
    EXPECT_TRUE(one.MustRing(word));
    EXPECT_FALSE(one.MustRing(word));
    EXPECT_TRUE(two.MustRing(word));
    EXPECT_FALSE(two.MustRing(word));
    sleeper.Disarm();
    EXPECT_FALSE(one.MustRing(word));
  }
}

}  // namespace
}  // namespace ivmq
