// Copies of messages. Most are small, and a call of memcpy() costs as much as copying them.
#ifndef IVMQ_INTERNAL_COPY_H_
#define IVMQ_INTERNAL_COPY_H_

#include <emmintrin.h>

#include <cstddef>
#include <cstring>

namespace ivmq {

// As memcpy(). Both may be nullptr when `bytes` is 0.
[[gnu::always_inline]] inline void CopyMessage(std::byte* to, const std::byte* from,
                                               std::size_t bytes) noexcept {
  constexpr std::size_t kBlock = sizeof(__m128i);
  const auto copy_block = [&](std::size_t at) {
    _mm_storeu_si128(reinterpret_cast<__m128i_u*>(to + at),
                     _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(from + at)));
  };
  if (bytes >= kBlock && bytes <= 16 * kBlock) [[likely]] {
    std::size_t at = 0;
    for (; at + kBlock < bytes; at += kBlock) copy_block(at);
    copy_block(bytes - kBlock);  // may overlap the one before
  } else if (bytes != 0) {
    std::memcpy(to, from, bytes);
  }
}

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_COPY_H_
