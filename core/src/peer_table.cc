#include "ivmq/peer_table.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <utility>

#include <boost/regex/pending/unicode_iterator.hpp>

#include "ivmq/arena.h"
#include "ivmq/fence.h"

#include "src/services.h"
#include "src/str_cat.h"

namespace ivmq {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Life;
using layout::PeerSlot;
using layout::PeerState;

using Clock = std::chrono::steady_clock;

// A claim takes microseconds. One that stands still for so long is dead or stopped, and loses
// nothing but its claim if it goes on: it owns no ring before it is live.
constexpr std::chrono::seconds kClaimLimit{2};
constexpr std::chrono::microseconds kClaimRetry{200};
// A correct slot changes a few times a second at most.
constexpr int kMostLooks = 1000;

using NameWords = std::array<std::uint64_t, layout::kNameBytes / sizeof(std::uint64_t)>;

NameWords ToWords(std::string_view name) {
  NameWords words{};
  std::memcpy(words.data(), name.data(), std::min(name.size(), layout::kNameBytes - 1));
  return words;
}

NameWords LoadName(const PeerSlot& slot) {
  NameWords words{};
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = slot.name[i].load(std::memory_order_relaxed);
  }
  return words;
}

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

Life LoadLife(const PeerSlot& slot) {
  return Life::FromWord(slot.life.load(std::memory_order_acquire));
}

// The owner stores name_incarnation after the identity, so that a claimer that has not got so far
// is not taken for the slot's previous owner.
bool HasIdentity(const PeerSlot& slot, const Life& life) {
  return slot.name_incarnation.load(std::memory_order_acquire) == life.incarnation;
}

// Who takes over a durable slot has the name that stands in it, even if it dies before it has
// written anything.
bool HasName(const PeerSlot& slot, const Life& life) {
  return (life.flags & layout::kPeerResumed) != 0 || HasIdentity(slot, life);
}

// The slot's life if it has that name in it. Looks again while the slot changes: a claim that
// becomes live at that instant must not be passed over.
std::optional<Life> LifeNamed(const PeerSlot& slot, const NameWords& name) {
  for (int attempt = 0;; ++attempt) {
    const Life life = LoadLife(slot);
    const bool is_named =
        life.state != PeerState::kFree && HasName(slot, life) && LoadName(slot) == name;
    if (LoadLife(slot) == life || attempt == kMostLooks) {
      return is_named ? std::optional(life) : std::nullopt;
    }
  }
}

// A claim that has not written its name yet. It may be the one that others look for: wait for it.
bool IsNameless(const PeerSlot& slot, const Life& life) {
  return life.state == PeerState::kClaiming && !HasName(slot, life);
}

bool IsDurable(const Life& life) { return (life.flags & layout::kPeerDurable) != 0; }

std::string_view StateName(PeerState state) {
  switch (state) {
    case PeerState::kFree:
      return "free";
    case PeerState::kClaiming:
      return "claiming";
    case PeerState::kLive:
      return "live";
    case PeerState::kDead:
      return "dead";
  }
  return "damaged";
}

Status NameIsHeld(std::string_view name, std::uint32_t slot, const PeerSlot& holder,
                  const Life& life) {
  return {StatusCode::kAlreadyExists,
          StrCat("the name '", name, "' is held by slot ", slot, ", incarnation ", life.incarnation,
                 ", pid ", holder.pid.load(std::memory_order_relaxed), ", ivposition ",
                 life.ivposition == layout::kNoIvposition ? std::string("none")
                                                          : std::to_string(life.ivposition),
                 ", ", StateName(life.state), "; take another name or end that peer")};
}

// What shows that this process lives, to others and to the kernel: taken before the claim, so that
// no end of the process goes unseen.
Status Hold(Transport& transport, std::uint32_t slot, const Life& live, const BootId& boot_id) {
  const bool locks = transport.info().lock_domain != 0;
  if (Status status = locks ? transport.LockSlot(slot) : Status(); !status.ok()) return status;
  Status status = transport.RegisterSlot(slot, live.ToWord(), boot_id);
  if (!status.ok() && locks) transport.UnlockSlot(slot);
  return status;
}

void LetGo(Transport& transport, std::uint32_t slot) noexcept {
  transport.UnregisterSlot(slot);
  if (transport.info().lock_domain != 0) transport.UnlockSlot(slot);
}

std::uint64_t NowSinceEpoch() {
  return static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
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
      return {StatusCode::kInvalidArgument,
              StrCat("a peer's name has no blanks and no control characters; this one has byte ",
                     static_cast<int>(byte))};
    }
  }
  try {
    using Decoder = boost::u8_to_u32_iterator<std::string_view::const_iterator>;
    for (Decoder at(name.begin(), name.begin(), name.end()),
         end(name.end(), name.begin(), name.end());
         at != end; ++at) {
      (void)*at;
    }
  } catch (const std::out_of_range&) {
    return {StatusCode::kInvalidArgument, "a peer's name is UTF-8; this one is not"};
  }
  return {};
}

