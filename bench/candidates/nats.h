// NATS: both sides are clients of a nats-server on loopback and speak its text protocol.
#ifndef IVMQ_BENCH_CANDIDATES_NATS_H_
#define IVMQ_BENCH_CANDIDATES_NATS_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "candidates/streams.h"
#include "drive.h"

namespace ivmq::bench {

class Nats {
 public:
  static constexpr bool kBare = false;
  static constexpr bool kBursty = true;
  static constexpr std::size_t kMostBytes = 1U << 20;  // the server's default
  static constexpr std::uint16_t kPort = 42117;

  explicit Nats(const Slot& slot)
      : buffer_(2 * slot.bytes + (64U << 10)), bytes_text_(std::to_string(slot.bytes)) {}
  ~Nats() {
    if (fd_ >= 0) close(fd_);
  }
  Nats(const Nats&) = delete;
  Nats& operator=(const Nats&) = delete;

  void Open(Side side) {
    const bool is_client = side == Side::kClient;
    fd_ = Connect();
    head_ = std::string("PUB ") + (is_client ? "to_server " : "to_client ") + bytes_text_ + "\r\n";
    Write(std::string("CONNECT {\"verbose\":false}\r\nSUB ") +
          (is_client ? "to_client" : "to_server") + " 1\r\nPING\r\n");
    while (Line() != "PONG") {
    }
  }
  bool TrySend(Message message) {
    std::array<iovec, 3> parts{{{head_.data(), head_.size()},
                                {const_cast<std::byte*>(message.data()), message.size()},
                                {const_cast<char*>("\r\n"), 2}}};
    for (std::size_t at = 0; at < parts.size();) {
      ssize_t some = writev(fd_, &parts[at], static_cast<int>(parts.size() - at));
      if (some < 0) FailErrno("NATS: write");
      for (; at < parts.size() && static_cast<std::size_t>(some) >= parts[at].iov_len; ++at) {
        some -= static_cast<ssize_t>(parts[at].iov_len);
      }
      if (at == parts.size()) break;
      parts[at].iov_base = static_cast<char*>(parts[at].iov_base) + some;
      parts[at].iov_len -= static_cast<std::size_t>(some);
    }
    return true;
  }
  void Flush() {}
  // Sleeps.
  template <typename Use>
  std::size_t Receive(Use&& use) {
    const std::string_view line = Line();
    if (line == "PING") {
      Write("PONG\r\n");
      return 0;
    }
    if (!line.starts_with("MSG ")) {
      if (line.starts_with("-ERR")) Fail("NATS: " + std::string(line));
      return 0;
    }
    const std::size_t bytes =
        std::strtoul(std::string(line.substr(line.rfind(' ') + 1)).c_str(), nullptr, 10);
    while (end_ - begin_ < bytes + 2) Fill();
    use(Message(buffer_.data() + begin_, bytes));
    begin_ += bytes + 2;
    return 1;
  }
  void Wait() {}

  // -1: nobody listens there.
  static int TryConnect() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kPort);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
    close(fd);
    return -1;
  }

 private:
  static int Connect() {
    const int fd = TryConnect();
    if (fd < 0) FailErrno("NATS: connect");
    const int one = 1;
    static_cast<void>(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    return fd;
  }
  void Write(const std::string& text) const {
    if (write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      FailErrno("NATS: write");
    }
  }
  // Valid until the next call.
  std::string_view Line() {
    for (;;) {
      const auto* const first = reinterpret_cast<const char*>(buffer_.data());
      const std::string_view text(first + begin_, end_ - begin_);
      if (const std::size_t at = text.find("\r\n"); at != std::string_view::npos) {
        begin_ += at + 2;
        return text.substr(0, at);
      }
      Fill();
    }
  }
  void Fill() {
    if (begin_ != 0) {
      std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
                buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
      end_ -= begin_;
      begin_ = 0;
    }
    const ssize_t some = read(fd_, buffer_.data() + end_, buffer_.size() - end_);
    if (some <= 0) FailErrno("NATS: read");
    end_ += static_cast<std::size_t>(some);
  }

  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::string bytes_text_;
  std::string head_;
  int fd_ = -1;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_NATS_H_
