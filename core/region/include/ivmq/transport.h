// What a node needs from the way a process reaches the region: its memory, doorbells, and a proof
// that it lives. Implementations: ivmq::transports.
#ifndef IVMQ_TRANSPORT_H_
#define IVMQ_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "ivmq/internal/layout.h"
#include "ivmq/status.h"

namespace ivmq {

struct TransportInfo {
  std::string address;      // as it was opened, e.g. "unix:/run/ivmq/ivmq.sock"
  std::string description;  // for people, e.g. "ivshmem-doorbell 0000:00:11.0, 8 vectors, polling"
  std::uint16_t ivposition = layout::kNoIvposition;  // at the start; see Doorbell::Attend()
  std::uint32_t vector = 0;  // the doorbell vector by which this process is woken
  // Ring() reaches every peer that can be woken: others need not look by themselves for what this
  // process sends.
  bool can_ring = false;
  bool wakeable = false;   // wake_fd() becomes readable when somebody rings this process
  bool exclusive = false;  // while it is open no other process has this ivposition
  // What works less well than it could, and what to do about it; a node reports it when it opens.
  Status complaint;
};

// Thread-safety of all of them: every member may be called from any thread at any time.

class MappedRegion {
 public:
  virtual ~MappedRegion() = default;
  MappedRegion() = default;
  MappedRegion(const MappedRegion&) = delete;
  MappedRegion& operator=(const MappedRegion&) = delete;

  // The whole region, mapped readable and writable for the object's lifetime.
  [[nodiscard]] virtual std::span<std::byte> memory() const noexcept = 0;
};

// How a process wakes others and is woken.
class Doorbell {
 public:
  virtual ~Doorbell() = default;
  Doorbell() = default;
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  // Rings another's: at most one system call, never blocks. A ring for a peer that is not known
  // yet is kept and delivered when the server announces it; a ring for one that is gone does
  // nothing.
  virtual void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept = 0;

  // Becomes readable when this process's doorbell is rung; an eventfd, non-blocking. -1 if it is
  // not wakeable.
  [[nodiscard]] virtual int wake_fd() const noexcept { return -1; }

  // Becomes readable when HandleControl() has something to do (the server announced a peer). -1:
  // never.
  [[nodiscard]] virtual int control_fd() const noexcept { return -1; }
  // Never blocks. Returns false once the server is gone: control_fd() is not to be watched any
  // more.
  virtual bool HandleControl() noexcept { return false; }

  // Publishes another ivposition as this process's; false if its life is over.
  using Move = std::function<bool(std::uint16_t ivposition)>;
  // Looks after the connection to the server; called four times a second, by one thread. One that
  // was lost is made anew as soon as that can be, if the same region is still served. Then the
  // server knows this process under another ivposition: `move` is called with it before anything of
  // the former one is let go, and wake_fd() and control_fd() change; the former ones stay open
  // until the next time. Takes a fraction of a second at most. Returns what people should hear of,
  // once; OK: nothing.
  virtual Status Attend(const Move& move);
};

// How others see that a process lives, and that it does not.
class ProofOfLife {
 public:
  virtual ~ProofOfLife() = default;
  ProofOfLife() = default;
  ProofOfLife(const ProofOfLife&) = delete;
  ProofOfLife& operator=(const ProofOfLife&) = delete;

  // Life by file lock, where processes open one file; see layout::PeerSlot::lock_domain. 0: there
  // are no locks, and the three functions that follow are not to be called.
  [[nodiscard]] virtual std::uint64_t lock_domain() const noexcept { return 0; }
  // The lock on byte `slot` belongs to the open file description that memory() is mapped from, and
  // goes with the process, however it ends. ABORTED: another process holds it.
  virtual Status LockSlot(std::uint32_t slot);
  virtual void UnlockSlot(std::uint32_t slot) noexcept;
  // Whether another process holds the lock. Errors count as held.
  [[nodiscard]] virtual bool IsSlotLocked(std::uint32_t slot) const noexcept;

  // Has the guest's kernel mark the slot dead when this process ends, however it ends: called
  // before the slot is claimed, with the life word that it will have. Without such a helper it does
  // nothing. ABORTED: another process is claiming the slot.
  virtual Status RegisterSlot(std::uint32_t slot, std::uint64_t live_word,
                              std::span<const std::uint64_t, 2> boot_id);
  virtual void UnregisterSlot(std::uint32_t slot) noexcept;

  // FAILED_PRECONDITION, with the reason, if this process is not any more where it was opened,
  // since its machine was restored or copied: then the slot is another's, and the node's life is
  // over. Called four times a second.
  [[nodiscard]] virtual Status CheckPlace() const;
};

class Transport : public MappedRegion, public Doorbell, public ProofOfLife {
 public:
  [[nodiscard]] virtual const TransportInfo& info() const noexcept = 0;

  // In a forked child, on its only thread, before fork() returns there; memory() is mapped no more.
  // Closes the descriptors by which others see that the process lives, and takes no lock. Nothing
  // else is called in the child afterwards.
  virtual void LetGoInChild() noexcept {}
};

}  // namespace ivmq

#endif  // IVMQ_TRANSPORT_H_
