#include "opened_region.h"

#include <span>
#include <utility>

#include <fmt/format.h>

#include "ivmq/internal/peer_table.h"

#include "command.h"
#include "text.h"

namespace ivmq::tool {

Result<OpenedRegion> OpenFormatted(const std::string& address, Access access) {
  auto memory = OpenRegion(address, access);
  if (!memory.ok()) return memory.status();
  const auto region = Region::Attach(memory->memory);
  if (!region.ok()) {
    return Status(region.status().code(),
                  fmt::format("{}: {}", memory->address, region.status().message()));
  }
  return OpenedRegion{*std::move(memory), *region};
}

Result<std::uint32_t> SlotOf(const OpenedRegion& opened, const std::string& word) {
  const std::uint32_t slots = opened.region.max_peers();
  if (const auto slot = ParseNumber(word, slots - 1)) return static_cast<std::uint32_t>(*slot);
  const auto peer = PeerTable(opened.region).Find(word);
  if (peer) return peer->id.slot;
  return Status(StatusCode::kNotFound,
                fmt::format("{}: '{}' is neither the name of a peer nor a slot below {}; see "
                            "`ivmq ls`",
                            opened.memory.address, word, slots));
}

Json GeometryJson(const Geometry& geometry) {
  Json json;
  json["version"] = fmt::format("{}.{}", layout::kVersionMajor, geometry.version_minor);
  json["region_id"] = HexDigits(std::as_bytes(std::span(geometry.region_id)));
  json["formatted_at"] = TimeText(geometry.formatted_at);
  json["region_size"] = geometry.region_size;
  json["max_peers"] = geometry.max_peers;
  json["peer_table_offset"] = geometry.peer_table_offset;
  json["directory_offset"] = geometry.directory_offset;
  json["owners_offset"] = geometry.owners_offset;
  json["arena_offset"] = geometry.arena_offset;
  json["unit_size"] = geometry.unit_size;
  json["unit_count"] = geometry.unit_count;
  json["small_unit_first"] = geometry.small_unit_first;
  json["ring_capacity"] = geometry.ring_capacity;
  json["ring_capacity_small"] = geometry.ring_capacity_small;
  json["features_optional"] = geometry.features_optional;
  return json;
}

}  // namespace ivmq::tool
