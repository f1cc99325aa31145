#include "src/sleeper.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "ivmq/internal/str_cat.h"

namespace ivmq {
namespace {

using std::chrono::nanoseconds;

constexpr nanoseconds kLongest = std::chrono::hours(24);

// Edge-triggered: each write is one event, and nobody needs to read the counter back to zero.
constexpr std::uint32_t kEdge = EPOLLIN | EPOLLET;

timespec ToTimespec(nanoseconds duration) {
  const nanoseconds clamped = std::clamp(duration, nanoseconds(0), kLongest);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(clamped);
  return {.tv_sec = seconds.count(), .tv_nsec = (clamped - seconds).count()};
}

Status SystemError(const char* what) {
  const int error = errno;
  return {
      error == EMFILE || error == ENFILE ? StatusCode::kResourceExhausted : StatusCode::kInternal,
      StrCat(what, ": ", std::strerror(error),
             error == EMFILE ? "; raise the limit of open files (ulimit -n)" : "")};
}

// epoll_wait() with a timeout in nanoseconds.
int Await(int epoll, std::span<epoll_event> events, nanoseconds timeout) {
  const timespec limit = ToTimespec(timeout);
  return epoll_pwait2(epoll, events.data(), static_cast<int>(events.size()), &limit, nullptr);
}

// The same in two system calls that every kernel has.
int AwaitInTwoCalls(int epoll, std::span<epoll_event> events, nanoseconds timeout) {
  if (timeout > nanoseconds(0)) {
    const timespec limit = ToTimespec(timeout);
    pollfd set{.fd = epoll, .events = POLLIN, .revents = 0};
    if (const int ready = ppoll(&set, 1, &limit, nullptr); ready <= 0) return ready;
  }
  return epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 0);
}

Status Watch(int epoll, int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return SystemError("epoll_ctl");
  return {};
}

}  // namespace

Result<std::unique_ptr<Sleeper>> Sleeper::Create(Doorbell& doorbell) {
  std::unique_ptr<Sleeper> sleeper(new Sleeper(doorbell));
  for (int* const epoll : {&sleeper->epoll_, &sleeper->loop_epoll_}) {
    *epoll = epoll_create1(EPOLL_CLOEXEC);
    if (*epoll < 0) return SystemError("epoll_create1");
  }
  // Kernels before 5.11 do not have it, and some sandboxes refuse it.
  if (epoll_event none{}; Await(sleeper->epoll_, {&none, 1}, nanoseconds(0)) < 0) {
    sleeper->takes_two_calls_ = true;
  }
  sleeper->event_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (sleeper->event_ < 0) return SystemError("eventfd");
  sleeper->timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (sleeper->timer_ < 0) return SystemError("timerfd_create");
  sleeper->wake_ = doorbell.wake_fd();
  sleeper->control_ = doorbell.control_fd();
  for (const int epoll : {sleeper->epoll_, sleeper->loop_epoll_}) {
    for (const int fd : {sleeper->event_, sleeper->wake_}) {
      if (fd < 0) continue;
      if (Status status = Watch(epoll, fd, kEdge); !status.ok()) return status;
    }
    if (const int fd = sleeper->control_; fd >= 0) {
      if (Status status = Watch(epoll, fd, EPOLLIN); !status.ok()) return status;
    }
  }
  if (Status status = Watch(sleeper->loop_epoll_, sleeper->timer_, kEdge); !status.ok()) {
    return status;
  }
  return sleeper;
}

Sleeper::~Sleeper() { LetGoInChild(); }

void Sleeper::LetGoInChild() noexcept {
  for (int* const fd : {&timer_, &event_, &loop_epoll_, &epoll_}) {
    if (*fd >= 0) close(std::exchange(*fd, -1));
  }
}

bool Sleeper::AwaitEvents(int epoll, nanoseconds timeout) {
  std::array<epoll_event, 4> events{};
  const int count =
      takes_two_calls_ ? AwaitInTwoCalls(epoll, events, timeout) : Await(epoll, events, timeout);
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<std::size_t>(i)].data.fd;
    if (fd == doorbell_.control_fd() && !doorbell_.HandleControl()) {
      (void)epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
      (void)epoll_ctl(loop_epoll_, EPOLL_CTL_DEL, fd, nullptr);
    }
  }
  return count != 0;  // an interrupted wait counts as an event
}

std::uint64_t Sleeper::Ticket() {
  const std::lock_guard lock(mutex_);
  return ticket_;
}

bool Sleeper::Sleep(nanoseconds timeout, std::uint64_t ticket) {
  const auto deadline = std::chrono::steady_clock::now() + std::min(timeout, kLongest);
  std::unique_lock lock(mutex_);
  while (ticket_ == ticket) {
    if (has_leader_) {
      if (changed_.wait_until(lock, deadline) == std::cv_status::timeout) return ticket_ != ticket;
      continue;
    }
    has_leader_ = true;
    lock.unlock();
    const bool event = AwaitEvents(epoll_, timeout);
    lock.lock();
    has_leader_ = false;
    ++ticket_;
    lock.unlock();
    // The others look for themselves what it was; one of them is the next leader.
    changed_.notify_all();
    return event;
  }
  return true;
}

bool Sleeper::Rewatch() noexcept {
  const auto rewatch = [this](int& watched, int now, std::uint32_t events) {
    if (watched == now) return false;
    for (const int epoll : {epoll_, loop_epoll_}) {
      if (watched >= 0) (void)epoll_ctl(epoll, EPOLL_CTL_DEL, watched, nullptr);
      // Without memory for it, the look once a second is left.
      if (now >= 0) (void)Watch(epoll, now, events);
    }
    watched = now;
    return true;
  };
  const bool wake = rewatch(wake_, doorbell_.wake_fd(), kEdge);
  return rewatch(control_, doorbell_.control_fd(), EPOLLIN) || wake;
}

void Sleeper::Notify() noexcept {
  const std::uint64_t one = 1;
  (void)!write(event_, &one, sizeof(one));
}

void Sleeper::SetTimer(nanoseconds delay) noexcept {
  // One that is set and comes before is as good, and costs no system call.
  const auto now = std::chrono::steady_clock::now();
  if (now < timer_due_ && timer_due_ <= now + delay) return;
  timer_due_ = now + delay;
  itimerspec spec{};
  spec.it_value = ToTimespec(std::max(delay, nanoseconds(1)));
  (void)timerfd_settime(timer_, 0, &spec, nullptr);
}

void Sleeper::Drain() { (void)AwaitEvents(loop_epoll_, nanoseconds(0)); }

}  // namespace ivmq
