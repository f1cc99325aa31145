#include "ivmq/internal/region.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <utility>

#include <boost/crc.hpp>

#include "ivmq/internal/str_cat.h"

namespace ivmq {
namespace {

using layout::Header;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint32_t kMaxAutoCapacity = 1U << 20;
constexpr std::uint64_t kMaxRegionSize = std::uint64_t{1} << 46;  // what x86-64 can map
// A region has at most this many units (or pages), so that a walk over all of them stays short.
constexpr std::uint64_t kMostUnits = 65536;

constexpr std::uint64_t RoundUp(std::uint64_t value, std::uint64_t to) noexcept {
  return (value + to - 1) / to * to;
}

// CRC32C of the immutable bytes, without the CRC itself.
std::uint32_t HeaderCrc(std::span<const std::byte, layout::kHeaderImmutableBytes> bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  constexpr std::size_t kCrcAt = offsetof(Header, crc);
  constexpr std::size_t kAfter = kCrcAt + sizeof(std::uint32_t);
  crc.process_bytes(bytes.data(), kCrcAt);
  crc.process_bytes(bytes.data() + kAfter, bytes.size() - kAfter);
  return crc.checksum();
}

// The immutable bytes of a header, as plain numbers.
struct Fields {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t crc;
  std::uint64_t region_size;
  std::uint32_t features_required;
  std::uint32_t features_optional;
  std::array<std::uint8_t, 16> region_id;
  std::uint32_t max_peers;
  std::uint32_t peer_stride;
  std::uint64_t peer_table_offset;
  std::uint64_t directory_offset;
  std::uint64_t owners_offset;
  std::uint64_t arena_offset;
  std::uint32_t unit_size;
  std::uint32_t unit_count;
  std::uint32_t small_unit_first;
  std::uint32_t ring_capacity;
  std::uint32_t ring_capacity_small;
  std::uint32_t reserved0;
  std::uint64_t formatted_at;
  std::uint64_t reserved1;
};
static_assert(sizeof(Fields) == layout::kHeaderImmutableBytes);

// Copies the immutable bytes word by word: another process may store magic and version meanwhile.
std::array<std::byte, layout::kHeaderImmutableBytes> LoadImmutable(const std::byte* base) {
  std::array<std::byte, layout::kHeaderImmutableBytes> copy;
  for (std::size_t i = 0; i < copy.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t word =
        reinterpret_cast<const layout::Word*>(base + i)->load(std::memory_order_acquire);
    std::memcpy(copy.data() + i, &word, sizeof(word));
  }
  return copy;
}

std::string Hex(std::uint64_t value) {
  std::array<char, 20> text{};
  (void)std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(value));
  return text.data();
}

// What a geometry must satisfy for every computed address to lie inside the region. Returns the
// first thing that is wrong, or nothing.
std::string FindFault(const Geometry& g) {
  if (!std::has_single_bit(g.region_size)) {
    return StrCat("region_size ", g.region_size, " is not a power of two");
  }
  if (g.max_peers < 2 || g.max_peers > layout::kLimitMaxPeers) {
    return StrCat("max_peers ", g.max_peers, " is not in 2..", layout::kLimitMaxPeers);
  }
  if (!std::has_single_bit(g.unit_size) || g.unit_size < layout::kPage) {
    return StrCat("unit_size ", g.unit_size, " is not a power of two of at least ", layout::kPage);
  }
  const std::array<std::pair<const char*, std::pair<std::uint64_t, std::uint64_t>>, 4> parts = {{
      {"peer table", {g.peer_table_offset, g.max_peers * sizeof(layout::PeerSlot)}},
      {"directory", {g.directory_offset, g.cells() * sizeof(std::uint64_t)}},
      {"unit owners", {g.owners_offset, g.unit_count * sizeof(std::uint64_t)}},
      {"arena", {g.arena_offset, std::uint64_t{g.unit_count} * g.unit_size}},
  }};
  std::uint64_t end = sizeof(Header);
  for (const auto& [name, part] : parts) {
    const auto [offset, size] = part;
    if (offset % layout::kCacheLine != 0 || offset < end || offset > g.region_size ||
        size > g.region_size - offset) {
      return StrCat("the ", name, " at ", offset, " with ", BytesText(size),
                    " does not fit between ", end, " and ", g.region_size);
    }
    end = offset + size;
  }
  if (g.arena_offset % layout::kPage != 0) {
    return StrCat("arena_offset ", g.arena_offset, " is not page-aligned");
  }
  if (g.unit_count > (1U << 24) || g.small_unit_first > g.unit_count) {
    return StrCat("unit_count ", g.unit_count, ", small_unit_first ", g.small_unit_first,
                  " are out of range");
  }
  for (const std::uint32_t capacity : {g.ring_capacity, g.ring_capacity_small}) {
    if (!std::has_single_bit(capacity) || capacity < layout::kMinRingCapacity ||
        capacity > layout::kMaxRingCapacity) {
      return StrCat("ring capacity ", capacity, " is not a power of two in ",
                    layout::kMinRingCapacity, "..", layout::kMaxRingCapacity);
    }
  }
  return {};
}

Geometry ToGeometry(const Fields& f) {
  Geometry g;
  g.region_size = f.region_size;
  g.max_peers = f.max_peers;
  g.peer_table_offset = f.peer_table_offset;
  g.directory_offset = f.directory_offset;
  g.owners_offset = f.owners_offset;
  g.arena_offset = f.arena_offset;
  g.unit_size = f.unit_size;
  g.unit_count = f.unit_count;
  g.small_unit_first = f.small_unit_first;
  g.ring_capacity = f.ring_capacity;
  g.ring_capacity_small = f.ring_capacity_small;
  g.region_id = f.region_id;
  g.formatted_at = f.formatted_at;
  g.version_minor = static_cast<std::uint16_t>(f.version & 0xffff);
  g.features_optional = f.features_optional;
  return g;
}

}  // namespace

