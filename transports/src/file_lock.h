// Locks on bytes of a region's file, and what they mean. A lock belongs to an open file description
// (fcntl F_OFD_SETLK): it goes with the last descriptor and the last mapping of it, so while it is
// held the region may still be written, and once it is gone it cannot be. Whoever wants a lock of
// its own opens the file itself. A forked child shares its parent's locks until it lets go of both.
//
//   bytes 0..1023       byte n: the process that owns peer slot n
//   byte kServerLock    the server that serves this file
//   byte kIdLocks + n   shared: whoever has the region as client n of a server, also after the
//                       server's end. The server shares all 65536, so that nobody has one for
//                       itself alone
//   the whole file      whoever formats it; excludes all of the above
#ifndef IVMQ_TRANSPORTS_SRC_FILE_LOCK_H_
#define IVMQ_TRANSPORTS_SRC_FILE_LOCK_H_

#include <cstdint>

namespace ivmq {

inline constexpr std::uint64_t kServerLock = std::uint64_t{1} << 62;
inline constexpr std::uint64_t kIdLocks = std::uint64_t{1} << 61;

enum class [[nodiscard]] LockResult : std::uint8_t{
    kLocked,
    kHeld,   // by another open file description
    kError,  // see errno
};

// Thread-safe; none of these blocks. `fd` must be open for writing. `length` 0: up to any end of
// file.
LockResult TryLockFile(int fd, std::uint64_t start, std::uint64_t length) noexcept;
// Excludes TryLockFile() only. `fd` must be open for reading.
LockResult TryShareFile(int fd, std::uint64_t start, std::uint64_t length) noexcept;
inline LockResult TryLockWholeFile(int fd) noexcept { return TryLockFile(fd, 0, 0); }
void UnlockFile(int fd, std::uint64_t start, std::uint64_t length) noexcept;
// Whether another open file description holds a lock in that range. An error counts as held.
[[nodiscard]] bool IsFileLocked(int fd, std::uint64_t start, std::uint64_t length) noexcept;

// Equal exactly for processes whose locks on this file see each other: a hash of boot id, device
// and inode. 0 if the file does not support such locks.
[[nodiscard]] std::uint64_t LockDomainOf(int fd) noexcept;

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_FILE_LOCK_H_
