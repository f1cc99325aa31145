#include "ivmq/server.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "ivmq/peer_table.h"
#include "ivmq/region.h"
#include "ivmq/transport.h"

#include "src/ivshmem_protocol.h"
#include "src/server/client_backlog.h"
#include "src/server/client_process.h"
#include "src/server/event_loop.h"
#include "src/server/id_pool.h"
#include "src/server/listener.h"
#include "src/server/options.h"
#include "src/server/region_owner.h"
#include "src/server/system_error.h"
#include "src/text.h"
#include "src/unique_fd.h"

namespace ivmq::server {
namespace {

// Descriptors that every process needs beside the doorbells.
constexpr std::uint64_t kSpareDescriptors = 128;
// The kernel doubles this; about 85 messages with descriptors fit. What is on its way to a client
// that does not read counts against the descriptors that this user may have in flight.
constexpr int kSendBuffer = 32 << 10;
constexpr int kAcceptsPerEvent = 16;
// When to try again what no event announces.
constexpr long kRetryNanoseconds = 100'000'000;
// How often to look whether clients of former servers live.
constexpr long kFormerNanoseconds = 250'000'000;

constexpr std::uint32_t kAlways = EPOLLRDHUP;

struct Client {
  Client(UniqueFd socket_fd, UniqueFd memory_fd, ClientProcess connected, ClientBacklog greeting)
      : socket(std::move(socket_fd)),
        memory(std::move(memory_fd)),
        process(std::move(connected)),
        backlog(std::move(greeting)) {}

  UniqueFd socket;
  UniqueFd memory;  // until it is sent: it must live as long as the client, and no longer
  ClientProcess process;
  ClientBacklog backlog;
  Watch watch = 0;
  bool has_spoken = false;       // sent something, which no correct client does
  bool waits_for_space = false;  // EPOLLOUT is watched
};

// A parked id whose holder has closed its socket and still runs.
struct Departed {
  Departed(ClientProcess departed, Watch pidfd_watch)
      : process(std::move(departed)), watch(pidfd_watch) {}

  ClientProcess process;
  Watch watch;
};

// What the peer table needs to wake sleepers: the doorbells of this server's clients.
class Doorbells final : public Transport {
 public:
  Doorbells(std::span<std::byte> memory, const IdPool& ids) : memory_(memory), ids_(ids) {}

