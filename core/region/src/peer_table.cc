#include "ivmq/internal/peer_table.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/crash_point.h"
#include "ivmq/internal/peer_slot.h"
#include "ivmq/internal/str_cat.h"
#include "ivmq/internal/topic_name.h"

#include "src/slot_text.h"
#include "src/utf8.h"

namespace ivmq {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Life;
using layout::PeerSlot;
using layout::PeerState;

std::string ToString(const NameWords& words) {
  std::array<char, layout::kNameBytes> bytes{};
  std::memcpy(bytes.data(), words.data(), sizeof(words));
  bytes.back() = '\0';
  std::string name(bytes.data());
  // Another peer wrote it: keep control characters away from terminals and logs.
  for (char& c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return name;
}

}  // namespace

BootId ReadBootId() {
  // 36 characters, e.g. 2f1c9d7e-...: the hex digits make two words.
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  std::getline(file, text);
  std::erase(text, '-');
  BootId id{};
  if (text.size() == 32) {
    unsigned long long high = 0;
    unsigned long long low = 0;
    if (std::sscanf(text.c_str(), "%16llx%16llx", &high, &low) == 2) id = {high, low};
  }
  return id;
}

Status CheckName(std::string_view name) {
  if (name.empty() || name.size() >= layout::kNameBytes) {
    return {StatusCode::kInvalidArgument, StrCat("a peer's name has 1 to ", layout::kNameBytes - 1,
                                                 " bytes; this one has ", name.size())};
  }
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f) {
      return {StatusCode::kInvalidArgument, StrCat("a peer's name must not contain blanks or "
                                                   "control characters; this one contains byte ",
                                                   static_cast<int>(byte))};
    }
  }
  if (!IsUtf8(name)) {
    return {StatusCode::kInvalidArgument, "a peer's name must be UTF-8; this one is not"};
  }
  return {};
}

void PeerTable::WriteIdentity(PeerId self, const ClaimRequest& request,
                              const Transport& transport) const {
  PeerSlot& slot = region_.slot(self.slot);
  slot.boot_id[0].store(request.boot_id[0], std::memory_order_relaxed);
  slot.boot_id[1].store(request.boot_id[1], std::memory_order_relaxed);
  slot.lock_domain.store(transport.lock_domain(), std::memory_order_relaxed);
  slot.pid.store(request.pid, std::memory_order_relaxed);
  slot.vector.store(transport.info().vector, std::memory_order_relaxed);
  const NameWords name = ToWords(request.name);
  IVMQ_CRASH_POINT("identity.half");
  for (std::size_t i = 0; i < name.size(); ++i) {
    slot.name[i].store(name[i], std::memory_order_relaxed);
  }
  IVMQ_CRASH_POINT("identity.written");
  slot.name_incarnation.store(self.incarnation, std::memory_order_release);
}

bool PeerTable::Write(layout::SlotText& head, std::span<layout::Word> text,
                      std::uint32_t incarnation, const std::vector<std::string>& strings) const {
  if (HasText(head, text, incarnation, strings)) return false;
  StoreText(head, text, incarnation, strings);
  region_.header().peers_generation.fetch_add(1, std::memory_order_release);
  return true;
}

bool PeerTable::WriteServices(PeerId self, const std::vector<std::string>& services) const {
  PeerSlot& slot = region_.slot(self.slot);
  return Write(slot.services, slot.services_text, self.incarnation, services);
}

bool PeerTable::WriteTopics(PeerId self, const std::vector<std::string>& topics) const {
  PeerSlot& slot = region_.slot(self.slot);
  return Write(slot.topics, slot.topics_text, self.incarnation, topics);
}

std::vector<std::string> PeerTable::ReadTopics(PeerId peer) const {
  const PeerSlot& slot = region_.slot(peer.slot);
  return LoadText(slot.topics, slot.topics_text, peer.incarnation);
}

void PeerTable::EndClaim(std::uint32_t slot, const layout::Life& life) const {
  if (life.state != PeerState::kClaiming) return;
  Life dead = life;
  dead.state = PeerState::kDead;
  (void)Transition(slot, life.ToWord(), dead);
}

void PeerTable::TellPartners(std::uint32_t dead) const {
  for (std::uint32_t other = 0; other < region_.max_peers(); ++other) {
    for (const std::uint32_t index :
         {region_.CellIndex(other, dead), region_.CellIndex(dead, other)}) {
      const std::uint64_t word = region_.cell(index).load(std::memory_order_acquire);
      if (Cell::FromWord(word).state == CellState::kEmpty) continue;
      region_.slot(other).inbound_changes.fetch_add(1, std::memory_order_seq_cst);
      IVMQ_CRASH_POINT("death.partner_told");
      break;
    }
  }
}

bool PeerTable::Transition(std::uint32_t slot, std::uint64_t from, const Life& to) const {
  if (!region_.slot(slot).life.compare_exchange_strong(from, to.ToWord())) return false;
  IVMQ_CRASH_POINT("life.changed");
  if (to.state == PeerState::kDead && !IsDurable(to)) TellPartners(slot);
  region_.header().peers_generation.fetch_add(1, std::memory_order_release);
  return true;
}

