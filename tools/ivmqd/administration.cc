// What the operator sees and does while the server runs.
#include <algorithm>

#include "region_server_impl.h"

namespace ivmq::server {

std::string_view ClientStateName(ClientState state) {
  switch (state) {
    case ClientState::kGreeting:
      return "greeting";
    case ClientState::kConnected:
      return "connected";
    case ClientState::kSlow:
      return "slow";
    case ClientState::kHeldBack:
      return "held-back";
    case ClientState::kLingering:
      break;
  }
  return "lingering";
}

std::string_view RefusalName(Refusal reason) {
  switch (reason) {
    case Refusal::kUser:
      return "user";
    case Refusal::kQuota:
      return "quota";
    case Refusal::kClientDescriptors:
      return "client-descriptors";
    case Refusal::kServerDescriptors:
      return "server-descriptors";
    case Refusal::kInFlight:
      return "in-flight";
    case Refusal::kNoId:
      return "no-id";
    case Refusal::kDraining:
      return "draining";
    case Refusal::kEnding:
      return "ending";
    case Refusal::kFailed:
    case Refusal::kCount:
      break;
  }
  return "failed";
}

namespace {

ClientInfo Describe(std::uint16_t id, ClientState state, const ClientProcess& process) {
  return {.id = id,
          .state = state,
          .pid = process.pid(),
          .process = process.name(),
          .is_qemu = process.IsQemu(),
          .uid = process.uid(),
          .since = process.since()};
}

}  // namespace

std::vector<ClientInfo> RegionServer::Impl::Clients() const {
  std::vector<ClientInfo> all;
  all.reserve(clients_.size() + lingering_.size());
  for (const auto& [id, client] : clients_) {
    ClientInfo& info = all.emplace_back(Describe(id, StateOf(client), client.process));
    info.told = client.backlog.told();
    info.owed = client.backlog.owed();
  }
  for (const auto& [id, lingering] : lingering_) {
    all.push_back(lingering.process ? Describe(id, ClientState::kLingering, *lingering.process)
                                    : ClientInfo{.id = id, .state = ClientState::kLingering});
  }
  std::sort(all.begin(), all.end(),
            [](const ClientInfo& a, const ClientInfo& b) { return a.id < b.id; });
  return all;
}

ClientState RegionServer::Impl::StateOf(const Client& client) const {
  if (client.is_held_back) return ClientState::kHeldBack;
  if (client.is_greeting && Unread(client.socket) != 0) return ClientState::kGreeting;
  return client.waits_for_space || client.waits_for_kernel ? ClientState::kSlow
                                                           : ClientState::kConnected;
}

ServerState RegionServer::Impl::state() const {
  ServerState state = state_;
  state.clients = clients_.size();
  state.lingering = lingering_.size();
  state.observers = observers_.size();
  state.allocated = region_.allocated();
  state.log_lines_omitted = log_limiter_.omitted();
  return state;
}

Status RegionServer::Impl::Evict(std::uint16_t id, std::string_view by) {
  const auto client = clients_.find(id);
  if (client == clients_.end()) {
    if (!lingering_.contains(id)) {
      return {StatusCode::kNotFound, fmt::format("no client has id {}", id)};
    }
    return {StatusCode::kFailedPrecondition,
            fmt::format("id {} has no connection any more; it is free when its holder has ended or "
                        "closed the region",
                        id)};
  }
  Log(LogLevel::kWarning, "id {}: {} is evicted by {}", id, client->second.process.description(),
      by);
  ending_.insert(id);
  EndMarked();
  return {};
}

void RegionServer::Impl::SetDraining(bool is_draining, std::string_view by) {
  if (state_.is_draining == is_draining) return;
  state_.is_draining = is_draining;
  Log(LogLevel::kWarning, "newcomers are {} by {}", is_draining ? "refused" : "let in again", by);
}

void RegionServer::Impl::Reconfigure(const Options& options) {
  options_.allow_uids = options.allow_uids;
  options_.ids_per_uid = options.ids_per_uid;
  options_.handshake_timeout = options.handshake_timeout;
  options_.log_lines_per_second = options.log_lines_per_second;
  log_limiter_.SetRate(options_.log_lines_per_second);
  // Whose time was not limited may have none left.
  Soon(std::chrono::milliseconds(0));
}

// ---- RegionServer

std::vector<ClientInfo> RegionServer::Clients() const { return impl_->Clients(); }
ServerState RegionServer::state() const { return impl_->state(); }
const Region& RegionServer::region() const { return impl_->region(); }
Status RegionServer::Evict(std::uint16_t id, std::string_view by) { return impl_->Evict(id, by); }
void RegionServer::SetDraining(bool is_draining, std::string_view by) {
  impl_->SetDraining(is_draining, by);
}
void RegionServer::Reconfigure(const Options& options) { impl_->Reconfigure(options); }

}  // namespace ivmq::server
