// An extent of a heap, and the messages in it: see layout.h.
#ifndef IVMQ_INTERNAL_EXTENT_H_
#define IVMQ_INTERNAL_EXTENT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"

namespace ivmq {

// Where an extent is. The capacity is kept privately: it is never read from the region again.
struct ExtentView {
  layout::ExtentHeader* header = nullptr;
  std::span<std::byte> memory;  // behind the header

  // Stores the words that say whose extent it is, if they differ.
  void Describe(std::uint32_t cell_index, const layout::Cell& cell) const noexcept;
  // Whether these words say that it is the extent of that cell.
  [[nodiscard]] bool IsDescribed(std::uint32_t cell_index, const layout::Cell& cell) const noexcept;
};

// The extent that a cell names, if its capacity and its run are within bounds.
[[nodiscard]] std::optional<ExtentView> ExtentOf(const Region& region,
                                                 const layout::Cell& cell) noexcept;

// The block that a descriptor names in the heap of that slot; nullopt: there is none. Whoever wrote
// the descriptor can write the block, too, at any time.
[[nodiscard]] std::optional<std::span<const std::byte>> BlockOf(
    const Region& region, std::uint32_t slot, const layout::BlockDescriptor& descriptor) noexcept;

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_EXTENT_H_
