#include "timer.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "system_error.h"

namespace ivmq::server {

Result<std::unique_ptr<Timer>> Timer::Create(EventLoop& loop, std::function<void()> callback) {
  UniqueFd fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!fd.valid()) return SystemError(errno, "timerfd_create");
  std::unique_ptr<Timer> timer(new Timer(std::move(fd), std::move(callback)));
  auto watch = loop.Add(timer->fd_.get(), EPOLLIN,
                        [self = timer.get()](std::uint32_t) { self->OnExpired(); });
  if (!watch.ok()) return watch.status();
  timer->watch_ = *std::move(watch);
  return timer;
}

void Timer::Repeat(std::chrono::nanoseconds period) {
  itimerspec spec{};
  spec.it_value.tv_sec = period.count() / 1'000'000'000;
  spec.it_value.tv_nsec = period.count() % 1'000'000'000;
  spec.it_interval = spec.it_value;
  (void)timerfd_settime(fd_.get(), 0, &spec, nullptr);
}

void Timer::OnExpired() {
  std::uint64_t expirations = 0;
  // Nothing to read: it was set anew since.
  if (read(fd_.get(), &expirations, sizeof(expirations)) == sizeof(expirations)) callback_();
}

}  // namespace ivmq::server
