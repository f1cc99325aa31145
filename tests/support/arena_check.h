// Looks at a region's directory and arena from outside, by the rules of docs/wire-format.md alone.
#ifndef IVMQ_TESTS_SUPPORT_ARENA_CHECK_H_
#define IVMQ_TESTS_SUPPORT_ARENA_CHECK_H_

#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/region.h"

namespace ivmq::testing {

// Makes the slots 0..count-1 live without a process behind them.
inline void MakeLive(const Region& region, std::uint32_t count, std::uint32_t incarnation = 1,
                     std::uint8_t flags = 0) {
  for (std::uint32_t s = 0; s < count; ++s) {
    region.slot(s).life.store(
        layout::Life{incarnation, layout::kNoIvposition, flags, layout::PeerState::kLive}.ToWord());
  }
}

inline void SetState(const Region& region, std::uint32_t slot, layout::PeerState state) {
  layout::Life life = layout::Life::FromWord(region.slot(slot).life.load());
  life.state = state;
  region.slot(slot).life.store(life.ToWord());
}

inline layout::Cell CellOf(const Region& region, std::uint32_t consumer, std::uint32_t producer) {
  return layout::Cell::FromWord(region.cell(region.CellIndex(consumer, producer)).load());
}

// Every live ring and extent lies in the arena, its units bear its cell's name, and no two share a
// unit.
inline void ExpectRunsDisjoint(const Region& region) {
  const Geometry& g = region.geometry();
  std::vector<std::uint32_t> used_by(g.unit_count, 0);
  for (std::uint32_t index = 0; index < g.cells(); ++index) {
    const auto cell = layout::Cell::FromWord(region.cell(index).load());
    if (cell.state != layout::CellState::kLive) continue;
    const std::uint32_t end = cell.first_unit + g.UnitsFor(std::uint64_t{1} << cell.capacity_log2);
    ASSERT_LE(end, g.unit_count) << "cell " << index;
    for (std::uint32_t unit = cell.first_unit; unit < end; ++unit) {
      ASSERT_EQ(used_by[unit], 0U)
          << "unit " << unit << " belongs to cells " << used_by[unit] - 1 << " and " << index;
      used_by[unit] = index + 1;
      const auto owner = layout::Owner::FromWord(region.owner(unit).load());
      ASSERT_EQ(owner.cell_plus_one, index + 1) << "unit " << unit;
      ASSERT_EQ(owner.generation, cell.generation) << "unit " << unit;
    }
  }
}

// Gives the memory of the ring that `victim` names to that cell, which has none: as if the owner
// words had been damaged, and another pair had carved its ring there.
inline void StealUnits(const Region& region, const layout::Cell& victim, std::uint32_t thief) {
  region.cell(thief).store(victim.With(layout::CellState::kLive).ToWord());
  const std::uint32_t end =
      victim.first_unit + region.geometry().UnitsFor(std::uint64_t{1} << victim.capacity_log2);
  for (std::uint32_t unit = victim.first_unit; unit < end; ++unit) {
    region.owner(unit).store(
        layout::Owner{.generation = victim.generation, .cell_plus_one = thief + 1}.ToWord());
  }
}

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_ARENA_CHECK_H_