  [[nodiscard]] std::span<std::byte> memory() const noexcept override { return memory_; }
  [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
  void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept override {
    ids_.Ring(ivposition, vector);
  }

 private:
  std::span<std::byte> memory_;
  const IdPool& ids_;
  TransportInfo info_;
};

std::uint16_t FirstId(const RegionOwner& region, const std::set<std::uint16_t>& former) {
  std::uint32_t after = std::uint32_t{region.HighestId()} + 1;
  if (!former.empty()) after = std::max(after, std::uint32_t{*former.rbegin()} + 1);
  return after <= kLastId ? static_cast<std::uint16_t>(after) : kFirstId;
}

}  // namespace

class Server::Impl {
 public:
  Impl(Options options, EventLoop loop, RegionOwner region, Listener listener)
      : options_(std::move(options)),
        loop_(std::move(loop)),
        region_(std::move(region)),
        listener_(std::move(listener)),
        former_(region_.taken_over() ? region_.FormerIds() : std::set<std::uint16_t>()),
        ids_(options_.vectors, options_.id_policy, FirstId(region_, former_)),
        doorbells_(region_.memory(), ids_),
        table_(region_.region()) {}
  ~Impl() { RefuseWaiting(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Status Start();
  Status Run();
  void Stop() noexcept { (void)eventfd_write(stop_.get(), 1); }

 private:
  using ClientMap = std::map<std::uint16_t, Client>;

  template <typename... Args>
  void Log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) const {
    if (options_.log) options_.log(level, fmt::format(format, std::forward<Args>(args)...));
  }

  Status WatchSignals();
  Status WatchFormer();

  // New clients.
  void OnConnection();
  void OnNoDescriptors();
  void PauseAccepting(const std::string& reason);
  void Admit(UniqueFd socket);
  void ServeObserver(UniqueFd socket, const ClientProcess& process);
  Status CheckUser(const ClientProcess& process) const;
  Status CheckDescriptors(const IdSet& held, ClientProcess& newcomer);
  Status CheckInFlight() const;
  void Refuse(const UniqueFd& socket, const ClientProcess& process, const std::string& reason);
  void RefuseWaiting();

  // Clients that are there.
  void OnClient(std::uint16_t id, std::uint32_t events);
  void Flush(std::uint16_t id, Client& client);
  ivshmem::SendResult Send(const Client& client, const ClientBacklog::Message& message) const;

  // The end of clients.
  void EndMarked();
  void End(std::uint16_t id);
  void Park(std::uint16_t id, ClientProcess process);
  void OnHolderGone(std::uint16_t id);
  void EndFormer();
  std::uint32_t MarkDead(std::uint16_t id);

  void RetryLater();
  void OnRetry();

  Options options_;
  EventLoop loop_;
  RegionOwner region_;
  Listener listener_;
  std::set<std::uint16_t> former_;  // ids of former servers' clients that were not seen to end
  IdPool ids_;
  Doorbells doorbells_;
  PeerTable table_;

  UniqueFd stop_;
  UniqueFd signals_;
  UniqueFd retry_timer_;
  UniqueFd former_timer_;
  Watch listener_watch_ = 0;
  bool stopping_ = false;
  bool accepting_ = true;
  bool retry_armed_ = false;

  ClientMap clients_;
  std::map<std::uint16_t, Departed> departed_;
  std::set<std::uint16_t>
      ending_;  // clients whose end was noticed; ended when no list is being walked
  std::set<std::uint16_t> retry_;  // clients whose next message the kernel refuses for now
};

// ---- Start and end
// --------------------------------------------------------------------------------

Status Server::Impl::WatchSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  if (const int error = pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    return SystemError(error, "pthread_sigmask");
  }
  signals_.reset(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!signals_.valid()) return SystemError(errno, "signalfd");
  return loop_
      .Add(signals_.get(), EPOLLIN,
           [this](std::uint32_t) {
             signalfd_siginfo signal{};
             if (read(signals_.get(), &signal, sizeof(signal)) != sizeof(signal)) return;
             Log(LogLevel::kInfo, "{} from pid {}",
                 signal.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT", signal.ssi_pid);
             stopping_ = true;
           })
      .status();
}

// No socket tells of the end of a former server's client.
Status Server::Impl::WatchFormer() {
  if (former_.empty()) return {};
  former_timer_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!former_timer_.valid()) return SystemError(errno, "timerfd_create");
  itimerspec period{};
  period.it_value.tv_nsec = kFormerNanoseconds;
  period.it_interval.tv_nsec = kFormerNanoseconds;
  if (timerfd_settime(former_timer_.get(), 0, &period, nullptr) != 0) {
    return SystemError(errno, "timerfd_settime");
  }
  return loop_
      .Add(former_timer_.get(), EPOLLIN,
           [this](std::uint32_t) {
             std::uint64_t expirations = 0;
             (void)!read(former_timer_.get(), &expirations, sizeof(expirations));
             EndFormer();
             const itimerspec never{};
             if (former_.empty()) (void)timerfd_settime(former_timer_.get(), 0, &never, nullptr);
           })
      .status();
}

Status Server::Impl::Start() {
  stop_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!stop_.valid()) return SystemError(errno, "eventfd");
  retry_timer_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!retry_timer_.valid()) return SystemError(errno, "timerfd_create");
  if (auto watch = loop_.Add(stop_.get(), EPOLLIN, [this](std::uint32_t) { stopping_ = true; });
      !watch.ok()) {
    return watch.status();
  }
  if (auto watch = loop_.Add(retry_timer_.get(), EPOLLIN, [this](std::uint32_t) { OnRetry(); });
      !watch.ok()) {
    return watch.status();
  }
  if (options_.stop_on_signals) {
    if (Status status = WatchSignals(); !status.ok()) return status;
  }
  auto watch = loop_.Add(listener_.fd(), EPOLLIN, [this](std::uint32_t) { OnConnection(); });
  if (!watch.ok()) return watch.status();
  listener_watch_ = *watch;

