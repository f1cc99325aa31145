#include "metrics_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "system_error.h"

namespace ivmq::server {
namespace {

constexpr std::string_view kUnix = "unix:";

// An address with a port, as the system wants it.
struct Endpoint {
  sockaddr_storage address{};
  socklen_t length = 0;
};

std::optional<std::uint16_t> ParsePort(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return port;
}

// Nothing: it is no address, or not one of this machine alone.
std::optional<Endpoint> ParseLoopback(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  const auto port = ParsePort(std::string_view(text).substr(colon + 1));
  if (!port) return std::nullopt;
  std::string host = text.substr(0, colon);
  Endpoint endpoint;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(*port);
    if (inet_pton(AF_INET6, host.c_str(), &address.sin6_addr) != 1 ||
        IN6_IS_ADDR_LOOPBACK(&address.sin6_addr) == 0) {
      return std::nullopt;
    }
    endpoint.length = sizeof(address);
    std::memcpy(&endpoint.address, &address, sizeof(address));
    return endpoint;
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(*port);
  constexpr std::uint32_t kLoopbackNet = 127;
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1 ||
      ntohl(address.sin_addr.s_addr) >> 24 != kLoopbackNet) {
    return std::nullopt;
  }
  endpoint.length = sizeof(address);
  std::memcpy(&endpoint.address, &address, sizeof(address));
  return endpoint;
}

std::uint16_t PortOf(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  // The port has the same place in both families.
  sockaddr_in ip{};
  std::memcpy(&ip, &address, sizeof(ip));
  return ntohs(ip.sin_port);
}

Result<MetricsListener> ListenAtPort(const std::string& text, const Endpoint& endpoint) {
  UniqueFd socket(
      ::socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return SystemError(errno, text);
  // The connections of a server that has just ended may still be known.
  const int yes = 1;
  (void)setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.length) !=
          0 ||
      listen(socket.get(), SOMAXCONN) != 0) {
    return SystemError(errno, text);
  }
  std::string url =
      fmt::format("http://{}:{}/metrics", text.substr(0, text.rfind(':')), PortOf(socket.get()));
  Result<Listener> listener = Listener::Adopt(std::move(socket));
  if (!listener.ok()) return listener.status();
  return MetricsListener{*std::move(listener), std::move(url)};
}

}  // namespace

Status CheckMetricsAddress(const std::string& address) {
  if (address.starts_with(kUnix) || ParseLoopback(address)) return {};
  return {StatusCode::kInvalidArgument,
          fmt::format("{}: use unix:PATH, 127.0.0.1:PORT or [::1]:PORT; other machines are served "
                      "by a proxy that asks who they are",
                      address)};
}

Result<MetricsListener> ListenForMetrics(const std::string& address) {
  if (Status status = CheckMetricsAddress(address); !status.ok()) return status;
  if (const auto endpoint = ParseLoopback(address)) return ListenAtPort(address, *endpoint);
  Result<Listener> listener =
      Listener::Open(address.substr(kUnix.size()), /*group=*/std::nullopt, /*mode=*/0660);
  if (!listener.ok()) return listener.status();
  return MetricsListener{*std::move(listener), address};
}

}  // namespace ivmq::server