void PeerTable::WriteIdentity(PeerId self, const ClaimRequest& request,
                              const Transport& transport) const {
  PeerSlot& slot = region_.slot(self.slot);
  slot.boot_id[0].store(request.boot_id[0], std::memory_order_relaxed);
  slot.boot_id[1].store(request.boot_id[1], std::memory_order_relaxed);
  slot.lock_domain.store(transport.info().lock_domain, std::memory_order_relaxed);
  slot.pid.store(request.pid, std::memory_order_relaxed);
  slot.vector.store(transport.info().vector, std::memory_order_relaxed);
  const NameWords name = ToWords(request.name);
  for (std::size_t i = 0; i < name.size(); ++i) {
    slot.name[i].store(name[i], std::memory_order_relaxed);
  }
  slot.name_incarnation.store(self.incarnation, std::memory_order_release);
}

bool PeerTable::WriteServices(PeerId self, const std::vector<std::string>& services) const {
  PeerSlot& slot = region_.slot(self.slot);
  if (HasServices(slot, self.incarnation, services)) return false;
  StoreServices(slot, self.incarnation, services);
  region_.header().peers_generation.fetch_add(1, std::memory_order_release);
  return true;
}

void PeerTable::EndClaim(std::uint32_t slot, const layout::Life& life) const {
  if (life.state != PeerState::kClaiming) return;
  Life dead = life;
  dead.state = PeerState::kDead;
  (void)Transition(slot, life.ToWord(), dead);
}

bool PeerTable::Transition(std::uint32_t slot, std::uint64_t from, const Life& to) const {
  if (!region_.slot(slot).life.compare_exchange_strong(from, to.ToWord())) return false;
  region_.header().peers_generation.fetch_add(1, std::memory_order_release);
  return true;
}

Result<ClaimedSlot> PeerTable::Claim(const ClaimRequest& request, Transport& transport) const {
  if (Status status = CheckName(request.name); !status.ok()) return status;
  const TransportInfo& info = transport.info();
  const NameWords name = ToWords(request.name);
  const std::uint32_t slots = region_.max_peers();

  if (info.ivposition != layout::kNoIvposition) {
    MarkIvpositionDead(info.ivposition, info.exclusive ? nullptr : &request.boot_id);
  }
  const Clock::time_point began = Clock::now();
  Life waited_for;
  Clock::time_point waiting_since{};
  // Waits a moment for `slot`, whose claim is under way; a claim that stands still is ended.
  const auto await_claim = [&](std::uint32_t slot, const Life& life) {
    if (life.state != PeerState::kClaiming) return;
    const Clock::time_point now = Clock::now();
    if (!(life == waited_for)) {
      waited_for = life;
      waiting_since = now;
    } else if (now - waiting_since > kClaimLimit) {
      EndClaim(slot, life);
    }
    std::this_thread::sleep_for(kClaimRetry);
  };

  std::vector<bool> locked_by_others(slots);
  for (;;) {
    if (info.lock_domain != 0) MarkUnlockedDead(transport, std::nullopt);
    Reclaim();

    // The slot to take: that of the name, or the first free one.
    std::optional<std::uint32_t> target;
    Life before;
    std::optional<std::uint32_t> claimed_by_other;
    bool is_resumption = false;
    bool must_wait = false;
    std::uint32_t held_by_others = 0;
    for (std::uint32_t s = 0; s < slots && !must_wait && !is_resumption; ++s) {
      const PeerSlot& slot = region_.slot(s);
      const Life life = LoadLife(slot);
      if (life.state == PeerState::kFree && locked_by_others[s]) {
        ++held_by_others;
      } else if (life.state == PeerState::kFree && !target) {
        target = s;
        before = life;
      }
      if (IsNameless(slot, life)) must_wait = true;
      if (life.state == PeerState::kClaiming) claimed_by_other = s;
      if (must_wait) break;
      const std::optional<Life> named = LifeNamed(slot, name);
      if (!named) continue;
      if (named->state == PeerState::kLive) return NameIsHeld(request.name, s, slot, *named);
      if (named->state == PeerState::kClaiming) {
        claimed_by_other = s;
        must_wait = true;
      } else if (named->state == PeerState::kDead && IsDurable(*named)) {
        target = s;
        before = *named;
        is_resumption = true;
      }
    }
    if (must_wait || (!target && claimed_by_other)) {
      await_claim(*claimed_by_other, LoadLife(region_.slot(*claimed_by_other)));
      continue;
    }
    if (!target && held_by_others > 0) {
      return Status(StatusCode::kResourceExhausted,
                    StrCat("all ", slots, " peer slots are taken, though ", held_by_others,
                           " of them are free: other processes keep them locked or registered, "
                           "which begin, end, or are children of ended ones; try again, or end "
                           "those"));
    }
    if (!target) {
      return Status(StatusCode::kResourceExhausted,
                    StrCat("all ", slots,
                           " peer slots are taken; end a peer, run `ivmq forget` for durable ones "
                           "that are gone, or format the region with more peers"));
    }

    PeerSlot& slot = region_.slot(*target);
    const auto flags = static_cast<std::uint8_t>(
        (request.durable ? layout::kPeerDurable : 0) | (info.can_ring ? layout::kPeerCanRing : 0) |
        (info.wakeable ? layout::kPeerWakeable : 0) | (is_resumption ? layout::kPeerResumed : 0));
    const Life claiming{before.incarnation + 1, info.ivposition, flags, PeerState::kClaiming};
    Life live = claiming;
    live.state = PeerState::kLive;
    const auto unlock = [&] { LetGo(transport, *target); };
    if (Status status = Hold(transport, *target, live, request.boot_id);
        status.code() == StatusCode::kAborted) {
      // Its last owner is about to let go, or another claimer was faster.
      if (is_resumption && Clock::now() - began > kClaimLimit) {
        return NameIsHeld(request.name, *target, slot, before);
      }
      locked_by_others[*target] = !is_resumption;
      std::this_thread::sleep_for(kClaimRetry);
      continue;
    } else if (!status.ok()) {
      return status;
    }
    if (!Transition(*target, before.ToWord(), claiming)) {
      unlock();
      continue;
    }

    slot.claimed_at.store(NowSinceEpoch(), std::memory_order_relaxed);
    WriteIdentity({*target, claiming.incarnation}, request, transport);
    // Of two claimers of one name at least one sees the other's from here on.
    FullFence();

    // LIVE beats CLAIMING; among claimers the lower slot wins, so it waits for the higher ones,
    // which may have looked before it had written its name.
    enum class Verdict : std::uint8_t { kWon, kLost, kAgain } verdict = Verdict::kWon;
    Status held;
    for (std::uint32_t s = 0; s < slots && verdict == Verdict::kWon; ++s) {
      if (s == *target) continue;
      const PeerSlot& other = region_.slot(s);
      for (;;) {
        if (const Life seen = LoadLife(other); IsNameless(other, seen)) {
          await_claim(s, seen);
          continue;
        }
        const std::optional<Life> life = LifeNamed(other, name);
        if (!life) break;
        if (life->state == PeerState::kLive ||
            (life->state == PeerState::kClaiming && s < *target)) {
          held = NameIsHeld(request.name, s, other, *life);
          verdict = Verdict::kLost;
          break;
        }
        if (life->state != PeerState::kClaiming) {
          if (life->state == PeerState::kDead && IsDurable(*life)) verdict = Verdict::kAgain;
          break;
        }
        await_claim(s, *life);
      }
    }

    if (verdict == Verdict::kWon) {
      if (Transition(*target, claiming.ToWord(), live)) {
        return ClaimedSlot{{*target, live.incarnation}, live.ToWord(), is_resumption};
      }
      unlock();
      return Status(
          StatusCode::kUnavailable,
          StrCat("the claim of '", request.name, "' on slot ", *target,
                 " was ended by another peer, which took this process for dead; try again"));
    }
    // Back to what it was; the incarnation stays used up.
    Life back = before;
    back.incarnation = claiming.incarnation;
    (void)Transition(*target, claiming.ToWord(), back);
    unlock();
    if (verdict == Verdict::kLost) return held;
  }
}

