#include "keeper.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "client_process.h"
#include "step.h"
#include "system_error.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

namespace ivmq::server {
namespace {

// ---- What the two sides say, in the order of the members: Hello with the record; an Ask; then
// Parcels with descriptors, each but the last answered by an Ask, until one is empty.

constexpr std::uint64_t kKeeperMagic = 0x7265'7065'656b'7669;  // "ivkeeper"

struct Hello {
  std::uint64_t magic = kKeeperMagic;
  std::int32_t keeper = 0;  // pid
  std::int32_t server = 0;  // 0: it is gone
};

struct Parcel {
  static constexpr std::size_t kMost = 200;  // the kernel passes 253
  std::uint32_t count = 0;
  std::array<std::int32_t, kMost> numbers{};
};

constexpr std::chrono::milliseconds kPatience{30'000};
constexpr int kLeaveMilliseconds = 5'000;
constexpr int kRetryMilliseconds = 10;
constexpr int kRetries = 500;

bool SendAll(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * Parcel::kMost)> control{};
  for (int retries = 0; !bytes.empty();) {
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!fds.empty()) {
      header.msg_control = control.data();
      header.msg_controllen = CMSG_SPACE(fds.size_bytes());
      cmsghdr* const c = CMSG_FIRSTHDR(&header);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(fds.size_bytes());
      std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
    }
    const ssize_t sent = sendmsg(socket, &header, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && ivshmem::SendError(errno) == ivshmem::SendResult::kTooManyRefs &&
        retries++ < kRetries) {
      // Clients have more in transit than this user may have; they read.
      (void)poll(nullptr, 0, kRetryMilliseconds);
      continue;
    }
    if (sent < 0) return false;
    fds = {};
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

// False at the end of the stream or an error, EMFILE if descriptors were lost.
bool ReceiveAll(int socket, std::span<std::byte> bytes, std::vector<UniqueFd>* fds) {
  while (!bytes.empty()) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * Parcel::kMost)> control{};
    iovec part{bytes.data(), bytes.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = ECONNRESET;
    if (got <= 0) return false;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      for (std::size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
        UniqueFd received(fd);
        if (fds != nullptr) fds->push_back(std::move(received));
      }
    }
    if ((header.msg_flags & MSG_CTRUNC) != 0) {
      errno = EMFILE;
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

template <typename T>
bool SendOne(int socket, const T& value, std::span<const int> fds = {}) {
  return SendAll(socket, std::as_bytes(std::span(&value, 1)), fds);
}

template <typename T>
bool ReceiveOne(int socket, T* value, std::vector<UniqueFd>* fds = nullptr) {
  return ReceiveAll(socket, std::as_writable_bytes(std::span(value, 1)), fds);
}

bool IsReadable(int fd, int timeout) {
  pollfd readable{fd, POLLIN, 0};
  return poll(&readable, 1, timeout) == 1;
}

bool IsOwnUser(int socket) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 &&
         credentials.uid == geteuid();
}

void SetTimeouts(int socket, std::chrono::milliseconds patience) {
  const timeval limit{patience.count() / 1000, 0};
  (void)setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  (void)setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

// ---- The keeper

class Keeper {
 public:
  Keeper(const KeeperOptions& options, int server, pid_t server_pid)
      : options_(options), server_(server), server_pid_(server_pid) {}

  [[noreturn]] void Run();

 private:
  void Serve(int connection);
  [[nodiscard]] bool HandOver(int connection) const;
  void AskServerToLeave();
  // Looks whether the server is gone; ends if it went and nothing is to be kept.
  void LookAtServer();
  [[nodiscard]] bool IsCommitted() const {
    return options_.predecessor == nullptr || options_.predecessor->is_superseded();
  }

  KeeperOptions options_;
  int server_;  // pidfd
  pid_t server_pid_;
  bool is_server_gone_ = false;
};

void Keeper::LookAtServer() {
  if (is_server_gone_ || !IsReadable(server_, 0)) return;
  is_server_gone_ = true;
  if (options_.record->is_superseded() || !IsCommitted()) _exit(0);
  // Whoever reads what the server wrote is to see its end.
  const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) (void)dup2(nothing, fd);
  close(nothing);
}

void Keeper::AskServerToLeave() {
  options_.record->header().leaving.store(1, std::memory_order_release);
  for (const int signal : {SIGTERM, SIGKILL}) {
    (void)syscall(SYS_pidfd_send_signal, server_, signal, nullptr, 0U);
    if (IsReadable(server_, kLeaveMilliseconds)) break;
  }
  LookAtServer();
}

bool Keeper::HandOver(int connection) const {
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return false;
  Parcel parcel;
  const auto send = [&parcel, connection] {
    Ask next{};
    const std::span<const int> fds(parcel.numbers.data(), parcel.count);
    const bool is_sent =
        SendOne(connection, parcel, fds) && (parcel.count == 0 || ReceiveOne(connection, &next));
    parcel.count = 0;
    return is_sent;
  };
  bool is_whole = true;
  while (const dirent* const entry = readdir(folder)) {
    const std::string_view name = entry->d_name;
    int fd = -1;
    if (std::from_chars(name.begin(), name.end(), fd).ec != std::errc{}) continue;
    if (fd <= STDERR_FILENO || fd == connection || fd == dirfd(folder)) continue;
    parcel.numbers[parcel.count++] = fd;
    if (parcel.count == Parcel::kMost && !(is_whole = send())) break;
  }
  closedir(folder);
  return is_whole && (parcel.count == 0 || send()) && send();
}

void Keeper::Serve(int connection) {
  if (!IsOwnUser(connection)) return;
  SetTimeouts(connection, kPatience);
  LookAtServer();
  const Hello hello{kKeeperMagic, getpid(), is_server_gone_ ? 0 : server_pid_};
  const int record = options_.record->fd();
  Ask ask{};
  if (!SendOne(connection, hello, std::span(&record, 1)) || !ReceiveOne(connection, &ask)) return;
  if (ask == Ask::kUpgrade) AskServerToLeave();
  if (!is_server_gone_) return;
  if (ask == Ask::kEnd) _exit(0);
  if (!HandOver(connection)) return;
  // Until the successor has taken over, or is gone.
  SetTimeouts(connection, std::chrono::milliseconds(0));
  (void)ReceiveOne(connection, &ask);
  if (options_.record->is_superseded()) _exit(0);
}

void Keeper::Run() {
  (void)prctl(PR_SET_NAME, "ivmqd-keeper");
  // What a terminal sends is for the server.
  (void)setsid();
  (void)!chdir("/");
  (void)std::signal(SIGTERM, SIG_DFL);
  sigset_t blocked;
  sigfillset(&blocked);
  sigdelset(&blocked, SIGTERM);
  (void)sigprocmask(SIG_SETMASK, &blocked, nullptr);
  if (const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); score >= 0) {
    (void)!write(score, "-900", 4);
    close(score);
  }
  for (;;) {
    LookAtServer();
    const bool is_committed = IsCommitted();
    // Negative numbers are not looked at.
    std::array<pollfd, 3> events{{{is_server_gone_ ? -1 : server_, POLLIN, 0},
                                  {is_committed ? -1 : options_.committed, POLLIN, 0},
                                  {is_committed ? options_.socket : -1, POLLIN, 0}}};
    (void)poll(events.data(), events.size(), -1);
    if (!is_committed || events[2].revents == 0) continue;
    const int connection = accept4(options_.socket, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) {
      // The server has used up the descriptors of both, and who waits goes on waiting.
      (void)poll(nullptr, 0, kRetryMilliseconds);
      continue;
    }
    Serve(connection);
    close(connection);
  }
}

}  // namespace

Result<KeeperProcess> StartKeeper(const KeeperOptions& options) {
  const pid_t self = getpid();
  KeeperProcess keeper;
  keeper.server.reset(static_cast<int>(syscall(SYS_pidfd_open, self, 0)));
  if (!keeper.server.valid()) {
    return SystemError(errno, "pidfd_open, for which ivmqd needs Linux 5.10 or later");
  }
  int pidfd = -1;
  // As fork(), but with one table of descriptors for both.
  const long child =
      syscall(SYS_clone, CLONE_FILES | CLONE_PIDFD | SIGCHLD, nullptr, &pidfd, nullptr, nullptr);
  if (child < 0) return SystemError(errno, "starting a keeper");
  if (child == 0) Keeper(options, keeper.server.get(), self).Run();
  keeper.pid = static_cast<pid_t>(child);
  keeper.pidfd.reset(pidfd);
  return keeper;
}

// ---- The successor's side

namespace {

// Nothing: nobody listens there.
Result<std::optional<UniqueFd>> Connect(const std::string& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return SystemError(errno, "socket");
  SetTimeouts(socket.get(), kPatience);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return std::optional<UniqueFd>();
  path.copy(address.sun_path, path.size());
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return std::optional<UniqueFd>(std::move(socket));
  }
  if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTSOCK || errno == ENOTDIR) {
    return std::optional<UniqueFd>();
  }
  return SystemError(errno, fmt::format("{}, where a former server's keeper listens", path));
}

