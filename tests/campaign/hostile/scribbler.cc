#include "hostile/scribbler.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace ivmq::campaign {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Life;
using layout::Owner;
using layout::PeerSlot;
using layout::PeerState;
using layout::RecordKind;

constexpr std::size_t kMostSeen = 4096;

}  // namespace

Scribbler::Scribbler(std::span<std::byte> memory, const Region& region, const Stage& stage,
                     std::uint64_t seed, bool is_clever)
    : memory_(memory),
      region_(region),
      is_clever_(is_clever),
      random_(seed),
      spared_slots_(region.max_peers()),
      spared_cells_(region.geometry().cells()),
      spared_units_(region.geometry().unit_count) {
  for (std::uint32_t peer = 0; peer < kSpared; ++peer) {
    spared_slots_.at(stage.peers.at(peer).slot) = true;
  }
  for (std::uint32_t consumer = 0; consumer < region_.max_peers(); ++consumer) {
    if (!spared_slots_[consumer]) continue;
    for (std::uint32_t extent = 0; extent < layout::kHeapExtents; ++extent) {
      spared_cells_[region_.HeapCellIndex(consumer, extent)] = true;
    }
    for (std::uint32_t producer = 0; producer < region_.max_peers(); ++producer) {
      if (!spared_slots_[producer]) continue;
      const std::uint32_t index = region_.CellIndex(consumer, producer);
      spared_cells_[index] = true;
      const Cell cell = Cell::FromWord(region_.cell(index));
      if (!region_.RingOf(cell)) continue;
      spared_rings_.push_back(cell);
      const std::uint32_t units =
          region_.geometry().UnitsFor(std::uint64_t{1} << cell.capacity_log2);
      std::fill_n(spared_units_.begin() + cell.first_unit, units, true);
    }
  }
}

// ---- Places ----

std::uint32_t Scribbler::SomeSlot() {
  for (;;) {
    const auto slot = static_cast<std::uint32_t>(Below(region_.max_peers()));
    if (!spared_slots_[slot]) return slot;
  }
}

std::uint32_t Scribbler::SomeCell() {
  for (;;) {
    const auto index = static_cast<std::uint32_t>(Below(region_.geometry().cells()));
    if (!spared_cells_[index]) return index;
  }
}

std::uint32_t Scribbler::SomeUnit() {
  for (;;) {
    const auto unit = static_cast<std::uint32_t>(Below(region_.geometry().unit_count));
    if (!spared_units_[unit]) return unit;
  }
}

std::optional<Scribbler::Ring> Scribbler::SomeRing() {
  const Geometry& g = region_.geometry();
  const auto first = static_cast<std::uint32_t>(Below(g.pair_cells()));
  for (std::uint32_t i = 0; i < g.pair_cells(); ++i) {
    const std::uint32_t index = (first + i) % g.pair_cells();
    const Cell cell = Cell::FromWord(region_.cell(index));
    if (spared_cells_[index] || cell.state != CellState::kLive) continue;
    const std::optional<RingView> view = region_.RingOf(cell);
    if (!view) continue;
    // Somebody may have made it name the memory of a spared one.
    const auto begin = spared_units_.begin() + cell.first_unit;
    if (std::find(begin, begin + g.UnitsFor(view->capacity), true) !=
        begin + g.UnitsFor(view->capacity)) {
      continue;
    }
    return Ring{index, *view};
  }
  return std::nullopt;
}

Scribbler::Word& Scribbler::WordAt(std::uint64_t offset) {
  return *reinterpret_cast<Word*>(memory_.data() + offset);
}

Scribbler::Word& Scribbler::SomeWord() {
  const Geometry& g = region_.geometry();
  switch (Below(6)) {
    case 0: {
      const std::uint64_t slot = g.peer_table_offset + SomeSlot() * sizeof(PeerSlot);
      // Most of a slot is text.
      return WordAt(slot + 8 * Below(Below(3) == 0 ? sizeof(PeerSlot) / 8 : 100));
    }
    case 1:
      return region_.cell(SomeCell());
    case 2:
      return region_.owner(SomeUnit());
    case 3:
      if (const std::optional<Ring> ring = SomeRing()) {
        auto* const words = reinterpret_cast<Word*>(ring->view.header);
        return words[Below(Below(2) == 0 ? 80 : sizeof(layout::RingHeader) / 8)];
      }
      [[fallthrough]];
    case 4:
      if (const std::optional<Ring> ring = SomeRing()) {
        const std::uint64_t near = ring->view.header->released + 8 * Below(512);
        return ring->view.CommitWordAt(near & ~std::uint64_t{7});
      }
      [[fallthrough]];
    default:
      return WordAt(g.arena_offset + std::uint64_t{SomeUnit()} * g.unit_size +
                    8 * Below(g.unit_size / 8));
  }
}