void PeerTable::Leave(const ClaimedSlot& claimed, ProofOfLife& proof) const {
  Life dead = Life::FromWord(claimed.live_word);
  dead.state = PeerState::kDead;
  const bool was_alive = Transition(claimed.id.slot, claimed.live_word, dead);
  IVMQ_CRASH_POINT("leave.dead");
  LetGoOfSlot(proof, claimed.id.slot);
  IVMQ_CRASH_POINT("leave.let_go");
  if (was_alive) Reclaim();
}

std::uint32_t PeerTable::MarkIvpositionDead(std::uint16_t ivposition, const BootId* except) const {
  std::uint32_t marked = 0;
  for (std::uint32_t s = 0; s < region_.max_peers(); ++s) {
    const PeerSlot& slot = region_.slot(s);
    const Life life = LoadLife(slot);
    if (life.ivposition != ivposition ||
        (life.state != PeerState::kLive && life.state != PeerState::kClaiming)) {
      continue;
    }
    if (except != nullptr) {
      if (!HasIdentity(slot, life)) continue;
      const BootId boot_id = {slot.boot_id[0].load(std::memory_order_relaxed),
                              slot.boot_id[1].load(std::memory_order_relaxed)};
      if (boot_id == *except) continue;
    }
    Life dead = life;
    dead.state = PeerState::kDead;
    if (Transition(s, life.ToWord(), dead)) ++marked;
  }
  return marked;
}

std::uint32_t PeerTable::MarkDisconnected(std::uint16_t ivposition) const {
  std::uint32_t marked = 0;
  for (std::uint32_t s = 0; s < region_.max_peers(); ++s) {
    PeerSlot& slot = region_.slot(s);
    const Life life = LoadLife(slot);
    if (life.ivposition != ivposition || life.state != PeerState::kLive) continue;
    slot.disconnected.store(life.ToWord(), std::memory_order_relaxed);
    ++marked;
  }
  if (marked != 0) region_.header().peers_generation.fetch_add(1, std::memory_order_release);
  return marked;
}

std::uint32_t PeerTable::MarkUnlockedDead(const ProofOfLife& proof,
                                          std::optional<std::uint32_t> own_slot) const {
  const std::uint64_t domain = proof.lock_domain();
  if (domain == 0) return 0;
  std::uint32_t marked = 0;
  for (std::uint32_t s = 0; s < region_.max_peers(); ++s) {
    const PeerSlot& slot = region_.slot(s);
    const Life life = LoadLife(slot);
    if ((life.state != PeerState::kLive && life.state != PeerState::kClaiming) ||
        (own_slot && *own_slot == s) || !HasIdentity(slot, life) ||
        slot.lock_domain.load(std::memory_order_relaxed) != domain || proof.IsSlotLocked(s)) {
      continue;
    }
    Life dead = life;
    dead.state = PeerState::kDead;
    if (Transition(s, life.ToWord(), dead)) ++marked;
  }
  return marked;
}

void PeerTable::Reclaim() const {
  const Arena arena(region_);
  const std::uint32_t slots = region_.max_peers();
  for (std::uint32_t dead = 0; dead < slots; ++dead) {
    const PeerSlot& dead_slot = region_.slot(dead);
    const Life life = LoadLife(dead_slot);
    if (life.state != PeerState::kDead || IsDurable(life)) continue;
    // A ring goes when both its ends are dead. One living end frees it by itself: the producer
    // stops writing first, the consumer takes out what is left. A durable end keeps what it has not
    // read, but needs no ring to somebody who is gone.
    bool in_use = false;
    for (std::uint32_t other = 0; other < slots; ++other) {
      for (const bool other_produces : {true, false}) {
        const std::uint32_t index =
            other_produces ? region_.CellIndex(dead, other) : region_.CellIndex(other, dead);
        const std::uint64_t word = region_.cell(index).load(std::memory_order_acquire);
        const CellState state = Cell::FromWord(word).state;
        if (state == CellState::kEmpty) continue;
        // The cell first, then the lives: whoever judged before it read could empty the cell of the
        // slot's next owner.
        if (!(LoadLife(dead_slot) == life)) {
          in_use = true;
          break;
        }
        const Life other_life = LoadLife(region_.slot(other));
        const bool other_acts =
            other_life.state == PeerState::kLive || other_life.state == PeerState::kClaiming;
        const bool other_reads =
            other_acts || (other_life.state == PeerState::kDead && IsDurable(other_life));
        // What a dead producer was still carving nobody will ever read, nor what its consumer has
        // let go of.
        const bool kept = other_produces ? other_acts
                                         : other_reads && state != CellState::kCarving &&
                                               state != CellState::kClosed;
        if (kept) {
          in_use = true;
        } else {
          arena.Free(index, word);
          IVMQ_CRASH_POINT("reclaim.ring_freed");
        }
      }
    }
    if (in_use) continue;
    IVMQ_CRASH_POINT("reclaim.rings_freed");
    // What it sent has been read, so nobody follows a descriptor to its heap any more.
    for (std::uint32_t extent = 0; extent < layout::kHeapExtents; ++extent) {
      const std::uint32_t index = region_.HeapCellIndex(dead, extent);
      const std::uint64_t word = region_.cell(index).load(std::memory_order_acquire);
      // In this order, as above.
      if (!(LoadLife(dead_slot) == life)) break;
      if (Cell::FromWord(word).state == CellState::kEmpty) continue;
      arena.Free(index, word);
      IVMQ_CRASH_POINT("reclaim.extent_freed");
    }
    (void)Transition(dead, life.ToWord(),
                     Life{life.incarnation, layout::kNoIvposition, 0, PeerState::kFree});
  }
}

