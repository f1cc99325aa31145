// The listening socket and its place in the file system.
#ifndef IVMQ_TOOLS_IVMQD_LISTENER_H_
#define IVMQ_TOOLS_IVMQD_LISTENER_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "ivmq/status.h"

#include "src/unique_fd.h"

namespace ivmq::server {

enum class AcceptOutcome : std::uint8_t {
  kAccepted,
  kNone,           // nobody waits, or the one who waited has gone
  kNoDescriptors,  // the one who waits can be accepted with the reserve, to be refused
  kFailed,         // see errno; trying again at once is of no use
};

// Thread-compatible.
class Listener {
 public:
  // Listens at `path`, with these permissions from the first moment at which somebody can connect.
  // Removes a socket at which nobody listens any more. Waits a moment for another server that does
  // the same at this path; see PathLock. Errors start with the path.
  //   INVALID_ARGUMENT     the path is too long
  //   ALREADY_EXISTS       a living process has a socket there
  //   UNAVAILABLE          another process keeps the lock of the path
  //   FAILED_PRECONDITION  something that is no socket is there
  static Result<Listener> Open(const std::string& path, std::optional<gid_t> group, mode_t mode);
  // A socket that listens already and is somebody else's to remove.
  // REQUIRES: PathOf(socket) has a path
  static Result<Listener> Adopt(UniqueFd socket);
  // A socket that Open() made in a former process: the file at `path` is this one's to remove, if
  // it is still that socket's, whose device and inode device() and inode() gave then.
  static Listener Restore(UniqueFd socket, std::string path, dev_t device, ino_t inode) {
    return {std::move(socket), std::move(path), device, inode};
  }
  // Where a UNIX stream socket listens. INVALID_ARGUMENT: it is none, or has no path.
  static Result<std::string> PathOf(int socket);
  Listener(Listener&&) noexcept = default;
  Listener& operator=(Listener&&) = delete;
  // Removes the socket that Open() made, if it is still this one that stands at the path.
  ~Listener();

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  [[nodiscard]] bool is_removed_at_end() const noexcept { return !path_.empty(); }
  [[nodiscard]] dev_t device() const noexcept { return device_; }
  [[nodiscard]] ino_t inode() const noexcept { return inode_; }
  // Leaves the socket where it is at the end.
  void Leave() noexcept { path_.clear(); }

  // Accepts one client, non-blocking.
  AcceptOutcome Accept(UniqueFd* client);

  // After kNoDescriptors: accepts into the descriptor that is kept for this. Nothing: somebody else
  // took it, or the system as a whole has none. Call RestoreReserve() when the client is closed.
  [[nodiscard]] UniqueFd AcceptWithReserve();
  void RestoreReserve();

  // Removes the socket that Open() made from the file system: nobody can connect from now on, and
  // who waits can still be accepted.
  void Unlink();

 private:
  Listener(UniqueFd socket, std::string path, dev_t device, ino_t inode);

  UniqueFd socket_;
  UniqueFd reserve_;
  std::string path_;  // empty: not there any more, or not to be removed
  dev_t device_;
  ino_t inode_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_LISTENER_H_
