#include "estate.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "client_process.h"
#include "step.h"
#include "system_error.h"

namespace ivmq::server {
namespace {

using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

// A keeper that ends sooner is not followed by another one at once.
constexpr seconds kShortLife{1};

std::string KeeperPath(const std::string& socket) { return socket + ".keeper"; }

bool IsConnectionTo(int fd, const std::string& path) {
  int type = 0;
  int listens = 0;
  socklen_t length = sizeof(int);
  sockaddr_un address{};
  socklen_t filled = sizeof(address);
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM &&
         getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens == 0 &&
         getsockname(fd, reinterpret_cast<sockaddr*>(&address), &filled) == 0 &&
         address.sun_family == AF_UNIX &&
         path == std::string_view(address.sun_path,
                                  strnlen(address.sun_path, sizeof(address.sun_path)));
}

// Of the records that systemd has: that of the last server that took over. One that was killed
// before it did may have left one as well.
Result<std::optional<Record>> LastRecord(const std::map<std::uint32_t, UniqueFd>& descriptors) {
  std::optional<Record> last;
  Status unreadable;
  for (const auto& [key, fd] : descriptors) {
    if (!IsRecord(fd.get())) continue;
    Result<Record> record = Record::Open(UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)));
    if (!record.ok()) {
      unreadable = record.status();
      continue;
    }
    if (record->is_superseded()) continue;
    if (!last || record->header().takeovers < last->header().takeovers) {
      last.emplace(*std::move(record));
    }
  }
  if (!last && !unreadable.ok()) {
    return Status(
        unreadable.code(),
        fmt::format("systemd keeps the descriptors of a former server's clients, but {}; start the "
                    "version of ivmqd that served them, or give their connections up: stop the "
                    "service and start it again",
                    unreadable.message()));
  }
  return last;
}

}  // namespace

Estate::Estate(EstateOptions options, EventLoop& loop, Record record)
    : options_(std::move(options)), loop_(loop), record_(std::move(record)) {}

Estate::~Estate() {
  if (keeper_socket_ && is_kept()) keeper_socket_->Leave();
}

Result<std::unique_ptr<Estate>> Estate::Open(EstateOptions options, EventLoop& loop,
                                             std::vector<PassedFd> passed) {
  RaiseOwnDescriptorLimit();
  const bool is_stored = options.keep == Keep::kAuto || options.keep == Keep::kSystemd;
  const std::size_t capacity = is_stored ? StoreCapacity() : 0;
  if (options.keep == Keep::kSystemd && capacity == 0) {
    return Status(StatusCode::kInvalidArgument,
                  "--keep systemd: systemd keeps no descriptors for this process; set "
                  "FileDescriptorStoreMax= in its unit (systemd 254 or later)");
  }
  std::optional<Former> former;
  std::map<std::uint32_t, UniqueFd> stored;
  std::uint32_t last_key = 0;
  for (PassedFd& one : passed) {
    const std::uint32_t key = KeyOf(one.name);
    if (key == 0) continue;
    last_key = std::max(last_key, key);
    stored.insert_or_assign(key, std::move(one.fd));
  }
  const DescriptorStore store(capacity);
  if (!stored.empty() && options.take_over) {
    Result<std::optional<Record>> last = LastRecord(stored);
    if (!last.ok()) return last.status();
    if (*last) {
      if (options.accepts) {
        if (Status status = options.accepts(**last); !status.ok()) return status;
      }
      former = Former();
      for (const auto& [key, fd] : stored) former->keys.push_back(key);
      former->from.record = *std::move(*last);
      former->from.descriptors = std::exchange(stored, {});
      former->is_by_key = true;
    }
  }
  if (!former) {
    const DescriptorStore systemd(stored.size());
    for (const auto& [key, fd] : stored) systemd.Drop(key);
    const Ask ask = !options.take_over ? Ask::kEnd : options.upgrade ? Ask::kUpgrade : Ask::kTake;
    for (const std::string& socket : options.sockets) {
      Result<std::optional<Handover>> handover =
          AskKeeper(KeeperPath(socket), ask, options.accepts);
      if (!handover.ok()) return At(fmt::format("--socket {}", socket), handover.status());
      if (!*handover) continue;
      former = Former();
      former->from = *std::move(*handover);
      break;
    }
  }
  Result<Record> record = Record::Create(options.sockets.size(), options.version);
  if (!record.ok()) return record.status();
  std::unique_ptr<Estate> estate(new Estate(std::move(options), loop, *std::move(record)));
  Estate& self = *estate;
  self.store_ = store;
  self.former_ = std::move(former);
  RecordHeader& header = self.record_.header();
  if (self.former_) {
    self.store_.SetDrops(false);
    const RecordHeader& before = self.former_->from.record->header();
    header.takeovers = before.takeovers + 1;
    last_key = std::max(last_key, before.last_key.load(std::memory_order_relaxed));
  }
  header.last_key.store(last_key, std::memory_order_relaxed);
  const Keep keep = self.options_.keep;
  if (keep == Keep::kKeeper || (keep == Keep::kAuto && capacity == 0)) {
    if (Status status = self.PrepareKeeper(); !status.ok()) return status;
  }
  return estate;
}

