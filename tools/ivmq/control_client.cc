#include "control_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "server_clients.h"

namespace ivmq::tool {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{10};
// A server of 65,535 clients says less.
constexpr std::size_t kLongestAnswer = std::size_t{32} << 20;

// A socket that is closed when its owner goes.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

Status Error(StatusCode code, const std::string& path, std::string_view what) {
  return {code, fmt::format("{}: {}", path, what)};
}

Status SystemError(const std::string& path, int error) {
  switch (error) {
    case ENOENT:
      return Error(StatusCode::kNotFound, path,
                   "there is no control socket; start ivmqd, give its --control, or see whether it "
                   "has one (its log says if not)");
    case ECONNREFUSED:
      return Error(StatusCode::kUnavailable, path, "its server has ended");
    case EACCES:
    case EPERM:
      return Error(StatusCode::kPermissionDenied, path,
                   "only root and the server's own user may use it; try sudo");
    default:
      return Error(StatusCode::kUnavailable, path, std::generic_category().message(error));
  }
}

// Waits until the socket is ready for `events`; false at the deadline.
bool Await(const Socket& socket, short events, SteadyClock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now());
  pollfd ready{socket.get(), events, 0};
  return left.count() > 0 && poll(&ready, 1, static_cast<int>(left.count())) == 1;
}

// The code with this name; kUnknown if there is none.
StatusCode CodeNamed(std::string_view name) {
  for (int code = StatusCode::kOk; code <= StatusCode::kUnauthenticated; ++code) {
    if (StatusCodeName(static_cast<StatusCode>(code)) == name) return static_cast<StatusCode>(code);
  }
  return StatusCode::kUnknown;
}

Result<Json> ParseAnswer(const std::string& path, std::string_view line) {
  Json answer = Json::parse(line, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object() || !answer.contains("ok") || !answer["ok"].is_boolean()) {
    return Error(StatusCode::kDataLoss, path, "this is no control socket of ivmqd");
  }
  if (answer["ok"].get<bool>()) return answer;
  const auto text = [&](const char* key) {
    return answer.contains(key) && answer[key].is_string() ? answer[key].get<std::string>() : "";
  };
  return Error(CodeNamed(text("code")), path, text("message"));
}

}  // namespace

Result<std::string> ControlPathOf(const std::string& address) {
  if (!IsServerAddress(address)) {
    return Status(StatusCode::kFailedPrecondition,
                  fmt::format("{}: this needs an ivmqd: give unix:PATH of its socket, or --control "
                              "PATH",
                              address));
  }
  return address.substr(address.find(':') + 1) + ".control";
}

Result<Json> AskServer(const std::string& path, const Json& request) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Error(StatusCode::kInvalidArgument, path, "the path is too long");
  }
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const Socket socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return SystemError(path, errno);
  }
  const auto deadline = SteadyClock::now() + kPatience;
  // A line is shorter than what the socket takes at once.
  const std::string line = request.dump() + "\n";
  if (send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0) {
    return SystemError(path, errno);
  }
  std::string answer;
  while (answer.size() < kLongestAnswer) {
    if (!Await(socket, POLLIN, deadline)) {
      return Error(StatusCode::kDeadlineExceeded, path,
                   "its server does not answer: it hangs or is stopped");
    }
    std::array<char, 65536> buffer;
    const ssize_t size = recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (size < 0) return SystemError(path, errno);
    if (size == 0) break;
    const std::string_view part(buffer.data(), static_cast<std::size_t>(size));
    answer += part;
    if (part.find('\n') != std::string_view::npos) {
      return ParseAnswer(path, std::string_view(answer).substr(0, answer.find('\n')));
    }
  }
  return Error(StatusCode::kUnavailable, path, "its server has ended the connection");
}

}  // namespace ivmq::tool
