#include "client_process.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5
#endif

namespace ivmq::server {
namespace {

// PID_FS_MAGIC of Linux 6.9.
constexpr decltype(statfs::f_type) kPidfsMagic = 0x50494446;

UniqueFd OpenPidfd(int socket, pid_t pid) {
  int fd = -1;
  socklen_t length = sizeof(fd);
  // Refers to the process that connected even if its pid has been given to another one.
  if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &length) == 0) return UniqueFd(fd);
  if (errno != ENOPROTOOPT || pid == 0) return {};
  return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

// When the process started, in ticks since the system did. 0: cannot be read.
std::uint64_t StartTime(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(file, line);
  // The name, in parentheses, may hold anything; the time is the twentieth word behind it.
  std::istringstream words(line.substr(std::min(line.rfind(')') + 1, line.size())));
  std::string word;
  for (int i = 0; i < 19; ++i) words >> word;
  std::uint64_t start = 0;
  return words >> start ? start : 0;
}

// Never the same for two processes that have one pid after the other.
std::uint64_t Birth(int pidfd, pid_t pid) {
  struct statfs system {};
  struct stat file {};
  if (fstatfs(pidfd, &system) == 0 && system.f_type == kPidfsMagic && fstat(pidfd, &file) == 0) {
    return file.st_ino;
  }
  return StartTime(pid);
}

// The file name of the program that the process runs. Empty: this process may not see it.
std::string ProgramOf(pid_t pid) {
  std::error_code error;
  return std::filesystem::read_symlink(fmt::format("/proc/{}/exe", pid), error).filename().string();
}

// The soft limit in /proc/PID/limits, which needs no privilege over the process. 0: cannot be read.
std::uint64_t LimitFromProc(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/limits", pid));
  constexpr std::string_view kKey = "Max open files";
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(kKey)) continue;
    std::istringstream rest(line.substr(kKey.size()));
    std::uint64_t soft = 0;
    return rest >> soft ? soft : RLIM_INFINITY;  // "unlimited"
  }
  return 0;
}

}  // namespace

std::string ProcessName(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/comm", pid));
  std::string name;
  std::getline(file, name);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return name.empty() ? "?" : name;
}

ClientProcess::ClientProcess(int socket) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) {
    key_.pid = credentials.pid;
    key_.uid = credentials.uid;
  }
  pidfd_ = OpenPidfd(socket, pid());
  if (pid() == 0) {
    description_ = fmt::format("a process of another pid namespace, uid {}", uid());
    return;
  }
  key_.birth = Birth(pidfd_.get(), pid());
  name_ = ProcessName(pid());
  description_ = fmt::format("pid {} ({}), uid {}", pid(), name_, uid());
  is_qemu_ = name_.starts_with("qemu") || ProgramOf(pid()).starts_with("qemu");
}

bool ClientProcess::HasEnded() const {
  pollfd ended{pidfd_.get(), POLLIN, 0};
  return pidfd_.valid() && poll(&ended, 1, 0) == 1;
}

std::uint64_t ClientProcess::DescriptorLimit() {
  if (!IsLimitKnown()) return std::min(descriptor_limit_, kUnknownDescriptorLimit);
  rlimit limit{};
  if (prlimit(pid(), RLIMIT_NOFILE, nullptr, &limit) == 0) {
    descriptor_limit_ = limit.rlim_cur;
  } else if (const std::uint64_t soft = LimitFromProc(pid()); soft != 0) {
    descriptor_limit_ = soft;
  }
  return descriptor_limit_;
}

void RaiseOwnDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

std::uint64_t OwnDescriptorLimit() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : kUnknownDescriptorLimit;
}

}  // namespace ivmq::server