Status Estate::PrepareKeeper() {
  keeper_path_ = KeeperPath(options_.sockets.front());
  if (keeper_path_.size() >= sizeof(sockaddr_un::sun_path)) {
    Log(LogLevel::kWarning,
        "--socket {}: its path is too long for a keeper's socket beside it, so there is no keeper: "
        "connections end with this server; give a shorter path, or --no-keeper",
        options_.sockets.front());
    keeper_path_.clear();
    return {};
  }
  if (former_) {
    const RecordHeader& before = former_->from.record->header();
    KeptFd inherited = Inherit(before.keeper_socket);
    struct stat there {};
    if (inherited.valid() && lstat(keeper_path_.c_str(), &there) == 0 &&
        there.st_dev == before.keeper_device && there.st_ino == before.keeper_inode) {
      keeper_socket_.emplace(
          Listener::Restore(inherited.Release(), keeper_path_, there.st_dev, there.st_ino));
    }
  }
  if (!keeper_socket_) {
    Result<Listener> listener = Listener::Open(keeper_path_, std::nullopt, 0600);
    if (!listener.ok()) return At("--socket", listener.status());
    keeper_socket_.emplace(*std::move(listener));
  }
  RecordHeader& header = record_.header();
  header.keeper_socket = {keeper_socket_->fd(), 0};
  header.keeper_device = keeper_socket_->device();
  header.keeper_inode = keeper_socket_->inode();
  commit_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  restart_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!commit_.valid() || !restart_.valid()) return SystemError(errno, "a keeper's events");
  auto watch = loop_.Add(restart_.get(), EPOLLIN, [this](std::uint32_t) {
    std::uint64_t expirations = 0;
    (void)!read(restart_.get(), &expirations, sizeof(expirations));
    (void)StartOwnKeeper(nullptr);
  });
  if (!watch.ok()) return watch.status();
  restart_watch_ = *std::move(watch);
  return {};
}

Status Estate::StartOwnKeeper(const Record* predecessor) {
  started_at_ = Clock::now();
  Result<KeeperProcess> keeper = StartKeeper({.socket = keeper_socket_->fd(),
                                              .record = &record_,
                                              .predecessor = predecessor,
                                              .committed = commit_.get()});
  if (!keeper.ok()) return keeper.status();
  keeper_ = *std::move(keeper);
  auto watch = loop_.Add(keeper_.pidfd.get(), EPOLLIN, [this](std::uint32_t) { OnKeeperEnd(); });
  if (!watch.ok()) return watch.status();
  keeper_watch_ = *std::move(watch);
  Log(LogLevel::kInfo, "pid {} keeps connections and doorbells if this server ends suddenly",
      keeper_.pid);
  return {};
}

void Estate::OnKeeperEnd() {
  keeper_watch_.Reset();
  (void)waitpid(keeper_.pid, nullptr, 0);
  Log(LogLevel::kWarning, "the keeper, pid {}, has ended; another one is started", keeper_.pid);
  keeper_ = {};
  if (Clock::now() - started_at_ >= kShortLife && StartOwnKeeper(nullptr).ok()) return;
  const itimerspec later{{kShortLife.count(), 0}, {kShortLife.count(), 0}};
  (void)timerfd_settime(restart_.get(), 0, &later, nullptr);
}

