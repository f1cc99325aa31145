// Byte streams of the kernel: a pair of pipes, a connection over TCP loopback.
#ifndef IVMQ_BENCH_CANDIDATES_STREAMS_H_
#define IVMQ_BENCH_CANDIDATES_STREAMS_H_

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "drive.h"

namespace ivmq::bench {

// What one side writes to and reads from.
struct StreamEnds {
  int out = -1;
  int in = -1;
};

[[noreturn]] inline void FailErrno(const std::string& what) {
  Fail(what + ": " + std::strerror(errno));
}

// Both sides, by pipes that hold as much as the others' rings, as far as the system lets them.
inline std::array<StreamEnds, 2> MakePipes(std::size_t bytes) {
  std::array<std::array<int, 2>, 2> pipes{};
  for (auto& each : pipes) {
    if (pipe2(each.data(), O_CLOEXEC) != 0) FailErrno("pipe");
    static_cast<void>(fcntl(each[1], F_SETPIPE_SZ, static_cast<int>(bytes)));
  }
  return {{{pipes[0][1], pipes[1][0]}, {pipes[1][1], pipes[0][0]}}};
}

inline std::array<StreamEnds, 2> MakeTcp(std::size_t bytes) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  if (listener < 0 || bind(listener, any, length) != 0 || listen(listener, 1) != 0 ||
      getsockname(listener, any, &length) != 0) {
    FailErrno("TCP loopback");
  }
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (client < 0 || connect(client, any, length) != 0) FailErrno("TCP loopback");
  const int server = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (server < 0) FailErrno("TCP loopback");
  close(listener);
  for (const int fd : {client, server}) {
    const int one = 1;
    const int size = static_cast<int>(bytes);
    static_cast<void>(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    static_cast<void>(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    static_cast<void>(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size));
  }
  return {{{client, client}, {server, server}}};
}

// Messages of one size, one after the other, in a stream.
template <std::array<StreamEnds, 2> (*kMake)(std::size_t), bool kSleeps>
class Stream {
 public:
  static constexpr bool kBare = false;
  static constexpr bool kBursty = true;

  explicit Stream(const Slot& slot)
      : ends_(kMake(std::max<std::size_t>(slot.ring_bytes, 4096))), buffer_(slot.bytes) {
    if (kSleeps) return;
    for (const StreamEnds& each : ends_) {
      for (const int fd : {each.out, each.in}) {
        if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) FailErrno("O_NONBLOCK");
      }
    }
  }
  ~Stream() {
    for (const StreamEnds& each : ends_) {
      close(each.out);
      if (each.in != each.out) close(each.in);
    }
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void Open(Side side) { mine_ = ends_[static_cast<std::size_t>(side)]; }
  // A message that has begun is sent to its end.
  bool TrySend(Message message) {
    for (std::size_t sent = 0; sent < message.size();) {
      const ssize_t some = write(mine_.out, message.data() + sent, message.size() - sent);
      if (some > 0) {
        sent += static_cast<std::size_t>(some);
      } else if (errno != EAGAIN) {
        FailErrno("write");
      } else if (sent == 0) {
        return false;
      } else {
        SpinOnce();
      }
    }
    return true;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    while (have_ < buffer_.size()) {
      const ssize_t some = read(mine_.in, buffer_.data() + have_, buffer_.size() - have_);
      if (some > 0) {
        have_ += static_cast<std::size_t>(some);
      } else if (some < 0 && errno == EAGAIN) {
        return 0;
      } else {
        FailErrno("read");
      }
    }
    have_ = 0;
    use(Message(buffer_));
    return 1;
  }
  void Wait() { SpinOnce(); }

 private:
  std::array<StreamEnds, 2> ends_;
  StreamEnds mine_;
  std::vector<std::byte> buffer_;
  std::size_t have_ = 0;
};

template <bool kSleeps>
using Pipes = Stream<MakePipes, kSleeps>;
template <bool kSleeps>
using TcpLoopback = Stream<MakeTcp, kSleeps>;

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_STREAMS_H_
