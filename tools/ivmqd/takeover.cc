// Going on where another server stopped, from its record and its descriptors.
#include <poll.h>
#include <sys/socket.h>

#include <utility>

#include "region_server_impl.h"
#include "src/text.h"

namespace ivmq::server {
namespace {

// Ended by either side.
bool HasEnded(int socket) {
  pollfd ended{socket, 0, 0};
  return poll(&ended, 1, 0) == 1 && (ended.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

std::vector<KeptFd> RegionServer::Impl::InheritDoorbells(std::uint16_t id) {
  std::vector<KeptFd> doorbells;
  for (std::uint32_t vector = 0; vector < options_.vectors; ++vector) {
    KeptFd doorbell = estate_.Inherit(share_.former->doorbell(id, vector));
    if (!doorbell.valid()) {
      Log(LogLevel::kWarning, "id {}: its doorbells were not kept, so it is not used again", id);
      return {};
    }
    doorbells.push_back(std::move(doorbell));
  }
  return doorbells;
}

void RegionServer::Impl::Restore() {
  std::set<std::uint16_t> connected;
  std::vector<std::uint16_t> used;
  IdSet retired;
  for (std::uint32_t i = 0; i <= kLastId; ++i) {
    const auto id = static_cast<std::uint16_t>(i);
    const IdState state = share_.former->state(id);
    if (state == IdState::kUnused) continue;
    used.push_back(id);
    if (state == IdState::kConnected) connected.insert(id);
    if (state == IdState::kRetired) retired.set(id);
  }
  for (const std::uint16_t id : used) RestoreId(id, connected, retired);
  RestoreConnections();
}

void RegionServer::Impl::RestoreId(std::uint16_t id, const std::set<std::uint16_t>& connected,
                                   const IdSet& retired) {
  const RegionRecord& former = *share_.former;
  IdState state = former.state(id);
  if (state == IdState::kRetired) {
    ids_.Restore(id, false, {});
    record_.SetState(id, state);
    return;
  }
  std::vector<KeptFd> doorbells = InheritDoorbells(id);
  const bool is_whole = !doorbells.empty();
  std::vector<RecordedFd> recorded(doorbells.begin(), doorbells.end());
  record_.SetDoorbells(id, recorded);
  ids_.Restore(id, state != IdState::kLendable, std::move(doorbells));
  if (state == IdState::kLendable) {
    record_.SetState(id, is_whole ? state : IdState::kRetired);
    return;
  }

  KeptFd socket = estate_.Inherit(former.socket(id));
  record_.SetSocket(id, RecordedFd(socket));
  if (state == IdState::kConnected && socket.valid() && is_whole) {
    ClientProcess process(socket.get());
    const ClientBacklog::Order order = former.order(id);
    ClientBacklog backlog(id, options_.vectors, order, former.told(id), connected, retired);
    if (const Pen* const pen = estate_.FormerPen(share_); pen != nullptr && pen->id == id) {
      for (const ClientBacklog::Message& message : Receipts(*pen)) backlog.Sent(message);
    }
    record_.SetTold(id, backlog.State(), order);
    // What it was given of the region is its own already, or it is still to be sent.
    Result<UniqueFd> opened = region_.OpenForClient(id);
    if (!opened.ok()) ending_.insert(id);
    UniqueFd memory = opened.ok() ? *std::move(opened) : UniqueFd();
    const auto [entry, inserted] = clients_.try_emplace(id, std::move(socket), std::move(memory),
                                                        std::move(process), std::move(backlog));
    Client& client = entry->second;
    if (client.backlog.State().stage > ClientBacklog::Stage::kSharedMemory) client.memory.reset();
    auto watch = loop_.Add(client.socket.get(), EPOLLIN | EPOLLRDHUP,
                           [this, id](std::uint32_t events) { OnClient(id, events); });
    if (watch.ok()) {
      client.watch = *std::move(watch);
    } else {
      ending_.insert(id);
    }
    client.sent = Unread(client.socket);
    client.idle_since = Clock::now();
    client.waits_for_kernel = true;  // has it flushed
    record_.SetState(id, IdState::kConnected);
    return;
  }
  if (socket.valid()) (void)shutdown(socket.get(), SHUT_RDWR);
  Lingering& lingering = lingering_[id];
  if (socket.valid()) lingering.process.emplace(socket.get());
  lingering.socket = std::move(socket);
  record_.SetState(id, IdState::kLingering);
}

// Connections that no id has: accepted and nothing more, refused, or of observers.
void RegionServer::Impl::RestoreConnections() {
  if (const Pen* const pen = estate_.FormerPen(share_); pen != nullptr && pen->id == Pen::kNoId) {
    if (KeptFd socket = estate_.Inherit(pen->socket); socket.valid()) {
      const std::size_t sent = Receipts(*pen).size();
      if (sent != 0 && sent >= pen->count) (void)shutdown(socket.get(), SHUT_RDWR);
      newcomers_.push_back({std::move(socket), sent != 0});
    }
  }
  for (KeptFd& socket : estate_.InheritConnections(options_.socket)) {
    newcomers_.push_back({std::move(socket)});
  }
}

void RegionServer::Impl::AdmitNewcomers() {
  for (Newcomer& newcomer : std::exchange(newcomers_, {})) {
    ClientProcess process(newcomer.socket.get());
    if (HasEnded(newcomer.socket.get())) {
      observers_.push_back({std::move(newcomer.socket), std::move(process),
                            /*idle_since=*/Clock::now()});
    } else if (newcomer.knows_version) {
      ServeObserver(std::move(newcomer.socket), std::move(process), /*knows_version=*/true);
    } else {
      Admit(std::move(newcomer.socket));
    }
  }
}

}  // namespace ivmq::server