Status PeerTable::Forget(std::string_view name) const {
  const NameWords words = ToWords(name);
  for (std::uint32_t s = 0; s < region_.max_peers(); ++s) {
    const PeerSlot& slot = region_.slot(s);
    const std::optional<Life> life = LifeNamed(slot, words);
    if (!life) continue;
    if (life->state != PeerState::kDead) {
      return {StatusCode::kFailedPrecondition,
              StrCat("'", name, "' in slot ", s, " is ", StateName(life->state), "; end it first")};
    }
    if (!IsDurable(*life)) continue;
    Life forgotten = *life;
    forgotten.flags = static_cast<std::uint8_t>(life->flags & ~layout::kPeerDurable);
    if (!Transition(s, life->ToWord(), forgotten)) {
      return {StatusCode::kAborted, StrCat("'", name, "' in slot ", s, " has just come back")};
    }
    Reclaim();
    return {};
  }
  return {StatusCode::kNotFound, StrCat("no durable peer is named '", name, "'; see `ivmq ls`")};
}

std::optional<PeerInfo> PeerTable::Read(std::uint32_t s) const {
  const PeerSlot& slot = region_.slot(s);
  for (int attempt = 0; attempt < 4; ++attempt) {
    const Life life = LoadLife(slot);
    if (life.state == PeerState::kFree || !HasName(slot, life)) return std::nullopt;
    PeerInfo info;
    info.id = {s, life.incarnation};
    info.state = life.state;
    info.durable = IsDurable(life);
    info.can_ring = (life.flags & layout::kPeerCanRing) != 0;
    info.wakeable = (life.flags & layout::kPeerWakeable) != 0;
    info.ivposition = life.ivposition;
    info.name = ToString(LoadName(slot));
    info.vector = slot.vector.load(std::memory_order_relaxed);
    info.pid = slot.pid.load(std::memory_order_relaxed);
    info.boot_id = {slot.boot_id[0].load(std::memory_order_relaxed),
                    slot.boot_id[1].load(std::memory_order_relaxed)};
    info.claimed_at = slot.claimed_at.load(std::memory_order_relaxed);
    info.heartbeat = slot.heartbeat.load(std::memory_order_relaxed);
    info.disconnected = life.state == PeerState::kLive &&
                        slot.disconnected.load(std::memory_order_relaxed) == life.ToWord();
    info.armed = slot.armed.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < info.counters.size(); ++i) {
      info.counters[i] = slot.counters[i].load(std::memory_order_relaxed);
    }
    if (life.state == PeerState::kLive) {
      info.services = LoadText(slot.services, slot.services_text, life.incarnation);
      std::erase_if(info.services, [](const std::string& name) { return !IsServiceName(name); });
      for (const std::string& text : ReadTopics(info.id)) {
        if (auto topic = ParseTopicText(text)) info.topics.push_back(*std::move(topic));
      }
    }
    std::atomic_signal_fence(std::memory_order_acquire);
    if (LoadLife(slot) == life) return info;
  }
  return std::nullopt;
}

PeerSnapshot PeerTable::Snapshot() const {
  PeerSnapshot snapshot;
  // Read first: a change during the walk shows as another generation at the next look.
  snapshot.generation = generation();
  for (std::uint32_t s = 0; s < region_.max_peers(); ++s) {
    if (auto info = Read(s)) snapshot.peers.push_back(*std::move(info));
  }
  return snapshot;
}

std::optional<PeerInfo> PeerTable::Find(std::string_view name) const {
  const NameWords words = ToWords(name);
  for (std::uint32_t s = 0; s < region_.max_peers(); ++s) {
    const std::optional<Life> life = LifeNamed(region_.slot(s), words);
    if (!life) continue;
    if (life->state == PeerState::kLive || (life->state == PeerState::kDead && IsDurable(*life))) {
      if (auto info = Read(s); info && info->id.incarnation == life->incarnation) return info;
    }
  }
  return std::nullopt;
}

void PeerTable::WakeAll(Doorbell& doorbell, std::optional<std::uint32_t> own_slot) const {
  for (std::uint32_t s = 0; s < region_.max_peers(); ++s) {
    const PeerSlot& slot = region_.slot(s);
    const Life life = LoadLife(slot);
    if (own_slot == s || life.state != PeerState::kLive ||
        (life.flags & layout::kPeerWakeable) == 0) {
      continue;
    }
    doorbell.Ring(life.ivposition, slot.vector.load(std::memory_order_relaxed));
  }
}

}  // namespace ivmq
