// Both ends of a ring, for tests.
#ifndef IVMQ_TESTS_UNIT_CORE_RING_ENDS_H_
#define IVMQ_TESTS_UNIT_CORE_RING_ENDS_H_

#include <cstdint>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/ring.h"

#include "support/random.h"

namespace ivmq::testing {

// Makes `ring` empty at `position`, as if that many bytes had passed through it.
// REQUIRES: position is a multiple of 8.
inline void SetPosition(const RingView& ring, std::uint64_t position) {
  ring.header->delivered.store(position);
  ring.header->acked.store(position);
  ring.header->released.store(position);
  ring.header->committed.store(position);
  ring.CommitWordAt(position).store(0);
}

// The smallest ring, and the largest record in it.
inline constexpr std::uint64_t kCapacity = layout::kMinRingCapacity;
inline constexpr std::uint64_t kMaxPayload = kCapacity / 2 - 8;

struct RingEnds {
  // The two ends of `ring` made new, or of one that stands at `position`.
  explicit RingEnds(const RingView& ring) {
    ring.Initialize(1);
    producer = Producer(ring);
    consumer = Opened(ring);
  }
  RingEnds(const RingView& ring, std::uint64_t position) {
    SetPosition(ring, position);
    Result<Producer> recovered = Producer::Recover(ring);
    EXPECT_TRUE(recovered.ok()) << recovered.status().ToString();
    if (recovered.ok()) producer = *recovered;
    consumer = Opened(ring);
  }

  static Consumer Opened(const RingView& ring) {
    Result<Consumer> opened = Consumer::Open(ring);
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    if (!opened.ok()) std::abort();
    return *opened;
  }

  // Claims a record and writes message `number` into it; not committed yet.
  ClaimResult Claim(std::uint64_t size, std::uint64_t number) {
    std::span<std::byte> payload;
    const ClaimResult result = producer.TryClaim(size, &payload);
    if (result == ClaimResult::kOk) {
      EXPECT_EQ(payload.size(), size);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(payload.data()) % 8, 0U);
      FillPattern(payload, number);
    }
    return result;
  }
  ClaimResult Send(std::uint64_t size, std::uint64_t number) {
    const ClaimResult result = Claim(size, number);
    if (result == ClaimResult::kOk) producer.Commit();
    return result;
  }
  // Takes one record, which must be message `number` of `size` bytes.
  ::testing::AssertionResult Receives(std::uint64_t size, std::uint64_t number) {
    std::span<const std::byte> payload;
    if (const PeekResult result = consumer.Peek(&payload); result != PeekResult::kRecord) {
      return ::testing::AssertionFailure() << "Peek gave " << static_cast<int>(result);
    }
    if (payload.size() != size) {
      return ::testing::AssertionFailure() << payload.size() << " bytes instead of " << size;
    }
    if (!HasPattern(payload, number)) {
      return ::testing::AssertionFailure() << "not the bytes of message " << number;
    }
    consumer.Release();
    return ::testing::AssertionSuccess();
  }
  // What Peek says now.
  PeekResult Peek() {
    std::span<const std::byte> payload;
    return consumer.Peek(&payload);
  }

  Producer producer;
  Consumer consumer;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_UNIT_CORE_RING_ENDS_H_
