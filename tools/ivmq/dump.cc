// ivmq dump: the structures of a region, decoded.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/internal/extent.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "opened_region.h"
#include "output.h"
#include "peers.h"
#include "ring_walk.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using layout::Cell;
using layout::Life;

constexpr std::size_t kRecordsShown = 64;

constexpr const char* kDumpFooter =
    R"(Shows the header, each slot that was ever used, each ring with its positions and
the number of unread messages, and the extents of the heaps; with --ring, one ring and its first 64 unread
records. FROM (the sender) and TO (the receiver) are slots or names. Only reads:
takes no id and no slot. Of a region that is damaged it shows the header.

Example:
  ivmq dump shm:/demo
  ivmq dump shm:/demo --ring alice bob)";

using Names = std::map<std::uint32_t, std::string>;

std::string NameAt(const Names& names, std::uint32_t slot) {
  const auto found = names.find(slot);
  return found == names.end() ? fmt::format("slot {}", slot) : found->second;
}

std::uint64_t Load(const layout::Word& word) { return word.load(std::memory_order_relaxed); }
std::uint32_t Load(const layout::Word32& word) { return word.load(std::memory_order_relaxed); }

// Works on anything that has a page.
Json HeaderJson(const layout::Header& header) {
  Json json;
  const std::uint64_t magic = Load(header.magic);
  json["magic"] = fmt::format("{:#018x}{}", magic, magic == layout::kMagic ? " (IVMQ-SHM)" : "");
  const std::uint32_t version = Load(header.version);
  json["version"] = fmt::format("{}.{}", version >> 16, version & 0xffff);
  json["crc"] = fmt::format("{:#010x}", header.crc);
  json["region_size"] = header.region_size;
  json["features_required"] = header.features_required;
  json["features_optional"] = header.features_optional;
  json["region_id"] = HexDigits(std::as_bytes(std::span(header.region_id)));
  json["max_peers"] = header.max_peers;
  json["peer_stride"] = header.peer_stride;
  json["peer_table_offset"] = header.peer_table_offset;
  json["directory_offset"] = header.directory_offset;
  json["owners_offset"] = header.owners_offset;
  json["arena_offset"] = header.arena_offset;
  json["unit_size"] = header.unit_size;
  json["unit_count"] = header.unit_count;
  json["small_unit_first"] = header.small_unit_first;
  json["ring_capacity"] = header.ring_capacity;
  json["ring_capacity_small"] = header.ring_capacity_small;
  json["formatted_at"] = header.formatted_at;
  json["server_epoch"] = Load(header.server_epoch);
  json["server_pid"] = Load(header.server_pid);
  json["server_vectors"] = Load(header.server_vectors);
  json["peers_generation"] = Load(header.peers_generation);
  return json;
}

Json SlotJson(const Region& region, std::uint32_t index, const std::optional<PeerInfo>& peer) {
  const layout::PeerSlot& slot = region.slot(index);
  const std::uint64_t life = Load(slot.life);
  Json json = Json::object();
  if (peer) {
    json = PeerJson(*peer);
  } else {
    json["slot"] = index;
    json["state"] = Life::FromWord(life).state == layout::PeerState::kFree ? "free" : "unreadable";
    json["incarnation"] = Life::FromWord(life).incarnation;
  }
  json["life"] = fmt::format("{:#018x}", life);
  json["lock_domain"] = fmt::format("{:#018x}", Load(slot.lock_domain));
  json["name_incarnation"] = Load(slot.name_incarnation);
  json["heartbeat"] = Load(slot.heartbeat);
  json["armed"] = Load(slot.armed);
  json["inbound_changes"] = Load(slot.inbound_changes);
  json["services_sequence"] = Load(slot.services.sequence);
  json["topics_sequence"] = Load(slot.topics.sequence);
  return json;
}

std::string_view CellStateText(layout::CellState state) {
  switch (state) {
    case layout::CellState::kEmpty:
      return "empty";
    case layout::CellState::kCarving:
      return "being carved";
    case layout::CellState::kLive:
      return "live";
    case layout::CellState::kWithdrawn:
      return "withdrawn by its producer";
    case layout::CellState::kClosed:
      return "closed by its consumer";
  }
  return "unknown";
}

