#include "ivmq/internal/arena.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>
#include <vector>

#include "ivmq/internal/crash_point.h"
#include "ivmq/internal/str_cat.h"

namespace ivmq {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Life;
using layout::Owner;
using layout::PeerState;

// Others may take a unit between the look and the claim; each such loss is somebody else's
// progress.
constexpr int kAttempts = 256;

// The largest rings are given out while more than 5/16 of the large part is free, then half of
// that: a hub with 63 peers in 64 MiB gets 126 rings of 256 KiB, a mesh of 16 gets 240 of at least
// 128 KiB.
constexpr std::uint64_t kFullSizeNumerator = 5;
constexpr std::uint64_t kFullSizeDenominator = 16;

struct Run {
  std::uint32_t first_unit;
  std::uint64_t capacity;
};

// What the owner words said when they were looked at.
struct UnitMap {
  std::vector<std::uint64_t> owner;
  std::vector<bool> taken;

  [[nodiscard]] std::optional<std::uint32_t> FindRun(std::uint32_t from, std::uint32_t to,
                                                     std::uint32_t length) const {
    std::uint32_t run = 0;
    for (std::uint32_t unit = from; unit < to; ++unit) {
      run = taken[unit] ? 0 : run + 1;
      if (run == length) return unit + 1 - length;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::optional<std::uint32_t> FindLastRun(std::uint32_t from, std::uint32_t to,
                                                         std::uint32_t length) const {
    std::uint32_t run = 0;
    for (std::uint32_t unit = to; unit-- > from;) {
      run = taken[unit] ? 0 : run + 1;
      if (run == length) return unit;
    }
    return std::nullopt;
  }
  // The first generation behind `last` that no unit bears for that cell: the cell may have been
  // damaged, so that its own is none that follows the last one.
  [[nodiscard]] std::uint32_t NextGeneration(std::uint32_t cell_index, std::uint32_t last) const {
    std::vector<bool> used(owner.size() + 1);
    for (const std::uint64_t word : owner) {
      const Owner of = Owner::FromWord(word);
      if (const std::uint32_t behind = of.generation - last - 1;
          of.cell_plus_one == cell_index + 1 && behind < used.size()) {
        used[behind] = true;
      }
    }
    const auto unused = std::find(used.begin(), used.end(), false);
    return last + 1 + static_cast<std::uint32_t>(unused - used.begin());
  }
  [[nodiscard]] std::uint32_t CountFree(std::uint32_t from, std::uint32_t to) const {
    const auto begin = taken.begin();
    return static_cast<std::uint32_t>(std::count(begin + from, begin + to, false));
  }
};

std::uint64_t OwnerWord(std::uint32_t cell_index, std::uint32_t generation) {
  return Owner{.generation = generation, .cell_plus_one = cell_index + 1}.ToWord();
}

// Whether first rings still get the largest capacity.
bool HasPlenty(const Geometry& g, std::uint64_t free_units) {
  return free_units * kFullSizeDenominator > g.small_unit_first * kFullSizeNumerator;
}

std::optional<Run> ChooseRingRun(const Geometry& g, const UnitMap& map) {
  const bool plenty = HasPlenty(g, map.CountFree(0, g.small_unit_first));
  for (std::uint64_t capacity = plenty ? g.ring_capacity
                                       : std::max(g.ring_capacity / 2, g.ring_capacity_small);
       capacity >= g.ring_capacity_small; capacity /= 2) {
    if (const auto first = map.FindRun(0, g.small_unit_first, g.UnitsFor(capacity))) {
      return Run{*first, capacity};
    }
  }
  if (const auto first =
          map.FindRun(g.small_unit_first, g.unit_count, g.UnitsFor(g.ring_capacity_small))) {
    return Run{*first, g.ring_capacity_small};
  }
  return std::nullopt;
}

std::optional<Run> ChooseExtentRun(const Geometry& g, const UnitMap& map, std::uint64_t least,
                                   std::uint64_t most) {
  const std::uint64_t free_units = map.CountFree(0, g.small_unit_first);
  const std::uint64_t kept = g.small_unit_first * kFullSizeNumerator / kFullSizeDenominator + 1;
  if (free_units <= kept) return std::nullopt;
  for (std::uint64_t capacity = most; capacity >= least; capacity /= 2) {
    const std::uint32_t units = g.UnitsFor(capacity);
    if (units > (free_units - kept) / 2) continue;
    // At the other end than rings, which stay small and many.
    if (const auto first = map.FindLastRun(0, g.small_unit_first, units)) {
      return Run{*first, capacity};
    }
  }
  return std::nullopt;
}

}  // namespace

bool Arena::IsTaken(std::uint32_t unit, std::uint64_t owner_word) const noexcept {
  const Owner owner = Owner::FromWord(owner_word);
  if (owner.cell_plus_one == 0 || owner.cell_plus_one > region_.geometry().cells()) return false;
  const Cell cell =
      Cell::FromWord(region_.cell(owner.cell_plus_one - 1).load(std::memory_order_acquire));
  return cell.generation == owner.generation && region_.RingOf(cell).has_value() &&
         unit >= cell.first_unit &&
         unit - cell.first_unit <
             region_.geometry().UnitsFor(std::uint64_t{1} << cell.capacity_log2);
}

// Takes the units of the run that choose(map) gives for the cell, which is kCarving afterwards.
// is_wanted() is asked once others see that they are being taken; what is not OK, as all other
// errors, leaves the cell empty.
template <typename Choose, typename IsWanted>
Result<Cell> Arena::TakeUnits(std::uint32_t index, Choose&& choose, IsWanted&& is_wanted) const {
  const Geometry& g = region_.geometry();
  layout::Word& cell_word = region_.cell(index);
  std::uint32_t generation = Cell::FromWord(cell_word.load(std::memory_order_relaxed)).generation;
  const auto give_up = [&](Status why) {
    cell_word.store(Cell{.generation = generation}.ToWord(), std::memory_order_release);
    return why;
  };

  UnitMap map;
  map.owner.resize(g.unit_count);
  map.taken.resize(g.unit_count);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    for (std::uint32_t unit = 0; unit < g.unit_count; ++unit) {
      map.owner[unit] = region_.owner(unit).load(std::memory_order_acquire);
      map.taken[unit] = IsTaken(unit, map.owner[unit]);
    }
    const std::optional<Run> run = choose(map);
    if (!run)
      return give_up({StatusCode::kResourceExhausted, "no run of free units is long enough"});

    // From here on the units that bear this cell and generation are this one's. If this process
    // dies, they are free again as soon as somebody empties the cell.
    generation = map.NextGeneration(index, generation);
    const Cell cell{.generation = generation,
                    .first_unit = run->first_unit,
                    .capacity_log2 = static_cast<std::uint8_t>(std::countr_zero(run->capacity)),
                    .state = CellState::kCarving};
    cell_word.store(cell.ToWord(), std::memory_order_seq_cst);
    IVMQ_CRASH_POINT("carve.begun");
    if (Status status = is_wanted(); !status.ok()) return give_up(std::move(status));

    const std::uint64_t mine = OwnerWord(index, generation);
    const std::uint32_t end = run->first_unit + g.UnitsFor(run->capacity);
    std::uint32_t unit = run->first_unit;
    while (unit < end && region_.owner(unit).compare_exchange_strong(map.owner[unit], mine)) {
      ++unit;
      IVMQ_CRASH_POINT("carve.unit_taken");
    }
    if (unit == end) return cell;
    // Somebody else was faster; an empty cell disowns what was taken.
    (void)give_up({});
  }
  return give_up({StatusCode::kAborted,
                  StrCat("lost the race for arena units ", kAttempts, " times; try again")});
}

Result<CarvedRing> Arena::Carve(std::uint32_t consumer, std::uint32_t producer,
                                std::uint32_t producer_incarnation,
                                std::uint32_t consumer_incarnation) const {
  const Geometry& g = region_.geometry();
  const std::uint32_t index = region_.CellIndex(consumer, producer);
  // A slot is not freed while a cell of its row is in use, so this answer stays true.
  const auto is_consumer_there = [&]() -> Status {
    const Life life = Life::FromWord(region_.slot(consumer).life.load(std::memory_order_seq_cst));
    if (life.incarnation == consumer_incarnation &&
        (life.state == PeerState::kLive ||
         (life.state == PeerState::kDead && (life.flags & layout::kPeerDurable) != 0))) {
      return {};
    }
    return {StatusCode::kUnavailable, StrCat("the peer of slot ", consumer, ", incarnation ",
                                             consumer_incarnation, ", is gone")};
  };
  Result<Cell> cell = TakeUnits(
      index, [&](const UnitMap& map) { return ChooseRingRun(g, map); }, is_consumer_there);
  if (!cell.ok()) {
    if (cell.status().code() != StatusCode::kResourceExhausted) return cell.status();
    const ArenaStats stats = Stats();
    return Status(
        StatusCode::kResourceExhausted,
        StrCat("no room for a ring from slot ", producer, " to slot ", consumer, ": the arena has ",
               stats.rings, " rings and ", stats.extents, " extents of heaps in ", stats.units,
               " units of ", g.unit_size, " bytes, ", stats.units_free,
               " units are free, and the smallest ring needs ", g.UnitsFor(g.ring_capacity_small),
               " in a row; use a larger region or fewer pairs that talk"));
  }
  const RingView ring = *region_.RingOf(*cell);
  ring.Describe(index, *cell);
  IVMQ_CRASH_POINT("carve.described");
  ring.Initialize(producer_incarnation);
  IVMQ_CRASH_POINT("carve.initialized");
  cell->state = CellState::kLive;
  // Pairs with the acquire by which the consumer reads its row.
  region_.cell(index).store(cell->ToWord(), std::memory_order_release);
  IVMQ_CRASH_POINT("carve.live");
  region_.slot(consumer).inbound_changes.fetch_add(1, std::memory_order_seq_cst);
  IVMQ_CRASH_POINT("carve.told");
  return CarvedRing{*cell, ring};
}

Result<CarvedExtent> Arena::CarveExtent(std::uint32_t slot, std::uint32_t extent,
                                        std::uint64_t least, std::uint64_t most) const {
  const std::uint32_t index = region_.HeapCellIndex(slot, extent);
  Result<Cell> cell = TakeUnits(
      index,
      [&](const UnitMap& map) { return ChooseExtentRun(region_.geometry(), map, least, most); },
      [] { return Status(); });
  if (!cell.ok()) return cell.status();
  const ExtentView view = *ExtentOf(region_, *cell);
  view.Describe(index, *cell);
  IVMQ_CRASH_POINT("extent.described");
  cell->state = CellState::kLive;
  // Pairs with the acquire by which consumers follow a descriptor.
  region_.cell(index).store(cell->ToWord(), std::memory_order_release);
  IVMQ_CRASH_POINT("extent.live");
  return CarvedExtent{*cell, view};
}

void Arena::Free(std::uint32_t cell_index, std::uint64_t cell_word) const noexcept {
  const Cell emptied{.generation = Cell::FromWord(cell_word).generation};
  region_.cell(cell_index).compare_exchange_strong(cell_word, emptied.ToWord());
}

bool Arena::Close(std::uint32_t cell_index, std::uint64_t cell_word) const noexcept {
  const Cell closed = Cell::FromWord(cell_word).With(CellState::kClosed);
  return region_.cell(cell_index).compare_exchange_strong(cell_word, closed.ToWord());
}

bool Arena::HoldUnits(std::uint32_t cell_index, const Cell& cell) const noexcept {
  const std::uint64_t mine = OwnerWord(cell_index, cell.generation);
  const std::uint32_t end =
      cell.first_unit + region_.geometry().UnitsFor(std::uint64_t{1} << cell.capacity_log2);
  for (std::uint32_t unit = cell.first_unit; unit < end; ++unit) {
    std::uint64_t word = region_.owner(unit).load(std::memory_order_relaxed);
    if (word == mine) [[likely]]
      continue;
    if (IsTaken(unit, word) || !region_.owner(unit).compare_exchange_strong(word, mine)) {
      return false;
    }
  }
  return true;
}

ArenaStats Arena::Stats() const {
  const Geometry& g = region_.geometry();
  ArenaStats stats;
  stats.units = g.unit_count;
  for (std::uint32_t unit = 0; unit < g.unit_count; ++unit) {
    if (IsTaken(unit, region_.owner(unit).load(std::memory_order_acquire))) continue;
    ++stats.units_free;
    if (unit >= g.small_unit_first) ++stats.units_free_small;
  }
  for (std::uint32_t index = 0; index < g.pair_cells(); ++index) {
    const Cell cell = Cell::FromWord(region_.cell(index).load(std::memory_order_acquire));
    if (cell.state != CellState::kLive || !region_.RingOf(cell)) continue;
    const std::uint64_t capacity = std::uint64_t{1} << cell.capacity_log2;
    if (stats.rings == 0 || capacity < stats.smallest_capacity) stats.smallest_capacity = capacity;
    ++stats.rings;
  }
  for (std::uint32_t index = g.pair_cells(); index < g.cells(); ++index) {
    const Cell cell = Cell::FromWord(region_.cell(index).load(std::memory_order_acquire));
    if (cell.state != CellState::kLive || !ExtentOf(region_, cell)) continue;
    ++stats.extents;
    stats.extent_bytes += std::uint64_t{1} << cell.capacity_log2;
  }
  return stats;
}

}  // namespace ivmq
