// Who comes: nobody is let in who could not be served, and nobody takes what others need.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <string>
#include <utility>

#include "region_server_impl.h"
#include "src/text.h"
#include "step.h"
#include "system_error.h"

namespace ivmq::server {
namespace {

// The kernel doubles this; about 85 messages with descriptors fit. What is on its way to a client
// that does not read counts against the descriptors that this user may have in flight.
constexpr int kSendBuffer = 32 << 10;
constexpr int kAcceptsPerEvent = 16;
// The region twice, the listener, and two records during a takeover.
constexpr std::uint64_t kKeptByRegion = 5;
constexpr std::chrono::milliseconds kAcceptPause{100};

// The largest part of `whole` that leaves something for others.
constexpr std::uint64_t MostOf(std::uint64_t whole) { return whole - whole / 4; }

// The first of several questions that says no.
struct Check {
  Status status;
  Refusal reason{};  // if !status.ok()

  template <typename Question>
  void Ask(Refusal refusal, const Question& question) {
    if (!status.ok()) return;
    status = question();
    reason = refusal;
  }
};

}  // namespace

void RegionServer::Impl::OnConnection() {
  for (int i = 0; i < kAcceptsPerEvent; ++i) {
    UniqueFd socket;
    const AcceptOutcome outcome = listener_.Accept(&socket);
    if (outcome == AcceptOutcome::kAccepted) {
      IVMQ_SERVER_STEP("accept.after");
      Admit(ivshmem::IsObserver(socket.get()) ? KeptFd::Only(std::move(socket))
                                              : estate_.Adopt(std::move(socket)));
      continue;
    }
    if (outcome == AcceptOutcome::kNoDescriptors) OnNoDescriptors();
    if (outcome == AcceptOutcome::kFailed) PauseAccepting(ErrnoText(errno));
    break;
  }
  EndMarked();
}

void RegionServer::Impl::OnNoDescriptors() {
  const std::string reason = fmt::format("accept: {}; this server may open {} files, see ulimit -n",
                                         ErrnoText(errno), OwnDescriptorLimit());
  if (const KeptFd socket = KeptFd::Only(listener_.AcceptWithReserve()); socket.valid()) {
    Refuse(socket, ClientProcess(socket.get()), Refusal::kServerDescriptors, reason);
  } else {
    PauseAccepting(reason);
  }
  listener_.RestoreReserve();
}

void RegionServer::Impl::PauseAccepting(const std::string& reason) {
  Log(LogLevel::kWarning, "no clients are accepted for the moment: {}", reason);
  accepting_ = false;
  listener_watch_.Modify(0);
  Soon(kAcceptPause);
}

bool RegionServer::Impl::SendAndEnd(const KeptFd& socket, std::span<const PenMessage> messages) {
  const PenResult result =
      SendWithReceipts(estate_.pen(), share_.index, Pen::kNoId, socket, messages);
  // Before the pen is lifted: a successor sees by it that nothing is missing.
  (void)shutdown(socket.get(), SHUT_RDWR);
  IVMQ_SERVER_STEP("refuse.ended");
  Lift(estate_.pen());
  return result.sent == messages.size();
}

void RegionServer::Impl::Refuse(const KeptFd& socket, const ClientProcess& process, Refusal reason,
                                const std::string& text) {
  ++state_.refused[static_cast<std::size_t>(reason)];
  // A closed socket alone would make QEMU spin; this ends it with a clear error.
  (void)SendAndEnd(socket, std::array{PenMessage{{}, ivshmem::kRefusal}});
  LogAbout(process, LogLevel::kWarning, "refused {}: {}", process.description(), text);
}

// Nobody is left with a connection that ends without a word: QEMU would spin.
void RegionServer::Impl::RefuseWaiting() {
  listener_.Unlink();
  UniqueFd socket;
  while (listener_.Accept(&socket) == AcceptOutcome::kAccepted) {
    const KeptFd refused = KeptFd::Only(std::move(socket));
    Refuse(refused, ClientProcess(refused.get()), Refusal::kEnding, "the server ends");
  }
}

Status RegionServer::Impl::CheckUser(const ClientProcess& process) const {
  const std::vector<std::uint32_t>& allowed = options_.allow_uids;
  if (allowed.empty() || process.uid() == 0 || process.uid() == geteuid() ||
      std::find(allowed.begin(), allowed.end(), process.uid()) != allowed.end()) {
    return {};
  }
  return {StatusCode::kPermissionDenied,
          fmt::format("its user is not among --allow-uid; add --allow-uid {} if it may attach",
                      process.uid())};
}

Holdings RegionServer::Impl::CountHoldings(std::optional<uid_t> uid) const {
  Holdings all;
  const auto count = [&](const ClientProcess& holder) {
    if (uid && holder.uid() != *uid) return;
    ++all.ids;
    const std::uint64_t its = ++all.by_process[holder.key()];
    if (all.most_by == nullptr || its > all.of(*all.most_by)) all.most_by = &holder;
  };
  for (const auto& [id, client] : clients_) count(client.process);
  for (const Observer& observer : observers_) {
    if (!observer.is_idle) count(observer.process);
  }
  const std::uint64_t connected = all.ids;
  for (const auto& [id, lingering] : lingering_) {
    if (lingering.process) count(*lingering.process);
  }
  all.without_connection = all.ids - connected;
  return all;
}

Status RegionServer::Impl::CheckDraining() const {
  if (!state_.is_draining) return {};
  return {StatusCode::kUnavailable,
          "newcomers are refused until `ivmq server undrain` lets them in again"};
}

// Connected or not: an id is taken as long as somebody has the region by it.
Status RegionServer::Impl::CheckQuota(const ClientProcess& process) const {
  const std::uint64_t descriptors = std::max(OwnDescriptorLimit(), kSpareDescriptors + 1);
  const std::uint64_t all =
      std::min<std::uint64_t>((descriptors - kSpareDescriptors) / (options_.vectors + 2), kLastId);
  const std::uint64_t user_may = options_.ids_per_uid != 0 ? options_.ids_per_uid : MostOf(all);
  const Holdings of_user = CountHoldings(process.uid());
  if (of_user.ids >= user_may) {
    return {
        StatusCode::kResourceExhausted,
        fmt::format("its user has all {} ids that one user may have (--ids-per-uid), {} of them "
                    "without a connection, whose holders still have the region; {}",
                    of_user.ids, of_user.without_connection, of_user.MostText())};
  }
  const std::uint64_t of_process = process.pid() == 0 ? 0 : of_user.of(process);
  if (of_process >= MostOf(user_may)) {
    return {
        StatusCode::kResourceExhausted,
        fmt::format("it has {} ids already, the most that one process may have; see --ids-per-uid",
                    of_process)};
  }
  return {};
}

Status RegionServer::Impl::CheckDescriptors(ClientProcess& newcomer) {
  // Others may wait to be announced to it; its own doorbells cannot.
  const std::uint64_t need = (KnownIds(newcomer) + 1) * options_.vectors + kSpareDescriptors;
  if (const std::uint64_t limit = newcomer.DescriptorLimit(); need >= limit) {
    return {
        StatusCode::kResourceExhausted,
        fmt::format("its {} doorbells, the descriptors that it has, and {} spare ones need more "
                    "than {}, but it may open only {}; raise its limit (prlimit --pid {} "
                    "--nofile={}) or start this server with fewer --vectors",
                    options_.vectors, kSpareDescriptors, need, limit, newcomer.pid(),
                    std::max<std::uint64_t>(4096, 2 * need))};
  }
  return {};
}

Status RegionServer::Impl::CheckOwnDescriptors(std::size_t new_ids) const {
  // Beside the doorbells, a client takes a socket and a pidfd here, and an observer a socket.
  const std::uint64_t ids = ids_.size() + new_ids;
  const std::uint64_t need = ids * (options_.vectors + 2) + observers_.size() + kSpareDescriptors;
  if (const std::uint64_t limit = OwnDescriptorLimit(); need >= limit) {
    return {StatusCode::kResourceExhausted,
            fmt::format(
                "{} ids with {} vectors and {} observers need more than {} descriptors, and this "
                "server may open only {}; start it with a higher limit (ulimit -Hn, LimitNOFILE=) "
                "or fewer --vectors; {}",
                ids, options_.vectors, observers_.size(), need, limit,
                CountHoldings(std::nullopt).MostText())};
  }
  if (const std::uint64_t capacity = estate_.capacity();
      capacity != 0 && ids * (options_.vectors + 1) + kKeptByRegion > capacity) {
    return {StatusCode::kResourceExhausted,
            fmt::format("{} ids with {} vectors have more descriptors than systemd keeps for this "
                        "service, {}; set a higher FileDescriptorStoreMax= in its unit, or start "
                        "it with fewer --vectors; {}",
                        ids, options_.vectors, capacity, CountHoldings(std::nullopt).MostText())};
  }
  return {};
}

// Whether the kernel passes descriptors on now. Asked before the first message, since a greeting
// that was begun cannot be turned into a refusal.
Status RegionServer::Impl::CheckInFlight(const ClientProcess& process, std::uint64_t descriptors) {
  if (!MayFly(process, descriptors)) {
    return {StatusCode::kResourceExhausted,
            "clients of its user or process do not read what is sent to them: the most descriptors "
            "that may be in transit to them are in transit"};
  }
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
  return SystemError(
      errno, "the shared memory cannot be sent now, since clients do not read what was sent");
}

void RegionServer::Impl::ServeObserver(KeptFd socket, ClientProcess process, bool knows_version) {
  Check check;
  check.Ask(Refusal::kServerDescriptors, [&] { return CheckOwnDescriptors(0); });
  check.Ask(Refusal::kQuota, [&] { return CheckQuota(process); });
  check.Ask(Refusal::kInFlight, [&] { return CheckInFlight(process, 1); });
  const Result<UniqueFd> memory = region_.OpenForObserver();
  check.Ask(Refusal::kFailed, [&] { return memory.status(); });
  if (!check.status.ok()) {
    Refuse(socket, process, check.reason, check.status.message());
    return;
  }
  const std::array<PenMessage, 2> messages{
      {{{}, ivshmem::kVersion}, {{}, ivshmem::kSharedMemory, memory->get()}}};
  if (!SendAndEnd(socket, std::span(messages).subspan(knows_version ? 1 : 0))) return;
  LogAbout(process, LogLevel::kDebug, "{} looks at the region", process.description());
  CountInFlight(process, 1);
  process.ForgetLimit();
  observers_.push_back({std::move(socket), std::move(process),
                        /*idle_since=*/Clock::now()});
  LookAtObservers();
}

void RegionServer::Impl::Admit(KeptFd socket) {
  ClientProcess process(socket.get());
  if (Status status = CheckUser(process); !status.ok()) {
    Refuse(socket, process, Refusal::kUser, status.message());
    return;
  }
  if (ivshmem::IsObserver(socket.get())) {
    ServeObserver(std::move(socket), std::move(process));
    return;
  }
  IdSet held = region_.HeldIds();
  for (const auto& [id, lingering] : lingering_) held.set(id);
  const bool lent = ids_.CanLend(held);
  Check check;
  check.Ask(Refusal::kDraining, [&] { return CheckDraining(); });
  check.Ask(Refusal::kClientDescriptors, [&] { return CheckDescriptors(process); });
  check.Ask(Refusal::kServerDescriptors, [&] { return CheckOwnDescriptors(lent ? 0 : 1); });
  check.Ask(Refusal::kQuota, [&] { return CheckQuota(process); });
  check.Ask(Refusal::kInFlight, [&] { return CheckInFlight(process, 1 + options_.vectors); });
  if (!check.status.ok()) {
    Refuse(socket, process, check.reason, check.status.message());
    return;
  }
  const Result<std::uint16_t> taken = ids_.Take(held);
  if (!taken.ok()) {
    Refuse(socket, process, Refusal::kNoId, taken.status().message());
    return;
  }
  const std::uint16_t id = *taken;
  const auto give_back = [this, id] {  // nobody has heard of it
    if (options_.id_policy == IdPolicy::kLend) {
      ids_.Lend(id);
    } else {
      ids_.Retire(id);
    }
  };
  Result<UniqueFd> memory = region_.OpenForClient(id);
  if (!memory.ok()) {
    Refuse(socket, process, Refusal::kFailed, memory.status().message());
    give_back();
    return;
  }
  (void)setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof(kSendBuffer));

