// Who is there, and who goes.
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>
#include <utility>

#include "region_server_impl.h"
#include "step.h"

namespace ivmq::server {
namespace {

using std::chrono::milliseconds;

// When to try again what no event announces.
constexpr milliseconds kRetry{100};
constexpr milliseconds kLook{250};

}  // namespace

// ---- What clients are sent

void RegionServer::Impl::OnClient(std::uint16_t id, std::uint32_t events) {
  Client& client = clients_.at(id);
  if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0) {
    ending_.insert(id);
  } else {
    if ((events & EPOLLIN) != 0) {
      // Nothing is ever read from a client, so that one that writes without end only stops itself.
      client.has_spoken = true;
      LogAbout(client.process, LogLevel::kWarning,
               "id {}: {} sends data, which clients must not do; it is not read", id,
               client.process.description());
      UpdateWatch(client);
    }
    if ((events & EPOLLOUT) != 0) Flush(id, client);
  }
  EndMarked();
}

void RegionServer::Impl::UpdateWatch(const Client& client) {
  client.watch.Modify(EPOLLRDHUP | (client.has_spoken ? 0U : EPOLLIN) |
                      (client.waits_for_space ? EPOLLOUT : 0U));
}

PenResult RegionServer::Impl::Send(std::uint16_t id, const Client& client,
                                   std::span<const ClientBacklog::Message> messages) const {
  std::vector<PenMessage> lines;
  lines.reserve(messages.size());
  for (const ClientBacklog::Message& message : messages) {
    switch (message.kind) {
      case ClientBacklog::Kind::kVersion:
        lines.push_back({message, ivshmem::kVersion});
        break;
      case ClientBacklog::Kind::kOwnId:
      case ClientBacklog::Kind::kGone:
        lines.push_back({message, message.id});
        break;
      case ClientBacklog::Kind::kSharedMemory:
        lines.push_back({message, ivshmem::kSharedMemory, client.memory.get()});
        break;
      case ClientBacklog::Kind::kVector:
        lines.push_back({message, message.id, ids_.eventfd(message.id, message.vector)});
        break;
    }
  }
  return SendWithReceipts(estate_.pen(), share_.index, id, client.socket, lines);
}

std::uint64_t RegionServer::Impl::KnownIds(const ClientProcess& process) {
  if (process.pid() == 0) return 0;
  if (!known_) {
    known_.emplace();
    for (const auto& [id, client] : clients_) {
      (*known_)[client.process.key()] += client.backlog.told();
    }
  }
  const auto found = known_->find(process.key());
  return found == known_->end() ? 0 : found->second;
}

std::vector<ClientBacklog::Message> RegionServer::Impl::NextMessages(std::uint16_t id,
                                                                     Client& client) {
  std::vector<ClientBacklog::Message> messages = client.backlog.Batch();
  if (messages.empty()) client.is_held_back = false;
  const bool is_other = !messages.empty() &&
                        messages.front().kind == ClientBacklog::Kind::kVector &&
                        messages.front().id != id;
  if (!is_other) return messages;
  // A QEMU that runs out of descriptors amid announcements takes them for disconnects and corrupts
  // its heap. So nothing is begun that might not fit.
  if (messages.front().vector == 0) {
    const std::uint64_t known =
        client.process.pid() == 0 ? client.backlog.told() : KnownIds(client.process);
    if ((known + 1) * options_.vectors + kSpareDescriptors >= client.process.DescriptorLimit()) {
      if (!std::exchange(client.is_held_back, true)) ReportHeldBack(id, client);
      // Its own doorbells go before those of the others then.
      return client.backlog.Batch(/*has_room=*/false);
    }
    client.is_held_back = false;
  }
  if (!MayFly(client.process, messages.size())) messages.resize(1);
  client.waits_for_kernel = !MayFly(client.process, messages.size());
  if (client.waits_for_kernel) messages.clear();
  return messages;
}

void RegionServer::Impl::ReportHeldBack(std::uint16_t id, Client& client) {
  const std::uint64_t limit = client.process.DescriptorLimit();
  const std::uint64_t need =
      (client.backlog.told() + client.backlog.owed()) * options_.vectors + kSpareDescriptors;
  LogAbout(client.process, LogLevel::kWarning,
           "id {}: {} may open {} files{}, too few for the doorbells of all peers: it has been "
           "told {} ids, and will be told the others when it may open more{}",
           id, client.process.description(), limit,
           client.process.IsLimitKnown() ? "" : " (assumed, since its limit cannot be read)",
           client.backlog.told(),
           client.process.IsLimitKnown()
               ? fmt::format(" (prlimit --pid {} --nofile={})", client.process.pid(),
                             std::max<std::uint64_t>(4096, 2 * need))
               : "");
}

void RegionServer::Impl::OnSent(std::uint16_t id, Client& client,
                                const ClientBacklog::Message& message) {
  using Kind = ClientBacklog::Kind;
  record_.Sent(id, message);
  const std::size_t told = client.backlog.told();
  client.backlog.Sent(message);
  if (known_) (*known_)[client.process.key()] += client.backlog.told() - told;
  ++client.sent;
  if (message.kind == Kind::kSharedMemory) client.memory.reset();
  if (message.kind == Kind::kSharedMemory || message.kind == Kind::kVector) {
    CountInFlight(client.process, 1);
  }
}

