#include "eventfd_signal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <ctime>

namespace ivmq::server {

EventfdSignal::EventfdSignal() : nothing_(open("/dev/null", O_RDONLY | O_CLOEXEC)) {
  if (!nothing_.valid() || syscall(SYS_io_setup, 1, &context_) != 0) context_ = 0;
}

EventfdSignal::~EventfdSignal() {
  if (context_ != 0) (void)syscall(SYS_io_destroy, context_);
}

bool EventfdSignal::Submit(int eventfd) noexcept {
  if (context_ == 0) return false;
  iocb request{};
  request.aio_lio_opcode = IOCB_CMD_PREAD;
  request.aio_fildes = static_cast<std::uint32_t>(nothing_.get());
  request.aio_flags = IOCB_FLAG_RESFD;
  request.aio_resfd = static_cast<std::uint32_t>(eventfd);
  std::array<iocb*, 1> requests{&request};
  if (syscall(SYS_io_submit, context_, 1L, requests.data()) != 1) return false;
  // It has ended already; this takes its place back.
  std::array<io_event, 1> ended{};
  timespec at_once{};
  (void)syscall(SYS_io_getevents, context_, 0L, 1L, ended.data(), &at_once);
  return true;
}

void EventfdSignal::Send(int eventfd) noexcept {
  if (Submit(eventfd)) return;
  // A full counter needs no ringing.
  pollfd writable{eventfd, POLLOUT, 0};
  if (poll(&writable, 1, 0) == 1) (void)eventfd_write(eventfd, 1);
}

}  // namespace ivmq::server
