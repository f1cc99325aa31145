// The guest's side of the driver tests, on /dev/ivmqN. Each command prints what it sees; `check`
// and `unplug` print "ok" or what is wrong.
//
//   info DEV                          what the driver says of the device
//   ring DEV PEER VECTOR [TIMES]
//   hear DEV eventfd|read|poll VECTOR|any COUNT
//                                     takes a vector and waits until it has heard COUNT interrupts
//   pingpong DEV PEER VECTOR OWN-VECTOR COUNT [first]
//                                     rings PEER each time it has been rung
//   live DEV SLOT INCARNATION [claiming] [fork]
//                                     registers and claims a slot, arms, and waits
//   registers DEV SLOT INCARNATION    registers a slot, prints the result, and waits
//   poke DEV OFFSET VALUE             stores a 64-bit word through a mapping of everything
//   check DEV doorbell|plain          bad input, mappings, vectors of their own
//   huge DEV                          a region of gigabytes, until the device is removed
//   unplug DEV                        what a process sees when the device is removed
//   stress DEV SLOT COUNT             does everything COUNT times, while the device comes and goes
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "ivmq/internal/layout.h"

#include "ivmq.h"

namespace {

using ivmq::layout::Header;
using ivmq::layout::Life;
using ivmq::layout::PeerSlot;
using ivmq::layout::PeerState;

int failures = 0;

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      std::printf("line %d: %s (errno %d %s)\n", __LINE__, #condition, errno, \
                  std::strerror(errno));                                      \
      ++failures;                                                             \
    }                                                                         \
  } while (false)

