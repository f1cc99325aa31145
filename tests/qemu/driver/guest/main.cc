// The guest's side of the driver tests, on /dev/ivmqN. Each command prints what it sees; `check`
// and `unplug` print "ok" or what is wrong.
//
//   info DEV                          what the driver says of the device
//   ring DEV PEER VECTOR [TIMES]
//   free DEV VECTOR                   gives back a vector that it has not got, which is an error
//   out PORT VALUE                    writes a byte to an I/O port
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
#include <sys/io.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "device.h"
#include "end.h"
#include "memory.h"
#include "slots.h"
#include "vectors.h"

namespace ivmq::testing {
namespace {

int PrintInfo(const char* device) {
  const ivmq_info info = Info(Open(device, O_RDONLY));
  std::printf(
      "api %u doorbell %d size %llu ivposition %u vectors %u server %u unused %u interrupts %llu\n",
      info.api_version, (info.flags & IVMQ_INFO_DOORBELL) != 0, info.region_size, info.ivposition,
      info.vectors, info.server_vectors, info.vectors_unused, info.interrupts);
  return 0;
}

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
  return Verdict();
}

int Main(const std::vector<std::string>& args) {
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
  if (what == "free" && args.size() == 3) {
    const std::uint32_t vector = number(2);
    CHECK_FAILS(EINVAL, ioctl(Open(device), IVMQ_IOC_FREE_VECTOR, &vector));
    return Verdict();
  }
  if (what == "out" && args.size() == 3) {
    if (iopl(3) != 0) Die("iopl");
    outb(static_cast<unsigned char>(number(2)), static_cast<unsigned short>(number(1)));
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
  std::printf("driver_guest: see the head of main.cc\n");
  return 2;
}

}  // namespace
}  // namespace ivmq::testing

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  return ivmq::testing::Main({argv + 1, argv + argc});
}
