#include "device.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace ivmq::testing {

int failures = 0;

void Die(const char* what) {
  std::printf("%s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int Verdict() {
  std::printf(failures == 0 ? "ok\n" : "failed\n");
  return failures != 0;
}

unsigned Number(const char* text) { return static_cast<unsigned>(std::strtoul(text, nullptr, 0)); }

void* BadPointer() {
  static volatile std::uintptr_t address = 8;
  return reinterpret_cast<void*>(address);
}

int Open(const char* device, int flags) {
  const int fd = open(device, flags | O_CLOEXEC);
  if (fd < 0) Die(device);
  return fd;
}

ivmq_info Info(int fd) {
  ivmq_info info{};
  if (ioctl(fd, IVMQ_IOC_INFO, &info) != 0) Die("IVMQ_IOC_INFO");
  return info;
}

void Ring(int fd, unsigned peer, unsigned vector) {
  ivmq_ring ring{peer, vector};
  if (ioctl(fd, IVMQ_IOC_RING, &ring) != 0) Die("IVMQ_IOC_RING");
}

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

unsigned Usable(const ivmq_info& info) {
  return info.server_vectors == 0 ? info.vectors : std::min(info.vectors, info.server_vectors);
}

char* Map(int fd, std::size_t size, int protection, off_t offset) {
  void* base = mmap(nullptr, size, protection, MAP_SHARED, fd, offset);
  return base == MAP_FAILED ? nullptr : static_cast<char*>(base);
}

int Alloc(int fd, ivmq_vector& vector) { return ioctl(fd, IVMQ_IOC_ALLOC_VECTOR, &vector); }

}  // namespace ivmq::testing
