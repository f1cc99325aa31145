#include "signals.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

#include "system_error.h"

namespace ivmq::server {

Result<std::unique_ptr<Signals>> Signals::Take(EventLoop& loop, std::initializer_list<int> signals,
                                               Callback callback) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  if (const int error = pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    return SystemError(error, "pthread_sigmask");
  }
  UniqueFd fd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd.valid()) return SystemError(errno, "signalfd");
  std::unique_ptr<Signals> taken(new Signals(std::move(fd), std::move(callback)));
  Signals& self = *taken;
  auto watch = loop.Add(self.fd_.get(), EPOLLIN, [&self](std::uint32_t) { self.OnSignal(); });
  if (!watch.ok()) return watch.status();
  self.watch_ = *std::move(watch);
  return taken;
}

void Signals::OnSignal() {
  signalfd_siginfo signal{};
  if (read(fd_.get(), &signal, sizeof(signal)) != sizeof(signal)) return;
  callback_(static_cast<int>(signal.ssi_signo), static_cast<pid_t>(signal.ssi_pid));
}

}  // namespace ivmq::server
