#include "src/file_lock.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

#include "ivmq/internal/peer_table.h"

namespace ivmq {
namespace {

struct flock Range(short type, std::uint64_t start, std::uint64_t length) noexcept {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(start);
  range.l_len = static_cast<off_t>(length);
  return range;
}

LockResult TrySet(int fd, struct flock range) noexcept {
  if (fcntl(fd, F_OFD_SETLK, &range) == 0) return LockResult::kLocked;
  // EACCES is the refusal of a security module, and no lock of somebody's.
  return errno == EAGAIN ? LockResult::kHeld : LockResult::kError;
}

// The finalizer of SplitMix64: every bit of the input changes half of the output's.
std::uint64_t Mix(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

LockResult TryLockFile(int fd, std::uint64_t start, std::uint64_t length) noexcept {
  return TrySet(fd, Range(F_WRLCK, start, length));
}

LockResult TryShareFile(int fd, std::uint64_t start, std::uint64_t length) noexcept {
  return TrySet(fd, Range(F_RDLCK, start, length));
}

void UnlockFile(int fd, std::uint64_t start, std::uint64_t length) noexcept {
  struct flock range = Range(F_UNLCK, start, length);
  (void)fcntl(fd, F_OFD_SETLK, &range);
}

bool IsFileLocked(int fd, std::uint64_t start, std::uint64_t length) noexcept {
  struct flock range = Range(F_WRLCK, start, length);
  return fcntl(fd, F_OFD_GETLK, &range) != 0 || range.l_type != F_UNLCK;
}

std::uint64_t LockDomainOf(int fd) noexcept {
  struct flock probe = Range(F_WRLCK, kServerLock, 1);
  struct stat file {};
  if (fcntl(fd, F_OFD_GETLK, &probe) != 0 || fstat(fd, &file) != 0) return 0;
  const BootId boot = ReadBootId();
  std::uint64_t hash = 0;
  for (const std::uint64_t word :
       {boot[0], boot[1], std::uint64_t{file.st_dev}, std::uint64_t{file.st_ino}}) {
    hash = Mix(hash ^ word) + 0x9e3779b97f4a7c15;
  }
  return hash == 0 ? 1 : hash;
}

}  // namespace ivmq
