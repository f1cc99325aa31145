// What a server is made of. region_server.cc: its start and end; takeover.cc: going on where another
// one stopped; admission.cc: who comes; clients.cc: who is there, and who goes; administration.cc:
// what the operator sees and does.
#ifndef IVMQ_TOOLS_IVMQD_REGION_SERVER_IMPL_H_
#define IVMQ_TOOLS_IVMQD_REGION_SERVER_IMPL_H_

#include <sys/epoll.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/internal/doorbell_epochs.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/transport.h"

#include "client_backlog.h"
#include "client_process.h"
#include "descriptor_store.h"
#include "estate.h"
#include "event_loop.h"
#include "id_pool.h"
#include "listener.h"
#include "log_limiter.h"
#include "options.h"
#include "record.h"
#include "region_owner.h"
#include "region_server.h"
#include "src/ivshmem_protocol.h"
#include "src/unique_fd.h"

namespace ivmq::server {

// Descriptors that every process needs beside the doorbells.
inline constexpr std::uint64_t kSpareDescriptors = 128;

using Clock = std::chrono::steady_clock;

struct Client {
  Client(KeptFd socket_fd, UniqueFd memory_fd, ClientProcess connected, ClientBacklog greeting)
      : socket(std::move(socket_fd)),
        memory(std::move(memory_fd)),
        process(std::move(connected)),
        backlog(std::move(greeting)) {}

  KeptFd socket;
  UniqueFd memory;  // until it is sent: this server must not keep the client's lock
  ClientProcess process;
  ClientBacklog backlog;
  Watch watch;
  std::uint64_t sent = 0;          // messages
  std::uint64_t read = 0;          // of these, at the last look
  bool is_greeting = true;         // has not been seen with nothing left to read
  Clock::time_point idle_since{};  // is_greeting: when it read the last of what it has
  bool has_spoken = false;         // sent something, which no correct client does
  bool waits_for_space = false;    // EPOLLOUT is watched
  bool waits_for_kernel = false;   // too many descriptors are on their way
  bool is_held_back = false;       // has no room for the descriptors of further peers
};

// An id without a connection whose holder may still write the region: no proof of its death yet.
struct Lingering {
  KeptFd socket;                         // shut down; what is on its way to the client counts
  std::optional<ClientProcess> process;  // nothing: a former server's client
  Clock::time_point look_at{};
  std::chrono::milliseconds pause{1};
  bool is_reported = false;
};

// A process that only looks, and has not read yet what it asked for. It counts as an id until it is
// idle; what is on its way to it counts until it reads or closes.
struct Observer {
  KeptFd socket;
  ClientProcess process;
  Clock::time_point idle_since{};
  bool is_idle = false;
};

// A connection that a former server had accepted, and nothing more.
struct Newcomer {
  KeptFd socket;
  bool knows_version = false;  // an observer that was told the first of two messages
};

// Who has ids, connected or not. Not to be kept: clients come and go.
struct Holdings {
  std::uint64_t ids = 0;
  std::uint64_t without_connection = 0;
  std::map<ProcessKey, std::uint64_t> by_process;
  const ClientProcess* most_by = nullptr;

  [[nodiscard]] std::uint64_t of(const ClientProcess& process) const {
    const auto found = by_process.find(process.key());
    return found == by_process.end() ? 0 : found->second;
  }
  [[nodiscard]] std::string MostText() const {
    return most_by == nullptr
               ? "nobody has any"
               : fmt::format("most of them, {}, has {}", of(*most_by), most_by->description());
  }
};

// Descriptors that are on their way and not read.
struct InFlight {
  std::map<uid_t, std::uint64_t> by_uid;
  std::map<ProcessKey, std::uint64_t> by_process;
};

// What the peer table needs to wake sleepers: the doorbells of this server's clients.
class Doorbells final : public Doorbell {
 public:
  explicit Doorbells(IdPool& ids) : ids_(ids) {}

  void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept override {
    ids_.Ring(ivposition, vector);
  }

 private:
  IdPool& ids_;
};

// Thread-compatible.
class RegionServer::Impl {
 public:
  // `former`: ids without a connection that peers of the region have; `first_id`: see IdPool.
  Impl(Options options, EventLoop& loop, Estate& estate, const Estate::Share& share,
       RegionOwner region, Listener listener, const std::set<std::uint16_t>& former,
       std::uint16_t first_id);
  ~Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // Takes over what the former server of this socket had. Before Start().
  void Restore();
  // Has it served once the loop runs.
  Status Start();
  void End();

  // ---- administration.cc: see RegionServer
  [[nodiscard]] std::vector<ClientInfo> Clients() const;
  [[nodiscard]] ServerState state() const;
  [[nodiscard]] const Region& region() const noexcept { return region_.region(); }
  Status Evict(std::uint16_t id, std::string_view by);
  void SetDraining(bool is_draining, std::string_view by);
  void Reconfigure(const Options& options);

 private:
  using ClientMap = std::map<std::uint16_t, Client>;

