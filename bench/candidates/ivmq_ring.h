// ivmq/internal/ring.h by itself: no names, no node.
#ifndef IVMQ_BENCH_CANDIDATES_IVMQ_RING_H_
#define IVMQ_BENCH_CANDIDATES_IVMQ_RING_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "ivmq/internal/copy.h"
#include "ivmq/internal/ring.h"
#include "ivmq/internal/wake.h"

#include "drive.h"

namespace ivmq::bench {

enum class RingUse : std::uint8_t {
  kPlain,    // each message is committed by itself, the receiver polls
  kBatches,  // a commit for sixteen messages, or an eighth of the ring
  kFences,   // after each message what a receiver that may sleep needs: a full fence and a look at
             // its armed word
};

// One side of a pair of rings, and what a candidate does with it.
template <RingUse kUse>
class RingEnd {
 public:
  // Bytes that a pair takes whose rings have `capacity` each.
  static constexpr std::size_t PairBytes(std::size_t capacity) { return 2 * Stride(capacity); }
  // Makes both rings empty. Nobody uses them yet. REQUIRES: page-aligned
  static void Initialize(std::byte* memory, std::size_t capacity) {
    for (const Side side : {Side::kClient, Side::kServer}) {
      Ring(memory, capacity, side).Initialize(1);
    }
  }
  void Open(Side side, std::byte* memory, std::size_t capacity) {
    capacity_ = capacity;
    out_ = Producer(Ring(memory, capacity, side));
    Result<Consumer> in = Consumer::Open(Ring(memory, capacity, Other(side)));
    if (!in.ok()) Fail(in.status().ToString());
    in_ = *in;
    armed_ = reinterpret_cast<const layout::Word*>(Base(memory, capacity, Other(side)));
  }
  bool TrySend(Message message) {
    std::span<std::byte> payload;
    if (out_.TryClaim(message.size(), &payload) != ClaimResult::kOk) [[unlikely]] {
      Flush();
      return false;
    }
    CopyMessage(payload.data(), message.data(), message.size());
    claimed_bytes_ += message.size();
    if constexpr (kUse == RingUse::kBatches) {
      if (++claimed_ == kBatch || claimed_bytes_ >= capacity_ / 8) {
        Flush();
      } else {
        out_.PrefetchAhead(message.size());
      }
    } else {
      Flush();
    }
    return true;
  }
  void Flush() {
    claimed_ = 0;
    const std::size_t bytes = std::exchange(claimed_bytes_, 0);
    out_.Commit();
    if constexpr (kUse == RingUse::kFences) {
      FullFence();
      if (wake_check_.MustRing(*armed_)) Fail("a receiver that never sleeps wants to be woken");
    }
    out_.PrefetchAhead(bytes);
  }
  template <typename Use>
  std::size_t Receive(Use&& use) {
    PeekResult end;
    const std::size_t count = in_.Poll(use, 64, &end);
    if (count != 0) {
      empty_looks_ = 0;
    } else if (++empty_looks_ == kPublishAfter && in_.has_unpublished()) {
      in_.PublishReleased();
    }
    if (end == PeekResult::kCorrupt) Fail("the ring was damaged");
    return count;
  }
  void Wait() { SpinOnce(); }

 private:
  static constexpr std::size_t kBatch = 16;
  // The ring has run empty, as ivmq::Node sees it.
  static constexpr int kPublishAfter = 64;

  // The first page of each side holds its armed word.
  static constexpr std::size_t Stride(std::size_t capacity) {
    return RingView::Footprint(capacity) + layout::kPage;
  }
  static std::byte* Base(std::byte* memory, std::size_t capacity, Side side) {
    return memory + static_cast<std::size_t>(side) * Stride(capacity);
  }
  static RingView Ring(std::byte* memory, std::size_t capacity, Side side) {
    return RingView::At(Base(memory, capacity, side) + layout::kPage, capacity);
  }

  std::size_t capacity_ = 0;
  alignas(64) Producer out_;
  std::size_t claimed_ = 0;
  std::size_t claimed_bytes_ = 0;
  const layout::Word* armed_ = nullptr;
  WakeCheck wake_check_;
  alignas(64) Consumer in_;
  int empty_looks_ = 0;
};

template <RingUse kUse>
class IvmqRing {
 public:
  static constexpr bool kBare = false;

  explicit IvmqRing(const Slot& slot)
      : capacity_(slot.ring_bytes), memory_(RingEnd<kUse>::PairBytes(capacity_)) {
    RingEnd<kUse>::Initialize(memory_.data(), capacity_);
  }
  void Open(Side side) { end_.Open(side, memory_.data(), capacity_); }
  bool TrySend(Message message) { return end_.TrySend(message); }
  void Flush() { end_.Flush(); }
  template <typename Use>
  std::size_t Receive(Use&& use) {
    return end_.Receive(use);
  }
  void Wait() { end_.Wait(); }

 private:
  std::size_t capacity_;
  SharedMemory memory_;
  RingEnd<kUse> end_;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_IVMQ_RING_H_