// Sends what the client is owed, as far as its socket takes it. Disconnects nobody: lists may be
// being walked.
void RegionServer::Impl::Flush(std::uint16_t id, Client& client) {
  const bool waited_for_kernel = std::exchange(client.waits_for_kernel, false);
  bool wants_space = false;
  for (;;) {
    const std::vector<ClientBacklog::Message> messages = NextMessages(id, client);
    if (messages.empty()) break;
    const PenResult result = Send(id, client, messages);
    for (std::size_t i = 0; i < result.sent; ++i) OnSent(id, client, messages[i]);
    IVMQ_SERVER_STEP("send.applied");
    Lift(estate_.pen());
    if (result.next == ivshmem::SendResult::kSent) continue;
    wants_space = result.next == ivshmem::SendResult::kWouldBlock;
    client.waits_for_kernel = result.next == ivshmem::SendResult::kTooManyRefs;
    if (result.next == ivshmem::SendResult::kError) ending_.insert(id);
    break;
  }
  if (wants_space != client.waits_for_space) {
    client.waits_for_space = wants_space;
    UpdateWatch(client);
    LogAbout(client.process, LogLevel::kDebug, "id {}: {} {}", id, client.process.description(),
             wants_space ? fmt::format("does not read; {} ids have not been announced to it yet",
                                       client.backlog.owed())
                         : "reads again, and is up to date");
  }
  if (client.waits_for_kernel && !waited_for_kernel) {
    LogAbout(client.process, LogLevel::kWarning,
             "id {}: {} has to wait: too many descriptors are on their way to clients that do not "
             "read",
             id, client.process.description());
  }
  if (client.waits_for_kernel || client.is_held_back) Soon(kRetry);
  // Until it has heard of all others, it and they look for each other's messages.
  if (client.backlog.owed() != 0) {
    epochs_.SetApart(id);
  } else {
    epochs_.Forget(id);
  }
}

void RegionServer::Impl::FlushWaiting() {
  for (auto& [id, client] : clients_) {
    if (client.waits_for_kernel || client.is_held_back) Flush(id, client);
  }
}

// ---- What they do not read

std::uint64_t RegionServer::Impl::Unread(const KeptFd& socket) const {
  int bytes = 0;
  if (message_cost_ == 0 || !socket.valid() || ioctl(socket.get(), SIOCOUTQ, &bytes) != 0) return 0;
  return (static_cast<std::uint64_t>(bytes) + message_cost_ - 1) / message_cost_;
}

// The kernel limits what this server has on its way in all. So that nobody uses that up, a user may
// have half of it, and a process a quarter.
bool RegionServer::Impl::MayFly(const ClientProcess& process, std::uint64_t descriptors) {
  if (!in_flight_is_limited_) return true;
  if (!in_flight_) {
    in_flight_.emplace();
    for (const auto& [id, client] : clients_) CountInFlight(client.process, Unread(client.socket));
    for (const Observer& observer : observers_) {
      CountInFlight(observer.process, Unread(observer.socket));
    }
    for (const auto& [id, lingering] : lingering_) {
      if (lingering.process) CountInFlight(*lingering.process, Unread(lingering.socket));
    }
  }
  const std::uint64_t limit = OwnDescriptorLimit();
  return in_flight_->by_uid[process.uid()] + descriptors <= limit / 2 &&
         (process.pid() == 0 || in_flight_->by_process[process.key()] + descriptors <= limit / 4);
}

void RegionServer::Impl::CountInFlight(const ClientProcess& process, std::uint64_t descriptors) {
  if (!in_flight_) return;
  in_flight_->by_uid[process.uid()] += descriptors;
  in_flight_->by_process[process.key()] += descriptors;
}

// A connection that reads nothing of its greeting is nobody's, or somebody's who wants to use up
// what others need.
void RegionServer::Impl::LookAtGreetings() {
  if (options_.handshake_timeout == milliseconds(0)) return;
  bool is_any = false;
  const Clock::time_point now = Clock::now();
  for (auto& [id, client] : clients_) {
    if (!client.is_greeting) continue;
    const std::uint64_t unread = Unread(client.socket);
    client.is_greeting = unread != 0;
    if (!client.is_greeting) continue;
    is_any = true;
    const std::uint64_t read = client.sent - std::min(client.sent, unread);
    if (read > client.read) {
      client.read = read;
      client.idle_since = now;
    } else if (now - client.idle_since >= options_.handshake_timeout) {
      LogAbout(client.process, LogLevel::kWarning,
               "id {}: {} has read nothing of its greeting for {} s (--handshake-timeout); its "
               "connection is ended",
               id, client.process.description(), options_.handshake_timeout.count() / 1000);
      ending_.insert(id);
    }
  }
  if (is_any) Soon(kLook);
}

