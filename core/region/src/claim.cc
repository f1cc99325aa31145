// Claiming a slot and a name.
//
// A claimer makes a slot its own (state claiming), writes its name, and looks at all the others
// behind a full fence: of two claimers of one name at least one sees the other's. LIVE beats
// CLAIMING; among claimers the lower slot wins, so it waits for those higher ones that it saw,
// which may have looked before it had written its name. A claim that comes later sees its name.
//
// Whatever stands in the table and however it changes, each wait has an end: a claim is waited for
// only as long as it is the same one, and everything ends with kClaimBound.
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "ivmq/internal/crash_point.h"
#include "ivmq/internal/fence.h"
#include "ivmq/internal/peer_slot.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/str_cat.h"

namespace ivmq {
namespace {

using layout::Life;
using layout::PeerSlot;
using layout::PeerState;

// A claim takes microseconds. One that stands still for so long is dead or stopped, and loses
// nothing but its claim if it goes on: it owns no ring before it is live.
constexpr std::chrono::seconds kClaimLimit{2};
// How long others' claims of the same name are waited for before this one tries its luck.
constexpr std::chrono::seconds kNameLimit{3};
// Where no slot is free, the peers that still hold rings to dead ones free them with their next
// heartbeat at the latest, and whoever leaves gives back its lock.
constexpr std::chrono::milliseconds kSlotLimit{1000};
constexpr std::chrono::microseconds kClaimRetry{200};

std::uint64_t NowSinceEpoch() {
  return static_cast<std::uint64_t>(
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
}

}  // namespace

class PeerTable::Claimer {
 public:
  Claimer(const PeerTable& table, const ClaimRequest& request, Transport& transport)
      : table_(table),
        region_(table.region_),
        request_(request),
        transport_(transport),
        name_(ToWords(request.name)),
        slots_(region_.max_peers()),
        passed_over_(slots_),
        waited_for_(slots_),
        began_(Clock::now()) {}

  Result<ClaimedSlot> Run() {
    const TransportInfo& info = transport_.info();
    if (info.ivposition != layout::kNoIvposition) {
      table_.MarkIvpositionDead(info.ivposition, info.exclusive ? nullptr : &request_.boot_id);
    }
    while (Clock::now() - began_ < kClaimBound) {
      if (transport_.lock_domain() != 0) table_.MarkUnlockedDead(transport_, std::nullopt);
      table_.Reclaim();
      std::optional<Result<ClaimedSlot>> result;
      if (const std::optional<Choice> choice = Choose(result)) result = Take(*choice);
      if (result) return *std::move(result);
      std::this_thread::sleep_for(kClaimRetry);
    }
    return Status(StatusCode::kUnavailable,
                  StrCat("no slot could be claimed for '", request_.name, "' in ",
                         std::chrono::seconds(kClaimBound).count(),
                         " s, since the peer table kept changing; `ivmq ls` shows which peer "
                         "keeps claiming slots, or damages them"));
  }

 private:
  using Clock = std::chrono::steady_clock;

  struct Choice {
    std::uint32_t slot;
    Life before;
    bool resumes;  // the dead durable slot of that name
  };
  struct Wait {
    Life life;
    Clock::time_point since;
  };
  using Outcome = std::optional<Result<ClaimedSlot>>;  // none: look again

