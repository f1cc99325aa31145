// A copy of a region that others go on writing.
#ifndef IVMQ_TESTS_SUPPORT_REGION_COPY_H_
#define IVMQ_TESTS_SUPPORT_REGION_COPY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "ivmq/internal/layout.h"

namespace ivmq::testing {

// Word by word, since a plain copy would race with the hearts of its peers.
inline std::vector<std::byte> CopyOfRegion(std::span<const std::byte> memory) {
  std::vector<std::byte> copy(memory.size());
  for (std::size_t at = 0; at < memory.size(); at += sizeof(layout::Word)) {
    const auto* const word = reinterpret_cast<const layout::Word*>(memory.data() + at);
    const std::uint64_t value = word->load(std::memory_order_relaxed);
    std::memcpy(copy.data() + at, &value, sizeof(value));
  }
  return copy;
}

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_REGION_COPY_H_
