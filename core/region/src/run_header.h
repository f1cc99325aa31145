// The first words of a ring or an extent, which say whose it is.
#ifndef IVMQ_RUN_HEADER_H_
#define IVMQ_RUN_HEADER_H_

#include <atomic>
#include <cstdint>

#include "ivmq/internal/layout.h"

namespace ivmq {

// Stores them, but leaves a line that others read as it is, if it is right.
template <typename Header>
void DescribeRun(Header& header, std::uint32_t magic, std::uint32_t cell_index,
                 const layout::Cell& cell) noexcept {
  const auto store_if_other = [](layout::Word32& word, std::uint32_t value) {
    if (word.load(std::memory_order_relaxed) != value) {
      word.store(value, std::memory_order_relaxed);
    }
  };
  store_if_other(header.magic, magic);
  store_if_other(header.capacity_log2, cell.capacity_log2);
  store_if_other(header.cell, cell_index);
  store_if_other(header.generation, cell.generation);
}

template <typename Header>
[[nodiscard]] bool IsRunDescribed(const Header& header, std::uint32_t magic,
                                  std::uint32_t cell_index, const layout::Cell& cell) noexcept {
  return header.magic.load(std::memory_order_relaxed) == magic &&
         header.capacity_log2.load(std::memory_order_relaxed) == cell.capacity_log2 &&
         header.cell.load(std::memory_order_relaxed) == cell_index &&
         header.generation.load(std::memory_order_relaxed) == cell.generation;
}

}  // namespace ivmq

#endif  // IVMQ_RUN_HEADER_H_
