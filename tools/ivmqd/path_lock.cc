#include "path_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "client_process.h"
#include "system_error.h"

namespace ivmq::server {
namespace {

constexpr std::chrono::milliseconds kLockRetry{5};

bool IsSameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// "pid 812 (flock)", as far as the kernel tells.
std::string HolderOf(const struct stat& file) {
  const std::string key =
      fmt::format("{:02x}:{:02x}:{}", major(file.st_dev), minor(file.st_dev), file.st_ino);
  // 1: FLOCK  ADVISORY  WRITE 812 00:2f:1234 0 EOF
  std::ifstream locks("/proc/locks");
  std::string number;
  std::string kind;
  std::string advisory;
  std::string access;
  pid_t pid = 0;
  std::string inode;
  for (std::string start; locks >> number >> kind >> advisory >> access >> pid >> inode;
       std::getline(locks, start)) {
    if (kind == "FLOCK" && inode == key && pid > 0) {
      return fmt::format("pid {} ({})", pid, ProcessName(pid));
    }
  }
  return "a process that is not visible from here";
}

}  // namespace

Result<PathLock> PathLock::Take(const std::string& socket_path,
                                std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  const std::string path = socket_path + ".lock";
  for (;;) {
    UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    struct stat opened {};
    if (!file.valid() && (errno == ENOENT || errno == ENOTDIR)) {
      const std::string folder = std::filesystem::path(path).parent_path().string();
      return Status(StatusCode::kNotFound,
                    fmt::format("folder {0} does not exist; make it: mkdir -p {0}", folder));
    }
    if (!file.valid() || fstat(file.get(), &opened) != 0) {
      return SystemError(errno, fmt::format("making the lock file {}", path));
    }
    if (flock(file.get(), LOCK_EX | LOCK_NB) == 0) {
      // Who had it may have removed it before it let go.
      struct stat found {};
      if (lstat(path.c_str(), &found) == 0 && IsSameFile(found, opened)) {
        return PathLock(std::move(file), path);
      }
      continue;
    }
    if (errno != EWOULDBLOCK) return SystemError(errno, fmt::format("locking {}", path));
    if (std::chrono::steady_clock::now() >= deadline) {
      return Status(StatusCode::kUnavailable,
                    fmt::format("{} has a lock on {}, like a server that is starting at this path; "
                                "end it, or give another path",
                                HolderOf(opened), path));
    }
    std::this_thread::sleep_for(kLockRetry);
  }
}

PathLock::~PathLock() {
  // Before the lock goes: who waits looks whether the file is still there.
  if (file_.valid()) (void)unlink(path_.c_str());
}

}  // namespace ivmq::server
