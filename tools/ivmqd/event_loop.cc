#include "event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>

#include "system_error.h"

namespace ivmq::server {

void Watch::Modify(std::uint32_t events) const {
  if (loop_ == nullptr) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = number_;
  (void)epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_MOD, loop_->entries_.at(number_)->fd, &event);
}

void Watch::Reset() noexcept {
  EventLoop* const loop = std::exchange(loop_, nullptr);
  if (loop == nullptr) return;
  const auto entry = loop->entries_.find(number_);
  (void)epoll_ctl(loop->epoll_.get(), EPOLL_CTL_DEL, entry->second->fd, nullptr);
  loop->entries_.erase(entry);
}

Result<std::unique_ptr<EventLoop>> EventLoop::Create() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return SystemError(errno, "epoll_create1");
  UniqueFd stop(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!stop.valid()) return SystemError(errno, "eventfd");
  std::unique_ptr<EventLoop> loop(new EventLoop(std::move(epoll), std::move(stop)));
  EventLoop& self = *loop;
  auto watch = self.Add(self.stop_.get(), EPOLLIN, [&self](std::uint32_t) { self.Fail({}); });
  if (!watch.ok()) return watch.status();
  self.stop_watch_ = *std::move(watch);
  return loop;
}

Result<Watch> EventLoop::Add(int fd, std::uint32_t events, Callback callback) {
  const std::uint64_t number = ++last_;
  epoll_event event{};
  event.events = events;
  event.data.u64 = number;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return SystemError(errno, "epoll_ctl");
  }
  entries_.emplace(number, std::make_shared<Entry>(Entry{fd, std::move(callback)}));
  return Watch(this, number);
}

Status EventLoop::Run() {
  while (!stopping_) {
    if (Status status = RunOnce(); !status.ok()) return status;
  }
  return failure_;
}

void EventLoop::Stop() noexcept { (void)eventfd_write(stop_.get(), 1); }

void EventLoop::Fail(Status status) {
  if (!std::exchange(stopping_, true)) failure_ = std::move(status);
}

Status EventLoop::RunOnce() noexcept {
  std::array<epoll_event, 64> events;
  const int ready =
      epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), /*timeout=*/-1);
  if (ready < 0) {
    return errno == EINTR ? Status() : SystemError(errno, "epoll_wait");
  }
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const std::uint64_t number = event.data.u64;  // a packed struct: no references into it
    const auto found = entries_.find(number);
    if (found == entries_.end()) continue;  // ended by an earlier callback of this round
    const std::shared_ptr<Entry> entry = found->second;
    entry->callback(event.events);
  }
  return {};
}

}  // namespace ivmq::server