// ---- Values ----

void Scribbler::Store(Word& word, std::uint64_t value) {
  const Seen seen{&word, word.load(std::memory_order_relaxed)};
  if (seen_.size() < kMostSeen) {
    seen_.push_back(seen);
  } else {
    seen_[Below(kMostSeen)] = seen;
  }
  word.store(value, std::memory_order_relaxed);
}

void Scribbler::Damage(Word& word) {
  const std::uint64_t value = word.load(std::memory_order_relaxed);
  constexpr std::array<std::uint64_t, 6> kExtremes{
      0, 1, ~std::uint64_t{0}, std::uint64_t{1} << 63, 0xffffffff, 0x7fffffffffffffff};
  switch (Below(5)) {
    case 0:
      return Store(word, random_());
    case 1:
      return Store(word, value ^ std::uint64_t{1} << Below(64));
    case 2:
      return Store(word, kExtremes.at(Below(kExtremes.size())));
    case 3:
      return Store(word, value + 8 * (Below(64) - 32));
    default:
      return Store(word, SomeWord().load(std::memory_order_relaxed));
  }
}

// ---- Clever ones ----

void Scribbler::ScribbleLife() {
  PeerSlot& slot = region_.slot(SomeSlot());
  Life life = Life::FromWord(slot.life.load(std::memory_order_relaxed));
  switch (Below(6)) {
    case 0:
      life.state = static_cast<PeerState>(Below(5));
      break;
    case 1:
      life.incarnation += static_cast<std::uint32_t>(Below(3)) - 1;
      break;
    case 2:
      life.flags = static_cast<std::uint8_t>(Below(32));
      break;
    case 3:
      life.ivposition = static_cast<std::uint16_t>(Below(8));
      break;
    case 4:
      return Store(slot.heartbeat, slot.heartbeat + Below(2));
    default:
      return Store(slot.armed, slot.armed + Below(3));
  }
  Store(slot.life, life.ToWord());
}

void Scribbler::ScribbleCell() {
  Word& word = region_.cell(SomeCell());
  Cell cell = Cell::FromWord(word.load(std::memory_order_relaxed));
  switch (Below(6)) {
    case 0:
      cell.state = static_cast<CellState>(Below(8));
      break;
    case 1:
      cell.generation += static_cast<std::uint32_t>(Below(5)) - 2;
      break;
    case 2:
      cell.capacity_log2 = static_cast<std::uint8_t>(Below(32));
      break;
    case 3:
      cell.first_unit = static_cast<std::uint32_t>(Below(region_.geometry().unit_count + 10));
      break;
    case 4:  // another one's ring
      cell = Cell::FromWord(region_.cell(SomeCell()));
      break;
    default:  // a spared one's, or one that reaches into it
      if (!spared_rings_.empty()) {
        cell = spared_rings_[Below(spared_rings_.size())];
        cell.first_unit -= static_cast<std::uint32_t>(Below(3));
        cell.state = static_cast<CellState>(Below(5));
      }
      break;
  }
  Store(word, cell.ToWord());
}

void Scribbler::ScribbleOwner() {
  Owner owner = Owner::FromWord(region_.owner(SomeUnit()));
  if (Below(2) == 0) {
    owner.cell_plus_one = static_cast<std::uint32_t>(Below(region_.geometry().cells() + 2));
  } else {
    owner.generation += static_cast<std::uint32_t>(Below(5)) - 2;
  }
  Store(region_.owner(SomeUnit()), owner.ToWord());
}

void Scribbler::ScribblePositions() {
  const std::optional<Ring> ring = SomeRing();
  if (!ring) return;
  layout::RingHeader& header = *ring->view.header;
  const std::array<Word*, 7> words{&header.delivered, &header.acked,   &header.sender,
                                   &header.released,  &header.dropped, &header.space_armed,
                                   &header.committed};
  Word& word = *words.at(Below(words.size()));
  const std::uint64_t value = word.load(std::memory_order_relaxed);
  switch (Below(5)) {
    case 0:
      return Store(word, value + ring->view.capacity);
    case 1:
      return Store(word, value - ring->view.capacity);
    case 2:
      return Store(word, words.at(Below(words.size()))->load(std::memory_order_relaxed));
    case 3:
      return Store(word, value + 8 * Below(64));
    default:
      return Store(word, value - 8 * Below(64));
  }
}

