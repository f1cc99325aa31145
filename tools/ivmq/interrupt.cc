#include "interrupt.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "exit_code.h"

namespace ivmq::tool {
namespace {

sigset_t Signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

}  // namespace

void HoldSignals() {
  const sigset_t signals = Signals();
  (void)pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

Interrupt::Interrupt(std::function<void()> wake) : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  thread_ = std::thread([this, wake = std::move(wake)] { Watch(wake); });
}

Interrupt::~Interrupt() {
  ending_ = true;
  (void)pthread_kill(thread_.native_handle(), SIGINT);
  thread_.join();
  close(fd_);
}

bool Interrupt::WaitFor(std::chrono::nanoseconds timeout) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!requested()) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd wait{fd_, POLLIN, 0};
    (void)poll(&wait, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 3600 * 1000)));
  }
  return true;
}

void Interrupt::Watch(const std::function<void()>& wake) {
  const sigset_t signals = Signals();
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    if (ending_) return;
    if (requested_.exchange(true)) _exit(kExitInterrupted);
    const std::uint64_t one = 1;
    (void)!write(fd_, &one, sizeof(one));
    wake();
  }
}

}  // namespace ivmq::tool