Result<Geometry> PlanGeometry(std::uint64_t region_size, const FormatOptions& options) {
  const auto invalid = [](std::string message) {
    return Status(StatusCode::kInvalidArgument, std::move(message));
  };
  if (!std::has_single_bit(region_size)) {
    return invalid(StrCat("a region of ", BytesText(region_size),
                          ": the size must be a power of two, since it is a PCI BAR; try ",
                          std::bit_ceil(std::min(region_size, std::uint64_t{1} << 62))));
  }
  if (region_size > kMaxRegionSize) {
    return invalid(
        StrCat("a region of ", BytesText(region_size), " is larger than ", kMaxRegionSize));
  }
  if (options.max_peers < 2 || options.max_peers > layout::kLimitMaxPeers) {
    return invalid(
        StrCat("max_peers ", options.max_peers, ": must be 2..", layout::kLimitMaxPeers));
  }
  if (options.ring_capacity != 0 && (!std::has_single_bit(options.ring_capacity) ||
                                     options.ring_capacity < layout::kMinRingCapacity ||
                                     options.ring_capacity > layout::kMaxRingCapacity)) {
    return invalid(StrCat("ring size ", options.ring_capacity, ": must be a power of two in ",
                          layout::kMinRingCapacity, "..", layout::kMaxRingCapacity));
  }

  Geometry g;
  g.region_size = region_size;
  g.max_peers = options.max_peers;
  g.peer_table_offset = sizeof(Header);
  g.directory_offset = g.peer_table_offset + g.max_peers * sizeof(layout::PeerSlot);
  g.owners_offset =
      RoundUp(g.directory_offset + g.cells() * sizeof(std::uint64_t), layout::kCacheLine);
  g.unit_size =
      static_cast<std::uint32_t>(std::max<std::uint64_t>(layout::kPage, region_size / kMostUnits));
  const std::uint64_t most_units = region_size / g.unit_size;
  g.arena_offset = RoundUp(g.owners_offset + most_units * sizeof(std::uint64_t), layout::kPage);
  const std::uint64_t room = g.arena_offset < region_size ? region_size - g.arena_offset : 0;
  g.unit_count = static_cast<std::uint32_t>(room / g.unit_size);

  g.ring_capacity_small = layout::kMinRingCapacity;
  const std::uint32_t small_units = g.UnitsFor(g.ring_capacity_small);
  if (g.unit_count < 2 * small_units) {
    return invalid(StrCat("a region of ", BytesText(region_size), " is too small for ", g.max_peers,
                          " peers: the tables take ", g.arena_offset,
                          " bytes and no ring fits behind them; take at least ",
                          std::bit_ceil(g.arena_offset + kMiB / 4), " bytes or fewer peers"));
  }
  g.small_unit_first = g.unit_count - g.unit_count / 4;
  if (options.ring_capacity != 0) {
    g.ring_capacity = options.ring_capacity;
    if (g.UnitsFor(g.ring_capacity) > g.small_unit_first) {
      return invalid(StrCat("ring size ", g.ring_capacity, " does not fit into a region of ",
                            region_size, " bytes"));
    }
  } else {
    std::uint32_t capacity = kMaxAutoCapacity;
    while (capacity > layout::kMinRingCapacity &&
           std::uint64_t{g.UnitsFor(capacity)} * 2 * g.max_peers > g.small_unit_first) {
      capacity /= 2;
    }
    g.ring_capacity = capacity;
  }
  return g;
}

