// The wire protocol between an ivshmem server and its clients: messages of 8 bytes, a little-endian
// signed integer each, with at most one file descriptor. All of them go from the server to the
// client.
//
//   0                    protocol version                             no descriptor
//   id                   the client's own id, 0..65535                no descriptor
//   -1                   the shared memory                            descriptor
//   peer id, N times     a peer that is there already, a message a vector   eventfd
//   own id, N times      the client's own vectors                     eventfd
// and from then on
//   peer id, N times     that peer has come, a message a vector       eventfd
//   peer id              that peer has gone                           no descriptor
//
// An observer wants the shared memory only, no id. It says so by its own socket's name: it binds an
// abstract address that starts with kObserverName before it connects (QEMU's sockets have no name).
// A server that knows observers sends them version and shared memory, read-only, and closes; any
// other one takes them for a client, which works as well but spends an id.
#ifndef IVMQ_TRANSPORTS_SRC_IVSHMEM_PROTOCOL_H_
#define IVMQ_TRANSPORTS_SRC_IVSHMEM_PROTOCOL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "src/unique_fd.h"

namespace ivmq::ivshmem {

inline constexpr std::int64_t kVersion = 0;
// Sent as the only message to a client that is refused: QEMU then exits with a clear error, whereas
// a closed socket makes it spin.
inline constexpr std::int64_t kRefusal = 1;
inline constexpr std::int64_t kSharedMemory = -1;
inline constexpr std::int64_t kMaxId = 65535;
inline constexpr std::uint32_t kMaxVectors = 64;
inline constexpr std::size_t kMessageBytes = 8;
inline constexpr std::string_view kObserverName = "ivmq-observer/";

struct Message {
  std::int64_t value = 0;
  UniqueFd fd;
};

enum class [[nodiscard]] ReadResult : std::uint8_t{
    kMessage, kWouldBlock,
    kClosed,          // end of the stream between two messages
    kTruncated,       // end of the stream within a message
    kLostDescriptor,  // RLIMIT_NOFILE of this process is used up, or the server sent several at
                      // once
    kTwoDescriptors,  // one message came in two pieces with a descriptor each
    kError,           // see errno
};

// Reads a stream of messages. After anything but kMessage and kWouldBlock the stream is useless.
// Thread-compatible.
class MessageReader {
 public:
  // Reads at most the rest of one message; never blocks. Fills `message` at kMessage only.
  // Descriptors are close-on-exec; none is leaked whatever the server sends.
  ReadResult Read(int socket, Message* message) noexcept;

 private:
  std::array<std::byte, kMessageBytes> buffer_{};
  std::size_t filled_ = 0;
  UniqueFd fd_;
};

enum class [[nodiscard]] SendResult : std::uint8_t{
    kSent,
    kWouldBlock,   // the socket is full: POLLOUT tells when to go on
    kTooManyRefs,  // too many descriptors on their way, or no memory: try later; POLLOUT does not
                   // tell
    kError,        // see errno; the client is gone
};

// What it means that sendmsg() failed with `error`.
SendResult SendError(int error) noexcept;

// Sends one message, whole or not at all; never blocks, never raises SIGPIPE. `fd` -1: no
// descriptor. The caller keeps `fd`.
SendResult SendMessage(int socket, std::int64_t value, int fd = -1) noexcept;

// Server: whether the client at the other end of `socket` is an observer.
[[nodiscard]] bool IsObserver(int socket) noexcept;

// Client: makes `socket` that of an observer. REQUIRES: not connected yet. Returns false if it
// cannot.
[[nodiscard]] bool BecomeObserver(int socket) noexcept;

}  // namespace ivmq::ivshmem

#endif  // IVMQ_TRANSPORTS_SRC_IVSHMEM_PROTOCOL_H_
