#include "region_report.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "ivmq/internal/extent.h"
#include "ivmq/internal/peer_slot.h"
#include "ivmq/internal/peer_table.h"

#include "common/ring_cursor.h"
#include "common/ring_messages.h"
#include "peers.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using inspect::RingCursor;
using layout::Cell;
using layout::CellState;
using layout::FrameKind;
using layout::Life;
using layout::PeerState;

constexpr std::size_t kPreviewBytes = 32;
constexpr std::size_t kMostRings = 16384;  // of 5 of at most 65536 units each
// More than what stands before a message.
constexpr std::size_t kHeadBytes = 2048;

std::uint64_t Load(const layout::Word& word) { return word.load(std::memory_order_acquire); }
std::uint32_t Load(const layout::Word32& word) { return word.load(std::memory_order_acquire); }

std::string_view CellStateText(CellState state) {
  switch (state) {
    case CellState::kEmpty:
      return "empty";
    case CellState::kCarving:
      return "being carved";
    case CellState::kLive:
      return "live";
    case CellState::kWithdrawn:
      return "withdrawn by its producer";
    case CellState::kClosed:
      return "closed by its consumer";
  }
  return "unknown";
}

std::string FrameKindText(FrameKind kind) {
  switch (kind) {
    case FrameKind::kBytes:
      return "bytes";
    case FrameKind::kTypedById:
      return "typed by id";
    case FrameKind::kTypedByName:
      return "typed by name";
    case FrameKind::kFragment:
      return "fragment";
    case FrameKind::kSuccessor:
      return "successor";
    case FrameKind::kBlock:
      return "in the heap";
    case FrameKind::kTopic:
      return "topic";
    case FrameKind::kFirstRpc:
    case FrameKind::kLastRpc:
      break;
  }
  const bool rpc = kind >= FrameKind::kFirstRpc && kind <= FrameKind::kLastRpc;
  return fmt::format("{} {}", rpc ? "rpc" : "kind", static_cast<unsigned>(kind));
}

// A record's bytes, or as many of them as are looked at.
std::vector<std::byte> HeadOf(std::span<const std::byte> payload) {
  std::vector<std::byte> head(std::min(payload.size(), kHeadBytes));
  if (!head.empty()) std::memcpy(head.data(), payload.data(), head.size());
  return head;
}

Json FrameJson(const inspect::FrameView& view) {
  Json json;
  json["frame"] = FrameKindText(view.frame.kind);
  json["type"] = view.frame.type;
  if (view.fragment) {
    json["offset"] = view.fragment->offset;
    json["total"] = view.fragment->total;
  }
  if (view.block) {
    json["message"] = FrameKindText(view.kind);
    json["extent"] = view.block->extent;
    json["generation"] = view.block->generation;
    json["offset"] = view.block->offset;
    json["bytes"] = view.block->bytes;
  }
  if (view.topic) {
    json["topic"] = view.topic_name;
    json["sequence"] = view.topic->sequence;
    json["subscription"] = view.topic->subscription;
    json["incarnation"] = view.topic->incarnation;
    json["history"] = (view.topic->flags & layout::kTopicHistory) != 0;
  }
  if (!view.type_name.empty()) json["type_name"] = view.type_name;
  if (!view.block && view.frame.kind != FrameKind::kSuccessor) {
    json["payload"] =
        HexText(view.body.first(std::min(view.body.size(), kPreviewBytes)), kPreviewBytes);
  }
  return json;
}

void AddCell(std::uint32_t index, const Cell& cell, Json* json) {
  (*json)["cell"] = index;
  (*json)["state"] = CellStateText(cell.state);
  (*json)["generation"] = cell.generation;
  if (cell.state == CellState::kEmpty) return;
  (*json)["first_unit"] = cell.first_unit;
  (*json)["capacity"] = std::uint64_t{1} << cell.capacity_log2;
}

}  // namespace

