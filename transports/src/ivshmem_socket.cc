#include "src/ivshmem_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "src/text.h"

namespace ivmq::ivshmem {
namespace {

Status ConnectError(int error, const std::string& path) {
  struct stat file {};
  const bool exists = stat(path.c_str(), &file) == 0;
  if (exists && !S_ISSOCK(file.st_mode)) {
    const std::string hint =
        S_ISREG(file.st_mode) ? "; a region's file is opened as file:" + path : "";
    return {StatusCode::kInvalidArgument, "is no socket" + hint};
  }
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return {StatusCode::kNotFound,
              "there is no such socket; start the server: ivmqd --socket " + path + " --size 64M"};
    case EACCES:
    case EPERM:
      return {StatusCode::kPermissionDenied,
              ErrnoText(error) + ": " + AccessText(path) +
                  "; join the group that ivmqd was given with --group"};
    case ECONNREFUSED:
      return {StatusCode::kUnavailable,
              "nobody listens: the server that created this socket has ended; start ivmqd again"};
    case EPROTOTYPE:
      return {StatusCode::kInvalidArgument,
              "is not a stream socket, so not that of an ivshmem server"};
    case EAGAIN:
      return {StatusCode::kDeadlineExceeded,
              "the server does not accept connections; it hangs or is stopped"};
    default:
      return {StatusCode::kInternal, "connect: " + ErrnoText(error)};
  }
}

}  // namespace

int PollTimeout(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<long long>(left, 0, INT_MAX));
}

Status CheckSocketPath(std::string_view path) {
  constexpr std::size_t kMost = sizeof(sockaddr_un::sun_path) - 1;
  if (path.empty()) {
    return {StatusCode::kInvalidArgument, "contains no path of a socket; use unix:PATH"};
  }
  if (path.front() == '@') {
    return {
        StatusCode::kInvalidArgument,
        "an abstract socket has no owner and no permissions, so everybody on this machine could "
        "join; use a path, such as /run/ivmq/ivmq.sock (./" +
            std::string(path) + " is a file of that name)"};
  }
  if (path.size() > kMost) {
    return {StatusCode::kInvalidArgument, "a socket's path has at most " + std::to_string(kMost) +
                                              " bytes; this one has " +
                                              std::to_string(path.size())};
  }
  return {};
}

Result<UniqueFd> ConnectSocket(const std::string& path, bool observer, Clock::time_point deadline) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (Status status = CheckSocketPath(path); !status.ok()) return status;
  std::memcpy(name.sun_path, path.data(), path.size());

  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) {
    return Status(StatusCode::kResourceExhausted, "no socket can be made: " + ErrnoText(errno));
  }
  if (observer) (void)BecomeObserver(fd.get());
  // connect() waits while the server's queue of connections is full, and obeys this limit.
  const auto left = std::max<std::chrono::microseconds>(
      std::chrono::duration_cast<std::chrono::microseconds>(deadline - Clock::now()),
      std::chrono::microseconds(1));
  timeval limit{};
  limit.tv_sec = static_cast<time_t>(left.count() / 1000000);
  limit.tv_usec = static_cast<suseconds_t>(left.count() % 1000000);
  (void)setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  while (connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
    if (errno != EINTR) return ConnectError(errno, path);
  }
  return fd;
}

Status ReadError(ReadResult result, int error) {
  switch (result) {
    case ReadResult::kMessage:
    case ReadResult::kWouldBlock:
      break;
    case ReadResult::kClosed:
      return {StatusCode::kUnavailable, "the server closed the connection"};
    case ReadResult::kTruncated:
      return {StatusCode::kDataLoss, "the server closed the connection within a message"};
    case ReadResult::kLostDescriptor:
      return {StatusCode::kResourceExhausted,
              "a file descriptor that the server sent was lost: raise this process's limit (ulimit "
              "-n) above "
              "peers x vectors + 128, if the server did not send several at once"};
    case ReadResult::kTwoDescriptors:
      return {StatusCode::kDataLoss, "the server sent two file descriptors with one message"};
    case ReadResult::kError:
      return {StatusCode::kUnavailable, "reading from the server: " + ErrnoText(error)};
  }
  return {StatusCode::kInternal, "no error"};
}

Status ReadMessage(MessageReader& reader, int socket, Clock::time_point deadline,
                   Message* message) {
  for (;;) {
    const ReadResult result = reader.Read(socket, message);
    if (result == ReadResult::kMessage) return {};
    if (result != ReadResult::kWouldBlock) return ReadError(result, errno);
    const int timeout = PollTimeout(deadline);
    if (timeout == 0) return {StatusCode::kDeadlineExceeded, "the server is silent"};
    pollfd readable{socket, POLLIN, 0};
    (void)poll(&readable, 1, timeout);
  }
}

Status CheckVersion(const Message& message) {
  if (message.value == kRefusal && !message.fd.valid()) {
    return {
        StatusCode::kFailedPrecondition,
        "the server refuses this client (protocol version 1). ivmqd does so when the user may not "
        "attach (--allow-uid), when no id is free, or when the client's limit of open files "
        "(ulimit "
        "-n) is below ids x vectors + 128; its log says which"};
  }
  if (message.value != kVersion) {
    return {StatusCode::kFailedPrecondition,
            "the server speaks protocol version " + std::to_string(message.value) +
                ", not 0: it is not an ivshmem server, or newer than this program"};
  }
  if (message.fd.valid()) {
    return {StatusCode::kDataLoss, "the server sent a file descriptor with the protocol version"};
  }
  return {};
}

Result<UniqueFd> FetchSharedMemory(const std::string& path, Clock::time_point deadline) {
  auto socket = ConnectSocket(path, /*observer=*/true, deadline);
  if (!socket.ok()) return socket.status();
  MessageReader reader;
  Message message;
  if (auto status = ReadMessage(reader, socket->get(), deadline, &message); !status.ok()) {
    return status;
  }
  if (auto status = CheckVersion(message); !status.ok()) return status;
  // An id first, if the server takes this for a client.
  for (int left = 2; left > 0; --left) {
    if (auto status = ReadMessage(reader, socket->get(), deadline, &message); !status.ok()) {
      return status;
    }
    if (message.value == kSharedMemory && message.fd.valid()) return std::move(message.fd);
    if (message.value < 0 || message.value > kMaxId || message.fd.valid()) break;
  }
  return Status(StatusCode::kDataLoss, "the server's greeting has no shared memory");
}

}  // namespace ivmq::ivshmem
