#include "src/heap.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include "ivmq/internal/crash_point.h"
#include "ivmq/internal/str_cat.h"

namespace ivmq {
namespace {

using layout::BlockDescriptor;
using layout::Cell;
using layout::CellState;

// The smallest extent. Each that follows is twice as large as the largest one so far, if there is
// room.
constexpr std::uint64_t kLeastExtent = std::uint64_t{1} << 20;
// An extent that was free at so many looks of housekeeping in a row, 5 s, goes back to the arena.
constexpr std::uint32_t kIdleLooks = 20;

}  // namespace

// ---- Block ----

Block::~Block() {
  // A lock may be held by a thread that the child does not have.
  if (heap_.context_.is_forked_copy()) return;
  const std::lock_guard lock(heap_.mutex_);
  if (Heap::Used* const used = heap_.Find(descriptor_)) used->is_held = false;
}

void Block::PrepareToRefer() {
  const std::lock_guard lock(heap_.mutex_);
  Heap::Used* const used = heap_.Find(descriptor_);
  if (used == nullptr || used->rings.size() < used->rings.capacity()) return;
  (void)heap_.IsOver(*used);  // drops those that are
  used->rings.reserve(used->rings.size() + 1);
}

void Block::Refer(const RingPosition& position) noexcept {
  const std::lock_guard lock(heap_.mutex_);
  if (Heap::Used* const used = heap_.Find(descriptor_)) used->rings.push_back(position);
}

// ---- Heap ----

Heap::Heap(NodeContext& context, Writers& writers) : context_(context), writers_(writers) {
  const std::lock_guard lock(mutex_);
  for (std::uint32_t number = 0; number < extents_.size(); ++number) TakeOver(number);
}

void Heap::TakeOver(std::uint32_t number) {
  const std::uint32_t index = CellIndex(number);
  const std::uint64_t word = context_.region.cell(index).load(std::memory_order_acquire);
  const Cell cell = Cell::FromWord(word);
  if (cell.state == CellState::kEmpty || !context_.IsMyLife()) return;
  const std::optional<ExtentView> view = ExtentOf(context_.region, cell);
  // Who has no predecessor finds none; a predecessor may have died while it carved.
  if (!context_.self.resumed || cell.state != CellState::kLive || !view ||
      !view->IsDescribed(index, cell) || !context_.arena.HoldUnits(index, cell)) {
    context_.arena.Free(index, word);
    return;
  }
  IVMQ_CRASH_POINT("heap.taken_over");
  // Which blocks there are only the predecessor knew. Each of its messages stands before the
  // present end of some ring.
  extents_[number].cell = cell;
  extents_[number].view = *view;
  extents_[number].used.push_back({.offset = 0,
                                   .size = view->memory.size(),
                                   .is_held = false,
                                   .rings = writers_.PredecessorsEnds()});
}

std::shared_ptr<Block> Heap::Allocate(std::uint64_t bytes) noexcept {
  if (bytes == 0 || bytes > layout::kMaxRingCapacity || !context_.IsMyLife()) return nullptr;
  try {
    const std::lock_guard lock(mutex_);
    return AllocateLocked(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

std::shared_ptr<Block> Heap::AllocateLocked(std::uint64_t bytes) {
  const std::uint64_t size =
      (bytes + layout::kBlockAlign - 1) & ~std::uint64_t{layout::kBlockAlign - 1};
  for (std::uint32_t number = 0; number < extents_.size(); ++number) {
    if (auto block = TryPlace(number, bytes, size)) return block;
  }
  const std::uint32_t grown = Grow(size);
  return grown < extents_.size() ? TryPlace(grown, bytes, size) : nullptr;
}

std::shared_ptr<Block> Heap::TryPlace(std::uint32_t number, std::uint64_t bytes,
                                      std::uint64_t size) {
  Extent& extent = extents_[number];
  if (!extent.exists()) return nullptr;
  std::uint64_t offset = 0;
  auto next = extent.used.begin();
  for (;;) {
    const std::uint64_t end = next == extent.used.end() ? extent.view.memory.size() : next->offset;
    if (end - offset >= size) break;
    if (next == extent.used.end()) return nullptr;
    if (IsOver(*next)) {
      next = extent.used.erase(next);
    } else {
      offset = next->offset + next->size;
      ++next;
    }
  }
  const BlockDescriptor descriptor{
      .extent = number, .generation = extent.cell.generation, .offset = offset, .bytes = bytes};
  Used used{.offset = offset, .size = size, .is_held = true, .rings = {}};
  used.rings.reserve(1);
  next = extent.used.insert(next, std::move(used));
  try {
    return std::make_shared<Block>(*this, descriptor, extent.view.memory.subspan(offset, bytes));
  } catch (...) {
    extent.used.erase(next);
    throw;
  }
}

std::uint32_t Heap::Grow(std::uint64_t size) {
  constexpr std::uint32_t kNone = layout::kHeapExtents;
  if (size >= refused_ || !context_.IsMyLife()) return kNone;
  std::uint64_t largest = 0;
  std::uint32_t number = kNone;
  for (std::uint32_t i = 0; i < extents_.size(); ++i) {
    if (extents_[i].exists()) {
      largest = std::max<std::uint64_t>(largest, extents_[i].view.memory.size());
    } else {
      number = std::min(number, i);
    }
  }
  if (number == kNone) return kNone;
  const std::uint64_t least = std::max(kLeastExtent, std::bit_ceil(size));
  const std::uint64_t most =
      std::max(least, std::min<std::uint64_t>(2 * largest, layout::kMaxRingCapacity));
  const Result<CarvedExtent> carved =
      context_.arena.CarveExtent(context_.self.id.slot, number, least, most);
  if (!carved.ok()) {
    refused_ = size;
    return kNone;
  }
  extents_[number] = {.cell = carved->cell, .view = carved->extent, .used = {}};
  IVMQ_CRASH_POINT("heap.grown");
  return number;
}

bool Heap::IsOver(Used& used) noexcept {
  std::erase_if(used.rings, [this](const RingPosition& position) {
    return writers_.Find(position.slot)->IsOver(position);
  });
  return !used.is_held && used.rings.empty();
}

Heap::Used* Heap::Find(const BlockDescriptor& descriptor) noexcept {
  Extent& extent = extents_[descriptor.extent];
  if (!extent.exists() || extent.cell.generation != descriptor.generation) return nullptr;
  const auto used =
      std::lower_bound(extent.used.begin(), extent.used.end(), descriptor.offset,
                       [](const Used& each, std::uint64_t offset) { return each.offset < offset; });
  return used != extent.used.end() && used->offset == descriptor.offset ? &*used : nullptr;
}

// ---- Housekeeping ----

void Heap::Housekeep() {
  const std::lock_guard lock(mutex_);
  refused_ = kNothing;
  for (std::uint32_t number = 0; number < extents_.size(); ++number) {
    if (!context_.IsMyLife()) return;
    if (extents_[number].exists()) LookAfter(number);
  }
}

void Heap::LookAfter(std::uint32_t number) {
  Extent& extent = extents_[number];
  const std::uint32_t index = CellIndex(number);
  std::erase_if(extent.used, [this](Used& used) { return IsOver(used); });
  extent.idle_looks = extent.used.empty() ? extent.idle_looks + 1 : 0;
  const std::uint64_t mine = extent.cell.ToWord();
  if (extent.idle_looks == kIdleLooks) {
    context_.arena.Free(index, mine);
    extent = {};
    return;
  }
  // Only this node writes these while it lives.
  if (context_.region.cell(index).load(std::memory_order_relaxed) != mine) {
    context_.region.cell(index).store(mine, std::memory_order_release);
  }
  if (context_.arena.HoldUnits(index, extent.cell)) {
    extent.view.Describe(index, extent.cell);
    return;
  }
  context_.arena.Free(index, mine);
  extent = {};
  context_.Count(layout::Counter::kRingsPoisoned);
  context_.Report(
      Status(StatusCode::kDataLoss, StrCat("extent ", number,
                                           " of this node's heap is given up: another peer "
                                           "has got its memory; what was unread in it is lost")));
}

}  // namespace ivmq
