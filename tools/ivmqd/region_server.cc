#include "region_server.h"

#include <linux/capability.h>
#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <string>
#include <utility>

#include "region_server_impl.h"
#include "src/text.h"
#include "system_error.h"

namespace ivmq::server {
namespace {

using std::chrono::milliseconds;

// Where the ids start. Clients of a former server keep the doorbells that they know: an id that one
// of them may know is the last to be given.
std::uint16_t FirstId(const Options& options, const RegionOwner& region,
                      const std::set<std::uint16_t>& former) {
  const auto lowest = static_cast<std::uint16_t>(options.first_id);
  if (former.empty() && options.id_policy == IdPolicy::kLend) return lowest;
  std::uint32_t after = region.taken_over() ? std::uint32_t{region.HighestId()} + 1 : lowest;
  if (!former.empty()) after = std::max(after, std::uint32_t{*former.rbegin()} + 1);
  return after <= kLastId ? static_cast<std::uint16_t>(std::max<std::uint32_t>(after, lowest))
                          : lowest;
}

// Whether the kernel limits the descriptors that this process has on their way (unix(7),
// ETOOMANYREFS).
bool IsLimitedInFlight() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (syscall(SYS_capget, &header, data.data()) != 0) return true;
  return (data[0].effective & ((1U << CAP_SYS_RESOURCE) | (1U << CAP_SYS_ADMIN))) == 0;
}

// What SIOCOUTQ says of one message with a descriptor. 0: it says nothing.
std::uint64_t MessageCost(int descriptor) {
  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return 0;
  }
  const UniqueFd near(pair[0]);
  const UniqueFd far(pair[1]);
  int bytes = 0;
  if (ivshmem::SendMessage(near.get(), ivshmem::kSharedMemory, descriptor) !=
          ivshmem::SendResult::kSent ||
      ioctl(near.get(), SIOCOUTQ, &bytes) != 0) {
    return 0;
  }
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace

RegionServer::Impl::Impl(Options options, EventLoop& loop, Estate& estate,
                         const Estate::Share& share, RegionOwner region, Listener listener,
                         const std::set<std::uint16_t>& former, std::uint16_t first_id)
    : options_(std::move(options)),
      loop_(loop),
      estate_(estate),
      share_(share),
      record_(share.record),
      region_(std::move(region)),
      listener_(std::move(listener)),
      ids_(options_.vectors, options_.id_policy, static_cast<std::uint16_t>(options_.first_id),
           first_id, [&estate](UniqueFd fd) { return estate.Adopt(std::move(fd)); }),
      doorbells_(ids_),
      table_(region_.region()),
      epochs_(region_.region()),
      log_limiter_(options_.log_lines_per_second),
      message_cost_(MessageCost(region_.fd())),
      in_flight_is_limited_(IsLimitedInFlight()) {
  for (const std::uint16_t id : former) lingering_[id].is_reported = true;
}

void RegionServer::Impl::End() {
  if (estate_.is_kept()) {
    listener_.Leave();
    return;
  }
  RefuseWaiting();
  region_.SayGoodbye();
  Log(LogLevel::kInfo, "{} is not served any more; {} clients keep the region and their doorbells",
      options_.socket, clients_.size());
}

bool RegionServer::Impl::MayLogAbout(uid_t uid, LogLevel level) {
  if (level == LogLevel::kDebug) return true;
  const auto left_out = log_limiter_.Ask(uid, Clock::now());
  if (left_out && *left_out != 0) {
    Log(LogLevel::kWarning,
        "{} lines about clients of uid {} were omitted: more than {} in a second", *left_out, uid,
        options_.log_lines_per_second);
  }
  return left_out.has_value();
}

Status RegionServer::Impl::Start() {
  timer_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer_.valid()) return SystemError(errno, "timerfd_create");
  const auto watch_by = [this](int fd, void (Impl::*member)(), Watch* watch) {
    // Nothing but the timer before Begin().
    auto added = loop_.Add(fd, fd == timer_.get() ? EPOLLIN : 0U,
                           [this, member](std::uint32_t) { (this->*member)(); });
    if (!added.ok()) return added.status();
    *watch = *std::move(added);
    return Status();
  };
  if (Status status = watch_by(timer_.get(), &Impl::OnTimer, &timer_watch_); !status.ok()) {
    return status;
  }
  if (!region_.is_allocated()) {
    allocate_.reset(::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!allocate_.valid()) return SystemError(errno, "eventfd");
    if (Status status = watch_by(allocate_.get(), &Impl::AllocateMore, &allocate_watch_);
        !status.ok()) {
      return status;
    }
  }
  if (Status status = watch_by(listener_.fd(), &Impl::OnConnection, &listener_watch_);
      !status.ok()) {
    return status;
  }

  Soon(milliseconds(0));
  return {};
}