// Their connections have ended already; what was sent by them goes when it is read or they close.
void RegionServer::Impl::LookAtObservers() {
  observers_.remove_if([this](const Observer& observer) { return Unread(observer.socket) == 0; });
  const Clock::time_point now = Clock::now();
  for (Observer& observer : observers_) {
    if (observer.is_idle || options_.handshake_timeout == milliseconds(0)) continue;
    if (now - observer.idle_since < options_.handshake_timeout) continue;
    observer.is_idle = true;
    LogAbout(observer.process, LogLevel::kWarning,
             "{} asked for the region and has not read it for {} s (--handshake-timeout)",
             observer.process.description(), options_.handshake_timeout.count() / 1000);
  }
  // Nobody limits what is on its way to them: they need not be counted.
  if (!in_flight_is_limited_)
    std::erase_if(observers_, [](const Observer& o) { return o.is_idle; });
  if (!observers_.empty()) Soon(kLook);
}

// ---- The end of clients

void RegionServer::Impl::EndMarked() {
  while (!ending_.empty()) {
    const std::uint16_t id = *ending_.begin();
    ending_.erase(ending_.begin());
    if (clients_.contains(id)) Disconnect(id);
  }
  in_flight_.reset();
}

// The connection has ended, which proves nothing: its process may have lost it and go on.
void RegionServer::Impl::Disconnect(std::uint16_t id) {
  const auto entry = clients_.find(id);
  Client& client = entry->second;
  client.watch.Reset();
  IVMQ_SERVER_STEP("disconnect.before");
  record_.SetState(id, IdState::kLingering);
  IVMQ_SERVER_STEP("disconnect.after");
  (void)shutdown(client.socket.get(), SHUT_RDWR);
  lingering_.try_emplace(id, Lingering{.socket = std::move(client.socket),
                                       .process = std::move(client.process),
                                       .look_at = {}});
  clients_.erase(entry);
  known_.reset();
  for (auto& [other, peer] : clients_) peer.backlog.Forget(id);
  LookAtLingering();
}

// A process that ends closes its socket and lets go of the region in any order, a few microseconds
// apart: so the first looks follow each other closely.
void RegionServer::Impl::LookAtLingering() {
  const Clock::time_point now = Clock::now();
  milliseconds next = milliseconds::max();
  for (auto entry = lingering_.begin(); entry != lingering_.end();) {
    const std::uint16_t id = entry->first;
    Lingering& lingering = entry->second;
    if (now >= lingering.look_at) {
      if (!region_.IsHeld(id) && Unread(lingering.socket) == 0) {
        const auto ended = lingering_.extract(entry++);
        End(id, ended.mapped());
        continue;
      }
      // Nobody who comes from now on and it hear of each other. A former server's has its epoch.
      if (lingering.process) epochs_.SetApart(id);
      lingering.look_at = now + lingering.pause;
      lingering.pause = std::min(lingering.pause * 2, kLook);
      if (lingering.pause == kLook && lingering.process &&
          !std::exchange(lingering.is_reported, true)) {
        (void)table_.MarkDisconnected(id);
        LogAbout(
            *lingering.process, LogLevel::kInfo,
            "id {}: {} has no connection any more, but the region is still open or mapped by "
            "the descriptor that it was given: it is not considered dead, and the id is not reused",
            id, lingering.process->description());
      }
    }
    next = std::min(next, std::chrono::ceil<milliseconds>(lingering.look_at - now));
    ++entry;
  }
  if (!lingering_.empty()) Soon(next);
}

// The kernel has dropped the client's lock: nobody can write the region for it any more.
void RegionServer::Impl::End(std::uint16_t id, const Lingering& lingering) {
  ++state_.ended;
  const std::uint32_t dead = MarkDead(id);
  epochs_.Forget(id);
  const std::string dead_text =
      dead == 0 ? std::string() : fmt::format("; {} peers that had not left are dead", dead);
  if (!lingering.process) {
    Log(LogLevel::kInfo, "id {} of a former server has gone{}", id, dead_text);
  } else {
    LogAbout(*lingering.process, LogLevel::kInfo, "id {} has gone: {}{}", id,
             lingering.process->description(), dead_text);
  }
  if (!ids_.Has(id)) return;
  IVMQ_SERVER_STEP("end.before");
  if (options_.id_policy == IdPolicy::kLend) {
    ids_.Lend(id);
    record_.SetState(id, IdState::kLendable);
    IVMQ_SERVER_STEP("end.lent");
    return;
  }
  record_.SetState(id, IdState::kRetired);
  IVMQ_SERVER_STEP("end.retired");
  for (auto& [other, client] : clients_) client.backlog.Gone(id);
  known_.reset();
  for (auto& [other, client] : clients_) Flush(other, client);
  ids_.Retire(id);
}

std::uint32_t RegionServer::Impl::MarkDead(std::uint16_t id) {
  const std::uint32_t dead = table_.MarkIvpositionDead(id);
  if (dead != 0) {
    table_.Reclaim();
    table_.WakeAll(doorbells_, std::nullopt);
  }
  return dead;
}

}  // namespace ivmq::server