std::string RecordKindText(layout::RecordKind kind) {
  switch (kind) {
    case layout::RecordKind::kNone:
      break;
    case layout::RecordKind::kData:
      return "data";
    case layout::RecordKind::kPad:
      return "pad";
  }
  return "unknown";
}

std::string FrameKindText(layout::FrameKind kind) {
  switch (kind) {
    case layout::FrameKind::kBytes:
      return "bytes";
    case layout::FrameKind::kTypedById:
      return "typed by id";
    case layout::FrameKind::kTypedByName:
      return "typed by name";
    case layout::FrameKind::kFragment:
      return "fragment";
    case layout::FrameKind::kSuccessor:
      return "successor";
    case layout::FrameKind::kBlock:
      return "in the heap";
    case layout::FrameKind::kTopic:
      return "topic";
    case layout::FrameKind::kFirstRpc:
    case layout::FrameKind::kLastRpc:
      break;
  }
  const bool rpc = kind >= layout::FrameKind::kFirstRpc && kind <= layout::FrameKind::kLastRpc;
  return fmt::format("{} {}", rpc ? "rpc" : "kind", static_cast<unsigned>(kind));
}

Json RecordJson(const WalkedRecord& record) {
  Json json;
  json["position"] = record.position;
  json["kind"] = RecordKindText(record.kind);
  json["length"] = record.length;
  if (record.has_frame) {
    json["frame"] = FrameKindText(record.frame.kind);
    json["type"] = record.frame.type;
    if (!record.type_name.empty()) json["type_name"] = record.type_name;
    json["payload"] = HexText(record.preview, record.preview.size());
  }
  return json;
}

Json RingJson(const Region& region, const Names& names, std::uint32_t consumer,
              std::uint32_t producer, std::size_t records) {
  const Cell cell = Cell::FromWord(
      region.cell(region.CellIndex(consumer, producer)).load(std::memory_order_acquire));
  Json json;
  json["from"] = NameAt(names, producer);
  json["to"] = NameAt(names, consumer);
  json["from_slot"] = producer;
  json["to_slot"] = consumer;
  json["cell"] = region.CellIndex(consumer, producer);
  json["state"] = CellStateText(cell.state);
  json["generation"] = cell.generation;
  if (cell.state == layout::CellState::kEmpty) return json;
  json["first_unit"] = cell.first_unit;
  json["capacity"] = std::uint64_t{1} << cell.capacity_log2;
  if (cell.state != layout::CellState::kLive) return json;
  const auto ring = region.RingOf(cell);
  if (!ring) {
    json["problem"] = "the cell points outside the arena";
    return json;
  }
  const layout::RingHeader& header = *ring->header;
  if (!ring->IsDescribed(region.CellIndex(consumer, producer), cell)) {
    json["problem"] = "the cell does not lead to a ring of this pair";
    return json;
  }
  json["sender_incarnation"] = Load(header.sender);
  json["delivered"] = Load(header.delivered);
  json["acked"] = Load(header.acked);
  json["released"] = Load(header.released);
  json["committed"] = Load(header.committed);
  json["dropped_large"] = Load(header.dropped);
  json["space_armed"] = Load(header.space_armed);
  const RingWalk walk = WalkRing(*ring, records);
  json["waiting_messages"] = walk.messages;
  json["waiting_bytes"] = walk.bytes;
  if (!walk.problem.empty()) json["problem"] = walk.problem;
  if (records != 0) {
    json["records"] = Json::array();
    for (const WalkedRecord& record : walk.records) json["records"].push_back(RecordJson(record));
  }
  return json;
}