// The call fails with that errno.
#define CHECK_FAILS(error, call)                                                   \
  do {                                                                             \
    errno = 0;                                                                     \
    const auto result = call;                                                      \
    if (result != -1 || errno != (error)) {                                        \
      std::printf("line %d: %s gives %ld, errno %d %s, not %s\n", __LINE__, #call, \
                  static_cast<long>(result), errno, std::strerror(errno), #error); \
      ++failures;                                                                  \
    }                                                                              \
  } while (false)

[[noreturn]] void Die(const char* what) {
  std::printf("%s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

unsigned Number(const char* text) { return static_cast<unsigned>(std::strtoul(text, nullptr, 0)); }

// Where nothing is mapped. The compiler is not to know.
void* BadPointer() {
  static volatile std::uintptr_t address = 8;
  return reinterpret_cast<void*>(address);
}

int Open(const char* device, int flags = O_RDWR) {
  const int fd = open(device, flags | O_CLOEXEC);
  if (fd < 0) Die(device);
  return fd;
}

ivmq_info Info(int fd) {
  ivmq_info info{};
  if (ioctl(fd, IVMQ_IOC_INFO, &info) != 0) Die("IVMQ_IOC_INFO");
  return info;
}

// Vectors that can be allocated.
unsigned Usable(const ivmq_info& info) {
  return info.server_vectors == 0 ? info.vectors : std::min(info.vectors, info.server_vectors);
}

char* Map(int fd, std::size_t size, int protection = PROT_READ | PROT_WRITE, off_t offset = 0) {
  void* base = mmap(nullptr, size, protection, MAP_SHARED, fd, offset);
  return base == MAP_FAILED ? nullptr : static_cast<char*>(base);
}

int Alloc(int fd, ivmq_vector& vector) { return ioctl(fd, IVMQ_IOC_ALLOC_VECTOR, &vector); }

// Takes a vector ("any" or its number). Its number.
unsigned TakeVector(int fd, const std::string& which, int eventfd) {
  ivmq_vector vector{};
  vector.eventfd = eventfd;
  if (which != "any") {
    vector.flags = IVMQ_VECTOR_EXACT;
    vector.vector = Number(which.c_str());
  }
  if (Alloc(fd, vector) != 0) Die("IVMQ_IOC_ALLOC_VECTOR");
  std::printf("vector %u users %u\n", vector.vector, vector.users);
  return vector.vector;
}

void Ring(int fd, unsigned peer, unsigned vector) {
  ivmq_ring ring{peer, vector};
  if (ioctl(fd, IVMQ_IOC_RING, &ring) != 0) Die("IVMQ_IOC_RING");
}

int PrintInfo(const char* device) {
  const ivmq_info info = Info(Open(device, O_RDONLY));
  std::printf(
      "api %u doorbell %d size %llu ivposition %u vectors %u server %u unused %u interrupts %llu\n",
      info.api_version, (info.flags & IVMQ_INFO_DOORBELL) != 0, info.region_size, info.ivposition,
      info.vectors, info.server_vectors, info.vectors_unused, info.interrupts);
  return 0;
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

int Poke(const char* device, const char* offset, const char* value) {
  const int fd = Open(device);
  char* base = Map(fd, Info(fd).region_size);
  if (base == nullptr) Die("mmap");
  auto* word = reinterpret_cast<std::uint64_t*>(base + std::strtoull(offset, nullptr, 0));
  std::atomic_ref(*word).store(std::strtoull(value, nullptr, 0));
  return 0;
}

// Bytes of page tables of this process.
std::size_t PageTables() {
  std::FILE* file = std::fopen("/proc/self/status", "r");
  std::array<char, 256> line{};
  std::size_t kib = 0;
  while (file != nullptr && std::fgets(line.data(), line.size(), file) != nullptr) {
    if (std::sscanf(line.data(), "VmPTE: %zu", &kib) == 1) break;
  }
  if (file == nullptr || kib == 0) Die("VmPTE");
  std::fclose(file);
  return kib << 10;
}

// ---- Slots ----

std::array<std::uint64_t, 2> BootId() {
  std::FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "r");
  std::array<char, 64> text{};
  if (file == nullptr || std::fgets(text.data(), text.size(), file) == nullptr) Die("boot_id");
  std::fclose(file);
  std::array<std::uint64_t, 2> id{};
  unsigned digits = 0;
  for (const char c : text) {
    const char* hex = "0123456789abcdef";
    const char* found = c != '\0' ? std::strchr(hex, c) : nullptr;
    if (found == nullptr || digits == 32) continue;
    id[digits / 16] = id[digits / 16] << 4 | static_cast<std::uint64_t>(found - hex);
    ++digits;
  }
  return id;
}

PeerSlot& SlotAt(char* base, unsigned slot) {
  const auto* header = reinterpret_cast<const Header*>(base);
  return reinterpret_cast<PeerSlot*>(base + header->peer_table_offset)[slot];
}

ivmq_slot SlotArgs(const ivmq_info& info, unsigned slot, unsigned incarnation) {
  const auto id = BootId();
  ivmq_slot args{};
  args.live_word = Life{incarnation, static_cast<std::uint16_t>(info.ivposition),
                        ivmq::layout::kPeerCanRing | ivmq::layout::kPeerWakeable, PeerState::kLive}
                       .ToWord();
  args.boot_id[0] = id[0];
  args.boot_id[1] = id[1];
  args.slot = slot;
  return args;
}

int LiveIn(const char* device, unsigned slot, unsigned incarnation, bool claiming,
           bool with_child) {
  const int fd = Open(device);
  const ivmq_info info = Info(fd);
  char* base = Map(fd, info.region_size);
  if (base == nullptr) Die("mmap");
  const ivmq_slot args = SlotArgs(info, slot, incarnation);
  if (ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &args) != 0) Die("IVMQ_IOC_REGISTER_SLOT");
  PeerSlot& own = SlotAt(base, slot);
  Life life = Life::FromWord(args.live_word);
  life.state = PeerState::kClaiming;
  own.life.store(life.ToWord());
  own.boot_id[0].store(args.boot_id[0]);
  own.boot_id[1].store(args.boot_id[1]);
  if ((info.flags & IVMQ_INFO_DOORBELL) != 0) own.vector.store(TakeVector(fd, "any", -1));
  own.name_incarnation.store(incarnation);
  if (!claiming) own.life.store(args.live_word);
  own.armed.store(1);
  if (with_child && fork() == 0) {
    // It has the file but not the memory.
    std::array<unsigned char, 1> resident{};
    CHECK_FAILS(ENOMEM, mincore(base, 4096, resident.data()));
    CHECK_FAILS(EPERM, (errno = 0, Map(fd, 4096) == nullptr ? -1 : 0));
    CHECK_FAILS(EPERM, ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &args));
    CHECK_FAILS(EPERM, ioctl(fd, IVMQ_IOC_UNREGISTER_SLOT, &args.slot));
    setsid();
    std::printf(failures == 0 ? "child ready\n" : "child wrong\n");
    for (;;) pause();
  }
  std::printf("live\n");
  if ((info.flags & IVMQ_INFO_DOORBELL) == 0) {
    for (;;) pause();
  }
  for (;;) {
    std::uint64_t rings = 0;
    if (read(fd, &rings, sizeof rings) != sizeof rings) Die("read");
    std::printf("rung\n");
  }
}

int Register(const char* device, unsigned slot, unsigned incarnation) {
  const int fd = Open(device);
  const ivmq_info info = Info(fd);
  if (Map(fd, info.region_size) == nullptr) Die("mmap");
  const ivmq_slot args = SlotArgs(info, slot, incarnation);
  if (ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &args) != 0) Die("IVMQ_IOC_REGISTER_SLOT");
  std::printf("registered\n");
  for (;;) pause();
}

