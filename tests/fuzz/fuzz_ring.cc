// Operations on a ring, chosen by the input, against a std::deque; and corruptions of it, after
// which both ends must stay inside the ring and end.
//
// Input: pairs of an operation and its argument (two bytes).
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <new>
#include <span>
#include <vector>

#include "ivmq/internal/ring.h"

#include "support/random.h"

namespace ivmq {
namespace {

constexpr std::uint64_t kCapacity = layout::kMinRingCapacity;

void Require(bool condition) {
  if (!condition) std::abort();
}

struct Sent {
  std::uint64_t number;
  std::uint64_t size;
};

class RingUnderTest {
 public:
  RingUnderTest()
      : memory_(
            static_cast<std::byte*>(::operator new(RingView::Footprint(kCapacity), kAlignment))),
        ring_(RingView::At(memory_, kCapacity)) {
    std::memset(memory_, 0, RingView::Footprint(kCapacity));
    ring_.Initialize(1);
    producer_ = Producer(ring_);
    consumer_ = *Consumer::Open(ring_);
  }
  ~RingUnderTest() { ::operator delete(memory_, kAlignment); }
  RingUnderTest(const RingUnderTest&) = delete;
  RingUnderTest& operator=(const RingUnderTest&) = delete;

  void Do(std::uint8_t operation, std::uint16_t argument) {
    switch (operation % 16) {
      case 0:
      case 1:
      case 2:
        return Claim(argument % (kCapacity / 2));
      case 3:
        return Claim(argument % 64);
      case 4:
      case 5:
        return Commit();
      case 6:
        return Abort();
      case 7:
      case 8:
      case 9:
        return Receive(true);
      case 10:
        return Receive(false);
      case 11:
        if (argument % 2 == 0) return Housekeep();
        if (consumer_open_) consumer_.PublishReleased();
        return;
      case 12:
        return ReplaceProducer();
      case 13:
        return ReplaceConsumer();
      case 14:
        // A byte of the header's words, or of the data.
        return Corrupt(argument % (offsetof(layout::RingHeader, committed) + 8),
                       static_cast<std::uint8_t>(argument >> 8));
      default:
        return Corrupt(layout::kPage + argument % kCapacity,
                       static_cast<std::uint8_t>(argument * 7));
    }
  }

 private:
  static constexpr std::align_val_t kAlignment{layout::kPage};

  void Claim(std::uint64_t size) {
    std::span<std::byte> payload;
    const ClaimResult result = producer_.TryClaim(size, &payload);
    if (result != ClaimResult::kOk) {
      Require(damaged_ || result == ClaimResult::kFull || size > producer_.max_payload());
      return;
    }
    Require(payload.size() == size && payload.data() >= ring_.data &&
            payload.data() + size <= ring_.data + kCapacity);
    testing::FillPattern(payload, next_);
    batch_.push_back({next_++, size});
  }
  void Commit() {
    producer_.Commit();
    expected_.insert(expected_.end(), batch_.begin(), batch_.end());
    batch_.clear();
  }
  void Abort() {
    producer_.Abort();
    batch_.clear();
  }
  void Receive(bool release) {
    if (!consumer_open_) return;
    std::span<const std::byte> payload;
    const PeekResult result = consumer_.Peek(&payload);
    if (result == PeekResult::kRecord) {
      Require(payload.size() <= layout::MaxPayload(kCapacity) && payload.data() >= ring_.data &&
              payload.data() + payload.size() <= ring_.data + kCapacity);
    }
    if (!damaged_) {
      Require(result == (expected_.empty() ? PeekResult::kEmpty : PeekResult::kRecord));
      if (result == PeekResult::kRecord) {
        Require(payload.size() == expected_.front().size &&
                testing::HasPattern(payload, expected_.front().number));
      }
    }
    if (result == PeekResult::kCorrupt) consumer_open_ = false;
    if (result == PeekResult::kRecord && release) {
      consumer_.Release();
      if (!expected_.empty()) expected_.pop_front();
    }
  }
  // What both ends do four times a second.
  void Housekeep() {
    producer_.PublishCommitted();
    if (!consumer_open_) return;
    consumer_.Restore();
    Require(damaged_ || !consumer_.LacksRecords());
  }
  void ReplaceProducer() {
    Result<Producer> successor = Producer::Recover(ring_);
    Require(damaged_ || (successor.ok() && successor->position() == producer_.position()));
    if (successor.ok()) producer_ = *successor;
    batch_.clear();
  }
  void ReplaceConsumer() {
    Result<Consumer> successor = Consumer::Open(ring_);
    Require(damaged_ || successor.ok());
    consumer_open_ = successor.ok();
    if (successor.ok()) consumer_ = *successor;
  }
  void Corrupt(std::size_t at, std::uint8_t value) {
    memory_[at] = static_cast<std::byte>(value);
    damaged_ = true;
  }

  std::byte* memory_;
  RingView ring_;
  Producer producer_;
  Consumer consumer_;
  bool consumer_open_ = true;
  bool damaged_ = false;
  std::uint64_t next_ = 1;
  std::vector<Sent> batch_;
  std::deque<Sent> expected_;
};

}  // namespace
}  // namespace ivmq

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ivmq::RingUnderTest ring;
  for (std::size_t i = 0; i + 3 <= size; i += 3) {
    ring.Do(data[i], static_cast<std::uint16_t>(data[i + 1] | data[i + 2] << 8));
  }
  return 0;
}
