#include "listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "path_lock.h"
#include "src/ivshmem_socket.h"
#include "src/text.h"
#include "system_error.h"

namespace ivmq::server {
namespace {

// A server has the lock for an instant.
constexpr std::chrono::seconds kLockPatience{2};

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// Removes a socket that no process has bound any more.
Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) {
    return errno == ENOENT ? Status() : SystemError(errno, path);
  }
  if (!S_ISSOCK(found.st_mode)) {
    return {StatusCode::kFailedPrecondition,
            fmt::format("{}: there is something that is no socket; give another path or "
                        "remove it",
                        path)};
  }
  // A datagram socket asks without being taken for a client: the kernel looks for an owner first
  // and compares the types afterwards.
  const UniqueFd probe(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe.valid()) return SystemError(errno, "socket");
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
      errno == EPROTOTYPE || errno == EPERM) {
    return {StatusCode::kAlreadyExists,
            fmt::format("{}: a running process has this socket, probably another server; end "
                        "it first, or give another path",
                        path)};
  }
  if (errno != ECONNREFUSED) {
    return SystemError(errno, fmt::format("{}: cannot determine whether a server uses it", path));
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return SystemError(errno, fmt::format("{}: cannot remove a stale socket", path));
  }
  return {};
}

}  // namespace

Listener::Listener(UniqueFd socket, std::string path, dev_t device, ino_t inode)
    : socket_(std::move(socket)), path_(std::move(path)), device_(device), inode_(inode) {
  RestoreReserve();
}

Listener::~Listener() { Unlink(); }

Result<Listener> Listener::Open(const std::string& path, std::optional<gid_t> group, mode_t mode) {
  if (const Status status = ivshmem::CheckSocketPath(path); !status.ok()) return At(path, status);
  const sockaddr_un address = AddressOf(path);
  const Result<PathLock> lock = PathLock::Take(path, kLockPatience);
  if (!lock.ok()) return At(path, lock.status());
  if (Status status = RemoveStale(path, address); !status.ok()) return status;

  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return SystemError(errno, "socket");
  // bind() takes the permissions over, so nobody else can connect before group and mode are set.
  struct stat bound {};
  if (fchmod(socket.get(), 0600) != 0 ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      lstat(path.c_str(), &bound) != 0) {
    return SystemError(errno, path);
  }
  Listener listener(std::move(socket), path, bound.st_dev, bound.st_ino);
  if (group && lchown(path.c_str(), static_cast<uid_t>(-1), *group) != 0) {
    return SystemError(errno, fmt::format("{}: giving it to group {}", path, *group));
  }
  if (chmod(path.c_str(), mode) != 0 || listen(listener.fd(), SOMAXCONN) != 0) {
    return SystemError(errno, path);
  }
  return listener;
}

Result<std::string> Listener::PathOf(int socket) {
  int type = 0;
  int listens = 0;
  socklen_t length = sizeof(int);
  sockaddr_un address{};
  socklen_t filled = sizeof(address);
  if (getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM ||
      getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || listens == 0 ||
      getsockname(socket, reinterpret_cast<sockaddr*>(&address), &filled) != 0 ||
      address.sun_family != AF_UNIX || address.sun_path[0] != '/') {
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("descriptor {} is no UNIX stream socket that listens at a path; in a "
                              "socket unit, set ListenStream= to a path",
                              socket));
  }
  return std::string(address.sun_path,
                     strnlen(address.sun_path, filled - offsetof(sockaddr_un, sun_path)));
}

Result<Listener> Listener::Adopt(UniqueFd socket) {
  // Accept() must find out that nobody waits.
  if (fcntl(socket.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0 ||
      fcntl(socket.get(), F_SETFD, FD_CLOEXEC) != 0) {
    return SystemError(errno, "fcntl");
  }
  return Listener(std::move(socket), std::string(), 0, 0);
}

AcceptOutcome Listener::Accept(UniqueFd* client) {
  *client = UniqueFd(accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (client->valid()) return AcceptOutcome::kAccepted;
  switch (errno) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case EPERM:
      return AcceptOutcome::kNone;
    case EMFILE:
    case ENFILE:
      return AcceptOutcome::kNoDescriptors;
    default:
      return AcceptOutcome::kFailed;
  }
}

UniqueFd Listener::AcceptWithReserve() {
  if (!reserve_.valid()) return {};
  reserve_.reset();
  return UniqueFd(accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

void Listener::RestoreReserve() {
  if (!reserve_.valid()) reserve_.reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

void Listener::Unlink() {
  if (path_.empty()) return;
  const std::string path = std::exchange(path_, std::string());
  struct stat found {};
  if (lstat(path.c_str(), &found) == 0 && found.st_dev == device_ && found.st_ino == inode_) {
    (void)unlink(path.c_str());
  }
}

}  // namespace ivmq::server
