// What is sent, and how it is checked: the same for every candidate.
//
// A sender keeps a private buffer of random words; message n is the window of it that starts (n
// modulo 61) cache lines from its beginning, with n in its first word. So every byte of a message
// differs from the message before, and each is copied in by the candidate. The receiver, who knows
// the buffer, checks the first word and, by sums over the eight columns of a cache line, every
// other byte.
#ifndef IVMQ_BENCH_WORKLOAD_H_
#define IVMQ_BENCH_WORKLOAD_H_

#include <emmintrin.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "process_pair.h"

namespace ivmq::bench {

// Bits beside the sequence in a message's first word.
inline constexpr std::uint64_t kLast = std::uint64_t{1} << 63;  // nothing follows
inline constexpr std::uint64_t kMark = std::uint64_t{1} << 62;  // the warm-up is over
inline constexpr std::uint64_t kSequenceMask = kMark - 1;

using Message = std::span<const std::byte>;

namespace internal {

inline constexpr std::size_t kWindows = 61;
inline constexpr std::size_t kLine = 64;

// A sum in which each byte counts, and each word by its place within its cache line.
[[nodiscard]] inline std::uint64_t Sum(const std::byte* data, std::size_t bytes) noexcept {
  const auto load = [](const std::byte* at) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  };
  if (bytes < kLine) {
    std::uint64_t sum = 0;
    for (std::size_t at = 0; at < bytes; at += sizeof sum) {
      std::uint64_t word;
      std::memcpy(&word, data + at, sizeof word);
      sum += word;
    }
    return sum;
  }
  __m128i a = load(data);
  __m128i b = load(data + 16);
  __m128i c = load(data + 32);
  __m128i d = load(data + 48);
  for (std::size_t at = kLine; at < bytes; at += kLine) {
    a = _mm_add_epi64(a, load(data + at));
    b = _mm_add_epi64(b, load(data + at + 16));
    c = _mm_add_epi64(c, load(data + at + 32));
    d = _mm_add_epi64(d, load(data + at + 48));
  }
  // Rotations of different widths keep the columns apart.
  b = _mm_add_epi64(_mm_slli_epi64(b, 1), _mm_srli_epi64(b, 63));
  c = _mm_add_epi64(_mm_slli_epi64(c, 2), _mm_srli_epi64(c, 62));
  d = _mm_add_epi64(_mm_slli_epi64(d, 3), _mm_srli_epi64(d, 61));
  const __m128i sum = _mm_add_epi64(_mm_add_epi64(a, b), _mm_add_epi64(c, d));
  const auto low = static_cast<std::uint64_t>(_mm_cvtsi128_si64(sum));
  const auto high = static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(sum, sum)));
  return low + (high << 4 | high >> 60);
}

[[nodiscard]] inline std::uint64_t FirstWord(Message message) noexcept {
  std::uint64_t word;
  std::memcpy(&word, message.data(), sizeof word);
  return word;
}

class Windows {
 public:
  // `bytes`: a message's, 8 or a multiple of a cache line. Equal sides give equal content.
  Windows(std::size_t bytes, Side side)
      : bytes_(bytes), words_((bytes + kWindows * kLine) / sizeof(std::uint64_t) + kLine) {
    if (bytes == 0 || (bytes != sizeof(std::uint64_t) && bytes % kLine != 0)) {
      Fail("message sizes are 8 or multiples of 64");
    }
    const auto address = reinterpret_cast<std::uintptr_t>(words_.data());
    const std::size_t skip = (kLine - address % kLine) % kLine / sizeof(std::uint64_t);
    first_ = reinterpret_cast<std::byte*>(words_.data() + skip);
    std::uint64_t state = static_cast<std::uint64_t>(side) + 1;
    for (std::size_t i = skip; i < words_.size(); ++i) {  // splitmix64
      std::uint64_t z = state += 0x9e3779b97f4a7c15;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      words_[i] = z ^ (z >> 31);
    }
  }

  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::byte* Window(std::uint64_t sequence) const noexcept {
    return first_ + sequence % kWindows * kLine;
  }

 private:
  std::size_t bytes_;
  std::vector<std::uint64_t> words_;
  std::byte* first_;
};

}  // namespace internal

// What `side` sends. Thread-compatible.
class Source {
 public:
  Source(std::size_t bytes, Side side) : windows_(bytes, side) {
    stamped_ = windows_.Window(0);
    std::memcpy(&under_stamp_, stamped_, sizeof under_stamp_);
  }

  // The message that carries `word`, a sequence with or without the bits above. Valid until the
  // next one.
  [[nodiscard]] Message Make(std::uint64_t word) noexcept {
    std::memcpy(stamped_, &under_stamp_, sizeof under_stamp_);
    stamped_ = windows_.Window(word & kSequenceMask);
    std::memcpy(&under_stamp_, stamped_, sizeof under_stamp_);
    std::memcpy(stamped_, &word, sizeof word);
    return {stamped_, windows_.bytes()};
  }

 private:
  internal::Windows windows_;
  std::byte* stamped_;
  std::uint64_t under_stamp_;
};

// Checks what `side` sent. Thread-compatible.
class Checker {
 public:
  Checker(std::size_t bytes, Side side) : bytes_(bytes) {
    const internal::Windows windows(bytes, side);
    for (std::size_t i = 0; i < internal::kWindows; ++i) {
      const std::byte* const window = windows.Window(i);
      sums_[i] = internal::Sum(window, bytes) - internal::FirstWord({window, bytes});
    }
  }

  // Reads every byte; fails unless this is message `sequence`. Returns its first word.
  std::uint64_t Check(Message message, std::uint64_t sequence) const {
    if (message.size() != bytes_) [[unlikely]]
      FailSize(message.size(), sequence);
    const std::uint64_t word = internal::FirstWord(message);
    const std::uint64_t sum = internal::Sum(message.data(), bytes_) - word;
    if ((word & kSequenceMask) != sequence || sum != sums_[sequence % internal::kWindows])
        [[unlikely]] {
      FailContent(word, sequence);
    }
    return word;
  }

 private:
  [[noreturn]] void FailSize(std::size_t found, std::uint64_t sequence) const;
  [[noreturn]] static void FailContent(std::uint64_t word, std::uint64_t sequence);

  std::size_t bytes_;
  std::array<std::uint64_t, internal::kWindows> sums_{};
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_WORKLOAD_H_
