// The right to put a socket at a path.
#ifndef IVMQ_TOOLS_IVMQD_PATH_LOCK_H_
#define IVMQ_TOOLS_IVMQD_PATH_LOCK_H_

#include <chrono>
#include <string>
#include <utility>

#include "ivmq/status.h"

#include "src/unique_fd.h"

namespace ivmq::server {

// Two servers that start at once must not both find the same stale socket: while one of them looks
// and binds, it has a lock on a file of its own beside the socket. Nobody else has a use for that
// file, and only this server's user can open it. It goes with this object. Movable.
class PathLock {
 public:
  // Waits for another server that starts, for `patience` at most: UNAVAILABLE names who has the
  // lock.
  static Result<PathLock> Take(const std::string& socket_path, std::chrono::milliseconds patience);
  PathLock(PathLock&&) = default;
  PathLock& operator=(PathLock&&) = delete;
  ~PathLock();

 private:
  PathLock(UniqueFd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}

  UniqueFd file_;
  std::string path_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_PATH_LOCK_H_