  const layout::Header& header = region_.region().header();
  Log(LogLevel::kInfo,
      "serving {}: region {} of {}, {} vectors, up to {} peers, ids are {}, epoch {}",
      options_.socket, options_.region, SizeText(options_.size), options_.vectors,
      options_.max_peers, options_.id_policy == IdPolicy::kLend ? "lent" : "unique",
      header.server_epoch.load());
  if ((options_.mode & 02) != 0) {
    Log(LogLevel::kWarning, "mode {:04o}: every user of this machine may connect", options_.mode);
  }
  if (region_.taken_over()) {
    EndFormer();
    if (Status status = WatchFormer(); !status.ok()) return status;
    const IdSet held = region_.HeldIds();
    std::string ids;
    for (std::uint32_t id = kFirstId; id <= kLastId; ++id) {
      if (held[id]) ids += fmt::format("{}{}", ids.empty() ? "" : ", ", id);
    }
    Log(LogLevel::kInfo, "took the region over; {}; {}",
        region_.crashed_pid() == 0
            ? std::string("its last server left in order")
            : fmt::format("its last server, pid {}, did not leave in order", region_.crashed_pid()),
        ids.empty() ? std::string("no living peer has an id of a former server")
                    : fmt::format("living peers have these ids of former servers: {}", ids));
  }
  return {};
}

Status Server::Impl::Run() {
  while (!stopping_) {
    if (Status status = loop_.RunOnce(); !status.ok()) return status;
  }
  Log(LogLevel::kInfo, "ending; {} clients keep the region and their doorbells", clients_.size());
  return {};
}

// Nobody is left with a connection that ends without a word: QEMU would spin.
void Server::Impl::RefuseWaiting() {
  listener_.Unlink();
  UniqueFd socket;
  while (listener_.Accept(&socket) == AcceptOutcome::kAccepted) {
    Refuse(socket, ClientProcess(socket.get()), "the server ends");
  }
}

// ---- New clients
// ----------------------------------------------------------------------------------

void Server::Impl::OnConnection() {
  for (int i = 0; i < kAcceptsPerEvent; ++i) {
    UniqueFd socket;
    switch (listener_.Accept(&socket)) {
      case AcceptOutcome::kAccepted:
        Admit(std::move(socket));
        break;
      case AcceptOutcome::kNone:
        EndMarked();
        return;
      case AcceptOutcome::kNoDescriptors:
        OnNoDescriptors();
        EndMarked();
        return;
      case AcceptOutcome::kFailed:
        PauseAccepting(ErrnoText(errno));
        EndMarked();
        return;
    }
  }
  EndMarked();
}

void Server::Impl::OnNoDescriptors() {
  const std::string reason = fmt::format("accept: {}; this server may open {} files, see ulimit -n",
                                         ErrnoText(errno), OwnDescriptorLimit());
  if (const UniqueFd socket = listener_.AcceptWithReserve(); socket.valid()) {
    Refuse(socket, ClientProcess(socket.get()), reason);
  } else {
    PauseAccepting(reason);
  }
  listener_.RestoreReserve();
}

void Server::Impl::PauseAccepting(const std::string& reason) {
  Log(LogLevel::kWarning, "no clients are accepted for the moment: {}", reason);
  accepting_ = false;
  loop_.Modify(listener_watch_, 0);
  RetryLater();
}

void Server::Impl::Refuse(const UniqueFd& socket, const ClientProcess& process,
                          const std::string& reason) {
  // A closed socket alone would make QEMU spin; this ends it with a clear error.
  (void)ivshmem::SendMessage(socket.get(), ivshmem::kRefusal);
  Log(LogLevel::kWarning, "refused {}: {}", process.description(), reason);
}

Status Server::Impl::CheckUser(const ClientProcess& process) const {
  const std::vector<std::uint32_t>& allowed = options_.allow_uids;
  if (allowed.empty() || process.uid() == 0 || process.uid() == geteuid() ||
      std::find(allowed.begin(), allowed.end(), process.uid()) != allowed.end()) {
    return {};
  }
  return {StatusCode::kPermissionDenied,
          fmt::format("its user is not among --allow-uid; add --allow-uid {} if it may attach",
                      process.uid())};
}

