#include "salvage.h"

#include <algorithm>
#include <vector>

#include "ivmq/internal/copy.h"

#include "common/ring_cursor.h"

namespace ivmq::tool {

using inspect::MessageReader;
using inspect::RingCursor;

Salvaged SalvageRing(const Region& region, std::uint32_t producer, std::uint32_t consumer,
                     std::uint64_t* heap_budget,
                     const std::function<void(const inspect::RingMessage&)>& take) {
  Salvaged salvaged;
  const std::uint32_t index = region.CellIndex(consumer, producer);
  const layout::Cell cell =
      layout::Cell::FromWord(region.cell(index).load(std::memory_order_acquire));
  if (cell.state == layout::CellState::kEmpty || cell.state == layout::CellState::kCarving)
    return salvaged;
  const auto ring = region.RingOf(cell);
  if (!ring || !ring->IsDescribed(index, cell)) return salvaged;
  const std::uint64_t start =
      ring->header->acked.load(std::memory_order_acquire) & ~std::uint64_t{7};
  const std::uint64_t committed = ring->header->committed.load(std::memory_order_acquire);
  MessageReader reader(region, producer, heap_budget);
  std::vector<std::byte> copy;
  for (std::uint64_t position = start; position - start < ring->capacity;) {
    RingCursor cursor(*ring, position);
    switch (cursor.Next()) {
      case RingCursor::Step::kEnd:
        // After the last record, or in the middle of them: `committed` knows.
        if (position >= committed || committed - start > ring->capacity) {
          salvaged.lost_messages += reader.Interrupt() ? 1U : 0U;
          return salvaged;
        }
        [[fallthrough]];
      case RingCursor::Step::kDamaged:
        salvaged.lost_messages += reader.Interrupt() ? 1U : 0U;
        salvaged.lost_bytes += layout::kRecordAlign;
        position += layout::kRecordAlign;
        continue;
      case RingCursor::Step::kPad:
        break;
      case RingCursor::Step::kRecord:
        copy.resize(cursor.payload().size());
        CopyBlock(copy.data(), cursor.payload().data(), copy.size());
        switch (reader.Take(copy)) {
          case MessageReader::Took::kMessage:
            ++salvaged.messages;
            take(reader.message());
            break;
          case MessageReader::Took::kLost:
            ++salvaged.lost_messages;
            break;
          case MessageReader::Took::kPart:
            break;
        }
        break;
    }
    position = cursor.position();
  }
  salvaged.lost_messages += reader.Interrupt() ? 1U : 0U;
  return salvaged;
}

}  // namespace ivmq::tool
