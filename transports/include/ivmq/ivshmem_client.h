// A client of any ivshmem server, with or without an ivmq region: its id, the other clients, and
// their doorbells.
//
//   auto client = ivmq::IvshmemClient::Connect("/run/ivmq/ivmq.sock");
//   (*client)->Ring(2, 0);
//   auto rung = (*client)->Wait(std::chrono::steady_clock::now() + 5s);
#ifndef IVMQ_IVSHMEM_CLIENT_H_
#define IVMQ_IVSHMEM_CLIENT_H_

#include "ivmq/export.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ivmq/status.h"

namespace ivmq {

// Thread-safety: any thread may call any member at any time, with one exception: Wait() is for one
// thread at a time, and must not run at the same time as Adopt() or CloseFormer().
class IVMQ_EXPORT IvshmemClient {
 public:
  struct Peer {
    std::uint16_t id = 0;
    std::uint32_t vectors = 0;
  };
  struct Rung {
    std::uint32_t vector = 0;
    std::uint64_t count = 0;  // rings since the last time it was read
  };
  enum class [[nodiscard]] RingResult : std::uint8_t{kRung, kNoSuchPeer, kNoSuchVector};

  // Connects and receives the greeting up to this client's own vector 0, for at most `timeout`.
  //   INVALID_ARGUMENT     not a valid path of a socket, or the file is not a socket
  //   NOT_FOUND            no such socket
  //   PERMISSION_DENIED    the socket's owner and mode do not allow it
  //   UNAVAILABLE          no process listens, or the server closed the connection
  //   FAILED_PRECONDITION  the server refuses the client, or has another protocol version
  //   DEADLINE_EXCEEDED    the server is silent; the message says how much of the greeting arrived
  //   DATA_LOSS            the server violated the protocol
  //   RESOURCE_EXHAUSTED   too few file descriptors
  static Result<std::unique_ptr<IvshmemClient>> Connect(
      const std::string& socket_path, std::chrono::milliseconds timeout = std::chrono::seconds(5));
  ~IvshmemClient();
  IvshmemClient(const IvshmemClient&) = delete;
  IvshmemClient& operator=(const IvshmemClient&) = delete;

  [[nodiscard]] std::uint16_t id() const noexcept;
  // The number of eventfds of this client. A server gives every client the same number.
  [[nodiscard]] std::uint32_t vectors() const;
  // The other clients, by id.
  [[nodiscard]] std::vector<Peer> peers() const;
  // The descriptor of the shared memory; the client keeps it open.
  [[nodiscard]] int shared_memory() const noexcept;

  // Rings immediately: one system call. Blocks only if another client has made the doorbell
  // blocking and filled its counter. `peer` may be this client's own id.
  RingResult Ring(std::uint16_t peer, std::uint32_t vector) noexcept;
  // The same, but a ring for a peer or vector that was not announced yet is kept, up to 256 of
  // them, and delivered at the announcement. A ring for a peer that is gone is dropped.
  void RingWhenKnown(std::uint16_t peer, std::uint32_t vector) noexcept;

  // Waits until one of this client's vectors is rung, and resets that vector's count. Handles
  // announcements while it waits. DEADLINE_EXCEEDED at the deadline. Also works after the server
  // has ended.
  Result<Rung> Wait(std::chrono::steady_clock::time_point deadline);

  // The non-blocking eventfd of a vector of this client; -1 if there is none.
  [[nodiscard]] int vector_fd(std::uint32_t vector) const;
  // Readable when HandleControl() has something to do.
  [[nodiscard]] int control_fd() const noexcept;
  // Handles the server's announcements, unless another thread does. Never blocks. False once the
  // connection has ended, see connection(); the eventfds remain usable.
  bool HandleControl() noexcept;
  // Takes over the id, the doorbells and the shared memory of `other`, a new connection that
  // replaces a lost one. This client's former doorbells and control_fd() stay open until
  // CloseFormer(). Doorbells of peers that `other` does not know remain in use until they are
  // announced again. Both functions are for one thread at a time, and only while no thread is in
  // Wait(), which uses the doorbells that exist when it is called.
  void Adopt(std::unique_ptr<IvshmemClient> other);
  void CloseFormer() noexcept;
  // Closes the doorbells of all other clients, to free descriptors. Rings for them are kept until
  // they are announced again.
  void DropPeers();

  // OK while connected. Otherwise why the connection ended: UNAVAILABLE: the server closed it;
  // DATA_LOSS: the server violated the protocol; RESOURCE_EXHAUSTED: this process has too few file
  // descriptors.
  [[nodiscard]] Status connection() const;

  // In a forked child, on its only thread: closes the socket and the shared memory, by which the
  // server sees that this client lives. Takes no lock. Nothing else may be called afterwards.
  void CloseInChild() noexcept;

 private:
  struct IVMQ_HIDDEN Impl;
  explicit IvshmemClient(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace ivmq

#endif  // IVMQ_IVSHMEM_CLIENT_H_