// A QEMU that runs out of descriptors amid announcements takes them for disconnects and corrupts
// its heap.
Status Server::Impl::CheckDescriptors(const IdSet& held, ClientProcess& newcomer) {
  const std::uint64_t ids = ids_.size() + (ids_.CanLend(held) ? 0 : 1);
  const std::uint64_t need = ids * options_.vectors + kSpareDescriptors;
  const auto check = [&](ClientProcess& process) -> Status {
    const std::uint64_t limit = process.DescriptorLimit();
    if (need < limit) return {};
    return {
        StatusCode::kResourceExhausted,
        fmt::format("{} ids with {} vectors and {} to spare need more than {} descriptors, but {} "
                    "may open {} only; raise its limit (prlimit --pid {} --nofile={}) or start "
                    "with fewer --vectors",
                    ids, options_.vectors, kSpareDescriptors, need, process.description(), limit,
                    process.pid(), std::max<std::uint64_t>(4096, 2 * need))};
  };
  if (Status status = check(newcomer); !status.ok()) return status;
  for (auto& [id, client] : clients_) {
    if (Status status = check(client.process); !status.ok()) return status;
  }
  // Beside the doorbells, this server has a socket and a pidfd for each client.
  const std::uint64_t own_need = ids * (options_.vectors + 2) + kSpareDescriptors;
  if (const std::uint64_t limit = OwnDescriptorLimit(); own_need >= limit) {
    return {StatusCode::kResourceExhausted,
            fmt::format(
                "{} ids with {} vectors need more than {} descriptors, and this server may open "
                "{} only; start it with a higher limit (ulimit -Hn, LimitNOFILE=) or fewer "
                "--vectors",
                ids, options_.vectors, own_need, limit)};
  }
  return {};
}

// Whether the kernel passes a descriptor on now. Asked before the first message, since a greeting
// that was begun cannot be turned into a refusal.
Status Server::Impl::CheckInFlight() const {
  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return SystemError(errno, "socketpair");
  }
  const UniqueFd near(pair[0]);
  const UniqueFd far(pair[1]);
  if (ivshmem::SendMessage(near.get(), ivshmem::kSharedMemory, region_.fd()) ==
      ivshmem::SendResult::kSent) {
    return {};
  }
  return SystemError(errno, "the shared memory cannot be sent now, since clients do not read");
}

void Server::Impl::ServeObserver(UniqueFd socket, const ClientProcess& process) {
  if (Status status = CheckInFlight(); !status.ok()) {
    Refuse(socket, process, status.message());
    return;
  }
  if (ivshmem::SendMessage(socket.get(), ivshmem::kVersion) == ivshmem::SendResult::kSent &&
      ivshmem::SendMessage(socket.get(), ivshmem::kSharedMemory, region_.fd()) ==
          ivshmem::SendResult::kSent) {
    Log(LogLevel::kDebug, "{} looks at the region", process.description());
  }
}

void Server::Impl::Admit(UniqueFd socket) {
  ClientProcess process(socket.get());
  if (Status status = CheckUser(process); !status.ok()) {
    Refuse(socket, process, status.message());
    return;
  }
  if (ivshmem::IsObserver(socket.get())) {
    ServeObserver(std::move(socket), process);
    return;
  }
  if (process.pidfd_error() != 0) {
    Refuse(socket, process,
           fmt::format("its process cannot be watched: {}", ErrnoText(process.pidfd_error())));
    return;
  }
  IdSet held = region_.HeldIds();
  for (const std::uint16_t former : former_) held.set(former);
  if (Status status = CheckDescriptors(held, process); !status.ok()) {
    Refuse(socket, process, status.message());
    return;
  }
  if (Status status = CheckInFlight(); !status.ok()) {
    Refuse(socket, process, status.message());
    return;
  }
  const bool lent = ids_.CanLend(held);
  const Result<std::uint16_t> taken = ids_.Take(held);
  if (!taken.ok()) {
    Refuse(socket, process, taken.status().message());
    return;
  }
  const std::uint16_t id = *taken;
  const auto give_back = [this, id] {  // nobody has heard of it
    if (options_.id_policy == IdPolicy::kLend) {
      ids_.HolderGone(id);
    } else {
      ids_.Retire(id);
    }
  };
  Result<UniqueFd> memory = region_.OpenForClient(id);
  if (!memory.ok()) {
    Refuse(socket, process, memory.status().message());
    give_back();
    return;
  }
  (void)setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof(kSendBuffer));

  std::set<std::uint16_t> present;
  for (const auto& [other, client] : clients_) present.insert(other);
  const auto [entry, inserted] =
      clients_.try_emplace(id, std::move(socket), *std::move(memory), std::move(process),
                           ClientBacklog(id, options_.vectors, std::move(present)));
  Client& client = entry->second;
  auto watch = loop_.Add(client.socket.get(), EPOLLIN | kAlways,
                         [this, id](std::uint32_t events) { OnClient(id, events); });
  if (!watch.ok()) {
    Refuse(client.socket, client.process, watch.status().message());
    give_back();
    clients_.erase(entry);
    return;
  }
  client.watch = *watch;
  Log(LogLevel::kInfo, "id {} to {}{}", id, client.process.description(), lent ? ", lent" : "");
  Flush(id, client);
  for (auto& [other, peer] : clients_) {
    if (other == id) continue;
    peer.backlog.Come(id);
    Flush(other, peer);
  }
}