  // The slot to take: that of the name, or the first free one. None: `outcome`, if that is given.
  std::optional<Choice> Choose(Outcome& outcome) {
    std::optional<Choice> free;
    std::uint32_t passed_over = 0;
    bool has_claims = false;
    bool has_dead = false;
    for (std::uint32_t s = 0; s < slots_; ++s) {
      const PeerSlot& slot = region_.slot(s);
      const Life life = LoadLife(slot);
      has_claims |= life.state == PeerState::kClaiming;
      has_dead |= life.state == PeerState::kDead && !IsDurable(life);
      if (life.state == PeerState::kFree) {
        if (passed_over_[s]) {
          ++passed_over;
        } else if (!free) {
          free = Choice{s, life, false};
        }
        continue;
      }
      const std::optional<Life> named = LifeNamed(slot, name_);
      if (!named) continue;
      if (named->state == PeerState::kLive) {
        outcome = NameIsHeld(s, *named);
        return std::nullopt;
      }
      if (named->state == PeerState::kDead && IsDurable(*named)) return Choice{s, *named, true};
      if (named->state == PeerState::kClaiming && Clock::now() - began_ < kNameLimit) {
        EndIfItStandsStill(s, *named);
        return std::nullopt;
      }
    }
    if (free) return free;

    // Some may be free in a moment.
    if (full_since_ == Clock::time_point{}) {
      full_since_ = Clock::now();
      table_.WakeAll(transport_, std::nullopt);
    }
    const auto waited = Clock::now() - full_since_;
    if (has_claims && waited < kNameLimit) {
      for (std::uint32_t s = 0; s < slots_; ++s) {
        EndIfItStandsStill(s, LoadLife(region_.slot(s)));
      }
    } else if ((!has_dead && passed_over == 0) || waited >= kSlotLimit) {
      outcome = NoSlot(passed_over);
    }
    passed_over_.assign(slots_, false);
    return std::nullopt;
  }

  Outcome Take(const Choice& choice) {
    const TransportInfo& info = transport_.info();
    const auto flags = static_cast<std::uint8_t>(
        (request_.durable ? layout::kPeerDurable : 0) | (info.can_ring ? layout::kPeerCanRing : 0) |
        (info.wakeable ? layout::kPeerWakeable : 0) | (choice.resumes ? layout::kPeerResumed : 0));
    const Life claiming{choice.before.incarnation + 1, info.ivposition, flags,
                        PeerState::kClaiming};
    Life live = claiming;
    live.state = PeerState::kLive;

    // Its last owner may be about to let go, or another claimer be faster.
    if (Status status = Hold(choice.slot, live); status.code() == StatusCode::kAborted) {
      passed_over_[choice.slot] = true;
      if (choice.resumes && Clock::now() - began_ > kClaimLimit) {
        return NameIsHeld(choice.slot, choice.before);
      }
      return std::nullopt;
    } else if (!status.ok()) {
      return status;
    }
    IVMQ_CRASH_POINT("claim.held");
    if (!table_.Transition(choice.slot, choice.before.ToWord(), claiming)) {
      passed_over_[choice.slot] = true;
      LetGoOfSlot(transport_, choice.slot);
      return std::nullopt;
    }
    IVMQ_CRASH_POINT("claim.claiming");
    region_.slot(choice.slot).claimed_at.store(NowSinceEpoch(), std::memory_order_relaxed);
    table_.WriteIdentity({choice.slot, claiming.incarnation}, request_, transport_);
    FullFence();
    IVMQ_CRASH_POINT("claim.named");

    Outcome lost;
    if (OwnsName(choice.slot, lost)) {
      IVMQ_CRASH_POINT("claim.compared");
      if (table_.Transition(choice.slot, claiming.ToWord(), live)) {
        IVMQ_CRASH_POINT("claim.live");
        return ClaimedSlot{{choice.slot, live.incarnation}, live.ToWord(), choice.resumes};
      }
      LetGoOfSlot(transport_, choice.slot);
      // Of this life nothing is left, not even its incarnation: it has never been there.
      if (region_.slot(choice.slot).life.load(std::memory_order_acquire) ==
          choice.before.ToWord()) {
        return Status(StatusCode::kFailedPrecondition,
                      "the memory does not keep what is written to it; start QEMU without "
                      "readonly=on (of memory-backend-file)");
      }
      return Status(
          StatusCode::kUnavailable,
          StrCat("the claim of '", request_.name, "' on slot ", choice.slot,
                 " was ended by another peer, which took this process for dead; try again"));
    }
    // Back to what it was; the incarnation stays used up.
    Life back = choice.before;
    back.incarnation = claiming.incarnation;
    (void)table_.Transition(choice.slot, claiming.ToWord(), back);
    LetGoOfSlot(transport_, choice.slot);
    return lost;
  }