void PeerTable::Leave(const ClaimedSlot& claimed, Transport& transport) const {
  Life dead = Life::FromWord(claimed.live_word);
  dead.state = PeerState::kDead;
  const bool was_alive = Transition(claimed.id.slot, claimed.live_word, dead);
  LetGo(transport, claimed.id.slot);
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

std::uint32_t PeerTable::MarkUnlockedDead(const Transport& transport,
                                          std::optional<std::uint32_t> own_slot) const {
  const std::uint64_t domain = transport.info().lock_domain;
  if (domain == 0) return 0;
  std::uint32_t marked = 0;
  for (std::uint32_t s = 0; s < region_.max_peers(); ++s) {
    const PeerSlot& slot = region_.slot(s);
    const Life life = LoadLife(slot);
    if ((life.state != PeerState::kLive && life.state != PeerState::kClaiming) ||
        (own_slot && *own_slot == s) || !HasIdentity(slot, life) ||
        slot.lock_domain.load(std::memory_order_relaxed) != domain || transport.IsSlotLocked(s)) {
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
        // What a dead producer was still carving nobody will ever read.
        const bool kept = other_produces ? other_acts : other_reads && state != CellState::kCarving;
        if (kept) {
          in_use = true;
        } else {
          arena.Free(index, word);
        }
      }
    }
    if (in_use) continue;
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
    info.armed = slot.armed.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < info.counters.size(); ++i) {
      info.counters[i] = slot.counters[i].load(std::memory_order_relaxed);
    }
    if (life.state == PeerState::kLive) info.services = LoadServices(slot, life.incarnation);
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

void PeerTable::WakeAll(Transport& transport, std::optional<std::uint32_t> own_slot) const {
  for (std::uint32_t s = 0; s < region_.max_peers(); ++s) {
    const PeerSlot& slot = region_.slot(s);
    const Life life = LoadLife(slot);
    if (own_slot == s || life.state != PeerState::kLive ||
        (life.flags & layout::kPeerWakeable) == 0) {
      continue;
    }
    transport.Ring(life.ivposition, slot.vector.load(std::memory_order_relaxed));
  }
}

}  // namespace ivmq