  std::set<std::uint16_t> present;
  for (const auto& [other, client] : clients_) present.insert(other);
  const auto order =
      process.IsQemu() ? ClientBacklog::Order::kOwnFirst : ClientBacklog::Order::kPeersFirst;
  const auto [entry, inserted] =
      clients_.try_emplace(id, std::move(socket), *std::move(memory), std::move(process),
                           ClientBacklog(id, options_.vectors, std::move(present), order));
  known_.reset();
  Client& client = entry->second;
  auto watch = loop_.Add(client.socket.get(), EPOLLIN | EPOLLRDHUP,
                         [this, id](std::uint32_t events) { OnClient(id, events); });
  if (!watch.ok()) {
    Refuse(client.socket, client.process, Refusal::kFailed, watch.status().message());
    give_back();
    clients_.erase(entry);
    known_.reset();
    return;
  }
  client.watch = *std::move(watch);
  std::vector<RecordedFd> doorbells;
  for (const KeptFd& doorbell : ids_.eventfds(id)) doorbells.emplace_back(doorbell);
  record_.Connect(id, RecordedFd(client.socket), order, doorbells);
  client.idle_since = Clock::now();
  ++state_.admitted;
  LogAbout(client.process, LogLevel::kInfo, "id {} to {}{}", id, client.process.description(),
           lent ? ", lent" : "");
  // Before the newcomer can say anything: who answers must know whom to ring.
  for (auto& [other, peer] : clients_) {
    if (other == id) continue;
    peer.backlog.Come(id);
    Flush(other, peer);
  }
  Flush(id, client);
  LookAtGreetings();
}

}  // namespace ivmq::server