// ---- Clients that are there
// -----------------------------------------------------------------------

void Server::Impl::OnClient(std::uint16_t id, std::uint32_t events) {
  Client& client = clients_.at(id);
  if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0) {
    ending_.insert(id);
  } else {
    if ((events & EPOLLIN) != 0) {
      // Nothing is ever read from a client, so that one that writes without end only stops itself.
      client.has_spoken = true;
      Log(LogLevel::kWarning, "id {}: {} sends data, which no client may; it is not read", id,
          client.process.description());
      loop_.Modify(client.watch, kAlways | (client.waits_for_space ? EPOLLOUT : 0U));
    }
    if ((events & EPOLLOUT) != 0) Flush(id, client);
  }
  EndMarked();
}

ivshmem::SendResult Server::Impl::Send(const Client& client,
                                       const ClientBacklog::Message& message) const {
  const int socket = client.socket.get();
  switch (message.kind) {
    case ClientBacklog::Kind::kVersion:
      return ivshmem::SendMessage(socket, ivshmem::kVersion);
    case ClientBacklog::Kind::kOwnId:
    case ClientBacklog::Kind::kGone:
      return ivshmem::SendMessage(socket, message.id);
    case ClientBacklog::Kind::kSharedMemory:
      return ivshmem::SendMessage(socket, ivshmem::kSharedMemory, client.memory.get());
    case ClientBacklog::Kind::kVector:
      break;
  }
  return ivshmem::SendMessage(socket, message.id, ids_.eventfd(message.id, message.vector));
}

// Sends what the client is owed, as far as its socket takes it. Ends nobody: lists may be being
// walked.
void Server::Impl::Flush(std::uint16_t id, Client& client) {
  bool wants_space = false;
  bool wants_retry = false;
  while (const auto message = client.backlog.Next()) {
    const ivshmem::SendResult result = Send(client, *message);
    if (result == ivshmem::SendResult::kSent) {
      client.backlog.Sent();
      if (message->kind == ClientBacklog::Kind::kSharedMemory) client.memory.reset();
      continue;
    }
    wants_space = result == ivshmem::SendResult::kWouldBlock;
    wants_retry = result == ivshmem::SendResult::kTooManyRefs;
    if (result == ivshmem::SendResult::kError) ending_.insert(id);
    break;
  }
  if (wants_space != client.waits_for_space) {
    client.waits_for_space = wants_space;
    loop_.Modify(client.watch,
                 kAlways | (client.has_spoken ? 0U : EPOLLIN) | (wants_space ? EPOLLOUT : 0U));
    Log(LogLevel::kDebug, "id {}: {} {}", id, client.process.description(),
        wants_space
            ? fmt::format("does not read; {} ids wait to be announced to it", client.backlog.owed())
            : "reads again, and is up to date");
  }
  if (wants_retry) {
    if (retry_.insert(id).second) {
      Log(LogLevel::kWarning,
          "id {}: {} has to wait: too many descriptors are on their way to clients that do not "
          "read",
          id, client.process.description());
    }
    RetryLater();
  } else {
    retry_.erase(id);
  }
}

void Server::Impl::RetryLater() {
  if (retry_armed_) return;
  itimerspec once{};
  once.it_value.tv_nsec = kRetryNanoseconds;
  retry_armed_ = timerfd_settime(retry_timer_.get(), 0, &once, nullptr) == 0;
}

void Server::Impl::OnRetry() {
  std::uint64_t expirations = 0;
  (void)!read(retry_timer_.get(), &expirations, sizeof(expirations));
  retry_armed_ = false;
  listener_.RestoreReserve();
  if (!accepting_) {
    accepting_ = true;
    loop_.Modify(listener_watch_, EPOLLIN);
  }
  for (const std::uint16_t id : std::set<std::uint16_t>(retry_)) {
    if (const auto client = clients_.find(id); client != clients_.end()) Flush(id, client->second);
  }
  EndMarked();
}

