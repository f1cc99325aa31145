#include "event_loop.h"

#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <utility>

#include "system_error.h"

namespace ivmq::server {

Result<EventLoop> EventLoop::Create() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return SystemError(errno, "epoll_create1");
  return EventLoop(std::move(epoll));
}

Result<Watch> EventLoop::Add(int fd, std::uint32_t events, Callback callback) {
  const Watch watch = ++last_;
  epoll_event event{};
  event.events = events;
  event.data.u64 = watch;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return SystemError(errno, "epoll_ctl");
  }
  entries_.emplace(watch, std::make_shared<Entry>(Entry{fd, std::move(callback)}));
  return watch;
}

void EventLoop::Modify(Watch watch, std::uint32_t events) {
  const auto entry = entries_.find(watch);
  if (entry == entries_.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = watch;
  (void)epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, entry->second->fd, &event);
}

void EventLoop::Remove(Watch watch) {
  const auto entry = entries_.find(watch);
  if (entry == entries_.end()) return;
  (void)epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, entry->second->fd, nullptr);
  entries_.erase(entry);
}

Status EventLoop::RunOnce(std::chrono::milliseconds timeout) {
  std::array<epoll_event, 64> events;
  const int ready = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                               static_cast<int>(timeout.count()));
  if (ready < 0) {
    return errno == EINTR ? Status() : SystemError(errno, "epoll_wait");
  }
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const Watch watch = event.data.u64;  // a packed struct: no references into it
    const auto found = entries_.find(watch);
    if (found == entries_.end()) continue;  // removed by an earlier callback of this round
    const std::shared_ptr<Entry> entry = found->second;
    entry->callback(event.events);
  }
  return {};
}

}  // namespace ivmq::server
