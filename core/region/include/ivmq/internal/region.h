// Formats a region, attaches to one, and gives checked references into it.
#ifndef IVMQ_INTERNAL_REGION_H_
#define IVMQ_INTERNAL_REGION_H_

#include "ivmq/export.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/ring.h"
#include "ivmq/status.h"

namespace ivmq {

struct FormatOptions {
  std::uint32_t max_peers = layout::kDefaultMaxPeers;  // 2..1024
  // Bytes of data in the first rings, a power of two; later rings are smaller. 0: the largest power
  // of two, at most 1 MiB, of which 2 * max_peers fit into three quarters of the arena.
  std::uint32_t ring_capacity = 0;
  // The caller knows that the memory is all zero: checking gigabytes of it takes seconds.
  bool known_zero = false;
};

// The immutable fields of a header: checked once, then kept in private memory.
struct Geometry {
  std::uint64_t region_size = 0;
  std::uint32_t max_peers = 0;
  std::uint64_t peer_table_offset = 0;
  std::uint64_t directory_offset = 0;
  std::uint64_t owners_offset = 0;
  std::uint64_t arena_offset = 0;
  std::uint32_t unit_size = 0;
  std::uint32_t unit_count = 0;
  std::uint32_t small_unit_first = 0;
  std::uint32_t ring_capacity = 0;
  std::uint32_t ring_capacity_small = 0;
  std::array<std::uint8_t, 16> region_id{};
  std::uint64_t formatted_at = 0;
  std::uint16_t version_minor = 0;
  std::uint32_t features_optional = 0;

  // The number of units that a ring or an extent of `capacity` needs: both have a page before it.
  [[nodiscard]] std::uint32_t UnitsFor(std::uint64_t capacity) const noexcept {
    return static_cast<std::uint32_t>((RingView::Footprint(capacity) + unit_size - 1) / unit_size);
  }
  // The cells of the pairs come first.
  [[nodiscard]] std::uint32_t pair_cells() const noexcept { return max_peers * max_peers; }
  [[nodiscard]] std::uint32_t cells() const noexcept {
    return pair_cells() + max_peers * layout::kHeapExtents;
  }
};

// The geometry that Format() gives a region. INVALID_ARGUMENT, with the numbers, if the size is not
// a power of two, an option is out of range, or the region is too small for that many peers.
IVMQ_EXPORT Result<Geometry> PlanGeometry(std::uint64_t region_size, const FormatOptions& options);

// Formats `memory`, which must be all zero. FAILED_PRECONDITION if it is not: nothing is
// overwritten. REQUIRES: `memory` is page-aligned, and no other process formats it now (hold the
// file's lock).
IVMQ_EXPORT Status Format(std::span<std::byte> memory, const FormatOptions& options);

// True if every byte is zero: a fresh file, shm or memfd.
IVMQ_EXPORT bool IsAllZero(std::span<const std::byte> memory) noexcept;

// A checked view of an attached region. A small value; copies refer to the same memory, which must
// stay mapped. Thread-safe: all members only compute addresses.
class IVMQ_EXPORT Region {
 public:
  // Checks magic, version, CRC, features and every offset. Errors, with what was found:
  //   FAILED_PRECONDITION  not formatted, not an ivmq region, another major version, or an unknown
  //                        feature
  //   DATA_LOSS            the CRC or a field is wrong
  //   OUT_OF_RANGE         the memory is smaller than its header says: it was truncated
  static Result<Region> Attach(std::span<std::byte> memory);

  [[nodiscard]] const Geometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] std::uint32_t max_peers() const noexcept { return geometry_.max_peers; }
  [[nodiscard]] layout::Header& header() const noexcept {
    return *reinterpret_cast<layout::Header*>(base_);
  }
  // REQUIRES: slot < max_peers()
  [[nodiscard]] layout::PeerSlot& slot(std::uint32_t slot) const noexcept {
    return *reinterpret_cast<layout::PeerSlot*>(base_ + geometry_.peer_table_offset +
                                                std::uint64_t{slot} * sizeof(layout::PeerSlot));
  }
  // REQUIRES: both < max_peers()
  [[nodiscard]] std::uint32_t CellIndex(std::uint32_t consumer,
                                        std::uint32_t producer) const noexcept {
    return consumer * geometry_.max_peers + producer;
  }
  // REQUIRES: slot < max_peers(), extent < kHeapExtents
  [[nodiscard]] std::uint32_t HeapCellIndex(std::uint32_t slot,
                                            std::uint32_t extent) const noexcept {
    return geometry_.pair_cells() + slot * layout::kHeapExtents + extent;
  }
  // REQUIRES: index < geometry().cells()
  [[nodiscard]] layout::Word& cell(std::uint32_t index) const noexcept {
    return reinterpret_cast<layout::Word*>(base_ + geometry_.directory_offset)[index];
  }
  // REQUIRES: unit < geometry().unit_count
  [[nodiscard]] layout::Word& owner(std::uint32_t unit) const noexcept {
    return reinterpret_cast<layout::Word*>(base_ + geometry_.owners_offset)[unit];
  }

  // Whether the header is intact and is that of another region than the one that was attached to:
  // the machine was restored, or its device is now backed by other memory. False if it is damaged.
  [[nodiscard]] bool IsReplaced() const noexcept;

  // The ring that a cell names, if its capacity and its run are within bounds.
  [[nodiscard]] std::optional<RingView> RingOf(const layout::Cell& cell) const noexcept;

 private:
  Region(std::byte* base, const Geometry& geometry) : base_(base), geometry_(geometry) {}

  std::byte* base_;
  Geometry geometry_;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_REGION_H_
