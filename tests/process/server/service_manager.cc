#include "service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <sstream>

#include <gtest/gtest.h>

namespace ivmq::testing {
namespace {

constexpr int kFirst = 3;

bool IsSame(int a, int b) {
  struct stat first {};
  struct stat second {};
  // Good enough for what a server keeps, apart from eventfds, which share an inode.
  return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino && S_ISSOCK(first.st_mode);
}

}  // namespace

ServiceManager::ServiceManager(std::string path, std::size_t capacity)
    : path_(std::move(path)),
      capacity_(capacity),
      socket_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
}

void ServiceManager::Receive() {
  for (;;) {
    std::array<char, 4096> text{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 8)> control{};
    iovec part{text.data(), text.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t got = recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
    if (got < 0) return;
    std::vector<UniqueFd> fds;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      for (std::size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
        fds.emplace_back(fd);
      }
    }
    Handle({text.data(), static_cast<std::size_t>(got)}, std::move(fds));
  }
}

void ServiceManager::Handle(const std::string& message, std::vector<UniqueFd> fds) {
  bool keeps = false;
  bool drops = false;
  std::string name;
  std::istringstream lines(message);
  for (std::string line; std::getline(lines, line);) {
    keeps |= line == "FDSTORE=1";
    drops |= line == "FDSTOREREMOVE=1";
    if (line.starts_with("FDNAME=")) name = line.substr(7);
  }
  if (drops) std::erase_if(store_, [&](const auto& kept) { return kept.first == name; });
  if (!keeps) return;  // a barrier's descriptor is closed, which is the answer
  for (UniqueFd& fd : fds) {
    const auto same = [&](const auto& kept) { return IsSame(kept.second.get(), fd.get()); };
    if (std::any_of(store_.begin(), store_.end(), same)) continue;
    ASSERT_LT(store_.size(), capacity_) << "more is kept than may be";
    store_.emplace_back(name, std::move(fd));
  }
}

pid_t ServiceManager::Start(const std::vector<std::string>& command, const std::string& log) const {
  std::vector<char*> arguments;
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  std::string names;
  for (const auto& [name, fd] : store_) names += (names.empty() ? "" : ":") + name;
  const int count = static_cast<int>(store_.size());
  std::vector<int> moved(store_.size());
  std::array<char, 64> listen_pid{};
  std::vector<std::string> variables{
      "NOTIFY_SOCKET=" + path_, "FDSTORE=" + std::to_string(capacity_),
      "LISTEN_FDS=" + std::to_string(count), "LISTEN_FDNAMES=" + names};
  std::vector<char*> environment{listen_pid.data()};
  for (std::string& variable : variables) environment.push_back(variable.data());
  for (char** variable = environ; *variable != nullptr; ++variable)
    environment.push_back(*variable);
  environment.push_back(nullptr);
  const pid_t pid = vfork();
  if (pid != 0) return pid;
  (void)std::snprintf(listen_pid.data(), listen_pid.size(), "LISTEN_PID=%d", getpid());
  const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  (void)dup2(file, STDERR_FILENO);
  // Out of the way first.
  for (std::size_t i = 0; i < moved.size(); ++i) {
    moved[i] = fcntl(store_[i].second.get(), F_DUPFD_CLOEXEC, kFirst + count);
  }
  for (int i = 0; i < count; ++i) (void)dup2(moved[static_cast<std::size_t>(i)], kFirst + i);
  (void)execve(arguments[0], arguments.data(), environment.data());
  _exit(127);
}

}  // namespace ivmq::testing
