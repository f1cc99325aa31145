#include "vectors.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

namespace ivmq::testing {
namespace {

// How a read() that sleeps ends after `change`: its errno, or 0 if it returns something.
int EndOfSleepingRead(int fd, const std::function<void()>& change) {
  std::atomic<pid_t> reader = 0;
  int error = 0;
  std::thread thread([&] {
    std::uint64_t rings = 0;
    reader = gettid();
    error = read(fd, &rings, sizeof rings) == -1 ? errno : 0;
  });
  while (reader == 0) usleep(1000);
  // read() is system call 0; its arguments are shown once it sleeps.
  const std::string call = "0 0x" + std::string(1, "0123456789abcdef"[fd]) + " ";
  std::array<char, 64> line{};
  do {
    usleep(1000);
    std::FILE* file =
        std::fopen(("/proc/self/task/" + std::to_string(reader) + "/syscall").c_str(), "r");
    if (file == nullptr || std::fgets(line.data(), line.size(), file) == nullptr) Die("syscall");
    std::fclose(file);
  } while (!std::string_view(line.data()).starts_with(call));
  change();
  thread.join();
  return error;
}

}  // namespace

void CheckVectors(const char* device, const ivmq_info& info) {
  const unsigned usable = Usable(info);
  // One file takes them all; the next one shares.
  const int first = Open(device, O_RDWR | O_NONBLOCK);
  const int second = Open(device, O_RDWR | O_NONBLOCK);
  std::vector<bool> taken(usable);
  ivmq_vector vector{};
  vector.eventfd = -1;
  for (unsigned i = 0; i < usable; ++i) {
    CHECK(Alloc(first, vector) == 0 && vector.users == 1 && !taken[vector.vector]);
    taken[vector.vector] = true;
  }
  CHECK(Info(first).vectors_unused == 0);
  CHECK_FAILS(ENOSPC, Alloc(first, vector));
  vector = {IVMQ_VECTOR_EXACT, 0, -1, 0};
  CHECK_FAILS(EBUSY, Alloc(first, vector));
  const unsigned last = usable - 1;
  vector = {IVMQ_VECTOR_EXACT, last, -1, 0};
  CHECK(Alloc(second, vector) == 0 && vector.vector == last && vector.users == 2);

  // Both hear it, each in its own count, and a wait of the old kind as well.
  const auto ring = [&](unsigned which) { Ring(second, info.ivposition, which); };
  const auto await = [](int fd) {
    pollfd readable{fd, POLLIN, 0};
    return poll(&readable, 1, 10'000) == 1 && readable.revents == POLLIN;
  };
  std::uint64_t rings = 0;
  CHECK_FAILS(EAGAIN, read(first, &rings, 8));
  CHECK_FAILS(EAGAIN, ioctl(second, IVPCI_IOC_WAIT));
  ring(last);
  CHECK(await(first) && await(second));
  CHECK(read(first, &rings, 8) == 8 && rings == 1);
  CHECK_FAILS(EAGAIN, read(first, &rings, 8));
  CHECK(read(second, &rings, 8) == 8 && rings == 1);
  CHECK(ioctl(second, IVPCI_IOC_WAIT) == 0);
  CHECK_FAILS(EAGAIN, ioctl(second, IVPCI_IOC_WAIT));
  CHECK(ioctl(first, IVPCI_IOC_WAIT) == 0);  // since it was opened

  // A bad buffer takes nothing.
  ring(last);
  CHECK(await(second));
  CHECK_FAILS(EFAULT, read(second, BadPointer(), 8));
  CHECK(read(second, &rings, 8) == 8 && rings == 1);

  // Given back, it is silent; a bound eventfd gets what nobody has read, and then the rings.
  std::uint32_t word = last;
  CHECK(ioctl(first, IVMQ_IOC_FREE_VECTOR, &word) == 0);
  CHECK(read(first, &rings, 8) == 8);
  ring(last);
  CHECK(await(second));
  CHECK_FAILS((usable == 1 ? EINVAL : EAGAIN), read(first, &rings, 8));
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  ivmq_eventfd bind{last, event};
  CHECK(ioctl(second, IVMQ_IOC_SET_EVENTFD, &bind) == 0);
  CHECK(read(event, &rings, 8) == 8 && rings == 1);
  CHECK(read(second, &rings, 8) == 8);
  ring(last);
  CHECK(await(event) && read(event, &rings, 8) == 8 && rings == 1);
  CHECK_FAILS(EINVAL, read(second, &rings, 8));  // nothing of it is counted any more
  // An eventfd hears a vector once, whichever files it is bound through.
  CHECK(ioctl(second, IVMQ_IOC_SET_EVENTFD, &bind) == 0);
  const int third = Open(device, O_RDWR | O_NONBLOCK);
  vector = {IVMQ_VECTOR_EXACT, last, event, 0};
  CHECK_FAILS(EBUSY, Alloc(third, vector));
  vector = {IVMQ_VECTOR_EXACT, last, -1, 0};
  CHECK(Alloc(third, vector) == 0);
  CHECK_FAILS(EBUSY, ioctl(third, IVMQ_IOC_SET_EVENTFD, &bind));
  for (unsigned i = 1; i < usable; ++i) {
    vector = {0, 0, event, 0};
    CHECK(Alloc(third, vector) == 0 && vector.vector != last);
  }
  vector = {0, 0, event, 0};
  CHECK_FAILS(ENOSPC, Alloc(third, vector));
  close(third);
  bind.eventfd = -1;
  CHECK(ioctl(second, IVMQ_IOC_SET_EVENTFD, &bind) == 0);
  ring(last);
  CHECK(await(second));
  CHECK_FAILS(EAGAIN, read(event, &rings, 8));
  close(event);
  close(first);
  CHECK(Info(second).vectors_unused == usable - 1);
  // One vector takes a bounded number of files: its interrupt tells them all.
  std::vector<int> files;
  for (unsigned users = 2; users <= IVMQ_USER_LIMIT; ++users) {
    files.push_back(Open(device));
    vector = {IVMQ_VECTOR_EXACT, last, -1, 0};
    CHECK(Alloc(files.back(), vector) == 0 && vector.users == users);
  }
  files.push_back(Open(device));
  vector = {IVMQ_VECTOR_EXACT, last, -1, 0};
  CHECK_FAILS(ENOSPC, Alloc(files.back(), vector));
  ring(last);
  CHECK(await(files.front()) && await(files[IVMQ_USER_LIMIT - 2]));
  for (const int fd : files) close(fd);
  close(second);
}

void CheckReadWithoutVectors(const char* device) {
  const int fd = Open(device);
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const auto take = [&] {
    ivmq_vector vector{};
    vector.eventfd = -1;
    CHECK(Alloc(fd, vector) == 0);
    return vector.vector;
  };
  std::uint32_t word = take();
  CHECK(EndOfSleepingRead(fd, [&] { ioctl(fd, IVMQ_IOC_FREE_VECTOR, &word); }) == EINVAL);
  ivmq_eventfd bind{take(), event};
  CHECK(EndOfSleepingRead(fd, [&] { ioctl(fd, IVMQ_IOC_SET_EVENTFD, &bind); }) == EINVAL);
  std::uint64_t rings = 0;
  CHECK_FAILS(EINVAL, read(fd, &rings, sizeof rings));  // all go to eventfds
  bind.eventfd = -1;
  CHECK(ioctl(fd, IVMQ_IOC_SET_EVENTFD, &bind) == 0);
  CHECK(EndOfSleepingRead(fd, [&] { Ring(fd, Info(fd).ivposition, bind.vector); }) == 0);
  close(event);
  close(fd);
}

int Hear(const char* device, const std::string& how, const std::string& which, unsigned count) {
  const int fd = Open(device, how == "poll" ? O_RDWR | O_NONBLOCK : O_RDWR);
  const int event = how == "eventfd" ? eventfd(0, EFD_CLOEXEC) : -1;
  TakeVector(fd, which, event);
  for (std::uint64_t heard = 0; heard < count;) {
    std::uint64_t rings = 0;
    if (how == "poll") {
      pollfd readable{fd, POLLIN, 0};
      if (poll(&readable, 1, -1) != 1) Die("poll");
    }
    if (read(event >= 0 ? event : fd, &rings, sizeof rings) != sizeof rings) Die("read");
    heard += rings;
    std::printf("heard %llu\n", static_cast<unsigned long long>(heard));
  }
  return 0;
}

int PingPong(const char* device, unsigned peer, unsigned vector, const std::string& own,
             unsigned count, bool first) {
  const int fd = Open(device);
  const int event = eventfd(0, EFD_CLOEXEC);
  TakeVector(fd, own, event);
  if (first) Ring(fd, peer, vector);
  for (unsigned i = 0; i < count; ++i) {
    std::uint64_t rings = 0;
    if (read(event, &rings, sizeof rings) != sizeof rings) Die("read");
    if (i + 1 < count || !first) Ring(fd, peer, vector);
  }
  std::printf("done\n");
  return 0;
}

}  // namespace ivmq::testing