  // Whether the name, which stands in `own` now, is nobody else's. False: `outcome` says whose, or
  // it is none and there is another slot to take.
  bool OwnsName(std::uint32_t own, Outcome& outcome) {
    std::vector<std::pair<std::uint32_t, Life>> rivals;
    for (std::uint32_t s = 0; s < slots_; ++s) {
      if (s == own) continue;
      const std::optional<Life> life = LifeNamed(region_.slot(s), name_);
      if (!life) continue;
      if (life->state == PeerState::kLive || (life->state == PeerState::kClaiming && s < own)) {
        outcome = NameIsHeld(s, *life);
        return false;
      }
      if (life->state == PeerState::kDead && IsDurable(*life)) return false;
      if (life->state != PeerState::kClaiming) continue;
      rivals.emplace_back(s, *life);
      EndIfItStandsStill(s, *life);
    }
    for (const auto& [s, claim] : rivals) {
      for (;;) {
        const Life life = LoadLife(region_.slot(s));
        if (life.incarnation != claim.incarnation) break;  // another, which sees this name
        if (life.state == PeerState::kLive) {
          outcome = NameIsHeld(s, life);
          return false;
        }
        if (life.state == PeerState::kDead && IsDurable(life)) return false;
        if (life.state != PeerState::kClaiming) break;
        if (Clock::now() - began_ > kClaimBound) return false;
        EndIfItStandsStill(s, life);
        std::this_thread::sleep_for(kClaimRetry);
      }
    }
    return true;
  }

  // Ends the claim that has stood in the slot for too long; remembers others.
  void EndIfItStandsStill(std::uint32_t s, const Life& life) {
    if (life.state != PeerState::kClaiming) return;
    const Clock::time_point now = Clock::now();
    Wait& wait = waited_for_[s];
    if (!(wait.life == life)) {
      wait = {life, now};
    } else if (now - wait.since > kClaimLimit) {
      table_.EndClaim(s, life);
    }
  }

  // What shows that this process lives, to others and to the kernel: taken before the claim, so
  // that no end of the process goes unseen.
  Status Hold(std::uint32_t slot, const Life& live) {
    const bool locks = transport_.lock_domain() != 0;
    if (Status status = locks ? transport_.LockSlot(slot) : Status(); !status.ok()) return status;
    Status status = transport_.RegisterSlot(slot, live.ToWord(), request_.boot_id);
    if (!status.ok() && locks) transport_.UnlockSlot(slot);
    return status;
  }

  [[nodiscard]] Status NameIsHeld(std::uint32_t slot, const Life& life) const {
    return {StatusCode::kAlreadyExists,
            StrCat("the name '", request_.name, "' is held by slot ", slot, ", incarnation ",
                   life.incarnation, ", pid ",
                   region_.slot(slot).pid.load(std::memory_order_relaxed), ", ivposition ",
                   life.ivposition == layout::kNoIvposition ? std::string("none")
                                                            : std::to_string(life.ivposition),
                   ", ", StateName(life.state), "; take another name or end that peer")};
  }

  [[nodiscard]] Status NoSlot(std::uint32_t passed_over) const {
    if (passed_over > 0) {
      return {
          StatusCode::kResourceExhausted,
          StrCat("all ", slots_, " peer slots are taken, though ", passed_over,
                 " of them are free: processes that are starting, ending, or are children of "
                 "ended ones keep them locked or registered; try again, or end those processes")};
    }
    return {StatusCode::kResourceExhausted,
            StrCat("all ", slots_,
                   " peer slots are taken; end a peer, run `ivmq forget` for durable ones that are "
                   "gone, or format the region with more peers")};
  }

  const PeerTable& table_;
  const Region& region_;
  const ClaimRequest& request_;
  Transport& transport_;
  const NameWords name_;
  const std::uint32_t slots_;
  std::vector<bool> passed_over_;  // free ones that could not be had: the others first
  std::vector<Wait> waited_for_;   // by slot
  const Clock::time_point began_;
  Clock::time_point full_since_{};
};

Result<ClaimedSlot> PeerTable::Claim(const ClaimRequest& request, Transport& transport) const {
  if (Status status = CheckName(request.name); !status.ok()) return status;
  return Claimer(*this, request, transport).Run();
}

}  // namespace ivmq
