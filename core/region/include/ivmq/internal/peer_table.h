// The peer table: who is attached, under which name, alive or dead.
//
// A slot's life word changes by compare-and-swap only; see layout.h. All functions are thread-safe
// and work on regions that other processes change at the same time; what they return is a snapshot.
#ifndef IVMQ_INTERNAL_PEER_TABLE_H_
#define IVMQ_INTERNAL_PEER_TABLE_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/internal/region.h"
#include "ivmq/peer.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

struct ClaimRequest {
  std::string name{};  // 1..63 bytes of printable UTF-8
  bool durable = false;
  std::uint32_t pid = 0;
  BootId boot_id{};
};

struct ClaimedSlot {
  PeerId id;
  std::uint64_t live_word = 0;  // the slot's life word while this life lasts
  bool resumed = false;         // a durable name took its slot and rings up again
};

// The boot id of this kernel. Changes at each boot; equal for all processes of one machine or
// guest.
BootId ReadBootId();

// INVALID_ARGUMENT unless 1..63 bytes, no control characters, valid as a name.
Status CheckName(std::string_view name);

// INVALID_ARGUMENT unless they are full names of services, each once; RESOURCE_EXHAUSTED if they do
// not fit a slot.
Status CheckServices(const std::vector<std::string>& services);

// The longest that a claim takes.
inline constexpr std::chrono::seconds kClaimBound{5};

class PeerTable {
 public:
  explicit PeerTable(const Region& region) : region_(region) {}

  // Claims a slot for `request.name` and makes it live: the durable slot of that name, or a free
  // one. If `transport` has a lock domain the slot's lock is held afterwards. Ends within
  // kClaimBound, and what the transport's LockSlot() and RegisterSlot() take, whatever stands in
  // the table and changes there: it waits for others' claims of the name, and where no slot is free
  // a second for those of the dead.
  //
  // - ALREADY_EXISTS: the name is held; the message has the holder's slot, pid, ivposition, state.
  // - RESOURCE_EXHAUSTED: no free slot.
  // - UNAVAILABLE: the claim took so long that another peer ended it, or the table did not come to
  //   rest.
  Result<ClaimedSlot> Claim(const ClaimRequest& request, Transport& transport) const;

  // Writes what `request` and `transport` say about the owner of the slot. Only its owner may call
  // it: at the claim, and again whenever somebody may have damaged it.
  void WriteIdentity(PeerId self, const ClaimRequest& request, const Transport& transport) const;

  // Has the slot say so, and peers that watch it look. Only its owner may call it, one thread at a
  // time. False: it said so already. REQUIRES: CheckServices(services).ok()
  bool WriteServices(PeerId self, const std::vector<std::string>& services) const;

  // Ends the claim `life` that stands still: its owner died, or loses nothing but the claim.
  void EndClaim(std::uint32_t slot, const layout::Life& life) const;

  // Ends a life in order: the slot becomes dead, and free once its rings are gone (a durable one
  // waits for its name). Writes nothing if the life has ended already.
  void Leave(const ClaimedSlot& claimed, ProofOfLife& proof) const;

  // Marks every slot dead that `ivposition` holds, claiming ones too. If `except` is given, slots
  // with that boot id are spared: the others died in an earlier boot of the same guest. Returns how
  // many.
  std::uint32_t MarkIvpositionDead(std::uint16_t ivposition, const BootId* except = nullptr) const;

  // For a server: says of the live peers with that ivposition that their connection has ended,
  // which proves no death. Returns how many.
  std::uint32_t MarkDisconnected(std::uint16_t ivposition) const;

  // Marks dead the slots of this lock domain whose lock nobody holds. Returns how many.
  // `own_slot`: the caller's own slot, whose lock it holds itself.
  std::uint32_t MarkUnlockedDead(const ProofOfLife& proof,
                                 std::optional<std::uint32_t> own_slot) const;

  // Frees rings both of whose ends are dead, and slots whose rings are all gone. Any peer may call
  // it.
  void Reclaim() const;

  // Forgets a dead durable peer: its slot and rings are reclaimed. NOT_FOUND, or
  // FAILED_PRECONDITION if it is alive.
  Status Forget(std::string_view name) const;

  [[nodiscard]] PeerSnapshot Snapshot() const;
  // The slot's data if it is not free and did not change while it was read.
  [[nodiscard]] std::optional<PeerInfo> Read(std::uint32_t slot) const;
  // The live (or durable and dead) peer of that name.
  [[nodiscard]] std::optional<PeerInfo> Find(std::string_view name) const;

  [[nodiscard]] std::uint64_t generation() const noexcept {
    return region_.header().peers_generation.load(std::memory_order_acquire);
  }

  // Whether every live peer but that of `own_slot` says that it can ring doorbells.
  [[nodiscard]] bool AllCanRing(std::uint32_t own_slot) const noexcept;

  // Rings every peer that has a doorbell, but for the one of `own_slot`, so that it looks at the
  // table: also one that is awake, since another of its threads may wait for room in the ring to a
  // peer that has died.
  void WakeAll(Doorbell& doorbell, std::optional<std::uint32_t> own_slot) const;

 private:
  class Claimer;

  // Has those that have a ring to or from it look after their rings: it has just died.
  void TellPartners(std::uint32_t dead) const;
  [[nodiscard]] bool Transition(std::uint32_t slot, std::uint64_t from,
                                const layout::Life& to) const;

  Region region_;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_PEER_TABLE_H_
