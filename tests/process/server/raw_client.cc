#include "raw_client.h"

#include <endian.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <gtest/gtest.h>

#include "src/ivshmem_socket.h"

namespace ivmq::testing {
namespace {

constexpr int kDeadlineMilliseconds = 30'000;

bool AwaitReadable(int fd) {
  pollfd readable{fd, POLLIN, 0};
  return poll(&readable, 1, kDeadlineMilliseconds) == 1;
}

// The server counts the descriptors that a client may open, and a test is many clients.
const bool kLimitRaised = [] {
  rlimit limit{};
  (void)getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}();

}  // namespace

RawClient::RawClient(const std::string& socket_path)
    : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  EXPECT_TRUE(kLimitRaised);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  if (connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    ADD_FAILURE() << "connect " << socket_path << ": " << std::strerror(errno);
  }
}

std::optional<RawClient::Message> RawClient::Read() {
  std::array<char, 8> bytes{};
  std::size_t filled = 0;
  Message message;
  while (filled < bytes.size()) {
    if (!AwaitReadable(socket_.get())) {
      ADD_FAILURE() << "the server is silent";
      return std::nullopt;
    }
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec part{bytes.data() + filled, bytes.size() - filled};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t got = recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
    if (got <= 0) {
      EXPECT_EQ(filled, 0U) << "the stream ends within a message";
      EXPECT_GE(got, 0) << std::strerror(errno);
      return std::nullopt;
    }
    EXPECT_EQ(header.msg_flags & MSG_CTRUNC, 0) << "a descriptor was lost";
    if (const cmsghdr* const c = CMSG_FIRSTHDR(&header); c != nullptr) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c), sizeof(fd));
      EXPECT_FALSE(message.fd.valid()) << "two descriptors with one message";
      message.fd.reset(fd);
    }
    filled += static_cast<std::size_t>(got);
  }
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof(value));
  message.value = static_cast<std::int64_t>(le64toh(value));
  ++messages_;
  return message;
}

bool RawClient::Greet(std::uint32_t vectors) {
  vectors_ = vectors;
  auto version = Read();
  auto id = Read();
  auto memory = Read();
  if (!version || !id || !memory) {
    ADD_FAILURE() << "no greeting";
    return false;
  }
  EXPECT_EQ(version->value, 0);
  EXPECT_FALSE(version->fd.valid());
  EXPECT_GE(id->value, 0);
  EXPECT_LE(id->value, 0xfffe);
  EXPECT_FALSE(id->fd.valid());
  EXPECT_EQ(memory->value, -1);
  EXPECT_TRUE(memory->fd.valid());
  id_ = static_cast<std::uint16_t>(id->value);
  memory_ = std::move(memory->fd);
  while (peers_[id_].size() < vectors) {
    if (!ReadUpdate()) return false;
  }
  for (const auto& [peer, doorbells] : peers_) {
    // The own vectors come last.
    EXPECT_EQ(doorbells.size(), vectors) << "of peer " << peer;
  }
  return !::testing::Test::HasFailure();
}

bool RawClient::ReadUpdate() {
  auto message = Read();
  if (!message) return false;
  EXPECT_GE(message->value, 0);
  EXPECT_LE(message->value, 0xfffe);
  const auto peer = static_cast<std::uint16_t>(message->value);
  if (!message->fd.valid()) {
    EXPECT_EQ(peers_.erase(peer), 1U) << "the end of unknown peer " << peer;
    EXPECT_TRUE(gone_.insert(peer).second) << "the end of peer " << peer << " twice";
    return true;
  }
  EXPECT_FALSE(gone_.contains(peer)) << "peer " << peer << " comes back after its end";
  std::vector<UniqueFd>& doorbells = peers_[peer];
  doorbells.push_back(std::move(message->fd));
  EXPECT_LE(doorbells.size(), vectors_) << "too many vectors of peer " << peer;
  return true;
}

void RawClient::ReadUntil(const std::function<bool()>& done) {
  while (!done()) {
    ASSERT_TRUE(ReadUpdate()) << "the stream ended first";
  }
}

void RawClient::ReadUntilKnown(const std::set<std::uint16_t>& ids) {
  ReadUntil([&] { return known() == ids; });
}

void RawClient::ExpectRefusal() {
  const auto message = Read();
  ASSERT_TRUE(message) << "closed without a word";
  EXPECT_EQ(message->value, 1);
  EXPECT_FALSE(message->fd.valid());
  EXPECT_FALSE(Read()) << "something follows the refusal";
}

bool RawClient::HasUnread() const {
  pollfd readable{socket_.get(), POLLIN, 0};
  return poll(&readable, 1, 0) == 1;
}

bool RawClient::Knows(std::uint16_t id) const {
  const auto peer = peers_.find(id);
  return peer != peers_.end() && peer->second.size() == vectors_;
}

std::set<std::uint16_t> RawClient::known() const {
  std::set<std::uint16_t> ids;
  for (const auto& [id, doorbells] : peers_) {
    if (doorbells.size() == vectors_) ids.insert(id);
  }
  return ids;
}

void RawClient::Ring(std::uint16_t id, std::uint32_t vector) const {
  ASSERT_TRUE(Knows(id));
  ASSERT_EQ(eventfd_write(doorbell(id, vector), 1), 0);
}

int RawClient::doorbell(std::uint16_t id, std::uint32_t vector) const {
  return peers_.at(id).at(vector).get();
}

std::uint64_t RawClient::TakeRings(std::uint32_t vector) const {
  // A QEMU may have made it blocking.
  pollfd readable{doorbell(id_, vector), POLLIN, 0};
  eventfd_t value = 0;
  return poll(&readable, 1, 0) == 1 && eventfd_read(readable.fd, &value) == 0 ? value : 0;
}

std::uint64_t RawClient::AwaitRing(std::uint32_t vector) const {
  EXPECT_TRUE(AwaitReadable(doorbell(id_, vector))) << "nobody rang";
  return TakeRings(vector);
}

RawClient ConnectObserver(const std::string& socket_path) {
  auto socket = ivshmem::ConnectSocket(socket_path, /*observer=*/true,
                                       ivshmem::Clock::now() + std::chrono::seconds(30));
  EXPECT_TRUE(socket.ok()) << socket.status().ToString();
  return RawClient(socket.ok() ? *std::move(socket) : UniqueFd());
}

}  // namespace ivmq::testing