Status NoAnswer(const std::string& path, pid_t keeper) {
  if (errno == EMFILE) {
    return {StatusCode::kResourceExhausted,
            fmt::format("this server may open only {} files, fewer than the server whose clients "
                        "it takes over had open; start it with a higher limit (ulimit -Hn, "
                        "LimitNOFILE=)",
                        OwnDescriptorLimit())};
  }
  return {StatusCode::kUnavailable,
          fmt::format("{}: the keeper of a former server{} does not hand its descriptors over: {}",
                      path, keeper == 0 ? "" : fmt::format(", pid {},", keeper), ErrnoText(errno))};
}

}  // namespace

Result<std::optional<Handover>> AskKeeper(const std::string& path, Ask ask,
                                          const AcceptsRecord& accepts) {
  Result<std::optional<UniqueFd>> connected = Connect(path);
  if (!connected.ok()) return connected.status();
  if (!*connected) return std::optional<Handover>();
  Handover handover;
  handover.connection = *std::move(*connected);
  const int socket = handover.connection.get();
  if (!IsOwnUser(socket)) {
    return Status(StatusCode::kPermissionDenied,
                  fmt::format("{}: another user's process listens there", path));
  }
  Hello hello;
  std::vector<UniqueFd> fds;
  if (!ReceiveOne(socket, &hello, &fds)) {
    if (errno == ECONNRESET || errno == EPIPE) return std::optional<Handover>();  // it has ended
    return NoAnswer(path, 0);
  }
  if (hello.magic != kKeeperMagic || fds.size() != 1) {
    return Status(StatusCode::kFailedPrecondition,
                  fmt::format("{}: no keeper that this ivmqd knows listens there", path));
  }
  handover.keeper_pid = hello.keeper;
  handover.keeper.reset(static_cast<int>(syscall(SYS_pidfd_open, hello.keeper, 0)));
  if (hello.server != 0 && ask != Ask::kUpgrade) {
    return Status(StatusCode::kAlreadyExists,
                  fmt::format("a running process has this socket: another server, pid {}; replace "
                              "it with --upgrade, end it first, or give another path",
                              hello.server));
  }
  if (ask == Ask::kEnd) {
    (void)SendOne(socket, ask);
    AwaitKeeperEnd(handover);
    return std::optional<Handover>();
  }
  Result<Record> record = Record::Open(std::move(fds.front()));
  if (!record.ok()) {
    return Status(
        record.status().code(),
        fmt::format("the keeper of a former server, pid {}, has its clients, but {}; start the "
                    "version of ivmqd that served them, or give their connections up: end the "
                    "clients and start with --no-takeover",
                    hello.keeper, record.status().message()));
  }
  if (accepts) {
    if (Status status = accepts(*record); !status.ok()) return status;
  }
  handover.record = *std::move(record);
  IVMQ_SERVER_STEP("takeover.asked");
  if (!SendOne(socket, ask)) return NoAnswer(path, hello.keeper);
  for (;;) {
    Parcel parcel;
    fds.clear();
    if (!ReceiveOne(socket, &parcel, &fds)) return NoAnswer(path, hello.keeper);
    if (parcel.count != fds.size()) {
      errno = EMFILE;
      return NoAnswer(path, hello.keeper);
    }
    if (fds.empty()) break;
    for (std::size_t i = 0; i < fds.size(); ++i) {
      handover.descriptors.insert_or_assign(static_cast<std::uint32_t>(parcel.numbers[i]),
                                            std::move(fds[i]));
    }
    if (!SendOne(socket, ask)) return NoAnswer(path, hello.keeper);
  }
  IVMQ_SERVER_STEP("takeover.received");
  return std::optional<Handover>(std::move(handover));
}

void AwaitKeeperEnd(Handover& handover) {
  (void)shutdown(handover.connection.get(), SHUT_WR);
  if (handover.keeper.valid()) {
    (void)IsReadable(handover.keeper.get(), static_cast<int>(kPatience.count()));
  } else {
    Hello nothing;
    (void)ReceiveOne(handover.connection.get(), &nothing);
  }
  handover.connection.reset();
}

}  // namespace ivmq::server
