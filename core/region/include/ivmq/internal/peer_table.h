// The peer table: which peers are attached, under which names, alive or dead.
//
// A slot's life word changes by compare-and-swap only; see layout.h. All functions are thread-safe,
// also if other processes change the table at the same time. What they return is a snapshot.
#ifndef IVMQ_INTERNAL_PEER_TABLE_H_
#define IVMQ_INTERNAL_PEER_TABLE_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
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
  std::uint64_t live_word = 0;  // the slot's life word during this life
  bool resumed = false;         // a durable name took over its former slot and rings
};

// The boot id of this kernel. It changes at each boot, and is equal for all processes of one
// machine or guest.
BootId ReadBootId();

// INVALID_ARGUMENT unless the name has 1..63 bytes of UTF-8, without blanks and control characters.
Status CheckName(std::string_view name);

// INVALID_ARGUMENT unless these are full names of services, each once. RESOURCE_EXHAUSTED if they
// do not fit into a slot.
Status CheckServices(const std::vector<std::string>& services);
bool IsServiceName(std::string_view name);

// The longest time that a claim takes.
inline constexpr std::chrono::seconds kClaimBound{5};

class PeerTable {
 public:
  explicit PeerTable(const Region& region) : region_(region) {}

  // Claims a slot for `request.name` and makes it live: the durable slot of that name, or a free
  // one. If `transport` has a lock domain, the slot's lock is held afterwards. Waits for other
  // claims of the name and, if no slot is free, one second for slots of dead peers. Ends within
  // kClaimBound plus the time of the transport's LockSlot() and RegisterSlot(), whatever the table
  // contains and however it changes. Errors:
  //   ALREADY_EXISTS      the name is taken; the message has the holder's slot, pid, ivposition and
  //                       state
  //   RESOURCE_EXHAUSTED  no slot is free
  //   UNAVAILABLE         the claim took so long that another peer ended it, or the table kept
  //                       changing
  Result<ClaimedSlot> Claim(const ClaimRequest& request, Transport& transport) const;

  // Writes the identity of the slot's owner, from `request` and `transport`. Only the owner may
  // call it: at the claim, and again in case the identity was damaged.
  void WriteIdentity(PeerId self, const ClaimRequest& request, const Transport& transport) const;

  // Publishes the services in the slot, and changes generation(). Only the slot's owner may call
  // it, one thread at a time. False: they were there already. REQUIRES:
  // CheckServices(services).ok()
  bool WriteServices(PeerId self, const std::vector<std::string>& services) const;

  // The same for the topics' text: strings without NUL, with one after each, of at most
  // kTopicTextBytes.
  bool WriteTopics(PeerId self, const std::vector<std::string>& topics) const;
  // What that life says; none while it changes it. Any peer may have written them.
  [[nodiscard]] std::vector<std::string> ReadTopics(PeerId peer) const;

  // Ends the claim `life`, which makes no progress. Its owner is dead, or loses only the claim.
  void EndClaim(std::uint32_t slot, const layout::Life& life) const;

  // Ends a life in order: the slot becomes dead, and free once its rings are gone (a durable slot
  // is kept for its name). Writes nothing if the life has already ended.
  void Leave(const ClaimedSlot& claimed, ProofOfLife& proof) const;

  // Marks every slot of `ivposition` dead, including claiming ones. If `except` is given, slots
  // with that boot id are skipped: the others died in an earlier boot of the same guest. Returns
  // the number of slots that were marked.
  std::uint32_t MarkIvpositionDead(std::uint16_t ivposition, const BootId* except = nullptr) const;

  // For a server: marks the live peers with that ivposition as disconnected, which proves no death.
  // Returns the number of peers that were marked.
  std::uint32_t MarkDisconnected(std::uint16_t ivposition) const;

  // Marks dead the slots of this lock domain whose lock no process holds. `own_slot`: the caller's
  // slot, whose lock the caller holds. Returns the number of slots that were marked.
  std::uint32_t MarkUnlockedDead(const ProofOfLife& proof,
                                 std::optional<std::uint32_t> own_slot) const;

  // Frees rings whose two ends are dead, and slots whose rings are all gone, with their heaps. Any
  // peer may call it.
  void Reclaim() const;

  // Forgets a dead durable peer: its slot and rings are reclaimed. NOT_FOUND: no peer has the name;
  // FAILED_PRECONDITION: the peer is alive.
  Status Forget(std::string_view name) const;

  [[nodiscard]] PeerSnapshot Snapshot() const;
  // The slot's data, if the slot is not free and did not change while it was read.
  [[nodiscard]] std::optional<PeerInfo> Read(std::uint32_t slot) const;
  // The live (or durable and dead) peer of that name.
  [[nodiscard]] std::optional<PeerInfo> Find(std::string_view name) const;

  [[nodiscard]] std::uint64_t generation() const noexcept {
    return region_.header().peers_generation.load(std::memory_order_acquire);
  }

  // Rings every peer that has a doorbell, except that of `own_slot`, so that it reads the table. A
  // peer that is awake is rung too, since another of its threads may wait for room in the ring to a
  // peer that has died.
  void WakeAll(Doorbell& doorbell, std::optional<std::uint32_t> own_slot) const;

 private:
  class Claimer;

  [[nodiscard]] bool Write(layout::SlotText& head, std::span<layout::Word> text,
                           std::uint32_t incarnation,
                           const std::vector<std::string>& strings) const;
  // Notifies the peers that have a ring to or from the slot, whose owner has just died.
  void TellPartners(std::uint32_t dead) const;
  [[nodiscard]] bool Transition(std::uint32_t slot, std::uint64_t from,
                                const layout::Life& to) const;

  Region region_;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_PEER_TABLE_H_
