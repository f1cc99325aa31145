#include "server/rude.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace ivmq::campaign {
namespace {

using std::chrono::microseconds;

class Rude {
 public:
  Rude(Stage& stage, const std::string& socket, Manner manner, std::size_t most_connections,
       std::uint64_t seed)
      : stage_(stage), manner_(manner), most_connections_(most_connections), random_(seed) {
    address_.sun_family = AF_UNIX;
    std::memcpy(address_.sun_path, socket.c_str(),
                std::min(socket.size() + 1, sizeof(address_.sun_path)));
  }

  void Run() {
    while (stage_.part < Part::kSettle) {
      switch (manner_) {
        case Manner::kHasty:
          BeHasty();
          break;
        case Manner::kGarbage:
          TalkNonsense();
          break;
        default:
          Hold();
          break;
      }
    }
    for (const int fd : held_) close(fd);
  }

 private:
  std::uint64_t Below(std::uint64_t limit) { return random_() % limit; }

  int Connect() {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof(address_)) != 0) {
      close(fd);
      std::this_thread::sleep_for(microseconds(200));  // its backlog is full
      return -1;
    }
    ++stage_.connects;
    return fd;
  }
  // Takes up to `bytes` of what was sent, with its descriptors, which are closed. False at the end.
  bool Read(int fd, std::size_t bytes) {
    std::array<char, 4096> data;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(64 * sizeof(int))> control;
    iovec vec{data.data(), std::min(bytes, data.size())};
    msghdr message{};
    message.msg_iov = &vec;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); got >= 0 && part != nullptr;
         part = CMSG_NXTHDR(&message, part)) {
      if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int received = -1;
        std::memcpy(&received, CMSG_DATA(part) + i * sizeof(int), sizeof(received));
        close(received);
      }
    }
    return got != 0 && !(got < 0 && errno != EAGAIN);
  }

  void BeHasty() {
    const int fd = Connect();
    if (fd < 0) return;
    if (Below(4) == 0) (void)Read(fd, 1 + Below(100));
    if (Below(8) == 0) std::this_thread::sleep_for(microseconds(Below(500)));
    close(fd);
  }

  void TalkNonsense() {
    const int fd = Connect();
    if (fd < 0) return;
    std::vector<char> bytes(1 + Below(Below(4) == 0 ? 200'000 : 100));
    for (char& byte : bytes) byte = static_cast<char>(random_());
    for (std::uint64_t i = Below(5); i > 0; --i) {
      const ssize_t sent = Below(3) == 0
                               ? SendDescriptors(fd)
                               : send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) break;
      stage_.rude_bytes += static_cast<std::uint64_t>(sent);
      if (Below(2) == 0) (void)Read(fd, 4096);
    }
    if (Below(3) == 0) shutdown(fd, static_cast<int>(Below(3)));
    if (Below(2) == 0) std::this_thread::sleep_for(microseconds(Below(5000)));
    close(fd);
  }

  ssize_t SendDescriptors(int fd) {
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    std::array<int, 8> fds;
    fds.fill(null);
    char byte = 'x';
    iovec vec{&byte, 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(fds))> control{};
    msghdr message{};
    message.msg_iov = &vec;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(fds));
    std::memcpy(CMSG_DATA(part), fds.data(), sizeof(fds));
    const ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(null);
    return sent;
  }

  // Keeps many connections, and ends some.
  void Hold() {
    if (held_.size() < most_connections_) {
      if (const int fd = Connect(); fd >= 0) {
        held_.push_back(fd);
        ++stage_.unread;
      }
    }
    if (manner_ != Manner::kSilent) {
      for (std::size_t i = 0; i < held_.size();) {
        const bool reads = manner_ == Manner::kGreedy || Below(20) == 0;
        if (reads && !Read(held_[i], manner_ == Manner::kSlow ? 1 : 4096)) {
          close(held_[i]);
          held_[i] = held_.back();
          held_.pop_back();
        } else {
          ++i;
        }
      }
    }
    if (Below(2000) == 0) {
      for (const int fd : held_) close(fd);
      held_.clear();
    }
    std::this_thread::sleep_for(microseconds(Below(2000)));
  }

  Stage& stage_;
  const Manner manner_;
  const std::size_t most_connections_;
  std::mt19937_64 random_;
  sockaddr_un address_{};
  std::vector<int> held_;
};

}  // namespace

int RunRude(Stage& stage, const std::string& socket, Manner manner, std::size_t most_connections,
            std::uint64_t seed) {
  Rude(stage, socket, manner, most_connections, seed).Run();
  return 0;
}

}  // namespace ivmq::campaign
