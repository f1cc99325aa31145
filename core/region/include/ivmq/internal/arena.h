// The arena: carves rings out of units and takes them back, safely against a crash at any
// instruction.
#ifndef IVMQ_INTERNAL_ARENA_H_
#define IVMQ_INTERNAL_ARENA_H_

#include <cstdint>

#include "ivmq/internal/region.h"
#include "ivmq/internal/ring.h"
#include "ivmq/status.h"

namespace ivmq {

struct CarvedRing {
  layout::Cell cell;
  RingView ring;
};

struct ArenaStats {
  std::uint32_t units = 0;
  std::uint32_t units_free = 0;
  std::uint32_t units_free_small = 0;  // of those, in the part kept for small rings
  std::uint32_t rings = 0;
  std::uint64_t smallest_capacity = 0;  // of the rings; 0 if there is none
};

// Thread-safe; works against other processes that carve and free at the same time.
class Arena {
 public:
  explicit Arena(const Region& region) : region_(region) {}

  // Carves an empty ring for the pair and makes its cell live: as large as the fill of the arena
  // allows, small if nothing else is left. Only the living producer may call it, one thread at a
  // time; a ring that the cell holds already is replaced, so its consumer must have let go of it or
  // be dead. RESOURCE_EXHAUSTED, with the numbers, if there is no room; UNAVAILABLE if that
  // incarnation of the consumer is gone; ABORTED if others were faster again and again.
  Result<CarvedRing> Carve(std::uint32_t consumer, std::uint32_t producer,
                           std::uint32_t producer_incarnation,
                           std::uint32_t consumer_incarnation) const;

  // Empties a cell: its units are free for the next carver. Does nothing if the cell has changed.
  void Free(std::uint32_t cell_index, std::uint64_t cell_word) const noexcept;

  // The consumer's last word on the ring of a cell: it has let go. Does nothing if the cell has
  // changed; returns whether it had not.
  bool Close(std::uint32_t cell_index, std::uint64_t cell_word) const noexcept;

  // A look after the units of a live ring, by its producer or, while that is away, its consumer:
  // owner words that somebody overwrote are put right. False: another ring has got one of the units
  // meanwhile.
  [[nodiscard]] bool HoldUnits(std::uint32_t cell_index, const layout::Cell& cell) const noexcept;

  // Walks all units: for tools.
  [[nodiscard]] ArenaStats Stats() const;

 private:
  [[nodiscard]] bool IsTaken(std::uint32_t unit, std::uint64_t owner_word) const noexcept;

  Region region_;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_ARENA_H_