  template <typename... Args>
  void Log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) const {
    if (options_.log) options_.log(level, fmt::format(format, std::forward<Args>(args)...));
  }
  // A line that a client can cause. Those of one user are limited.
  template <typename... Args>
  void LogAbout(const ClientProcess& process, LogLevel level, fmt::format_string<Args...> format,
                Args&&... args) {
    if (!options_.log || !MayLogAbout(process.uid(), level)) return;
    options_.log(level, fmt::format(format, std::forward<Args>(args)...));
  }
  bool MayLogAbout(uid_t uid, LogLevel level);
  [[nodiscard]] ClientState StateOf(const Client& client) const;

  // ---- region_server.cc
  void Begin();
  void ReportTakeover();
  // Allocates the next part of the region, between the events of clients.
  void AllocateMore();
  // Has OnTimer() called after `delay` at the latest.
  void Soon(std::chrono::milliseconds delay);
  void OnTimer();

  // ---- takeover.cc
  void RestoreId(std::uint16_t id, const std::set<std::uint16_t>& connected, const IdSet& retired);
  [[nodiscard]] std::vector<KeptFd> InheritDoorbells(std::uint16_t id);
  void RestoreConnections();
  void AdmitNewcomers();

  // ---- admission.cc
  void OnConnection();
  void OnNoDescriptors();
  void PauseAccepting(const std::string& reason);
  void Admit(KeptFd socket);
  void ServeObserver(KeptFd socket, ClientProcess process, bool knows_version = false);
  [[nodiscard]] Status CheckUser(const ClientProcess& process) const;
  [[nodiscard]] Status CheckDraining() const;
  // Of the clients of one user, or of all.
  [[nodiscard]] Holdings CountHoldings(std::optional<uid_t> uid) const;
  [[nodiscard]] Status CheckQuota(const ClientProcess& process) const;
  [[nodiscard]] Status CheckDescriptors(ClientProcess& newcomer);
  // Whether this server may open what it needs beside what it has: the doorbells of `new_ids`.
  [[nodiscard]] Status CheckOwnDescriptors(std::size_t new_ids) const;
  [[nodiscard]] Status CheckInFlight(const ClientProcess& process, std::uint64_t descriptors);
  void Refuse(const KeptFd& socket, const ClientProcess& process, Refusal reason,
              const std::string& text);
  // Sends all that a connection gets which is no client's, and ends it. False: not all of it went.
  bool SendAndEnd(const KeptFd& socket, std::span<const PenMessage> messages);
  void RefuseWaiting();

  // ---- clients.cc
  void OnClient(std::uint16_t id, std::uint32_t events);
  void Flush(std::uint16_t id, Client& client);
  // What Flush() sends next; nothing if the client has to wait.
  std::vector<ClientBacklog::Message> NextMessages(std::uint16_t id, Client& client);
  PenResult Send(std::uint16_t id, const Client& client,
                 std::span<const ClientBacklog::Message> messages) const;
  void OnSent(std::uint16_t id, Client& client, const ClientBacklog::Message& message);
  void UpdateWatch(const Client& client);
  // Ids whose descriptors the clients of `process` have; 0 if it cannot be told from others.
  [[nodiscard]] std::uint64_t KnownIds(const ClientProcess& process);
  void ReportHeldBack(std::uint16_t id, Client& client);
  void FlushWaiting();
  void LookAtGreetings();
  void LookAtObservers();
  // Messages on their way through a connection.
  [[nodiscard]] std::uint64_t Unread(const KeptFd& socket) const;
  // Whether the kernel would take `descriptors` more for this client's user and process.
  bool MayFly(const ClientProcess& process, std::uint64_t descriptors);
  void CountInFlight(const ClientProcess& process, std::uint64_t descriptors);

  void EndMarked();
  void Disconnect(std::uint16_t id);
  void LookAtLingering();
  void End(std::uint16_t id, const Lingering& lingering);
  std::uint32_t MarkDead(std::uint16_t id);

  Options options_;
  ServerState state_;  // its counters and what the operator has said
  EventLoop& loop_;
  Estate& estate_;
  Estate::Share share_;
  RegionRecord record_;  // every change of ids and clients
  RegionOwner region_;
  Listener listener_;
  std::map<std::uint16_t, Lingering> lingering_;
  IdPool ids_;
  Doorbells doorbells_;
  PeerTable table_;
  DoorbellEpochs epochs_;
  LogLimiter log_limiter_;

  UniqueFd timer_;
  Watch timer_watch_;
  Clock::time_point timer_due_ = Clock::time_point::max();
  UniqueFd allocate_;  // always ready; none: all of the region is allocated
  Watch allocate_watch_;
  Watch listener_watch_;
  bool accepting_ = true;
  bool has_begun_ = false;

  // What a message with a descriptor counts in SIOCOUTQ.
  const std::uint64_t message_cost_;
  const bool in_flight_is_limited_;    // privileged processes are not
  std::optional<InFlight> in_flight_;  // as of the event that is being handled
  // What KnownIds() says; nothing: to be counted anew.
  std::optional<std::map<ProcessKey, std::uint64_t>> known_;

  ClientMap clients_;
  std::list<Observer> observers_;
  std::vector<Newcomer> newcomers_;
  // Clients whose end was noticed; disconnected when no list is being walked.
  std::set<std::uint16_t> ending_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_REGION_SERVER_IMPL_H_