bool IsAllZero(std::span<const std::byte> memory) noexcept {
  return memory.empty() || (memory[0] == std::byte{0} &&
                            std::memcmp(memory.data(), memory.data() + 1, memory.size() - 1) == 0);
}

Status Format(std::span<std::byte> memory, const FormatOptions& options) {
  const Result<Geometry> plan = PlanGeometry(memory.size(), options);
  if (!plan.ok()) return plan.status();
  if (!options.known_zero && !IsAllZero(memory)) {
    return {
        StatusCode::kFailedPrecondition,
        "the memory is not all zero, and formatting does not overwrite anything; use a new file"};
  }
  const Geometry& g = *plan;

  Fields f{};
  f.magic = layout::kMagic;
  f.version = std::uint32_t{layout::kVersionMajor} << 16 | layout::kVersionMinor;
  f.region_size = g.region_size;
  std::random_device random;
  for (std::uint8_t& byte : f.region_id) byte = static_cast<std::uint8_t>(random());
  f.max_peers = g.max_peers;
  f.peer_stride = sizeof(layout::PeerSlot);
  f.peer_table_offset = g.peer_table_offset;
  f.directory_offset = g.directory_offset;
  f.owners_offset = g.owners_offset;
  f.arena_offset = g.arena_offset;
  f.unit_size = g.unit_size;
  f.unit_count = g.unit_count;
  f.small_unit_first = g.small_unit_first;
  f.ring_capacity = g.ring_capacity;
  f.ring_capacity_small = g.ring_capacity_small;
  f.formatted_at = static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
  std::array<std::byte, sizeof(Fields)> bytes;
  std::memcpy(bytes.data(), &f, sizeof(f));
  f.crc = HeaderCrc(bytes);
  std::memcpy(bytes.data(), &f, sizeof(f));

  auto* header = reinterpret_cast<Header*>(memory.data());
  std::memcpy(memory.data() + offsetof(Header, crc), bytes.data() + offsetof(Header, crc),
              bytes.size() - offsetof(Header, crc));
  // A region without these is not formatted: a crash before this point leaves nothing that
  // attaches.
  header->version.store(f.version, std::memory_order_release);
  header->magic.store(f.magic, std::memory_order_release);
  return {};
}

