#include "support/eventfd_transport.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>

namespace ivmq::testing {
namespace {

int Check(int result, const char* what) {
  if (result < 0) {
    std::perror(what);
    std::abort();
  }
  return result;
}

struct flock OneByte(short type, std::uint32_t slot) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = slot;
  lock.l_len = 1;
  return lock;
}

}  // namespace

Hub::Hub(std::size_t region_size, const FormatOptions& options, unsigned doorbells)
    : region_(region_size, options),
      counters_(sizeof(*rings_)),
      rings_(new (counters_.bytes().data()) std::atomic<std::uint64_t>(0)),
      lock_file_(Check(memfd_create("ivmq-test-locks", MFD_CLOEXEC), "memfd_create")) {
  for (unsigned i = 0; i < doorbells; ++i) {
    doorbells_.push_back(Check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
  }
}

Hub::~Hub() {
  for (const int fd : doorbells_) close(fd);
  close(lock_file_);
}

int Hub::doorbell(std::uint16_t ivposition) const noexcept {
  return ivposition < doorbells_.size() ? doorbells_[ivposition] : -1;
}

EventfdTransport::EventfdTransport(Hub& hub, std::uint16_t ivposition, Options options)
    : hub_(hub) {
  info_.address = "test:" + std::to_string(ivposition);
  info_.description = "eventfds of a test";
  info_.ivposition = ivposition;
  info_.can_ring = options.can_ring;
  info_.wakeable = options.wakeable;
  info_.exclusive = options.exclusive;
  if (options.wakeable) wake_fd_ = hub.doorbell(ivposition);
  if (options.locks) {
    // An open file description of its own: its locks conflict with those of every other transport.
    const std::string path = "/proc/self/fd/" + std::to_string(hub.lock_file());
    lock_fd_ = Check(open(path.c_str(), O_RDWR | O_CLOEXEC), path.c_str());
  }
}

EventfdTransport::~EventfdTransport() { LetGoInChild(); }

void EventfdTransport::LetGoInChild() noexcept {
  if (lock_fd_ >= 0) close(std::exchange(lock_fd_, -1));
}

void EventfdTransport::Ring(std::uint16_t ivposition, std::uint32_t /*vector*/) noexcept {
  hub_.rings_->fetch_add(1);
  const std::uint64_t one = 1;
  if (const int fd = hub_.doorbell(ivposition); fd >= 0) {
    // EAGAIN: the counter is full, so the sleeper will wake anyway.
    [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof(one));
  }
}

Status EventfdTransport::LockSlot(std::uint32_t slot) {
  if (lock_fd_ < 0) return {StatusCode::kUnimplemented, "no locks"};
  struct flock lock = OneByte(F_WRLCK, slot);
  if (fcntl(lock_fd_, F_OFD_SETLK, &lock) != 0) {
    return {StatusCode::kAborted,
            "slot " + std::to_string(slot) + " is locked: " + std::strerror(errno)};
  }
  return {};
}

void EventfdTransport::UnlockSlot(std::uint32_t slot) noexcept {
  struct flock lock = OneByte(F_UNLCK, slot);
  (void)fcntl(lock_fd_, F_OFD_SETLK, &lock);
}

bool EventfdTransport::IsSlotLocked(std::uint32_t slot) const noexcept {
  struct flock lock = OneByte(F_WRLCK, slot);
  return fcntl(lock_fd_, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

std::unique_ptr<Transport> MakeTransport(Hub& hub, std::uint16_t ivposition,
                                         EventfdTransportOptions options) {
  return std::make_unique<EventfdTransport>(hub, ivposition, options);
}

}  // namespace ivmq::testing
