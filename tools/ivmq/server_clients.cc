#include "server_clients.h"

#include <poll.h>

#include <string_view>

#include <fmt/format.h>

namespace ivmq::tool {
namespace {

constexpr std::string_view kUnix = "unix:";

// The protocol does not tell where a greeting ends: it has ended when the server is silent for so
// long.
constexpr int kSilenceMs = 50;

}  // namespace

bool IsServerAddress(const std::string& address) { return address.starts_with(kUnix); }

Result<std::unique_ptr<IvshmemClient>> ConnectAndSettle(const std::string& address) {
  if (!IsServerAddress(address)) {
    return Status(
        StatusCode::kFailedPrecondition,
        fmt::format("{}: this needs an ivshmem server: give unix:PATH of its socket", address));
  }
  auto client = IvshmemClient::Connect(address.substr(kUnix.size()));
  if (!client.ok()) {
    return Status(client.status().code(),
                  fmt::format("{}: {}", address, client.status().message()));
  }
  pollfd control{(*client)->control_fd(), POLLIN, 0};
  while (poll(&control, 1, kSilenceMs) > 0 && (*client)->HandleControl()) {
  }
  return client;
}

}  // namespace ivmq::tool
