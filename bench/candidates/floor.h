// What no queue can beat: cache lines passed from core to core.
#ifndef IVMQ_BENCH_CANDIDATES_FLOOR_H_
#define IVMQ_BENCH_CANDIDATES_FLOOR_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "ivmq/internal/copy.h"

#include "drive.h"

namespace ivmq::bench {

// One cache line that carries a number; with kPayload, bytes in the lines behind it. One message at
// a time: for round trips only.
template <bool kPayload>
class Flag {
 public:
  static constexpr bool kBare = !kPayload;

  explicit Flag(const Slot& slot)
      : stride_(kLines + slot.bytes), bytes_(slot.bytes), memory_(2 * stride_) {}

  void Open(Side side) {
    out_ = memory_.data() + static_cast<std::size_t>(side) * stride_;
    in_ = memory_.data() + static_cast<std::size_t>(Other(side)) * stride_;
  }
  bool TrySend(Message message) {
    if constexpr (kPayload) {
      CopyBlock(out_ + kLines, message.data(), bytes_);
      At(out_).store(++sent_, std::memory_order_release);
    } else {
      At(out_).store(internal::FirstWord(message) + 1, std::memory_order_release);
    }
    return true;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    const std::uint64_t value = At(in_).load(std::memory_order_acquire);
    if (value == received_) return 0;
    received_ = value;
    if constexpr (kPayload) {
      use(Message(in_ + kLines, bytes_));
    } else {
      const std::uint64_t word = value - 1;
      use(std::as_bytes(std::span(&word, 1)));
    }
    return 1;
  }
  void Wait() { SpinOnce(); }

 private:
  // The flag stands apart from everything else by two lines, the payload included: neighbouring
  // lines are fetched in pairs.
  static constexpr std::size_t kLines = 128;
  static std::atomic<std::uint64_t>& At(std::byte* place) {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(place);
  }

  std::size_t stride_;
  std::size_t bytes_;
  SharedMemory memory_;
  std::byte* out_ = nullptr;
  std::byte* in_ = nullptr;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_FLOOR_H_
