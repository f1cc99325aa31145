#include "src/ivshmem_protocol.h"

#include <endian.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace ivmq::ivshmem {
namespace {

// Room for exactly one descriptor: the kernel drops what does not fit and sets MSG_CTRUNC.
struct alignas(cmsghdr) ControlBuffer {
  std::array<char, CMSG_SPACE(sizeof(int))> bytes{};
};

}  // namespace

ReadResult MessageReader::Read(int socket, Message* message) noexcept {
  while (filled_ < kMessageBytes) {
    ControlBuffer control;
    iovec part{buffer_.data() + filled_, kMessageBytes - filled_};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_LEN(sizeof(int));
    const ssize_t got = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN ? ReadResult::kWouldBlock : ReadResult::kError;
    }
    if (got == 0) return filled_ == 0 ? ReadResult::kClosed : ReadResult::kTruncated;

    bool second_descriptor = false;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      for (std::size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
        second_descriptor |= fd_.valid();
        fd_.reset(fd);
      }
    }
    if ((header.msg_flags & MSG_CTRUNC) != 0) return ReadResult::kLostDescriptor;
    if (second_descriptor) return ReadResult::kTwoDescriptors;
    filled_ += static_cast<std::size_t>(got);
  }
  std::uint64_t value = 0;
  std::memcpy(&value, buffer_.data(), sizeof(value));
  message->value = static_cast<std::int64_t>(le64toh(value));
  message->fd = std::move(fd_);
  filled_ = 0;
  return ReadResult::kMessage;
}

SendResult SendError(int error) noexcept {
  if (error == EAGAIN) return SendResult::kWouldBlock;
  if (error == ETOOMANYREFS || error == ENOBUFS || error == ENOMEM) return SendResult::kTooManyRefs;
  return SendResult::kError;
}

SendResult SendMessage(int socket, std::int64_t value, int fd) noexcept {
  std::uint64_t wire = htole64(static_cast<std::uint64_t>(value));
  iovec part{&wire, sizeof(wire)};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ControlBuffer control;
  if (fd >= 0) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = control.bytes.size();
    cmsghdr* const c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    std::memcpy(CMSG_DATA(c), &fd, sizeof(fd));
  }
  ssize_t sent = -1;
  do {
    sent = sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  // Eight bytes are one buffer in the kernel, so that a stream socket takes all of them or none.
  if (sent == static_cast<ssize_t>(sizeof(wire))) return SendResult::kSent;
  if (sent >= 0) {
    errno = EIO;
    return SendResult::kError;
  }
  return SendError(errno);
}

bool IsObserver(int socket) noexcept {
  sockaddr_un name{};
  socklen_t length = sizeof(name);
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&name), &length) != 0) return false;
  constexpr std::size_t kPrefix = offsetof(sockaddr_un, sun_path) + 1 + kObserverName.size();
  return name.sun_family == AF_UNIX && length > kPrefix && name.sun_path[0] == '\0' &&
         std::equal(kObserverName.begin(), kObserverName.end(), name.sun_path + 1);
}

bool BecomeObserver(int socket) noexcept {
  std::uint64_t unique = 0;
  if (getrandom(&unique, sizeof(unique), GRND_NONBLOCK) != sizeof(unique)) return false;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;  // sun_path[0] stays 0: an abstract address
  char* const text = name.sun_path + 1;
  const int length =
      std::snprintf(text, sizeof(name.sun_path) - 1, "%s%016lx", kObserverName.data(), unique);
  return bind(socket, reinterpret_cast<sockaddr*>(&name),
              static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 +
                                     static_cast<std::size_t>(length))) == 0;
}

}  // namespace ivmq::ivshmem