// ---- Faults ----

std::array<sigjmp_buf, 1> jump;
int caught = 0;

void OnFault(int signal) {
  caught = signal;
  siglongjmp(jump[0], 1);
}

// The signal that reading the byte raises; 0: none.
int Touch(const volatile char* byte) {
  struct sigaction action {};
  action.sa_handler = OnFault;
  sigaction(SIGBUS, &action, nullptr);
  sigaction(SIGSEGV, &action, nullptr);
  caught = 0;
  if (sigsetjmp(jump[0], 1) == 0) (void)*byte;
  return caught;
}

// ---- check ----

void CheckIoctls(int fd, const ivmq_info& info) {
  const bool doorbell = (info.flags & IVMQ_INFO_DOORBELL) != 0;
  void* const bad = BadPointer();
  CHECK_FAILS(ENOTTY, ioctl(fd, _IO(IVMQ_IOC_MAGIC, 0x77)));
  CHECK_FAILS(ENOTTY, ioctl(fd, _IOW('f', 4, __u32), bad));
  CHECK_FAILS(ENOTTY, ioctl(fd, _IOW('f', 2, __u32), bad));
  CHECK_FAILS(ENOTTY, ioctl(fd, 0x5401, bad));
  for (const unsigned long request :
       {static_cast<unsigned long>(IVMQ_IOC_INFO), static_cast<unsigned long>(IVMQ_IOC_RING),
        static_cast<unsigned long>(IVMQ_IOC_ALLOC_VECTOR),
        static_cast<unsigned long>(IVMQ_IOC_FREE_VECTOR),
        static_cast<unsigned long>(IVMQ_IOC_SET_EVENTFD),
        static_cast<unsigned long>(IVMQ_IOC_REGISTER_SLOT),
        static_cast<unsigned long>(IVMQ_IOC_UNREGISTER_SLOT),
        static_cast<unsigned long>(IVPCI_IOC_RING),
        static_cast<unsigned long>(IVPCI_IOC_IVPOSITION)}) {
    CHECK_FAILS(EFAULT, ioctl(fd, request, bad));
    CHECK_FAILS(EFAULT, ioctl(fd, request, reinterpret_cast<void*>(0xffff'8000'0000'0000)));
  }
  for (const ivmq_ring& ring : {ivmq_ring{0x10000, 0}, ivmq_ring{0xffffffff, 0}, ivmq_ring{1, 256},
                                ivmq_ring{1, 0x10000}, ivmq_ring{1, 0xffffffff}}) {
    CHECK_FAILS(EINVAL, ioctl(fd, IVMQ_IOC_RING, &ring));
  }
  std::uint32_t word = 1 << 16 | 256;
  CHECK_FAILS(EINVAL, ioctl(fd, IVPCI_IOC_RING, &word));
  CHECK_FAILS(EINVAL, (errno = 0, read(fd, &word, 4)));
  std::uint64_t rings = 0;
  CHECK_FAILS(EINVAL, read(fd, &rings, sizeof rings));  // it has no vector
  CHECK_FAILS(EINVAL, write(fd, &rings, sizeof rings));
  CHECK_FAILS(ESPIPE, lseek(fd, 0, SEEK_SET));
  ivmq_vector vector{};
  vector.eventfd = -1;
  if (!doorbell) {
    ivmq_ring ring{1, 0};
    word = 1 << 16;
    CHECK_FAILS(EOPNOTSUPP, ioctl(fd, IVMQ_IOC_RING, &ring));
    CHECK_FAILS(EOPNOTSUPP, ioctl(fd, IVPCI_IOC_RING, &word));
    CHECK_FAILS(EOPNOTSUPP, ioctl(fd, IVPCI_IOC_WAIT));
    CHECK_FAILS(EOPNOTSUPP, Alloc(fd, vector));
    ivmq_eventfd change{0, -1};
    CHECK_FAILS(EOPNOTSUPP, ioctl(fd, IVMQ_IOC_SET_EVENTFD, &change));
    CHECK(ioctl(fd, IVPCI_IOC_IVPOSITION, &word) == 0 && word == 0);
    CHECK(info.ivposition == IVMQ_NO_IVPOSITION && info.vectors == 0);
    return;
  }
  CHECK(ioctl(fd, IVPCI_IOC_IVPOSITION, &word) == 0 && word == info.ivposition);
  vector.flags = 2;
  CHECK_FAILS(EINVAL, Alloc(fd, vector));
  vector = {IVMQ_VECTOR_EXACT, Usable(info), -1, 0};
  CHECK_FAILS(EINVAL, Alloc(fd, vector));
  vector = {0, 0, 12345, 0};
  CHECK_FAILS(EBADF, Alloc(fd, vector));
  vector = {0, 0, -2, 0};
  CHECK_FAILS(EBADF, Alloc(fd, vector));
  vector = {0, 0, fd, 0};  // no eventfd
  CHECK_FAILS(EINVAL, Alloc(fd, vector));
  word = 0;
  CHECK_FAILS(EINVAL, ioctl(fd, IVMQ_IOC_FREE_VECTOR, &word));
  ivmq_eventfd change{0, -1};
  CHECK_FAILS(EINVAL, ioctl(fd, IVMQ_IOC_SET_EVENTFD, &change));
  CHECK(Info(fd).vectors_unused == info.vectors_unused);
  const int reader = open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC);
  ivmq_ring ring{1, 0};
  CHECK_FAILS(EBADF, ioctl(reader, IVMQ_IOC_RING, &ring));
  close(reader);
}

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

// As a debugger reads and writes the word at the end of a page, and the page behind it.
void CheckDebugger(char* word) {
  const int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  const auto at = reinterpret_cast<off_t>(word);
  const std::uint64_t before = 0x0123'4567'89ab'cdef;
  std::uint64_t seen = 0;
  std::memcpy(word, &before, sizeof before);
  CHECK(pread(memory, &seen, sizeof seen, at) == sizeof seen && seen == before);
  seen = 0;
  CHECK(pwrite(memory, &seen, sizeof seen, at) == sizeof seen && word[0] == 0 && word[7] == 0);
  close(memory);
}

void CheckMappings(const char* device, const ivmq_info& info) {
  const int fd = Open(device);
  const std::size_t size = info.region_size;
  const auto end = static_cast<off_t>(size);
  const auto fails = [](char* base) { return base == nullptr ? -1 : 0; };
  CHECK_FAILS(EINVAL, fails(Map(fd, size + 4096)));
  CHECK_FAILS(EINVAL, fails(Map(fd, 4096, PROT_READ, end)));
  CHECK_FAILS(EINVAL, fails(Map(fd, 8192, PROT_READ, end - 4096)));
  CHECK_FAILS(EINVAL, fails(Map(fd, 4096, PROT_READ, off_t{1} << 51)));
  errno = 0;
  CHECK(Map(fd, 4096, PROT_READ, static_cast<off_t>(~0ULL << 12)) == nullptr);
  CHECK(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EINVAL);
  CHECK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) == MAP_FAILED);
  const int reader = Open(device, O_RDONLY);
  CHECK_FAILS(EACCES, fails(Map(reader, 4096)));
  char* read_only = Map(reader, 4096, PROT_READ);
  CHECK(read_only != nullptr && Touch(read_only) == 0);
  CHECK_FAILS(EACCES, mprotect(read_only, 4096, PROT_READ | PROT_WRITE));
  close(reader);

  char* base = Map(fd, size);
  CHECK(base != nullptr);
  if (base == nullptr) return;
  // Every page of it is there, and the last word is the last one that the other mapping shows.
  for (std::size_t at = 0; at < size; at += 4096) CHECK(Touch(base + at) == 0);
  char* tail = Map(fd, 4096, PROT_READ, end - 4096);
  CHECK(tail != nullptr);
  base[size - 1] = 0x5a;
  CHECK(tail[4095] == 0x5a);
  base[size - 1] = 0;
  CHECK(mremap(tail, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
  CHECK(mremap(base, 0, 4096, MREMAP_MAYMOVE) == MAP_FAILED);
  char* moved = static_cast<char*>(mremap(tail, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED,
                                          static_cast<char*>(tail) + (std::size_t{1} << 30)));
  CHECK(moved != MAP_FAILED && Touch(moved) == 0 && Touch(tail) == SIGSEGV);
  CHECK_FAILS(EINVAL, madvise(base, size, MADV_DOFORK));
  // A hole in the middle: the file's mappings become two.
  CHECK(munmap(base + 4096, 4096) == 0 && Touch(base) == 0 && Touch(base + 4096) == SIGSEGV);
  const pid_t child = fork();
  if (child == 0) _exit(Touch(base) == SIGSEGV ? 0 : 1);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  // A debugger sees it, and changes it.
  CheckDebugger(base + size - 8);
  close(fd);  // the mapping keeps it
  CHECK(Touch(base + 8192) == 0);
}

void CheckRegistration(const char* device, const ivmq_info& info) {
  const int fd = Open(device);
  ivmq_slot args = SlotArgs(info, 0, 1);
  CHECK_FAILS(EPERM, ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &args));  // not mapped
  char* base = Map(fd, info.region_size);
  CHECK(base != nullptr);
  if (base == nullptr) return;
  auto* header = reinterpret_cast<Header*>(base);
  const auto refused = [&](const ivmq_slot& slot) {
    return ioctl(fd, IVMQ_IOC_REGISTER_SLOT, &slot);
  };
  args.slot = header->max_peers;
  CHECK_FAILS(EINVAL, refused(args));
  args.slot = 0xffffffff;
  CHECK_FAILS(EINVAL, refused(args));
  args.slot = 0;
  args.reserved = 1;
  CHECK_FAILS(EINVAL, refused(args));
  args.reserved = 0;
  for (const std::uint64_t flip : {1ULL, 0x1000ULL, 0x10000ULL}) {  // state, flags, ivposition
    ivmq_slot wrong = args;
    wrong.live_word ^= flip;
    CHECK_FAILS(EINVAL, refused(wrong));
  }
  std::uint32_t none = 0;
  CHECK_FAILS(EINVAL, ioctl(fd, IVMQ_IOC_UNREGISTER_SLOT, &none));
  // Whatever the header says.
  const auto with = [&](auto& field, auto value, int error) {
    const auto before = field;
    field = value;
    CHECK_FAILS(error, refused(args));
    field = before;
  };
  const std::uint64_t magic = header->magic;
  header->magic = 0;
  CHECK_FAILS(ENODATA, refused(args));
  header->magic = magic;
  const std::uint32_t version = header->version;
  header->version = 1U << 16;
  CHECK_FAILS(EPROTONOSUPPORT, refused(args));
  header->version = version;
  for (const std::uint64_t offset :
       {std::uint64_t{0}, std::uint64_t{4095}, std::uint64_t{4097}, std::uint64_t{info.region_size},
        std::uint64_t{info.region_size - 2048}, ~std::uint64_t{0} - 2047, ~std::uint64_t{7},
        std::uint64_t{1} << 63}) {
    with(header->peer_table_offset, offset, ENODATA);
  }
  for (const std::uint32_t peers : {0U, 1025U, 0xffffffffU, 1024U}) {
    // 1024 slots do not fit into the region of the test.
    with(header->max_peers, peers, ENODATA);
  }
  with(header->peer_stride, 4096U, ENODATA);
  // Good again.
  CHECK(refused(args) == 0 && refused(args) == 0);
  const int other = Open(device);
  CHECK(Map(other, info.region_size) != nullptr);
  CHECK_FAILS(EBUSY, ioctl(other, IVMQ_IOC_REGISTER_SLOT, &args));
  ivmq_slot next = SlotArgs(info, 0, 2);
  CHECK(ioctl(other, IVMQ_IOC_REGISTER_SLOT, &next) == 0);
  CHECK(ioctl(fd, IVMQ_IOC_UNREGISTER_SLOT, &none) == 0);
  CHECK(ioctl(other, IVMQ_IOC_REGISTER_SLOT, &args) == 0);
  std::uint32_t slots = 0;
  while (slots < header->max_peers && slots < IVMQ_SLOT_LIMIT) {
    args = SlotArgs(info, slots++, 7);
    CHECK(refused(args) == 0);
  }
  if (slots < header->max_peers) {
    args.slot = slots;
    CHECK_FAILS(ENOSPC, refused(args));
  }
  // The geometry changes after the registration: the end of this process must not follow it.
  header->peer_table_offset = ~std::uint64_t{0} - 4095;
  header->max_peers = 0xffffffff;
  header->peer_stride = 1U << 31;
  for (std::uint32_t i = 0; i < 8; ++i) {
    PeerSlot& slot = reinterpret_cast<PeerSlot*>(base + 4096)[i];
    slot.life = Life{9, 0xfffe, 7, PeerState::kLive}.ToWord();
    slot.vector = 0xffffffff;
    slot.armed = 1;
  }
  reinterpret_cast<PeerSlot*>(base + 4096)[1].life = SlotArgs(info, 1, 7).live_word;
  close(other);
  munmap(base, info.region_size);
  base = Map(fd, info.region_size);
  CHECK(base != nullptr);
  if (base == nullptr) return;
  header = reinterpret_cast<Header*>(base);
  if ((info.flags & IVMQ_INFO_DOORBELL) != 0) {
    CHECK(Life::FromWord(reinterpret_cast<PeerSlot*>(base + 4096)[1].life).state ==
          PeerState::kDead);
  }
  munmap(base, info.region_size);
  close(fd);
}

// A region of gigabytes costs entries of 2 MiB each, and changes hands like a small one.
int Huge(const char* device) {
  constexpr std::size_t kEntry = 2 << 20;
  const int fd = Open(device);
  const std::size_t size = Info(fd).region_size;
  const std::size_t before = PageTables();
  char* base = Map(fd, size);
  if (base == nullptr) Die("mmap");
  for (std::size_t at = 0; at < size; at += kEntry) std::memcpy(base + at, &at, sizeof at);
  // With pages of 4 KiB it would be 8 bytes for each page.
  CHECK(PageTables() - before < size / 4096);
  for (std::size_t at = 0; at < size; at += kEntry) CHECK(!std::memcmp(base + at, &at, sizeof at));
  CheckDebugger(base + size / 2 - 8);
  // A part of an entry goes; the rest of it is there.
  CHECK(munmap(base + kEntry + 4096, 4096) == 0);
  CHECK(Touch(base + kEntry) == 0 && Touch(base + kEntry + 4096) == SIGSEGV);
  CHECK(Touch(base + kEntry + 8192) == 0);
  // A mapping that begins within an entry shows the same bytes.
  char* odd = Map(fd, 2 * kEntry, PROT_READ | PROT_WRITE, 4096);
  CHECK(odd != nullptr && std::memcmp(odd + kEntry - 4096, base + kEntry, 64) == 0);
  // It moves, and can be protected in part.
  void* const room = mmap(nullptr, 4 * kEntry, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto aligned = (reinterpret_cast<std::uintptr_t>(room) + kEntry - 1) & ~(kEntry - 1);
  char* moved =
      static_cast<char*>(mremap(base + 4 * kEntry, 2 * kEntry, 2 * kEntry,
                                MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(aligned)));
  const std::size_t fifth = 5 * kEntry;
  CHECK(moved != MAP_FAILED && !std::memcmp(moved + kEntry, &fifth, sizeof fifth));
  CHECK(mprotect(base, 4096, PROT_READ) == 0 && Touch(base) == 0 && Touch(base + 4096) == 0);
  CHECK(write(eventfd(0, EFD_CLOEXEC), base + size - 8, 8) == 8);  // read by the kernel
  std::printf(failures == 0 ? "ok\n" : "failed\n");
  std::printf("ready\n");
  pollfd gone{fd, POLLIN, 0};
  CHECK(poll(&gone, 1, -1) == 1);
  CHECK(base[8] == 0 && Touch(base + 3 * kEntry) == 0);
  const std::size_t third = 3 * kEntry;
  CHECK(std::memcmp(base + 3 * kEntry, &third, sizeof third) != 0);
  std::printf(failures == 0 ? "over\n" : "failed\n");
  return failures != 0;
}

int Check(const char* device, bool doorbell) {
  const int fd = Open(device);
  const ivmq_info info = Info(fd);
  CHECK(info.api_version == IVMQ_API_VERSION);
  CHECK(((info.flags & IVMQ_INFO_DOORBELL) != 0) == doorbell);
  CheckIoctls(fd, info);
  if (doorbell) CheckVectors(device, info);
  if (doorbell) CheckReadWithoutVectors(device);
  CheckMappings(device, info);
  CheckRegistration(device, info);
  std::printf(failures == 0 ? "ok\n" : "failed\n");
  return failures != 0;
}

// ---- unplug ----

// What was the region is the process's own memory now: zero at first, and each page another one.
void CheckOwnMemory(char* base, std::size_t size) {
  CHECK(Touch(base) == 0 && Touch(base + size - 1) == 0);
  for (std::size_t at = 0; at < size; at += 4096) {
    CHECK(base[at] == 0 && base[at + 4095] == 0);
    std::memcpy(base + at, &at, sizeof at);
  }
  for (std::size_t at = 0; at < size; at += 4096) {
    CHECK(std::memcmp(base + at, &at, sizeof at) == 0);
  }
  CheckDebugger(base + size - 8);
}

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
  std::printf(failures == 0 ? "ok\n" : "failed\n");
  return failures != 0;
}

// ---- stress ----

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

}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::vector<std::string> args(argv + 1, argv + argc);
  const auto has = [&](std::string_view word) {
    for (const std::string& arg : args) {
      if (arg == word) return true;
    }
    return false;
  };
  const std::string what = args.empty() ? "" : args[0];
  const char* device = args.size() > 1 ? args[1].c_str() : "";
  const auto number = [&](std::size_t i) { return Number(args[i].c_str()); };
  if (what == "info" && args.size() == 2) return PrintInfo(device);
  if (what == "ring" && args.size() >= 4) {
    const int fd = Open(device);
    for (unsigned i = 0, n = args.size() > 4 ? number(4) : 1; i < n; ++i) {
      Ring(fd, number(2), number(3));
    }
    return 0;
  }
  if (what == "hear" && args.size() == 5) return Hear(device, args[2], args[3], number(4));
  if (what == "pingpong" && args.size() >= 6) {
    return PingPong(device, number(2), number(3), args[4], number(5), has("first"));
  }
  if (what == "live" && args.size() >= 4) {
    return LiveIn(device, number(2), number(3), has("claiming"), has("fork"));
  }
  if (what == "registers" && args.size() == 4) return Register(device, number(2), number(3));
  if (what == "check" && args.size() == 3) return Check(device, args[2] == "doorbell");
  if (what == "huge" && args.size() == 2) return Huge(device);
  if (what == "unplug" && args.size() >= 2) return Unplug(device);
  if (what == "poke" && args.size() == 4) return Poke(device, args[2].c_str(), args[3].c_str());
  if (what == "stress" && args.size() == 4) return Stress(device, number(2), number(3));
  std::printf("driver_guest: see the head of driver_guest.cc\n");
  return 2;
}
