// A ring whose words were written by somebody who does not keep to the rules. The memory lies
// between two forbidden pages, so an access out of bounds ends the test.
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "ring_ends.h"
#include "support/random.h"
#include "support/shared_memory.h"

namespace ivmq {
namespace {

using testing::Below;
using testing::kCapacity;
using testing::kMaxPayload;
using testing::Random;
using testing::RingEnds;
using testing::TestRing;

// Reads everything it gets, so that a sanitizer sees a span that is too long.
class Reader {
 public:
  explicit Reader(const TestRing& ring) : ring_(ring) {}

  void operator()(std::span<const std::byte> bytes) {
    const std::byte* begin = ring_.view.data;
    EXPECT_GE(bytes.data(), begin);
    EXPECT_LE(bytes.data() + bytes.size(), begin + ring_.view.capacity);
    EXPECT_LE(bytes.size(), kMaxPayload);
    for (const std::byte byte : bytes) sum_ += std::to_integer<unsigned>(byte);
  }

 private:
  const TestRing& ring_;
  unsigned sum_ = 0;
};

// Values that bring out mistakes, and random ones.
std::vector<std::uint64_t> BadWords(Random& random, std::uint64_t near) {
  std::vector<std::uint64_t> words = {0,
                                      1,
                                      7,
                                      8,
                                      kCapacity - 1,
                                      kCapacity,
                                      kCapacity + 8,
                                      kMaxPayload + 1,
                                      ~std::uint64_t{0},
                                      ~std::uint64_t{0} - 7,
                                      ~std::uint64_t{7},
                                      ~std::uint64_t{0} - kCapacity + 1,
                                      std::uint64_t{1} << 63,
                                      std::uint64_t{1} << 35};
  for (unsigned bit = 0; bit < 64; ++bit) words.push_back(near ^ std::uint64_t{1} << bit);
  for (int i = 0; i < 64; ++i) {
    words.push_back(random());
    words.push_back(near + 8 * Below(random, 2 * kCapacity) - kCapacity);
  }
  return words;
}

TEST(RingHostileTest, EveryFlippedBitOfATagIsCorruption) {
  TestRing ring;
  for (unsigned bit = 32; bit < 64; ++bit) {
    RingEnds ends(ring.view, 3 * kCapacity + 64);
    ASSERT_EQ(ends.Send(100, 1), ClaimResult::kOk);
    ring.view.CommitWordAt(64).fetch_xor(std::uint64_t{1} << bit);
    EXPECT_EQ(ends.Peek(), PeekResult::kCorrupt) << "bit " << bit;
  }
}

TEST(RingHostileTest, EveryUnknownKindIsCorruption) {
  TestRing ring;
  for (unsigned kind = 0; kind < 16; ++kind) {
    RingEnds ends(ring.view);
    ASSERT_EQ(ends.Send(100, 1), ClaimResult::kOk);
    ring.view.CommitWordAt(0).store(
        layout::CommitWord(8, static_cast<layout::RecordKind>(kind), 100) -
        (std::uint64_t{1} << 32));
    const PeekResult expected = kind == 1 ? PeekResult::kRecord : PeekResult::kCorrupt;
    EXPECT_EQ(ends.Peek(), expected) << "kind " << kind;
  }
}

TEST(RingHostileTest, ALengthBeyondTheLargestPayloadIsCorruption) {
  TestRing ring;
  for (std::uint64_t offset = 0; offset < kCapacity; offset += 1016) {
    const std::uint64_t room = kCapacity - offset;
    for (const std::uint64_t length :
         {kMaxPayload + 1, kCapacity - 8, kCapacity, room - 7, room, std::uint64_t{0x0fffffff}}) {
      if (length <= kMaxPayload && layout::RecordSize(length) <= room) continue;
      RingEnds ends(ring.view, offset);
      ring.view.CommitWordAt(offset).store(layout::CommitWord(offset, layout::RecordKind::kData,
                                                              static_cast<std::uint32_t>(length)));
      EXPECT_EQ(ends.Peek(), PeekResult::kCorrupt) << "offset " << offset << ", length " << length;
    }
  }
}

TEST(RingHostileTest, APadThatDoesNotEndWithTheRingIsCorruption) {
  TestRing ring;
  for (const std::uint64_t pad : {0U, 8U, 16U, 32U, 40U, 48U, 1000U}) {
    RingEnds ends(ring.view, kCapacity - 40);
    ring.view.CommitWordAt(kCapacity - 40)
        .store(layout::CommitWord(kCapacity - 40, layout::RecordKind::kPad,
                                  static_cast<std::uint32_t>(pad)));
    ring.view.CommitWordAt(0).store(0);
    EXPECT_EQ(ends.Peek(), pad == 32 ? PeekResult::kEmpty : PeekResult::kCorrupt) << "pad " << pad;
  }
}

// Otherwise a producer that keeps writing such pads would hold the consumer in Peek() for ever.
TEST(RingHostileTest, APadOfTheWholeRingIsCorruption) {
  TestRing ring;
  for (const std::uint64_t room : {kCapacity, kCapacity - 8, kCapacity / 2}) {
    const std::uint64_t position = 2 * kCapacity - room;
    RingEnds ends(ring.view, position);
    ring.view.CommitWordAt(position + room).store(0);
    ring.view.CommitWordAt(position).store(layout::CommitWord(
        position, layout::RecordKind::kPad, static_cast<std::uint32_t>(room - 8)));
    EXPECT_EQ(ends.Peek(), PeekResult::kCorrupt) << "room " << room;
  }
}

TEST(RingHostileTest, EveryFlippedBitOfACommitWordIsReportedOrStaysInBounds) {
  TestRing ring;
  Reader reader(ring);
  for (const std::uint64_t offset :
       {std::uint64_t{0}, kCapacity - 48, kCapacity - 8, kCapacity / 2}) {
    for (const std::uint64_t victim : {0U, 1U, 2U}) {
      for (unsigned bit = 0; bit < 64; ++bit) {
        RingEnds ends(ring.view, kCapacity + offset);
        std::array<std::uint64_t, 3> at{};
        for (std::uint64_t i = 0; i < 3; ++i) {
          at[i] = ends.producer.position();
          ASSERT_EQ(ends.Send(60 + i, i), ClaimResult::kOk);
        }
        ring.view.CommitWordAt(at[victim]).fetch_xor(std::uint64_t{1} << bit);
        PeekResult end = PeekResult::kRecord;
        EXPECT_LE(ends.consumer.Poll(reader, 100, &end), 3U);
        EXPECT_NE(end, PeekResult::kRecord);
      }
    }
  }
}

TEST(RingHostileTest, AConsumerOverArbitraryBytesStaysInBounds) {
  Random random(testing::TestSeed());
  TestRing ring;
  Reader reader(ring);
  for (int round = 0; round < 3000; ++round) {
    const std::uint64_t position = 8 * Below(random, kCapacity);
    RingEnds ends(ring.view, position);
    auto* words = reinterpret_cast<std::uint64_t*>(ring.view.data);
    for (std::uint64_t at = 0; at < kCapacity; at += 8) {
      const std::uint64_t here = position + ((at - position) & (kCapacity - 1));
      const auto kind = static_cast<layout::RecordKind>(1 + Below(random, 2));
      const auto length = static_cast<std::uint32_t>(Below(random, kCapacity >> Below(random, 12)));
      // Mostly words with the right tag, so that the walk gets far.
      words[at / 8] = Below(random, 16) == 0 ? random() : layout::CommitWord(here, kind, length);
    }
    PeekResult end = PeekResult::kRecord;
    (void)ends.consumer.Poll(reader, 10000, &end);
    EXPECT_NE(end, PeekResult::kRecord);
  }
}

TEST(RingHostileTest, AProducerRefusesAReleasedThatNoConsumerWrites) {
  Random random(testing::TestSeed());
  TestRing ring;
  const std::uint64_t start = 3 * kCapacity + 128;
  for (const std::uint64_t word : BadWords(random, start)) {
    RingEnds ends(ring.view, start);
    std::uint64_t sent = 0;
    while (ends.Send(1000, sent) == ClaimResult::kOk) ++sent;
    const std::uint64_t position = ends.producer.position();
    ring.header().released.store(word);
    const bool plausible = word >= start && word <= position && word % 8 == 0;
    ClaimResult result = ends.Send(1000, 0);
    for (std::uint64_t i = 0; result == ClaimResult::kOk && i <= kCapacity; ++i) {
      result = ends.Send(1000, i);
    }
    EXPECT_EQ(result, ClaimResult::kFull) << "released " << word;
    if (!plausible) {
      EXPECT_EQ(ends.producer.position(), position) << "released " << word;
    }
    EXPECT_LE(ends.producer.position(), position + kCapacity);
  }
}

TEST(RingHostileTest, AReleasedThatGoesBackIsRefused) {
  TestRing ring;
  RingEnds ends(ring.view);
  while (ends.Send(1000, 0) == ClaimResult::kOk) {
  }
  ring.header().released.store(2 * 1008);
  ASSERT_EQ(ends.Send(2 * 1000, 0), ClaimResult::kOk);
  ring.header().released.store(1008);
  EXPECT_EQ(ends.Send(kMaxPayload, 0), ClaimResult::kFull);
}

TEST(RingHostileTest, RecoverOverAnyReleasedIsAnErrorOrAProducerThatStaysInBounds) {
  Random random(testing::TestSeed());
  TestRing ring;
  const std::uint64_t start = 3 * kCapacity + 128;
  for (const std::uint64_t word : BadWords(random, start)) {
    RingEnds ends(ring.view, start);
    for (std::uint64_t i = 0; i < 5; ++i) ASSERT_EQ(ends.Send(200, i), ClaimResult::kOk);
    ring.header().released.store(word);
    Result<Producer> producer = Producer::Recover(ring.view);
    if (!producer.ok()) {
      EXPECT_EQ(producer.status().code(), StatusCode::kDataLoss);
      EXPECT_FALSE(producer.status().message().empty());
      continue;
    }
    for (int i = 0; i < 100; ++i) {
      std::span<std::byte> payload;
      if (producer->TryClaim(Below(random, kMaxPayload + 1), &payload) != ClaimResult::kOk) break;
      std::memset(payload.data(), 0xab, payload.size());
      producer->Commit();
    }
    producer->PublishCommitted();
  }
}

TEST(RingHostileTest, RecoverOverArbitraryRecordsEndsAndStaysInBounds) {
  Random random(testing::TestSeed());
  TestRing ring;
  for (int round = 0; round < 3000; ++round) {
    const std::uint64_t position = 8 * Below(random, kCapacity);
    testing::SetPosition(ring.view, position);
    auto* words = reinterpret_cast<std::uint64_t*>(ring.view.data);
    for (std::uint64_t at = 0; at < kCapacity; at += 8) {
      const std::uint64_t here = position + ((at - position) & (kCapacity - 1));
      words[at / 8] =
          layout::CommitWord(here, static_cast<layout::RecordKind>(1 + Below(random, 2)),
                             static_cast<std::uint32_t>(Below(random, 64)));
    }
    Result<Producer> producer = Producer::Recover(ring.view);
    if (!producer.ok()) {
      EXPECT_EQ(producer.status().code(), StatusCode::kDataLoss);
    }
  }
}

TEST(RingHostileTest, OpenRefusesWordsThatContradictEachOther) {
  TestRing ring;
  struct Case {
    std::uint64_t released, acked, delivered;
  };
  const std::uint64_t p = 4 * kCapacity;
  for (const Case& c :
       {Case{p + 8, p, p}, Case{p, p + 8, p}, Case{p, p, p - 8}, Case{p, p, p + kCapacity + 8},
        Case{p - kCapacity - 8, p, p}, Case{p, p + 4, p + 8}, Case{p + 1, p + 8, p + 8},
        Case{0, ~std::uint64_t{7}, ~std::uint64_t{7}}}) {
    ring.header().released.store(c.released);
    ring.header().acked.store(c.acked);
    ring.header().delivered.store(c.delivered);
    const Result<Consumer> consumer = Consumer::Open(ring.view);
    ASSERT_FALSE(consumer.ok()) << c.released << ' ' << c.acked << ' ' << c.delivered;
    EXPECT_EQ(consumer.status().code(), StatusCode::kDataLoss);
    EXPECT_NE(consumer.status().message().find(std::to_string(c.acked)), std::string::npos)
        << consumer.status().message();
  }
}

TEST(RingHostileTest, OpenOverAnyWordsIsAnErrorOrAConsumerThatStaysInBounds) {
  Random random(testing::TestSeed());
  TestRing ring;
  Reader reader(ring);
  const std::uint64_t start = 3 * kCapacity + 128;
  for (const std::uint64_t word : BadWords(random, start)) {
    for (int which = 0; which < 8; ++which) {
      RingEnds ends(ring.view, start);
      for (std::uint64_t i = 0; i < 5; ++i) ASSERT_EQ(ends.Send(200, i), ClaimResult::kOk);
      if ((which & 1) != 0) ring.header().delivered.store(word);
      if ((which & 2) != 0) ring.header().acked.store(word);
      if ((which & 4) != 0) ring.header().released.store(word);
      Result<Consumer> consumer = Consumer::Open(ring.view);
      if (!consumer.ok()) {
        EXPECT_EQ(consumer.status().code(), StatusCode::kDataLoss);
        continue;
      }
      PeekResult end = PeekResult::kRecord;
      EXPECT_LE(consumer->Poll(reader, 100, &end), 5U);
      consumer->PublishReleased();
    }
  }
}

TEST(RingHostileTest, SpaceArmedMayHoldAnything) {
  Random random(testing::TestSeed());
  TestRing ring;
  for (const std::uint64_t word : BadWords(random, 0)) {
    RingEnds ends(ring.view);
    ring.header().space_armed.store(word);
    ASSERT_EQ(ends.Send(10, 1), ClaimResult::kOk);
    ASSERT_TRUE(ends.Receives(10, 1));
    ends.consumer.PublishReleased();
    EXPECT_EQ(ends.consumer.TakeWakeRequest(), (word & 1) != 0);
  }
}

}  // namespace
}  // namespace ivmq