Result<Region> Region::Attach(std::span<std::byte> memory) {
  if (memory.size() < sizeof(Header)) {
    return Status(StatusCode::kOutOfRange,
                  StrCat("the memory has ", BytesText(memory.size()), ", less than the header's ",
                         sizeof(Header), "; it was truncated, or it is not an ivmq region"));
  }
  const auto bytes = LoadImmutable(memory.data());
  Fields f{};
  std::memcpy(&f, bytes.data(), sizeof(f));

  if (f.magic == 0 && f.version == 0 && IsAllZero(bytes)) {
    return Status(StatusCode::kFailedPrecondition,
                  "the region is not formatted; start ivmqd on it, or run: ivmq format PATH");
  }
  if (f.magic != layout::kMagic) {
    return Status(StatusCode::kFailedPrecondition,
                  StrCat("this is not an ivmq region: it begins with ", Hex(f.magic), ", not with ",
                         Hex(layout::kMagic), " (\"IVMQ-SHM\"); check the address"));
  }
  if (const std::uint32_t major = f.version >> 16; major != layout::kVersionMajor) {
    return Status(StatusCode::kFailedPrecondition,
                  StrCat("the region has format version ", major, ".", f.version & 0xffff,
                         ", and this program knows ", layout::kVersionMajor, ".",
                         layout::kVersionMinor, "; use the same release of ivmq on both sides"));
  }
  if (const std::uint32_t crc = HeaderCrc(bytes); crc != f.crc) {
    return Status(StatusCode::kDataLoss,
                  StrCat("the region's header is damaged: its CRC32C is ", Hex(crc), ", stored is ",
                         Hex(f.crc), "; format the region anew"));
  }
  if (const std::uint32_t unknown = f.features_required & ~layout::kKnownRequiredFeatures;
      unknown != 0) {
    return Status(StatusCode::kFailedPrecondition,
                  StrCat("the region requires features ", Hex(unknown),
                         " that this program does not know; use a newer release of ivmq"));
  }
  const Geometry g = ToGeometry(f);
  if (f.peer_stride != sizeof(layout::PeerSlot)) {
    return Status(StatusCode::kDataLoss,
                  StrCat("the region's header is damaged: peer_stride ", f.peer_stride, " is not ",
                         sizeof(layout::PeerSlot)));
  }
  if (const std::string fault = FindFault(g); !fault.empty()) {
    return Status(StatusCode::kDataLoss, "the region's header is damaged: " + fault);
  }
  if (g.region_size > memory.size()) {
    return Status(
        StatusCode::kOutOfRange,
        StrCat("the region was formatted with ", g.region_size, " bytes, but only ", memory.size(),
               " are there: the file was truncated, or the device is too small"));
  }
  return Region(memory.data(), g);
}

bool Region::IsReplaced() const noexcept {
  const auto bytes = LoadImmutable(base_);
  Fields f{};
  std::memcpy(&f, bytes.data(), sizeof(f));
  return f.region_id != geometry_.region_id && f.magic == layout::kMagic &&
         f.crc == HeaderCrc(bytes);
}

std::optional<RingView> Region::RingOf(const layout::Cell& cell) const noexcept {
  if (cell.state == layout::CellState::kEmpty || cell.state > layout::CellState::kClosed ||
      cell.capacity_log2 > 28) {
    return std::nullopt;
  }
  const std::uint64_t capacity = std::uint64_t{1} << cell.capacity_log2;
  if (capacity < layout::kMinRingCapacity || capacity > layout::kMaxRingCapacity ||
      cell.first_unit >= geometry_.unit_count ||
      geometry_.UnitsFor(capacity) > geometry_.unit_count - cell.first_unit) {
    return std::nullopt;
  }
  return RingView::At(
      base_ + geometry_.arena_offset + std::uint64_t{cell.first_unit} * geometry_.unit_size,
      capacity);
}

}  // namespace ivmq