// The loop runs: this is the server now.
void RegionServer::Impl::Begin() {
  region_.SayHello();
  const layout::Header& header = region_.region().header();
  Log(LogLevel::kInfo,
      "serving {}: region {} of {}, {} vectors, up to {} peers, ids are {}, epoch {}",
      options_.socket, options_.region, SizeText(options_.size), options_.vectors,
      options_.max_peers, options_.id_policy == IdPolicy::kLend ? "lent" : "unique",
      header.server_epoch.load());
  if ((options_.mode & 02) != 0) {
    Log(LogLevel::kWarning, "mode {:04o}: every user of this machine may connect", options_.mode);
  }
  if (share_.former) {
    Log(LogLevel::kInfo,
        "went on where the last server, pid {}, stopped: {} clients, {} ids "
        "without a connection",
        region_.crashed_pid(), clients_.size(), lingering_.size());
    share_.former.reset();
  } else if (region_.taken_over()) {
    ReportTakeover();
  }
  if (!region_.is_allocated()) {
    Log(LogLevel::kInfo, "{} of {} are allocated, the rest while clients are served",
        SizeText(region_.allocated()), SizeText(options_.size));
  }
  listener_watch_.Modify(EPOLLIN);
  allocate_watch_.Modify(EPOLLIN);
  AdmitNewcomers();
}

void RegionServer::Impl::ReportTakeover() {
  std::string ids;
  const IdSet held = region_.HeldIds();
  for (std::uint32_t id = 0; id <= kLastId; ++id) {
    if (held[id]) ids += fmt::format("{}{}", ids.empty() ? "" : ", ", id);
  }
  Log(LogLevel::kInfo, "took the region over; {}; {}",
      region_.crashed_pid() == 0
          ? std::string("its last server left in order")
          : fmt::format("its last server, pid {}, did not leave in order", region_.crashed_pid()),
      ids.empty() ? std::string("no living peer has an id of a former server")
                  : fmt::format("living peers have these ids of former servers: {}", ids));
}

void RegionServer::Impl::AllocateMore() {
  constexpr std::uint64_t kLines = 4;
  const std::uint64_t line = options_.size / kLines;
  const std::uint64_t before = region_.allocated() / line;
  if (Status status = region_.AllocateMore(); !status.ok()) {
    return loop_.Fail(At(
        fmt::format("--region {}: {} of {} are allocated, and whoever touches more may be ended by "
                    "the kernel",
                    options_.region, SizeText(region_.allocated()), SizeText(options_.size)),
        status));
  }
  if (region_.allocated() / line != before) {
    Log(LogLevel::kInfo, "{} of {} are allocated", SizeText(region_.allocated()),
        SizeText(options_.size));
  }
  record_.header().allocated.store(region_.allocated(), std::memory_order_release);
  if (!region_.is_allocated()) return;
  allocate_watch_.Reset();
  allocate_.reset();
}

void RegionServer::Impl::Soon(milliseconds delay) {
  const Clock::time_point due = Clock::now() + delay;
  if (timer_due_ <= due) return;
  itimerspec once{};
  once.it_value.tv_sec = delay.count() / 1000;
  once.it_value.tv_nsec = std::max<long>(delay.count() % 1000 * 1'000'000, 1);
  if (timerfd_settime(timer_.get(), 0, &once, nullptr) == 0) timer_due_ = due;
}

// Each of these asks for the next time as long as there is something to look after.
void RegionServer::Impl::OnTimer() {
  std::uint64_t expirations = 0;
  (void)!read(timer_.get(), &expirations, sizeof(expirations));
  timer_due_ = Clock::time_point::max();
  if (!std::exchange(has_begun_, true)) Begin();
  listener_.RestoreReserve();
  if (!accepting_) {
    accepting_ = true;
    listener_watch_.Modify(EPOLLIN);
  }
  LookAtLingering();
  LookAtObservers();
  LookAtGreetings();
  FlushWaiting();
  EndMarked();
}

// ---- RegionServer

RegionServer::RegionServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RegionServer::~RegionServer() { impl_->End(); }

namespace {

// The region of the options, or the one that the last server had.
Result<RegionOwner> OpenRegion(const Options& options, const CheckedOptions& checked,
                               Estate& estate, const Estate::Share& share) {
  RegionHeader& header = share.record.header();
  if (!share.former) {
    Result<RegionOwner> region = RegionOwner::Open(options, checked);
    if (!region.ok()) return region;
    header.memory = estate.Register(region->fd());
    header.lock = estate.Register(region->lock_fd());
    return region;
  }
  const RegionHeader& former = share.former->header();
  KeptFd memory = estate.Inherit(former.memory);
  KeptFd lock = estate.Inherit(former.lock);
  if (!memory.valid() || !lock.valid()) {
    return Status(StatusCode::kFailedPrecondition,
                  fmt::format("--region {}: the last server's region was not kept; give its "
                              "clients' connections up by --no-takeover",
                              options.region));
  }
  header.memory = RecordedFd(memory);
  header.lock = RecordedFd(lock);
  return RegionOwner::Adopt(options, memory.Release(), lock.Release(),
                            former.allocated.load(std::memory_order_acquire));
}

// `listening`, the last server's, or a new one at the path.
Result<Listener> OpenListener(const Options& options, const CheckedOptions& checked, Estate& estate,
                              const Estate::Share& share, UniqueFd listening) {
  RegionHeader& header = share.record.header();
  const auto record = [&header](const Listener& listener, RecordedFd fd) {
    header.is_listener_owned = 1;
    header.listener_device = listener.device();
    header.listener_inode = listener.inode();
    header.listener = fd;
  };
  if (listening.valid()) return Listener::Adopt(std::move(listening));
  if (share.former && share.former->header().is_listener_owned != 0) {
    const RegionHeader& former = share.former->header();
    if (KeptFd fd = estate.Inherit(former.listener); fd.valid()) {
      const RecordedFd recorded(fd);
      Listener listener = Listener::Restore(fd.Release(), options.socket, former.listener_device,
                                            former.listener_inode);
      record(listener, recorded);
      return listener;
    }
  }
  Result<Listener> listener =
      Listener::Open(options.socket, checked.group, static_cast<mode_t>(options.mode));
  if (listener.ok()) record(*listener, estate.Register(listener->fd()));
  return listener;
}

}  // namespace

