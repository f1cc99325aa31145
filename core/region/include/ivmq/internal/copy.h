// Copies of messages.
#ifndef IVMQ_INTERNAL_COPY_H_
#define IVMQ_INTERNAL_COPY_H_

#include <emmintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace ivmq {

// From some size on, the C library's memcpy() bypasses the caches. It derives that size from what
// the processor, or the hypervisor, reports about them: from some hundred KiB to many MiB, but
// never less than this.
inline constexpr std::size_t kCopyPiece = std::size_t{64} << 10;

// Like memcpy(), but through the caches whatever the size, since the caller or another core reads
// the copy soon. Both pointers may be nullptr when `bytes` is 0.
inline void CopyBlock(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  for (std::size_t at = 0; at < bytes; at += kCopyPiece) {
    std::memcpy(to + at, from + at, std::min(kCopyPiece, bytes - at));
  }
}

// The same into a record or out of one. The first bytes are written last: the consumer polls their
// cache line, and would take it away from a producer that still writes it. Most messages are small,
// and calling memcpy() costs as much as copying them.
[[gnu::always_inline]] inline void CopyMessage(std::byte* to, const std::byte* from,
                                               std::size_t bytes) noexcept {
  constexpr std::size_t kUnit = sizeof(__m128i);
  constexpr std::size_t kHead = 4 * kUnit;
  const auto copy_unit = [&](std::size_t at) {
    _mm_storeu_si128(reinterpret_cast<__m128i_u*>(to + at),
                     _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(from + at)));
  };
  if (bytes < kUnit) {
    if (bytes != 0) std::memcpy(to, from, bytes);
    return;
  }
  std::size_t at = bytes;
  if (bytes > 16 * kUnit) [[unlikely]] {
    CopyBlock(to + kHead, from + kHead, bytes - kHead);
    at = kHead;
  }
  for (; at > kUnit; at -= kUnit) copy_unit(at - kUnit);
  copy_unit(0);  // may overlap the one before
}

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_COPY_H_
