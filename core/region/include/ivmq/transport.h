// What a node needs of a transport: the region's memory, doorbells, and proof of life. Implemented
// by the layer transports.
#ifndef IVMQ_TRANSPORT_H_
#define IVMQ_TRANSPORT_H_

#include "ivmq/export.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "ivmq/internal/layout.h"
#include "ivmq/status.h"

namespace ivmq {

struct TransportInfo {
  std::string address;  // as it was opened, e.g. "unix:/run/ivmq/ivmq.sock"
  // Informational, e.g. "ivshmem-doorbell 0000:00:11.0, 8 vectors, polling".
  std::string description;
  std::uint16_t ivposition = layout::kNoIvposition;  // at the start; see Doorbell::Attend()
  std::uint32_t vector = 0;  // the doorbell vector by which this process is woken
  // Ring() reaches every peer that can be woken, so these need not poll for what this process
  // sends.
  bool can_ring = false;
  bool wakeable = false;   // wake_fd() becomes readable when a peer rings this process
  bool exclusive = false;  // while it is open, no other process has this ivposition
  // What works less well than it could, and what to do about it. A node reports it when it opens.
  Status complaint;
};

// Thread-safety of these classes: any thread may call any member at any time.

class IVMQ_EXPORT MappedRegion {
 public:
  virtual ~MappedRegion() = default;
  MappedRegion() = default;
  MappedRegion(const MappedRegion&) = delete;
  MappedRegion& operator=(const MappedRegion&) = delete;

  // The whole region, mapped readable and writable for the lifetime of the object.
  [[nodiscard]] virtual std::span<std::byte> memory() const noexcept = 0;
};

// How a process wakes other processes and is woken.
class IVMQ_EXPORT Doorbell {
 public:
  virtual ~Doorbell() = default;
  Doorbell() = default;
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  // Rings the doorbell of a peer. At most one system call; never blocks. A ring for a peer that is
  // not known yet is kept, and delivered when the server announces the peer. A ring for a peer that
  // is gone does nothing.
  virtual void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept = 0;

  // A non-blocking eventfd that becomes readable when this process is rung. -1 if it cannot be
  // woken.
  [[nodiscard]] virtual int wake_fd() const noexcept { return -1; }

  // Becomes readable when HandleControl() has something to do, e.g. the server announced a peer.
  // -1: there is nothing to watch.
  [[nodiscard]] virtual int control_fd() const noexcept { return -1; }
  // Never blocks. False: the server is gone; stop watching control_fd().
  virtual bool HandleControl() noexcept { return false; }

  // Whether others can get the same memory from its server.
  enum class Served : std::uint8_t {
    kUnknown,  // this process cannot tell
    kYes,      // it is connected to the server
    kNever,    // it has proof that no server has the memory any more, and none can get it
  };
  [[nodiscard]] virtual Served served() const noexcept { return Served::kUnknown; }

  // Publishes a new ivposition of this process. False: its life is over.
  using Move = std::function<bool(std::uint16_t ivposition)>;
  // Looks after the connection to the server. Called four times a second, by one thread. If the
  // connection was lost, it is restored as soon as possible, provided that the same region is still
  // served. The server then knows this process under another ivposition: `move` is called with it
  // before anything of the former one is released, and wake_fd() and control_fd() change. The
  // former descriptors stay open until the next call. Takes a fraction of a second at most. Returns
  // news to report, once; OK if there is none.
  virtual Status Attend(const Move& move);
};

// How other processes see whether this process lives.
class IVMQ_EXPORT ProofOfLife {
 public:
  virtual ~ProofOfLife() = default;
  ProofOfLife() = default;
  ProofOfLife(const ProofOfLife&) = delete;
  ProofOfLife& operator=(const ProofOfLife&) = delete;

  // Proof by file locks, where processes open one file; see layout::PeerSlot::lock_domain. 0: there
  // are no locks, and the next three functions must not be called.
  [[nodiscard]] virtual std::uint64_t lock_domain() const noexcept { return 0; }
  // Locks byte `slot`. The lock belongs to the open file description that memory() is mapped from,
  // and ends with the process, however that ends. ABORTED: another process holds it.
  virtual Status LockSlot(std::uint32_t slot);
  virtual void UnlockSlot(std::uint32_t slot) noexcept;
  // Whether another process holds the lock. Errors count as held.
  [[nodiscard]] virtual bool IsSlotLocked(std::uint32_t slot) const noexcept;

  // Asks the guest's kernel to mark the slot dead when this process ends, however it ends. Called
  // before the slot is claimed, with the life word that it will have. Does nothing where the kernel
  // has no such service. ABORTED: another process is claiming the slot.
  virtual Status RegisterSlot(std::uint32_t slot, std::uint64_t live_word,
                              std::span<const std::uint64_t, 2> boot_id);
  virtual void UnregisterSlot(std::uint32_t slot) noexcept;

  // FAILED_PRECONDITION, with the reason, if the device or region is no longer the one that was
  // opened, since the machine was restored or cloned. The slot may then belong to another peer, and
  // the node's life is over. Called four times a second.
  [[nodiscard]] virtual Status CheckPlace() const;
};

class IVMQ_EXPORT Transport : public MappedRegion, public Doorbell, public ProofOfLife {
 public:
  [[nodiscard]] virtual const TransportInfo& info() const noexcept = 0;

  // Called in a forked child, on its only thread, before fork() returns there; memory() is no
  // longer mapped. Closes the descriptors by which other processes see that the parent lives, and
  // takes no lock. Nothing else is called in the child afterwards.
  virtual void LetGoInChild() noexcept {}
};

}  // namespace ivmq

#endif  // IVMQ_TRANSPORT_H_