Status RegionServer::CheckFormer(const RegionRecord& former, const Options& options) {
  const RegionHeader& header = former.header();
  std::string differs;
  const auto compare = [&differs](bool is_same, const std::string& was) {
    if (!is_same) differs += fmt::format("{}{}", differs.empty() ? "" : " ", was);
  };
  compare(former.region() == options.region, fmt::format("--region {}", former.region()));
  compare(header.size == options.size, fmt::format("--size {}", header.size));
  compare(header.huge_page == options.huge_page,
          fmt::format("--hugepages {}", HugePageText(header.huge_page)));
  compare(header.vectors == options.vectors, fmt::format("--vectors {}", header.vectors));
  compare(header.max_peers == options.max_peers, fmt::format("--max-peers {}", header.max_peers));
  compare(header.id_policy == static_cast<std::uint32_t>(options.id_policy),
          options.id_policy == IdPolicy::kLend ? "--id-policy unique" : "--id-policy lend");
  if (differs.empty()) return {};
  return {StatusCode::kFailedPrecondition,
          fmt::format("--socket {}: the last server's clients are connected to one with {}; start "
                      "with that, or give their connections up with --no-takeover",
                      options.socket, differs)};
}

Result<std::unique_ptr<RegionServer>> RegionServer::Create(Options options, EventLoop& loop,
                                                           Estate& estate, UniqueFd listening) {
  if (listening.valid()) {
    Result<std::string> path = Listener::PathOf(listening.get());
    if (!path.ok()) return path.status();
    options.socket = *std::move(path);
  }
  const Result<CheckedOptions> checked = CheckOptions(options);
  if (!checked.ok()) return checked.status();
  RaiseOwnDescriptorLimit();
  const Estate::Share share = estate.ShareOf(options.socket);
  if (share.former) {
    if (Status status = CheckFormer(*share.former, options); !status.ok()) return status;
  }
  // The region first: once the socket is there, clients may come.
  Result<RegionOwner> region = OpenRegion(options, *checked, estate, share);
  if (!region.ok()) return region.status();
  if (options.id_policy == IdPolicy::kUnique && !share.former && region->HighestId() >= kLastId) {
    region->SayGoodbye();
    return Status(StatusCode::kFailedPrecondition,
                  fmt::format("--region {}: a peer in it has id {}, so no unused id is left for "
                              "--id-policy unique; use lend, or another region",
                              options.region, region->HighestId()));
  }
  Result<Listener> listener = OpenListener(options, *checked, estate, share, std::move(listening));
  if (!listener.ok()) {
    if (!share.former) region->SayGoodbye();
    return Status(listener.status().code(),
                  fmt::format("--socket {}", listener.status().message()));
  }
  std::set<std::uint16_t> former_ids;
  if (region->taken_over()) former_ids = region->FormerIds();
  if (share.former) {
    std::erase_if(former_ids, [&share](std::uint16_t id) {
      const IdState state = share.former->state(id);
      return state != IdState::kUnused && state != IdState::kRetired;
    });
  }
  const std::uint16_t first_id = share.former
                                     ? static_cast<std::uint16_t>(share.former->header().first_id)
                                     : FirstId(options, *region, former_ids);
  RegionHeader& header = share.record.header();
  header.vectors = options.vectors;
  header.id_policy = static_cast<std::uint32_t>(options.id_policy);
  header.size = options.size;
  header.huge_page = options.huge_page;
  header.max_peers = options.max_peers;
  header.first_id = first_id;
  header.allocated.store(region->allocated(), std::memory_order_relaxed);
  share.record.SetNames(options.socket, options.region);
  auto impl = std::make_unique<Impl>(std::move(options), loop, estate, share, *std::move(region),
                                     *std::move(listener), former_ids, first_id);
  if (share.former) impl->Restore();
  if (Status status = impl->Start(); !status.ok()) return status;
  return std::unique_ptr<RegionServer>(new RegionServer(std::move(impl)));
}

}  // namespace ivmq::server
