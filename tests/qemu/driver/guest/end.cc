#include "end.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#include "device.h"
#include "memory.h"
#include "slots.h"

namespace ivmq::testing {

int Unplug(const char* device) {
  const int fd = Open(device);
  const int waiter = Open(device);
  const ivmq_info info = Info(fd);
  char* base = Map(fd, info.region_size);
  if (base == nullptr || Touch(base) != 0) Die("mmap");
  const bool doorbell = (info.flags & IVMQ_INFO_DOORBELL) != 0;
  const int event = eventfd(0, EFD_CLOEXEC);
  pid_t child = -1;
  if (doorbell) {
    TakeVector(fd, "any", event);
    child = fork();
    if (child == 0) {
      // Asleep in a wait of the old kind when the device goes.
      _exit(ioctl(waiter, IVPCI_IOC_WAIT) == -1 && errno == ENODEV ? 0 : 1);
    }
  }
  std::printf("ready\n");
  pollfd gone{fd, POLLIN, 0};
  CHECK(poll(&gone, 1, -1) == 1 && (gone.revents & (POLLHUP | POLLERR)) != 0);
  CheckOwnMemory(base, info.region_size);
  std::uint64_t rings = 0;
  if (doorbell) {
    CHECK(read(event, &rings, 8) == 8);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  ivmq_info again{};
  ivmq_ring ring{1, 0};
  ivmq_vector vector{};
  vector.eventfd = -1;
  ivmq_slot slot{};
  std::uint32_t word = 0;
  CHECK_FAILS(ENODEV, ioctl(fd, IVMQ_IOC_INFO, &again));
  CHECK_FAILS(ENODEV, ioctl(fd, IVMQ_IOC_RING, &ring));
  CHECK_FAILS(ENODEV, ioctl(fd, IVMQ_IOC_ALLOC_VECTOR, &vector));
  CHECK_FAILS(ENODEV, ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &slot));
  CHECK_FAILS(ENODEV, ioctl(fd, IVPCI_IOC_WAIT));
  CHECK_FAILS(ENODEV, ioctl(fd, IVPCI_IOC_IVPOSITION, &word));
  CHECK_FAILS(ENOTTY, ioctl(fd, _IO(IVMQ_IOC_MAGIC, 0x77)));
  CHECK_FAILS(ENODEV, read(fd, &rings, 8));
  CHECK(Map(fd, 4096) == nullptr && errno == ENODEV);
  munmap(base, info.region_size);
  close(waiter);
  close(fd);
  return Verdict();
}

// Every call may fail, as the device may go at any time; none may hurt the kernel.
int Stress(const char* device, unsigned slot, unsigned count) {
  unsigned complete = 0;
  for (unsigned i = 0; complete < count; ++i) {
    const int fd = open(device, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
      usleep(1000);
      continue;
    }
    ivmq_info info{};
    (void)ioctl(fd, IVMQ_IOC_INFO, &info);
    const std::size_t size = info.region_size != 0 ? info.region_size : 4096;
    char* base = Map(fd, size);
    const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ivmq_vector vector{};
    vector.eventfd = i % 2 == 0 ? event : -1;
    (void)Alloc(fd, vector);
    ivmq_slot args = SlotArgs(info, slot, i);
    (void)ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &args);
    if (base != nullptr) (void)Touch(base + i * 4096 % size);
    const pid_t child = i % 4 == 0 ? fork() : -1;
    if (child == 0) {
      for (;;) (void)ioctl(fd, IVPCI_IOC_WAIT);
    }
    for (unsigned k = 0; k < 8; ++k) {
      ivmq_ring ring{info.ivposition, vector.vector};
      (void)ioctl(fd, IVMQ_IOC_RING, &ring);
      ivmq_eventfd bind{vector.vector, k % 2 == 0 ? event : -1};
      (void)ioctl(fd, IVMQ_IOC_SET_EVENTFD, &bind);
      std::uint64_t rings = 0;
      (void)!read(fd, &rings, sizeof rings);
      if (base != nullptr) (void)Touch(base + (i + k) * 8192 % size);
    }
    if (child > 0) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
    pollfd state{fd, POLLIN, 0};
    (void)poll(&state, 1, 0);
    if ((state.revents & POLLHUP) == 0 && base != nullptr) ++complete;
    if (i % 3 == 0) close(fd);  // then the mapping is the last to go
    if (base != nullptr) munmap(base, size);
    if (i % 3 != 0) close(fd);
    close(event);
  }
  std::printf("ok\n");
  return 0;
}

}  // namespace ivmq::testing
