// What the kernel offers: a packet socket, and an eventfd beside shared memory.
#ifndef IVMQ_BENCH_CANDIDATES_KERNEL_H_
#define IVMQ_BENCH_CANDIDATES_KERNEL_H_

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "candidates/floor.h"
#include "drive.h"

namespace ivmq::bench {

// A descriptor that is closed in the end.
class Descriptor {
 public:
  explicit Descriptor(int fd, const char* what) : fd_(fd) {
    if (fd_ < 0) Fail(std::string(what) + ": " + std::strerror(errno));
  }
  ~Descriptor() { close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

// A pair of AF_UNIX SOCK_SEQPACKET sockets.
template <bool kSleeps>
class SeqPacket {
 public:
  static constexpr bool kBare = false;
  static constexpr std::size_t kMostBytes = 1U << 20;  // larger packets the kernel refuses

  explicit SeqPacket(const Slot& slot) : buffer_(slot.bytes) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets_.data()) != 0) {
      Fail(std::string("socketpair: ") + std::strerror(errno));
    }
    // As much as the others' rings hold. Only root may go above net.core.wmem_max.
    const int size = static_cast<int>(slot.ring_bytes);
    for (const int fd : sockets_) {
      if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
      }
    }
  }
  ~SeqPacket() {
    for (const int fd : sockets_) close(fd);
  }
  SeqPacket(const SeqPacket&) = delete;
  SeqPacket& operator=(const SeqPacket&) = delete;

  void Open(Side side) { fd_ = sockets_[static_cast<std::size_t>(side)]; }
  bool TrySend(Message message) {
    if (send(fd_, message.data(), message.size(), kFlags) >= 0) return true;
    if (errno != EAGAIN) Fail(std::string("send: ") + std::strerror(errno));
    return false;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    const ssize_t bytes = recv(fd_, buffer_.data(), buffer_.size(), kFlags);
    if (bytes < 0) {
      if (errno != EAGAIN) Fail(std::string("recv: ") + std::strerror(errno));
      return 0;
    }
    use(Message(buffer_.data(), static_cast<std::size_t>(bytes)));
    return 1;
  }
  void Wait() { SpinOnce(); }

 private:
  static constexpr int kFlags = MSG_NOSIGNAL | (kSleeps ? 0 : MSG_DONTWAIT);

  std::array<int, 2> sockets_{};
  int fd_ = -1;
  std::vector<std::byte> buffer_;
};

// One message in shared memory, announced by an eventfd: the floor of everything that sleeps. The
// eventfds are non-blocking, as QEMU makes those that it shares.
template <bool kEpoll>
class EventFd {
 public:
  static constexpr bool kBare = false;

  explicit EventFd(const Slot& slot) : flag_(slot) {}

  void Open(Side side) {
    flag_.Open(side);
    out_ = fds_[static_cast<std::size_t>(side)].get();
    in_ = fds_[static_cast<std::size_t>(Other(side))].get();
    if constexpr (kEpoll) {
      epoll_ = epoll_create1(EPOLL_CLOEXEC);
      epoll_event event{};
      event.events = EPOLLIN;
      if (epoll_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, in_, &event) != 0) {
        Fail(std::string("epoll: ") + std::strerror(errno));
      }
    }
  }
  ~EventFd() {
    if (epoll_ >= 0) close(epoll_);
  }
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;

  bool TrySend(Message message) {
    flag_.TrySend(message);
    const std::uint64_t one = 1;
    if (write(out_, &one, sizeof one) != sizeof one) Fail("cannot write an eventfd");
    return true;
  }
  void Flush() {}
  // Sleeps.
  template <typename Use>
  std::size_t Receive(Use&& use) {
    if constexpr (kEpoll) {
      epoll_event event;
      while (epoll_wait(epoll_, &event, 1, -1) < 0 && errno == EINTR) {
      }
    } else {
      pollfd wait{in_, POLLIN, 0};
      while (ppoll(&wait, 1, nullptr, nullptr) < 0 && errno == EINTR) {
      }
    }
    std::uint64_t value;
    if (read(in_, &value, sizeof value) != sizeof value) return 0;
    return flag_.Receive(use);
  }
  void Wait() {}

 private:
  Flag<true> flag_;
  std::array<Descriptor, 2> fds_{Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"),
                                 Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd")};
  int out_ = -1;
  int in_ = -1;
  int epoll_ = -1;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_KERNEL_H_
