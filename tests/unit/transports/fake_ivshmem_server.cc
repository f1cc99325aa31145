#include "fake_ivshmem_server.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <iterator>
#include <utility>

#include <gtest/gtest.h>

#include "src/ivshmem_protocol.h"

namespace ivmq::testing {

void Conversation::Send(std::int64_t value, int fd) const {
  EXPECT_EQ(ivshmem::SendMessage(socket_, value, fd), ivshmem::SendResult::kSent);
}

void Conversation::SendBytes(std::span<const std::byte> bytes, const std::vector<int>& fds) const {
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  std::vector<std::size_t> control(32);
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* const c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
  }
  EXPECT_EQ(sendmsg(socket_, &header, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
}

void Conversation::Greet(std::uint16_t id, int memory, const std::vector<int>& own) const {
  Send(ivshmem::kVersion);
  Send(id);
  Send(ivshmem::kSharedMemory, memory);
  for (const int fd : own) Send(id, fd);
}

void Conversation::Close() const { EXPECT_EQ(shutdown(socket_, SHUT_RDWR), 0); }

Listener::Listener() : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path_.data(), path_.size());
  EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  EXPECT_EQ(listen(socket_.get(), 8), 0);
}

UniqueFd Listener::Accept() const {
  return UniqueFd(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
}

void Listener::Close() const { (void)shutdown(socket_.get(), SHUT_RDWR); }

FakeIvshmemServer::FakeIvshmemServer(std::function<void(const Conversation&)> script) {
  thread_ = std::thread([this, script = std::move(script)] {
    connection_ = listener_.Accept();
    if (connection_.valid()) script(Conversation(connection_.get()));
  });
}

FakeIvshmemServer::~FakeIvshmemServer() {
  listener_.Close();  // if nobody ever connected
  if (thread_.joinable()) thread_.join();
}

Conversation FakeIvshmemServer::Finish() {
  thread_.join();
  return Conversation(connection_.get());
}

UniqueFd MakeMemory(std::size_t size) {
  UniqueFd fd(memfd_create("ivmq-test", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}

UniqueFd MakeEventfd() { return UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

std::uint64_t Drain(int eventfd) {
  std::uint64_t count = 0;
  return read(eventfd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

std::size_t CountDescriptors() {
  const std::filesystem::directory_iterator open("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(open), end(open)));
}

}  // namespace ivmq::testing
