#include "ivmq/internal/extent.h"

#include "src/run_header.h"

namespace ivmq {

using layout::Cell;

void ExtentView::Describe(std::uint32_t cell_index, const Cell& cell) const noexcept {
  DescribeRun(*header, layout::kHeapMagic, cell_index, cell);
}

bool ExtentView::IsDescribed(std::uint32_t cell_index, const Cell& cell) const noexcept {
  return IsRunDescribed(*header, layout::kHeapMagic, cell_index, cell);
}

std::optional<ExtentView> ExtentOf(const Region& region, const Cell& cell) noexcept {
  // Both have one page before what they are for.
  const std::optional<RingView> run = region.RingOf(cell);
  if (!run) return std::nullopt;
  return ExtentView{reinterpret_cast<layout::ExtentHeader*>(run->header),
                    {run->data, run->capacity}};
}

std::optional<std::span<const std::byte>> BlockOf(
    const Region& region, std::uint32_t slot, const layout::BlockDescriptor& descriptor) noexcept {
  if (descriptor.extent >= layout::kHeapExtents) return std::nullopt;
  const std::uint32_t index = region.HeapCellIndex(slot, descriptor.extent);
  const Cell cell = Cell::FromWord(region.cell(index).load(std::memory_order_acquire));
  if (cell.state != layout::CellState::kLive || cell.generation != descriptor.generation) {
    return std::nullopt;
  }
  const std::optional<ExtentView> extent = ExtentOf(region, cell);
  // A cell that somebody overwrote may name the memory of another one.
  if (!extent || !extent->IsDescribed(index, cell) ||
      descriptor.offset % layout::kBlockAlign != 0 || descriptor.offset > extent->memory.size() ||
      descriptor.bytes > extent->memory.size() - descriptor.offset) {
    return std::nullopt;
  }
  return extent->memory.subspan(descriptor.offset, descriptor.bytes);
}

}  // namespace ivmq
