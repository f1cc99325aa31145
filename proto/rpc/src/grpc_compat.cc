#include "ivmq/rpc/grpc_compat.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <mutex>
#include <optional>
#include <tuple>

#include "src/grpc_compat_interceptor.h"

namespace ivmq::grpc {
namespace {

// A region of this process that nobody serves in: where the channels go that go nowhere.
constexpr std::string_view kNowhere = "inproc:ivmq-grpc-nowhere";
// Ports that a server gets which asks for any, as those that Linux gives.
constexpr int kFirstFreePort = 32768;
constexpr int kLastFreePort = 60999;

struct TargetParts {
  std::string region;
  std::string name;
  std::optional<int> port{};  // of HOST:PORT
};

std::optional<std::string> DecodePercents(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const std::string_view digits = text.substr(i + 1, 2);
    std::uint8_t byte = 0;
    const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16).ptr;
    if (digits.size() != 2 || end != digits.data() + 2) return std::nullopt;
    decoded += static_cast<char>(byte);
    i += 2;
  }
  return decoded;
}

std::string PortName(int port) { return "port-" + std::to_string(port); }

std::optional<TargetParts> ParseUri(std::string_view rest) {
  const std::size_t slash = rest.rfind('/');
  if (slash == std::string_view::npos) return std::nullopt;
  std::optional<std::string> name = DecodePercents(rest.substr(slash + 1));
  if (!name.has_value() || name->empty()) return std::nullopt;
  const std::string_view region = rest.substr(0, slash);
  return TargetParts{region.empty() ? "auto" : std::string(region), *std::move(name)};
}

std::optional<TargetParts> ParseHostAndPort(std::string_view text) {
  for (const std::string_view prefix : {"dns:", "ipv4:", "ipv6:"}) {
    if (text.starts_with(prefix)) text.remove_prefix(prefix.size());
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return TargetParts{"auto", PortName(port), port};
}

std::optional<TargetParts> Parse(std::string_view target) {
  constexpr std::string_view kScheme = "ivmq://";
  if (target.starts_with(kScheme)) return ParseUri(target.substr(kScheme.size()));
  return ParseHostAndPort(target);
}

std::string NoTarget(const std::string& target) {
  return "'" + target +
         "' names no peer: say ivmq:///NAME, ivmq://REGION/NAME or HOST:PORT, see "
         "ivmq/rpc/grpc_compat.h";
}

// The endpoints of this process, by region and name. Thread-safe.
class Endpoints {
 public:
  // Never destroyed: used by threads that outlive main().
  static Endpoints& Get() {
    static Endpoints& endpoints = *new Endpoints;
    return endpoints;
  }

  // `name`: empty for that of all channels without one. `shared`: it may be there already.
  Result<std::shared_ptr<rpc::Endpoint>> Open(internal::OpenEndpoint open,
                                              const std::string& region, const std::string& name,
                                              bool shared = true) {
    const std::lock_guard lock(mutex_);
    std::weak_ptr<rpc::Endpoint>& known = known_[{region, name}];
    if (auto endpoint = known.lock(); endpoint != nullptr && endpoint->node().status().ok()) {
      if (shared) return endpoint;
      return ivmq::Status(ivmq::StatusCode::kAlreadyExists, name + " is this process's own");
    }
    auto opened = open(region, {.node = {.name = name, .on_report = [](const ivmq::Status& status) {
                                           internal::SayOnStderr(status.ToString());
                                         }}});
    if (opened.ok()) known = *opened;
    return opened;
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::weak_ptr<rpc::Endpoint>>
      known_;  // guarded by mutex_
};

std::atomic<bool> health_check_enabled{false};
std::atomic<bool> reflection_enabled{false};

void SayThatCredentialsAreIgnored() {
  static std::atomic<bool> said{false};
  if (said.exchange(true)) return;
  internal::SayOnStderr(
      "credentials are ignored: whoever maps a region can write all of it, so that one region is "
      "one trust domain; see docs/guarantees.md");
}

}  // namespace

namespace internal {

void SayOnStderr(const std::string& what) {
  (void)std::fprintf(stderr, "ivmq: %s\n", what.c_str());
}
bool IsHealthCheckEnabled() { return health_check_enabled.load(); }
bool IsReflectionEnabled() { return reflection_enabled.load(); }

std::shared_ptr<Channel> CreateChannel(OpenEndpoint open, const std::string& target,
                                       const ChannelArguments& arguments,
                                       experimental::ClientInterceptorFactories interceptors) {
  const std::optional<TargetParts> peer = Parse(target);
  std::string why = NoTarget(target);
  if (peer.has_value()) {
    auto endpoint = Endpoints::Get().Open(open, peer->region, arguments.name());
    if (endpoint.ok()) return MakeChannel(*endpoint, peer->name, std::move(interceptors), {});
    why = endpoint.status().ToString();
  }
  SayOnStderr(why);
  auto nowhere = Endpoints::Get().Open(open, std::string(kNowhere), {});
  if (!nowhere.ok()) return nullptr;
  return MakeChannel(*nowhere, peer.has_value() ? peer->name : target, std::move(interceptors),
                     std::move(why));
}

std::shared_ptr<rpc::Endpoint> Listen(OpenEndpoint open, const std::string& address, int* port) {
  const std::optional<TargetParts> target = Parse(address);
  if (!target.has_value()) {
    SayOnStderr(NoTarget(address));
    return nullptr;
  }
  const bool any = target->port == 0;
  // From a port on that other processes do not begin with.
  constexpr int kPorts = kLastFreePort - kFirstFreePort + 1;
  const int first = static_cast<int>(getpid() % kPorts);
  for (int i = 0; i < (any ? kPorts : 1); ++i) {
    *port = any ? kFirstFreePort + (first + i) % kPorts : target->port.value_or(1);
    auto endpoint =
        Endpoints::Get().Open(open, target->region, any ? PortName(*port) : target->name, !any);
    if (endpoint.ok()) return *std::move(endpoint);
    if (any && endpoint.status().code() == ivmq::StatusCode::kAlreadyExists) continue;
    SayOnStderr(endpoint.status().ToString());
    break;
  }
  return nullptr;
}

}  // namespace internal

std::shared_ptr<ChannelCredentials> InsecureChannelCredentials() {
  return std::make_shared<ChannelCredentials>();
}
std::shared_ptr<ServerCredentials> InsecureServerCredentials() {
  return std::make_shared<ServerCredentials>();
}
std::shared_ptr<ChannelCredentials> SslCredentials(const SslCredentialsOptions& /*options*/) {
  SayThatCredentialsAreIgnored();
  return InsecureChannelCredentials();
}
std::shared_ptr<ServerCredentials> SslServerCredentials(
    const SslServerCredentialsOptions& /*options*/) {
  SayThatCredentialsAreIgnored();
  return InsecureServerCredentials();
}

void EnableDefaultHealthCheckService(bool enable) { health_check_enabled.store(enable); }
bool DefaultHealthCheckServiceEnabled() { return health_check_enabled.load(); }

namespace reflection {

void InitProtoReflectionServerBuilderPlugin() { reflection_enabled.store(true); }

}  // namespace reflection
}  // namespace ivmq::grpc
