// A client of any ivshmem server, with or without an ivmq region: its id, the others and their
// doorbells.
//
//   auto client = ivmq::IvshmemClient::Connect("/run/ivmq/ivmq.sock");
//   (*client)->Ring(2, 0);
//   auto rung = (*client)->Wait(std::chrono::steady_clock::now() + 5s);
#ifndef IVMQ_IVSHMEM_CLIENT_H_
#define IVMQ_IVSHMEM_CLIENT_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ivmq/status.h"

namespace ivmq {

// Thread-safety: every member may be called from any thread at any time; Wait() by one at a time,
// and not beside Adopt() or CloseFormer().
class IvshmemClient {
 public:
  struct Peer {
    std::uint16_t id = 0;
    std::uint32_t vectors = 0;
  };
  struct Rung {
    std::uint32_t vector = 0;
    std::uint64_t count = 0;  // rings since it was looked at last
  };
  enum class [[nodiscard]] RingResult : std::uint8_t{kRung, kNoSuchPeer, kNoSuchVector};

  // Connects and takes the greeting up to this client's own vector 0, for at most `timeout`.
  //   INVALID_ARGUMENT     not a path for a socket, or no socket is there
  //   NOT_FOUND            no such socket
  //   PERMISSION_DENIED    the socket's owner and mode do not allow it
  //   UNAVAILABLE          nobody listens, or the server closed the connection
  //   FAILED_PRECONDITION  the server refuses, or speaks another version of the protocol
  //   DEADLINE_EXCEEDED    the server is silent; the message says how far the greeting came
  //   DATA_LOSS            the server broke the protocol
  //   RESOURCE_EXHAUSTED   too few file descriptors
  static Result<std::unique_ptr<IvshmemClient>> Connect(
      const std::string& socket_path, std::chrono::milliseconds timeout = std::chrono::seconds(5));
  ~IvshmemClient();
  IvshmemClient(const IvshmemClient&) = delete;
  IvshmemClient& operator=(const IvshmemClient&) = delete;

  [[nodiscard]] std::uint16_t id() const noexcept;
  // The eventfds this client has; a server gives every client the same number.
  [[nodiscard]] std::uint32_t vectors() const;
  // The others that are there, by id.
  [[nodiscard]] std::vector<Peer> peers() const;
  // The descriptor of the shared memory; the client keeps it open.
  [[nodiscard]] int shared_memory() const noexcept;

  // Rings at once: one system call. Does not block unless another client has made the doorbell
  // blocking and filled its counter. `peer` may be this client's own id.
  RingResult Ring(std::uint16_t peer, std::uint32_t vector) noexcept;
  // The same; a ring for a peer or vector not announced yet is kept, up to 256 of them, and
  // delivered at its announcement. One for a peer that has gone is dropped.
  void RingWhenKnown(std::uint16_t peer, std::uint32_t vector) noexcept;

  // Waits until one of this client's vectors is rung and takes its count; handles announcements
  // meanwhile. DEADLINE_EXCEEDED at the deadline. Goes on working when the server has gone.
  Result<Rung> Wait(std::chrono::steady_clock::time_point deadline);

  // The eventfd of an own vector, non-blocking; -1 if there is none.
  [[nodiscard]] int vector_fd(std::uint32_t vector) const;
  // Readable when HandleControl() has something to do.
  [[nodiscard]] int control_fd() const noexcept;
  // Takes the server's announcements, unless another thread does. Never blocks. False once the
  // connection has ended, see connection(); the eventfds stay in use.
  bool HandleControl() noexcept;
  // Takes over what `other` has, a new connection to the server of a lost one: its id, doorbells
  // and shared memory. Its own former doorbells and control_fd() stay open until CloseFormer().
  // Doorbells of peers that `other` does not know stay in use until they are announced anew. Both
  // by one thread at a time, and while nobody is in Wait(), which looks at the doorbells of when it
  // was called.
  void Adopt(std::unique_ptr<IvshmemClient> other);
  void CloseFormer() noexcept;
  // Closes the doorbells of all others, to have room for new ones. Rings for them are kept until
  // they are announced again.
  void DropPeers();

  // OK while connected; else why it ended: UNAVAILABLE the server left, DATA_LOSS it broke the
  // protocol, RESOURCE_EXHAUSTED this process has too few file descriptors.
  [[nodiscard]] Status connection() const;

  // In a forked child, on its only thread: closes what shows the server that this client lives, the
  // socket and the shared memory. Nothing else may be called afterwards. Takes no lock.
  void CloseInChild() noexcept;

 private:
  struct Impl;
  explicit IvshmemClient(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace ivmq

#endif  // IVMQ_IVSHMEM_CLIENT_H_
