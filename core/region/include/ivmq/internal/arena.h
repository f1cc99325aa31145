// The arena: carves rings and extents of heaps from units, and frees them. A crash at any
// instruction leaks nothing.
#ifndef IVMQ_INTERNAL_ARENA_H_
#define IVMQ_INTERNAL_ARENA_H_

#include <cstdint>

#include "ivmq/internal/extent.h"
#include "ivmq/internal/region.h"
#include "ivmq/internal/ring.h"
#include "ivmq/status.h"

namespace ivmq {

struct CarvedRing {
  layout::Cell cell;
  RingView ring;
};

struct CarvedExtent {
  layout::Cell cell;
  ExtentView extent;
};

struct ArenaStats {
  std::uint32_t units = 0;
  std::uint32_t units_free = 0;
  std::uint32_t units_free_small = 0;  // of those, in the part reserved for small rings
  std::uint32_t rings = 0;
  std::uint64_t smallest_capacity = 0;  // of the rings; 0 if there is none
  std::uint32_t extents = 0;
  std::uint64_t extent_bytes = 0;  // of all of them
};

// Thread-safe, also if other processes carve and free at the same time.
class Arena {
 public:
  explicit Arena(const Region& region) : region_(region) {}

  // Carves an empty ring for the pair and makes its cell live. The ring is as large as the fill of
  // the arena allows, and small if nothing else is left. Only the living producer may call it, one
  // thread at a time. A ring that the cell already names is replaced, so the consumer must have let
  // go of it or be dead. Errors:
  //   RESOURCE_EXHAUSTED  there is no room; the message has the numbers
  //   UNAVAILABLE         that incarnation of the consumer is gone
  //   ABORTED             other producers took the units first, again and again
  Result<CarvedRing> Carve(std::uint32_t consumer, std::uint32_t producer,
                           std::uint32_t producer_incarnation,
                           std::uint32_t consumer_incarnation) const;

  // Carves an extent for the heap of `slot`, its number `extent`, and makes its cell live. Its
  // capacity is `most`, or less if there is no room for that, but at least `least`: powers of two,
  // kMinRingCapacity..kMaxRingCapacity. Heaps leave first rings their size: so much of the arena
  // stays free that a ring still gets the largest capacity; and of what is free beyond that one
  // extent takes half at most, so that other peers find some, too. Only the slot's living owner may
  // call it, one thread at a time. An extent that the cell already names is replaced. Errors:
  //   RESOURCE_EXHAUSTED  there is no room
  //   ABORTED             other producers took the units first, again and again
  Result<CarvedExtent> CarveExtent(std::uint32_t slot, std::uint32_t extent, std::uint64_t least,
                                   std::uint64_t most) const;

  // Empties a cell, which frees its units. Does nothing if the cell has changed.
  void Free(std::uint32_t cell_index, std::uint64_t cell_word) const noexcept;

  // Marks the cell closed: the consumer has let go of its ring. Returns false, and does nothing, if
  // the cell has changed.
  bool Close(std::uint32_t cell_index, std::uint64_t cell_word) const noexcept;

  // Repairs the owner words of the units of a live ring or extent, if they were overwritten. For its
  // producer, or for a ring's consumer while the producer is away. False: another one has got one
  // of the units.
  [[nodiscard]] bool HoldUnits(std::uint32_t cell_index, const layout::Cell& cell) const noexcept;

  // Walks all units. For tools.
  [[nodiscard]] ArenaStats Stats() const;

 private:
  template <typename Choose, typename IsWanted>
  Result<layout::Cell> TakeUnits(std::uint32_t index, Choose&& choose, IsWanted&& is_wanted) const;
  [[nodiscard]] bool IsTaken(std::uint32_t unit, std::uint64_t owner_word) const noexcept;

  Region region_;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_ARENA_H_
