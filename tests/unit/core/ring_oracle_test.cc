// The ring against a std::deque: random claims, batches, aborts, crashes of either end, and wraps.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <numeric>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "ring_ends.h"
#include "support/random.h"
#include "support/shared_memory.h"

namespace ivmq {
namespace {

using testing::Below;
using testing::Random;
using testing::RingEnds;
using testing::TestRing;

struct Sent {
  std::uint64_t number;
  std::uint64_t size;
};

// A ring, and what must be in it.
class RingWithOracle {
 public:
  RingWithOracle(std::uint64_t capacity, std::uint64_t position)
      : ring_(capacity), ends_(ring_.view, position) {}

  void Claim(std::uint64_t size) {
    const ClaimResult result = ends_.Claim(size, next_);
    if (result == ClaimResult::kOk) {
      batch_.push_back({next_++, size});
    } else {
      ASSERT_EQ(result, ClaimResult::kFull);
      ++full_;
    }
  }
  void Commit() {
    ends_.producer.Commit();
    expected_.insert(expected_.end(), batch_.begin(), batch_.end());
    batch_.clear();
  }
  void Abort() {
    ends_.producer.Abort();
    batch_.clear();
  }
  void Receive(bool release) {
    std::span<const std::byte> payload;
    const PeekResult result = ends_.consumer.Peek(&payload);
    if (expected_.empty()) {
      ASSERT_EQ(result, PeekResult::kEmpty);
      return;
    }
    ASSERT_EQ(result, PeekResult::kRecord);
    const Sent& sent = expected_.front();
    ASSERT_EQ(payload.size(), sent.size);
    ASSERT_TRUE(testing::HasPattern(payload, sent.number)) << "message " << sent.number;
    ASSERT_EQ(ends_.consumer.redelivered(), sent.number <= redelivered_through_);
    last_delivered_ = std::max(last_delivered_, sent.number);
    if (release) {
      ends_.consumer.Release();
      expected_.pop_front();
    }
  }
  void Publish() { ends_.consumer.PublishReleased(); }
  // What both ends do four times a second.
  void Housekeep() {
    ends_.producer.PublishCommitted();
    // Not while a record is being handled.
    if (expected_.empty() || last_delivered_ < expected_.front().number) ends_.consumer.Restore();
    ASSERT_FALSE(ends_.consumer.LacksRecords());
  }
  // The end dies and its successor takes over; uncommitted claims are gone.
  void ReplaceProducer() {
    const std::uint64_t position = ends_.producer.position();
    Result<Producer> successor = Producer::Recover(ring_.view);
    ASSERT_TRUE(successor.ok()) << successor.status().ToString();
    ASSERT_EQ(successor->position(), position);
    ends_.producer = *successor;
    batch_.clear();
  }
  void ReplaceConsumer() {
    ends_.consumer = RingEnds::Opened(ring_.view);
    redelivered_through_ = last_delivered_;
  }

  [[nodiscard]] std::uint64_t max_payload() const { return ends_.producer.max_payload(); }
  [[nodiscard]] std::uint64_t sent() const { return next_ - 1; }
  [[nodiscard]] std::uint64_t full() const { return full_; }
  [[nodiscard]] bool empty() const { return expected_.empty(); }

 private:
  TestRing ring_;
  RingEnds ends_;
  std::deque<Sent> expected_;
  std::vector<Sent> batch_;
  std::uint64_t next_ = 1;
  std::uint64_t full_ = 0;
  std::uint64_t last_delivered_ = 0;
  std::uint64_t redelivered_through_ = 0;
};

#ifdef IVMQ_THREAD_SANITIZER  // there is one thread
constexpr int kSteps = 1500;
#else
constexpr int kSteps = 15'000;
#endif

TEST(RingOracleTest, RandomOperationsAgreeWithADeque) {
  Random random(testing::TestSeed());
  for (const std::uint64_t capacity : {16U << 10, 64U << 10, 256U << 10}) {
    // Close below the wrap of the 32-bit tag, so that the run crosses it.
    RingWithOracle sut(capacity, (std::uint64_t{1} << 35) - 8 * Below(random, capacity));
    for (int step = 0; step < kSteps && !HasFatalFailure(); ++step) {
      switch (Below(random, 16)) {
        case 0:
          sut.Abort();
          break;
        case 1:
          Below(random, 2) == 0 ? sut.Publish() : sut.Housekeep();
          break;
        case 2:
          sut.Receive(false);
          break;
        case 3:
          if (Below(random, 8) == 0) sut.ReplaceProducer();
          break;
        case 4:
          if (Below(random, 8) == 0) sut.ReplaceConsumer();
          break;
        case 5:
        case 6:
        case 7:
          sut.Commit();
          break;
        case 8:
        case 9:
        case 10:
        case 11:
          sut.Claim(testing::SkewedSize(random, sut.max_payload()));
          break;
        default:
          sut.Receive(true);
          break;
      }
    }
    ASSERT_FALSE(HasFatalFailure()) << "capacity " << capacity;
    EXPECT_GT(sut.full(), 0U) << "the run never filled the ring";
    sut.Commit();
    while (!sut.empty() && !HasFatalFailure()) sut.Receive(true);
    sut.Receive(true);
  }
}

TEST(RingOracleTest, AllSizesInRandomOrderAndRandomBatches) {
  Random random(testing::TestSeed());
  RingWithOracle sut(layout::kMinRingCapacity, 0);
  std::vector<std::uint64_t> sizes(sut.max_payload() + 1);
  std::iota(sizes.begin(), sizes.end(), std::uint64_t{0});
  std::shuffle(sizes.begin(), sizes.end(), random);
  for (const std::uint64_t size : sizes) {
    for (std::uint64_t before = sut.sent(); sut.sent() == before && !HasFatalFailure();) {
      sut.Claim(size);
      if (sut.sent() == before || Below(random, 3) == 0) {
        sut.Commit();
        while (!sut.empty() && !HasFatalFailure()) sut.Receive(true);
        sut.Publish();
      }
    }
    ASSERT_FALSE(HasFatalFailure());
  }
  EXPECT_EQ(sut.sent(), sizes.size());
}

}  // namespace
}  // namespace ivmq