void Scribbler::ScribbleText() {
  PeerSlot& slot = region_.slot(SomeSlot());
  const bool topics = Below(2) == 0;
  layout::SlotText& head = topics ? slot.topics : slot.services;
  const Life life = Life::FromWord(slot.life.load(std::memory_order_relaxed));
  switch (Below(4)) {
    case 0:  // a text that seems to change for ever
      return Store(head.sequence, std::uint64_t{life.incarnation} << 32 | Below(4));
    case 1:
      head.bytes.store(static_cast<std::uint32_t>(Below(4) == 0 ? random_() : Below(2100)));
      return;
    case 2:
      head.count.store(static_cast<std::uint32_t>(random_()));
      return;
    default: {
      std::span<Word> text =
          topics ? std::span<Word>(slot.topics_text) : std::span<Word>(slot.services_text);
      return Damage(text[Below(text.size())]);
    }
  }
}

void Scribbler::ScribbleHeader() {
  layout::Header& header = region_.header();
  switch (Below(5)) {
    case 0:
      return Store(header.server_epoch, Below(2) == 0 ? random_() : header.server_epoch + 1);
    case 1:
      header.server_pid.store(static_cast<std::uint32_t>(Below(2)));
      return;
    case 2:
      header.server_vectors.store(static_cast<std::uint32_t>(random_()));
      return;
    case 3:
      return Store(header.peers_generation, header.peers_generation + Below(3) - 1);
    default: {
      // Who attaches at this moment is refused.
      Word& word = WordAt(8 * Below(layout::kHeaderImmutableBytes / 8));
      const std::uint64_t value = word.load(std::memory_order_relaxed);
      word.store(random_(), std::memory_order_relaxed);
      for (std::uint64_t i = Below(1000); i > 0; --i)
        std::atomic_signal_fence(std::memory_order_seq_cst);
      word.store(value, std::memory_order_relaxed);
    }
  }
}

void Scribbler::ForgeRecord() {
  const std::optional<Ring> ring = SomeRing();
  if (!ring) return;
  const RingView& view = ring->view;
  // At the end of what is there, unless its producer is faster.
  std::uint64_t position =
      view.header->released.load(std::memory_order_relaxed) & ~std::uint64_t{7};
  for (int records = 0; records < 4096; ++records) {
    const std::uint64_t word = view.CommitWordAt(position).load(std::memory_order_acquire);
    if (!layout::CommitTagMatches(word, position)) break;
    position += layout::RecordSize(layout::CommitLength(word));
  }
  const std::uint64_t room = view.RoomAt(position);
  std::uint64_t length = Below(8) == 0 ? Below(view.capacity) : Below(200);
  const auto kind = static_cast<RecordKind>(Below(8) == 0 ? Below(16) : 1);
  if (layout::RecordSize(length) <= room) {
    // Its frame: of any kind, with names and numbers of any length.
    std::byte* const payload = view.DataAt(position) + layout::kRecordHeader;
    for (std::uint64_t i = 0; i + 8 <= length; i += 8) {
      const std::uint64_t value = Below(3) == 0 ? Below(64) : random_();
      std::memcpy(payload + i, &value, sizeof(value));
    }
    const layout::Frame frame{
        .kind = static_cast<layout::FrameKind>(Below(32)),
        .flags = static_cast<std::uint8_t>(Below(4) == 0 ? random_() : 0),
        .name_bytes = static_cast<std::uint16_t>(Below(3) == 0 ? random_() : Below(32)),
        .type = static_cast<std::uint32_t>(Below(3) == 0 ? random_() : Below(64))};
    std::memcpy(payload, &frame, std::min<std::uint64_t>(sizeof(frame), length));
    const std::uint64_t next = position + layout::RecordSize(length);
    if (view.RoomAt(next) >= 8) view.CommitWordAt(next).store(0, std::memory_order_relaxed);
  }
  view.CommitWordAt(position).store(
      layout::CommitWord(position, kind, static_cast<std::uint32_t>(length)),
      std::memory_order_release);
}

void Scribbler::Scribble() {
  if (!is_clever_) return Damage(SomeWord());
  switch (Below(10)) {
    case 0:
      return ScribbleLife();
    case 1:
      return ScribbleCell();
    case 2:
      return ScribbleOwner();
    case 3:
      return ScribblePositions();
    case 4:
      return ScribbleText();
    case 5:
      return ScribbleHeader();
    case 6:
    case 7:
      return ForgeRecord();
    case 8:  // as if it were still, or again, what it was
      if (!seen_.empty()) {
        const Seen& seen = seen_[Below(seen_.size())];
        seen.word->store(seen.value, std::memory_order_relaxed);
      }
      return;
    default:
      return Damage(SomeWord());
  }
}

}  // namespace ivmq::campaign