// ---- The end of clients
// ---------------------------------------------------------------------------

void Server::Impl::EndMarked() {
  while (!ending_.empty()) {
    const std::uint16_t id = *ending_.begin();
    ending_.erase(ending_.begin());
    if (clients_.contains(id)) End(id);
  }
}

std::uint32_t Server::Impl::MarkDead(std::uint16_t id) {
  const std::uint32_t dead = table_.MarkIvpositionDead(id);
  if (dead != 0) {
    table_.Reclaim();
    table_.WakeAll(doorbells_, std::nullopt);
  }
  return dead;
}

void Server::Impl::End(std::uint16_t id) {
  const auto entry = clients_.find(id);
  Client& ended = entry->second;
  loop_.Remove(ended.watch);
  retry_.erase(id);
  ended.socket.reset();
  ClientProcess process = std::move(ended.process);
  clients_.erase(entry);

  const std::uint32_t dead = MarkDead(id);
  Log(LogLevel::kInfo, "id {} has gone: {}{}", id, process.description(),
      dead == 0 ? std::string() : fmt::format("; {} peers that had not left are dead", dead));
  if (options_.id_policy == IdPolicy::kLend) {
    for (auto& [other, client] : clients_) client.backlog.Forget(id);
    Park(id, std::move(process));
  } else {
    for (auto& [other, client] : clients_) {
      client.backlog.Gone(id);
      Flush(other, client);
    }
    ids_.Retire(id);
  }
}

void Server::Impl::Park(std::uint16_t id, ClientProcess process) {
  ids_.Park(id);
  if (process.pidfd() < 0) {
    ids_.HolderGone(id);
    return;
  }
  const int pidfd = process.pidfd();
  auto watch = loop_.Add(pidfd, EPOLLIN, [this, id](std::uint32_t) { OnHolderGone(id); });
  if (!watch.ok()) {
    // The id is lost for lending; better than two holders.
    Log(LogLevel::kWarning, "id {} is not lent again: {}", id, watch.status().message());
    return;
  }
  departed_.try_emplace(id, std::move(process), *watch);
}

void Server::Impl::OnHolderGone(std::uint16_t id) {
  const auto entry = departed_.find(id);
  loop_.Remove(entry->second.watch);
  departed_.erase(entry);
  // It may have attached peers after it had closed its socket.
  (void)MarkDead(id);
  ids_.HolderGone(id);
  Log(LogLevel::kDebug, "id {} can be lent", id);
}

void Server::Impl::EndFormer() {
  for (auto former = former_.begin(); former != former_.end();) {
    const std::uint16_t id = *former;
    if (region_.IsClientAlive(id)) {
      ++former;
      continue;
    }
    former = former_.erase(former);
    const std::uint32_t dead = MarkDead(id);
    Log(LogLevel::kInfo, "id {} of a former server has gone{}", id,
        dead == 0 ? std::string() : fmt::format("; {} peers that had not left are dead", dead));
  }
}

// ---- Server
// ---------------------------------------------------------------------------------------

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::Create(Options options) {
  const Result<CheckedOptions> checked = CheckOptions(options);
  if (!checked.ok()) return checked.status();
  RaiseOwnDescriptorLimit();
  Result<EventLoop> loop = EventLoop::Create();
  if (!loop.ok()) return loop.status();
  // The region first: once the socket is there, clients may come.
  Result<RegionOwner> region = RegionOwner::Open(options, *checked);
  if (!region.ok()) return region.status();
  if (options.id_policy == IdPolicy::kUnique && region->HighestId() >= kLastId) {
    return Status(
        StatusCode::kFailedPrecondition,
        fmt::format("--region {}: a peer in it has id {}, so that no unused id is left for "
                    "--id-policy unique; use lend, or another region",
                    options.region, region->HighestId()));
  }
  Result<Listener> listener =
      Listener::Open(options.socket, checked->group, static_cast<mode_t>(options.mode));
  if (!listener.ok()) return listener.status();
  auto impl = std::make_unique<Impl>(std::move(options), *std::move(loop), *std::move(region),
                                     *std::move(listener));
  if (Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Status Server::Run() { return impl_->Run(); }

void Server::Stop() noexcept { impl_->Stop(); }

}  // namespace ivmq::server