Status Estate::Commit() {
  const Record* const predecessor = former_ ? &*former_->from.record : nullptr;
  if (keeper_socket_) {
    if (Status status = StartOwnKeeper(predecessor); !status.ok()) return status;
  }
  if (store_.is_on()) {
    (void)Register(record_.fd());
    store_.Flush();
  }
  IVMQ_SERVER_STEP("takeover.before");
  if (predecessor != nullptr) predecessor->Supersede(Superseded::kByNext);
  IVMQ_SERVER_STEP("takeover.committed");
  committed_ = true;
  store_.SetDrops(true);
  if (commit_.valid()) (void)eventfd_write(commit_.get(), 1);
  if (!former_) return {};
  if (former_->is_by_key) {
    // What nobody has inherited; all, if somebody else keeps it from now on.
    const DescriptorStore systemd(former_->keys.size());
    for (const std::uint32_t key : former_->keys) {
      if (!store_.is_on() || former_->from.descriptors.contains(key)) systemd.Drop(key);
    }
  } else {
    AwaitKeeperEnd(former_->from);
  }
  IVMQ_SERVER_STEP("takeover.after");
  former_.reset();
  return {};
}

void Estate::End() {
  if (!committed_) return;
  if (record_.header().leaving.load(std::memory_order_acquire) != 0) {
    Log(LogLevel::kInfo, "another server goes on from here");
    _exit(0);
  }
  if (store_.is_on()) {
    Log(LogLevel::kInfo, "systemd keeps connections and doorbells for the next server");
    store_.SetDrops(false);
    return;
  }
  record_.Supersede(Superseded::kEnded);
  ended_ = true;
  keeper_watch_.Reset();
  if (keeper_socket_) keeper_socket_->Unlink();
  if (keeper_.pid < 0) return;
  // Nobody is to find what it has in use any more once this process is gone.
  (void)kill(keeper_.pid, SIGKILL);
  (void)waitpid(keeper_.pid, nullptr, 0);
}

bool Estate::is_kept() const noexcept {
  if (ended_) return false;
  return committed_ ? keeper_socket_.has_value() || store_.is_on() : former_.has_value();
}

std::uint32_t Estate::NewKey() {
  std::atomic<std::uint32_t>& last = record_.header().last_key;
  const std::uint32_t key = last.load(std::memory_order_relaxed) + 1;
  last.store(key, std::memory_order_release);
  return key;
}

// ---- For region servers

Estate::Share Estate::ShareOf(const std::string& socket) const {
  Share share;
  const auto& sockets = options_.sockets;
  const auto found = std::find(sockets.begin(), sockets.end(), socket);
  share.index = static_cast<std::uint32_t>(found - sockets.begin());
  share.record = record_.region(share.index);
  if (!former_) return share;
  const Record& former = *former_->from.record;
  for (std::size_t i = 0; i < former.regions(); ++i) {
    if (former.region(i).socket() == socket) {
      share.former = former.region(i);
      share.former_index = static_cast<std::uint32_t>(i);
    }
  }
  return share;
}

const Pen* Estate::FormerPen(const Share& share) const {
  if (!share.former) return nullptr;
  const Pen& pen = former_->from.record->pen();
  return pen.is_down.load(std::memory_order_acquire) != 0 && pen.region == share.former_index
             ? &pen
             : nullptr;
}

RecordedFd Estate::Register(int fd) {
  if (!store_.is_on() || fd < 0) return {fd, 0};
  const std::uint32_t key = NewKey();
  store_.Keep(fd, key);
  return {fd, key};
}

KeptFd Estate::Adopt(UniqueFd fd) {
  const std::uint32_t key = Register(fd.get()).key;
  return {std::move(fd), key, &store_};
}

KeptFd Estate::Inherit(RecordedFd fd) {
  if (!former_) return {};
  const std::uint32_t name = former_->is_by_key ? fd.key : static_cast<std::uint32_t>(fd.number);
  auto found = former_->from.descriptors.extract(name);
  if (found.empty()) return {};
  if (former_->is_by_key && store_.is_on()) return {std::move(found.mapped()), fd.key, &store_};
  return Adopt(std::move(found.mapped()));
}

std::vector<KeptFd> Estate::InheritConnections(const std::string& socket) {
  std::vector<KeptFd> connections;
  if (!former_) return connections;
  std::vector<std::uint32_t> names;
  for (const auto& [name, fd] : former_->from.descriptors) {
    if (IsConnectionTo(fd.get(), socket)) names.push_back(name);
  }
  for (const std::uint32_t name : names) {
    connections.push_back(Inherit({static_cast<std::int32_t>(name), name}));
  }
  return connections;
}

}  // namespace ivmq::server
