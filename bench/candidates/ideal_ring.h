// The ring that has nothing but what a ring needs: messages of one size, each side's index on a
// line of its own and cached by the other, a copy in that stays in the caches, read in place, no
// fence, no check of anything.
#ifndef IVMQ_BENCH_CANDIDATES_IDEAL_RING_H_
#define IVMQ_BENCH_CANDIDATES_IDEAL_RING_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ivmq/internal/copy.h"

#include "drive.h"

namespace ivmq::bench {

class IdealRing {
 public:
  static constexpr bool kBare = false;

  explicit IdealRing(const Slot& slot)
      : bytes_(slot.bytes),
        count_(slot.ring_bytes / slot.bytes),
        step_(count_ / 8 == 0 ? 1 : count_ / 8),
        stride_(sizeof(Indices) + count_ * bytes_),
        memory_(2 * stride_) {}

  void Open(Side side) {
    out_ = memory_.data() + static_cast<std::size_t>(side) * stride_;
    in_ = memory_.data() + static_cast<std::size_t>(Other(side)) * stride_;
  }
  bool TrySend(Message message) {
    if (tail_ - known_head_ == count_) {
      known_head_ = IndicesOf(out_).head.load(std::memory_order_acquire);
      if (tail_ - known_head_ == count_) return false;
    }
    CopyBlock(out_ + sizeof(Indices) + write_at_, message.data(), bytes_);
    if ((write_at_ += bytes_) == count_ * bytes_) write_at_ = 0;
    IndicesOf(out_).tail.store(++tail_, std::memory_order_release);
    return true;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    if (head_ == known_tail_) {
      known_tail_ = IndicesOf(in_).tail.load(std::memory_order_acquire);
      if (head_ == known_tail_) return 0;
    }
    use(Message(in_ + sizeof(Indices) + read_at_, bytes_));
    if ((read_at_ += bytes_) == count_ * bytes_) read_at_ = 0;
    // Space is given back by eighths: faster than one by one.
    if (++head_ - published_ >= step_) {
      published_ = head_;
      IndicesOf(in_).head.store(head_, std::memory_order_release);
    }
    return 1;
  }
  void Wait() { SpinOnce(); }

 private:
  struct Indices {
    alignas(128) std::atomic<std::uint64_t> tail;
    alignas(128) std::atomic<std::uint64_t> head;
  };
  static Indices& IndicesOf(std::byte* ring) { return *reinterpret_cast<Indices*>(ring); }

  std::size_t bytes_;
  std::size_t count_;
  std::size_t step_;
  std::size_t stride_;
  SharedMemory memory_;
  std::byte* out_ = nullptr;
  std::byte* in_ = nullptr;
  alignas(64) std::uint64_t tail_ = 0;
  std::uint64_t known_head_ = 0;
  std::size_t write_at_ = 0;
  alignas(64) std::uint64_t head_ = 0;
  std::uint64_t known_tail_ = 0;
  std::uint64_t published_ = 0;
  std::size_t read_at_ = 0;
};

// The same for messages larger than a piece: cut into pieces that go through a ring so small that
// it stays in the nearest caches, and put together in a private buffer that is used again.
class IdealPieces {
 public:
  static constexpr bool kBare = false;

  explicit IdealPieces(const Slot& slot)
      : piece_(std::min<std::size_t>(slot.bytes, 64U << 10)),
        ring_({.bytes = piece_, .ring_bytes = std::max<std::size_t>(256U << 10, 4 * piece_)}),
        buffer_(slot.bytes) {}

  void Open(Side side) { ring_.Open(side); }
  bool TrySend(Message message) {
    if (!ring_.TrySend(message.first(piece_))) return false;
    for (std::size_t at = piece_; at < message.size(); at += piece_) {
      while (!ring_.TrySend(message.subspan(at, piece_))) SpinOnce();
    }
    return true;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    std::size_t count = 0;
    ring_.Receive([&](Message piece) {
      CopyBlock(buffer_.data() + have_, piece.data(), piece.size());
      if ((have_ += piece.size()) < buffer_.size()) return;
      have_ = 0;
      count = 1;
    });
    // After its space was given back.
    if (count != 0) use(Message(buffer_));
    return count;
  }
  void Wait() { SpinOnce(); }

 private:
  std::size_t piece_;
  IdealRing ring_;
  std::vector<std::byte> buffer_;
  std::size_t have_ = 0;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_IDEAL_RING_H_
