// A ring between two processes, with crashes and with a third process that overwrites it.
#include <sched.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <thread>

#include <gtest/gtest.h>

#include "ivmq/internal/ring.h"

#include "support/child.h"
#include "support/random.h"
#include "support/shared_memory.h"
#include "support/sleeping_ends.h"

namespace ivmq {
namespace {

using testing::Child;
using testing::Random;
using testing::SharedCounter;
using testing::TestRing;

// What a message must look like follows from its number, so both ends know it.
std::uint64_t SizeOf(std::uint64_t number, std::uint64_t max) {
  Random random(number);
  return testing::SkewedSize(random, max);
}

TEST(RingProcessTest, RandomSizesAndBatchesArriveWholeAndInOrder) {
  const std::uint64_t seed = testing::TestSeed();
  TestRing ring(64U << 10);
#ifdef __SANITIZE_THREAD__  // it looks at each byte, and learns nothing new from more of them
  constexpr std::uint64_t kMessages = 3000;
#else
  constexpr std::uint64_t kMessages = 15000;
#endif
  Child sender = Child::Fork([&] {
    Random random(seed);
    Producer producer(ring.view);
    std::uint64_t sent = 0;
    while (sent < kMessages) {
      std::uint64_t claimed = 0;
      std::span<std::byte> payload;
      const std::uint64_t batch = 1 + testing::Below(random, 6);
      while (claimed < batch && sent + claimed < kMessages &&
             producer.TryClaim(SizeOf(sent + claimed, producer.max_payload()), &payload) ==
                 ClaimResult::kOk) {
        testing::FillPattern(payload, sent + claimed);
        ++claimed;
      }
      if (testing::Below(random, 10) == 0) {
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
  const std::uint64_t max = layout::MaxPayload(ring.view.capacity);
  while (received < kMessages && !HasFatalFailure()) {
    PeekResult end = PeekResult::kRecord;
    const auto check = [&](std::span<const std::byte> bytes) {
      ASSERT_EQ(bytes.size(), SizeOf(received, max)) << "message " << received;
      ASSERT_TRUE(testing::HasPattern(bytes, received)) << "message " << received;
      ++received;
    };
    if (consumer.Poll(check, 32, &end) == 0) {
      ASSERT_EQ(end, PeekResult::kEmpty);
      if (consumer.has_unpublished()) consumer.PublishReleased();
      sched_yield();
    }
  }
  EXPECT_EQ(sender.Wait(), 0);
  EXPECT_EQ(received, kMessages);
}

// The numbers that arrive have no gap and none twice, however often the sender dies: its successor
// reads in the ring how far it got.
TEST(RingProcessTest, AKilledProducersSuccessorContinuesWithoutLossOrRepetition) {
  Random random(testing::TestSeed());
  TestRing ring;
  Consumer consumer = *Consumer::Open(ring.view);
  std::uint64_t received = 0;
  const auto receive_some = [&] {
    PeekResult end = PeekResult::kRecord;
    (void)consumer.Poll(
        [&](std::span<const std::byte> bytes) {
          std::uint64_t number = 0;
          ASSERT_GE(bytes.size(), sizeof(number));
          std::memcpy(&number, bytes.data(), sizeof(number));
          ASSERT_EQ(number, received);
          ASSERT_TRUE(testing::HasPattern(bytes.subspan(8), number));
          ++received;
        },
        1000, &end);
    consumer.PublishReleased();
    EXPECT_TRUE(end == PeekResult::kEmpty || end == PeekResult::kRecord);
    return end;
  };
  for (int round = 0; round < 60 && !HasFatalFailure(); ++round) {
    SharedCounter started;
    const std::uint64_t first = received;
    Child sender = Child::Fork([&] {
      Producer producer = *Producer::Recover(ring.view);
      for (std::uint64_t number = first;;) {
        std::span<std::byte> payload;
        std::uint64_t claimed = 0;
        while (claimed < 3 && producer.TryClaim(8 + SizeOf(number + claimed, 2000), &payload) ==
                                  ClaimResult::kOk) {
          const std::uint64_t value = number + claimed++;
          std::memcpy(payload.data(), &value, sizeof(value));
          testing::FillPattern(payload.subspan(8), value);
        }
        producer.Commit();
        number += claimed;
        started.Add();
      }
    });
    started.AwaitAtLeast(1 + static_cast<unsigned>(testing::Below(random, 200)));
    for (std::uint64_t i = testing::Below(random, 20); i > 0; --i) (void)receive_some();
    sender.Kill();
    while (!HasFailure() && receive_some() != PeekResult::kEmpty) {
    }
  }
}

TEST(RingProcessTest, AKilledConsumersSuccessorSeesEveryMessageAndMarksRepetitions) {
  Random random(testing::TestSeed());
  TestRing ring;
  // What the consumers handled: the last number, and whether it came marked.
  testing::SharedMemory words(64);
  auto* handled = reinterpret_cast<std::atomic<std::uint64_t>*>(words.bytes().data());
  constexpr std::uint64_t kMessages = 60000;
  Child sender = Child::Fork([&] {
    Producer producer(ring.view);
    for (std::uint64_t number = 1; number <= kMessages;) {
      std::span<std::byte> payload;
      if (producer.TryClaim(8, &payload) != ClaimResult::kOk) {
        sched_yield();
        continue;
      }
      std::memcpy(payload.data(), &number, sizeof(number));
      producer.Commit();
      ++number;
    }
  });
  while (handled->load() < kMessages) {
    SharedCounter progress;
    Child receiver = Child::Fork([&] {
      Consumer consumer = *Consumer::Open(ring.view);
      while (handled->load() < kMessages) {
        std::span<const std::byte> payload;
        if (consumer.Peek(&payload) != PeekResult::kRecord) {
          consumer.PublishReleased();
          sched_yield();
          continue;
        }
        std::uint64_t number = 0;
        std::memcpy(&number, payload.data(), sizeof(number));
        const std::uint64_t last = handled->load();
        // Again only what the last one had been given, and then it says so.
        ASSERT_TRUE(number == last + 1 || (number == last && consumer.redelivered()))
            << number << " after " << last;
        handled->store(number);
        consumer.Release();
        progress.Add();
      }
    });
    const unsigned enough = 1 + static_cast<unsigned>(testing::Below(random, 4000));
    while (progress.value() < enough && handled->load() < kMessages) sched_yield();
    if (handled->load() < kMessages) {
      receiver.Kill();
    } else {
      EXPECT_EQ(receiver.Wait(), 0);
    }
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_EQ(sender.Wait(), 0);
}

// A third process writes random words over header and data while the two others go on: they end
// with a result, never with a signal, and never hang in a call.
TEST(RingProcessTest, AVandalNeverCrashesNorHoldsEitherEnd) {
  Random random(testing::TestSeed());
  for (int round = 0; round < 20; ++round) {
    TestRing ring;
    const std::uint64_t seed = random();
    Child sender = Child::Fork([&] {
      Producer producer(ring.view);
      for (std::uint64_t i = 0; i < 100000; ++i) {
        std::span<std::byte> payload;
        if (producer.TryClaim(i % 300, &payload) != ClaimResult::kOk) continue;
        std::memset(payload.data(), 0x5a, payload.size());
        producer.Commit();
      }
    });
    Child receiver = Child::Fork([&] {
      Result<Consumer> consumer = Consumer::Open(ring.view);
      if (!consumer.ok()) return;  // the vandal was faster
      std::size_t sum = 0;
      for (std::uint64_t i = 0; i < 100000; ++i) {
        PeekResult end = PeekResult::kRecord;
        (void)consumer->Poll(
            [&](std::span<const std::byte> bytes) {
              for (const std::byte byte : bytes) sum += std::to_integer<std::size_t>(byte);
            },
            16, &end);
        if (end == PeekResult::kCorrupt) return;
        consumer->PublishReleased();
      }
    });
    Child vandal = Child::Fork([&] {
      Random own(seed);
      const std::span<std::byte> bytes = ring.memory.bytes();
      for (;;) {
        // Single bytes, so that words keep most of what makes them plausible; the header often.
        const std::size_t at =
            testing::Below(own, testing::Below(own, 4) == 0 ? 512 : bytes.size());
        const_cast<volatile std::byte&>(bytes[at]) = static_cast<std::byte>(own());
        if (testing::Below(own, 1000) == 0) sched_yield();
      }
    });
    EXPECT_EQ(sender.Wait(), 0);
    EXPECT_EQ(receiver.Wait(), 0);
  }
}

TEST(WakeProcessTest, NoWakeUpIsLostAmongAMillionMessages) {
  const std::uint64_t seed = testing::TestSeed();
  constexpr unsigned kProducers = 4;
  constexpr std::uint64_t kMessages = 250000;
  testing::SleepingEnds ends(kProducers, layout::kMinRingCapacity);
  std::vector<Child> producers;
  for (unsigned i = 0; i < kProducers; ++i) {
    producers.push_back(Child::Fork([&, i] {
      EXPECT_EQ(ends.Produce(i, kMessages, seed + i).net_finds, 0U) << "space wake-ups were lost";
    }));
  }
  const testing::SleepFigures figures = ends.Consume(kMessages, seed);
  for (Child& child : producers) EXPECT_EQ(child.Wait(), 0);
  EXPECT_EQ(figures.received, kMessages * kProducers);
  EXPECT_EQ(figures.out_of_order, 0U);
  EXPECT_EQ(figures.net_finds, 0U) << "wake-ups were lost";
  EXPECT_GT(figures.sleeps, 100U) << "the consumer hardly slept: too little was tested";
}

}  // namespace
}  // namespace ivmq