Json ExtentJson(const Region& region, const Names& names, std::uint32_t slot,
                std::uint32_t extent) {
  const std::uint32_t index = region.HeapCellIndex(slot, extent);
  const Cell cell = Cell::FromWord(region.cell(index).load(std::memory_order_acquire));
  Json json;
  json["of"] = NameAt(names, slot);
  json["slot"] = slot;
  json["extent"] = extent;
  json["cell"] = index;
  json["state"] = CellStateText(cell.state);
  json["generation"] = cell.generation;
  if (cell.state == layout::CellState::kEmpty) return json;
  json["first_unit"] = cell.first_unit;
  json["capacity"] = std::uint64_t{1} << cell.capacity_log2;
  const auto view = ExtentOf(region, cell);
  if (!view) {
    json["problem"] = "the cell points outside the arena";
  } else if (cell.state == layout::CellState::kLive && !view->IsDescribed(index, cell)) {
    json["problem"] = "the cell does not lead to an extent of this heap";
  }
  return json;
}

struct DumpFlags {
  std::vector<std::string> ring;  // FROM TO, or empty
  bool json = false;
};

int DumpRing(const RegionMemory& memory, const Region& region, const Names& names,
             const DumpFlags& options) {
  std::array<std::uint32_t, 2> slots{};
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const auto slot = SlotOf({memory, region}, options.ring[i]);
    if (!slot.ok()) return Fail(slot.status());
    slots[i] = *slot;
  }
  const Json ring = RingJson(region, names, slots[1], slots[0], kRecordsShown);
  Print(options.json ? JsonText(ring) : Outline(ring));
  return kExitOk;
}

Json RegionJson(const Region& region, const Names& names) {
  Json document;
  document["slots"] = Json::array();
  document["rings"] = Json::array();
  for (std::uint32_t slot = 0; slot < region.max_peers(); ++slot) {
    if (Load(region.slot(slot).life) == 0) continue;
    document["slots"].push_back(SlotJson(region, slot, PeerTable(region).Read(slot)));
  }
  for (std::uint32_t consumer = 0; consumer < region.max_peers(); ++consumer) {
    for (std::uint32_t producer = 0; producer < region.max_peers(); ++producer) {
      if (Load(region.cell(region.CellIndex(consumer, producer))) == 0) continue;
      document["rings"].push_back(RingJson(region, names, consumer, producer, 0));
    }
  }
  document["heaps"] = Json::array();
  for (std::uint32_t slot = 0; slot < region.max_peers(); ++slot) {
    for (std::uint32_t extent = 0; extent < layout::kHeapExtents; ++extent) {
      if (Load(region.cell(region.HeapCellIndex(slot, extent))) == 0) continue;
      document["heaps"].push_back(ExtentJson(region, names, slot, extent));
    }
  }
  return document;
}

int RunDump(const std::string& address, const DumpFlags& options) {
  const auto memory = OpenRegion(address);
  if (!memory.ok()) return Fail(memory.status());
  const auto region = Region::Attach(memory->memory);
  Names names;
  if (region.ok()) {
    for (const PeerInfo& peer : PeerTable(*region).Snapshot().peers)
      names[peer.id.slot] = peer.name;
    if (!options.ring.empty()) return DumpRing(*memory, *region, names, options);
  }

  Json document;
  document["address"] = memory->address;
  document["description"] = memory->description;
  if (memory->memory.size() >= sizeof(layout::Header)) {
    document["header"] =
        HeaderJson(*reinterpret_cast<const layout::Header*>(memory->memory.data()));
  }
  if (region.ok()) document.update(RegionJson(*region, names));
  Print(options.json ? JsonText(document) : Outline(document));
  if (region.ok()) return kExitOk;
  return Fail(
      {region.status().code(), fmt::format("{}: {}", memory->address, region.status().message())});
}

}  // namespace

void AddDump(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<DumpFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "dump",
                  .summary = "Decode a region's header, slots and rings",
                  .words = "",
                  .footer = kDumpFooter},
                 [options](const std::string& address, const std::vector<std::string>& /*words*/) {
                   return RunDump(address, *options);
                 });
  command->add_option("--ring", options->ring, "Show one ring, with its unread records")
      ->expected(2)
      ->type_name("FROM TO");
  command->add_flag("--json", options->json, "Print JSON");
}

}  // namespace ivmq::tool