Json RawHeaderJson(const layout::Header& header) {
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

RegionReport::RegionReport(const Region& region) : region_(region) {
  for (const PeerInfo& peer : PeerTable(region).Snapshot().peers) names_[peer.id.slot] = peer.name;
}

std::string RegionReport::NameAt(std::uint32_t slot) const {
  const auto found = names_.find(slot);
  return found == names_.end() ? fmt::format("slot {}", slot) : found->second;
}

template <typename Look>
Json RegionReport::Settled(const std::string& place, Look look) {
  // Where much is wrong, it is no change that was under way.
  const int looks = problems_.size() < 64 ? 3 : 1;
  Problems found;
  Json json;
  for (int attempt = 0; attempt < looks; ++attempt) {
    if (attempt != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    found.clear();
    json = look(&found);
    if (found.empty()) return json;
  }
  json["problems"] = found;
  for (const std::string& problem : found) {
    problems_.push_back(fmt::format("{}: {}", place, problem));
  }
  return json;
}

// ---- Slots ----

Json RegionReport::SlotJson(std::uint32_t index, Problems* problems) const {
  const layout::PeerSlot& slot = region_.slot(index);
  const std::uint64_t word = Load(slot.life);
  const Life life = Life::FromWord(word);
  const auto peer = PeerTable(region_).Read(index);
  Json json = Json::object();
  if (peer) {
    json = PeerJson(*peer);
    if (const Status name = CheckName(peer->name); !name.ok()) problems->push_back(name.message());
    for (const auto& [other, other_name] : names_) {
      if (other < index && other_name == peer->name && peer->state == PeerState::kLive) {
        problems->push_back(fmt::format("the name is that of slot {}, too", other));
      }
    }
  } else {
    json["slot"] = index;
    json["state"] = StateName(life.state);
    json["incarnation"] = life.incarnation;
  }
  if (life.state > PeerState::kDead) problems->emplace_back("its life word has no known state");
  const bool has_life = life.state == PeerState::kLive || life.state == PeerState::kDead;
  if (has_life && !peer && !IsDurable(life) && life.state == PeerState::kLive) {
    problems->emplace_back("it is live and has no identity");
  }
  if (life.state == PeerState::kFree) {
    // Its last owner's.
    Json last;
    last["pid"] = Load(slot.pid);
    Json counters = Json::object();
    for (std::size_t i = 0; i < static_cast<std::size_t>(layout::Counter::kCount); ++i) {
      counters[std::string(CounterName(static_cast<layout::Counter>(i)))] = Load(slot.counters[i]);
    }
    last["counters"] = std::move(counters);
    json["last_owner"] = std::move(last);
  }
  json["life"] = fmt::format("{:#018x}", word);
  json["lock_domain"] = fmt::format("{:#018x}", Load(slot.lock_domain));
  json["name_incarnation"] = Load(slot.name_incarnation);
  json["heartbeat"] = Load(slot.heartbeat);
  json["armed"] = Load(slot.armed);
  json["inbound_changes"] = Load(slot.inbound_changes);
  json["services_sequence"] = Load(slot.services.sequence);
  json["topics_sequence"] = Load(slot.topics.sequence);
  if (life.state == PeerState::kLive && peer) {
    const std::size_t topics = PeerTable(region_).ReadTopics(peer->id).size();
    if (topics != peer->topics.size()) {
      problems->push_back(fmt::format("{} of its {} topics and subscriptions are none",
                                      topics - peer->topics.size(), topics));
    }
  }
  return json;
}

Json RegionReport::Slots() {
  Json list = Json::array();
  for (std::uint32_t slot = 0; slot < region_.max_peers(); ++slot) {
    if (Load(region_.slot(slot).life) == 0) continue;
    list.push_back(Settled(fmt::format("slot {}", slot),
                           [&](Problems* problems) { return SlotJson(slot, problems); }));
  }
  return list;
}

// ---- Rings ----

void RegionReport::CheckUnits(std::uint32_t index, const Cell& cell, Problems* problems) const {
  const std::uint32_t end =
      cell.first_unit + region_.geometry().UnitsFor(std::uint64_t{1} << cell.capacity_log2);
  std::uint32_t others = 0;
  for (std::uint32_t unit = cell.first_unit; unit < end; ++unit) {
    const auto owner = layout::Owner::FromWord(Load(region_.owner(unit)));
    if (owner.cell_plus_one != index + 1 || owner.generation != cell.generation) ++others;
  }
  if (others != 0) {
    problems->push_back(
        fmt::format("{} of its {} units do not name it", others, end - cell.first_unit));
  }
}

void RegionReport::AddRecords(const RingView& ring, std::uint32_t producer, std::size_t records,
                              Json* json, Problems* problems) const {
  // In this order: each of them follows the one before.
  const std::uint64_t released = Load(ring.header->released);
  const std::uint64_t acked = Load(ring.header->acked);
  const std::uint64_t delivered = Load(ring.header->delivered);
  const std::uint64_t committed = Load(ring.header->committed);
  (*json)["sender_incarnation"] = Load(ring.header->sender);
  (*json)["delivered"] = delivered;
  (*json)["acked"] = acked;
  (*json)["released"] = released;
  (*json)["committed"] = committed;
  (*json)["dropped_large"] = Load(ring.header->dropped);
  (*json)["space_armed"] = Load(ring.header->space_armed);
  if (acked % layout::kRecordAlign != 0) {
    problems->push_back(fmt::format("`acked` is {}, which is not a multiple of 8", acked));
    return;
  }
  if (released > acked) {
    problems->push_back(fmt::format("`released` is {}, beyond `acked`, {}", released, acked));
  }
  if (acked > delivered) {
    problems->push_back(fmt::format("`acked` is {}, beyond `delivered`, {}", acked, delivered));
  }
  RingCursor cursor(ring, acked);
  inspect::MessageReader reader(region_, producer);
  std::uint64_t messages = 0;
  std::uint64_t bad = 0;
  Json list = Json::array();
  RingCursor::Step step = RingCursor::Step::kEnd;
  while (cursor.position() - acked < ring.capacity) {
    const std::uint64_t at = cursor.position();
    step = cursor.Next();
    if (step == RingCursor::Step::kEnd || step == RingCursor::Step::kDamaged) break;
    const bool is_record = step == RingCursor::Step::kRecord;
    Json record;
    std::string problem;
    if (is_record) {
      ++messages;
      const std::vector<std::byte> head = HeadOf(cursor.payload());
      const inspect::FrameView view = inspect::ParseFrame(head);
      problem = view.problem;
      if (view.block && problem.empty() && !BlockOf(region_, producer, *view.block)) {
        problem = "the block is in no heap of its producer";
      }
      if (!problem.empty()) ++bad;
      if (list.size() < records) {
        record = {{"position", at}, {"kind", "data"}, {"length", cursor.payload().size()}};
        record.update(FrameJson(view));
      }
    } else if (list.size() < records) {
      record = {{"position", at}, {"kind", "pad"}, {"length", cursor.position() - at}};
    }
    if (!problem.empty()) record["problems"] = Json::array({problem});
    if (list.size() < records) list.push_back(std::move(record));
  }
  (*json)["waiting_messages"] = messages;
  (*json)["waiting_bytes"] = cursor.position() - acked;
  if (records != 0) {
    (*json)["records"] = std::move(list);
  }
  if (bad != 0) problems->push_back(fmt::format("{} of its records are damaged", bad));
  if (step == RingCursor::Step::kDamaged) {
    problems->push_back(fmt::format("{:#018x} at position {} is not a valid commit word",
                                    cursor.word(), cursor.position()));
  } else if (committed > cursor.position()) {
    problems->push_back(
        fmt::format("there is no record at position {}, though {} bytes were committed",
                    cursor.position(), committed));
  }
}

Json RegionReport::RingJson(std::uint32_t producer, std::uint32_t consumer, std::size_t records,
                            Problems* problems) const {
  const std::uint32_t index = region_.CellIndex(consumer, producer);
  const Cell cell = Cell::FromWord(Load(region_.cell(index)));
  Json json;
  json["from"] = NameAt(producer);
  json["to"] = NameAt(consumer);
  json["from_slot"] = producer;
  json["to_slot"] = consumer;
  AddCell(index, cell, &json);
  if (cell.state == CellState::kEmpty) return json;
  if (cell.state > CellState::kClosed) {
    problems->emplace_back("the cell has no known state");
    return json;
  }
  const auto ring = region_.RingOf(cell);
  if (!ring) {
    problems->emplace_back("the cell points outside the arena");
    return json;
  }
  if (cell.state != CellState::kLive) return json;
  if (!ring->IsDescribed(index, cell)) {
    problems->emplace_back("the cell does not lead to a ring of this pair");
    return json;
  }
  CheckUnits(index, cell, problems);
  for (const auto& [slot, role] :
       {std::pair(producer, "sender"), std::pair(consumer, "receiver")}) {
    if (LoadLife(region_.slot(slot)).state == PeerState::kFree) {
      problems->push_back(fmt::format("its {}'s slot is free", role));
    }
  }
  AddRecords(*ring, producer, records, &json, problems);
  return json;
}

Json RegionReport::Ring(std::uint32_t producer, std::uint32_t consumer, std::size_t records) {
  return Settled(fmt::format("ring from {} to {}", NameAt(producer), NameAt(consumer)),
                 [&](Problems* problems) {
                   return RingJson(producer, consumer, std::min(records, kMostRecords), problems);
                 });
}

Json RegionReport::Rings(std::size_t records) {
  Json list = Json::array();
  for (std::uint32_t consumer = 0; consumer < region_.max_peers(); ++consumer) {
    for (std::uint32_t producer = 0; producer < region_.max_peers(); ++producer) {
      if (Load(region_.cell(region_.CellIndex(consumer, producer))) == 0) continue;
      if (list.size() == kMostRings) {
        problems_.emplace_back("directory: more rings than an arena can hold");
        return list;
      }
      list.push_back(Ring(producer, consumer, records));
    }
  }
  return list;
}

// ---- Heaps ----

Json RegionReport::ExtentJson(std::uint32_t slot, std::uint32_t extent, Problems* problems) const {
  const std::uint32_t index = region_.HeapCellIndex(slot, extent);
  const Cell cell = Cell::FromWord(Load(region_.cell(index)));
  Json json;
  json["of"] = NameAt(slot);
  json["slot"] = slot;
  json["extent"] = extent;
  AddCell(index, cell, &json);
  if (cell.state == CellState::kEmpty) return json;
  if (cell.state > CellState::kLive) {
    problems->emplace_back("the cell has no state of an extent");
    return json;
  }
  const auto view = ExtentOf(region_, cell);
  if (!view) {
    problems->emplace_back("the cell points outside the arena");
  } else if (cell.state == CellState::kLive) {
    if (view->IsDescribed(index, cell)) {
      CheckUnits(index, cell, problems);
    } else {
      problems->emplace_back("the cell does not lead to an extent of this heap");
    }
  }
  return json;
}

Json RegionReport::Heaps() {
  Json list = Json::array();
  for (std::uint32_t slot = 0; slot < region_.max_peers(); ++slot) {
    for (std::uint32_t extent = 0; extent < layout::kHeapExtents; ++extent) {
      if (Load(region_.cell(region_.HeapCellIndex(slot, extent))) == 0) continue;
      list.push_back(
          Settled(fmt::format("heap of {}, extent {}", NameAt(slot), extent),
                  [&](Problems* problems) { return ExtentJson(slot, extent, problems); }));
    }
  }
  return list;
}

}  // namespace ivmq::tool
