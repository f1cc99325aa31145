// What the commands of driver_guest share: the device's calls, and how a check fails.
#ifndef IVMQ_TESTS_QEMU_DRIVER_GUEST_DEVICE_H_
#define IVMQ_TESTS_QEMU_DRIVER_GUEST_DEVICE_H_

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>

#include "ivmq.h"

namespace ivmq::testing {

extern int failures;  // of CHECK and CHECK_FAILS

#define CHECK(condition)                                                                   \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::printf("%s:%d: %s (errno %d %s)\n", __FILE_NAME__, __LINE__, #condition, errno, \
                  std::strerror(errno));                                                   \
      ++::ivmq::testing::failures;                                                         \
    }                                                                                      \
  } while (false)

// The call fails with that errno.
#define CHECK_FAILS(error, call)                                                                \
  do {                                                                                          \
    errno = 0;                                                                                  \
    const auto result = call;                                                                   \
    if (result != -1 || errno != (error)) {                                                     \
      std::printf("%s:%d: %s gives %ld, errno %d %s, not %s\n", __FILE_NAME__, __LINE__, #call, \
                  static_cast<long>(result), errno, std::strerror(errno), #error);              \
      ++::ivmq::testing::failures;                                                              \
    }                                                                                           \
  } while (false)

// Ends the process, with errno's text.
[[noreturn]] void Die(const char* what);

// "ok" or "failed", and the exit status.
int Verdict();

unsigned Number(const char* text);

// Where nothing is mapped. The compiler is not to know.
void* BadPointer();

// These end the process if they fail.
int Open(const char* device, int flags = O_RDWR);
ivmq_info Info(int fd);
void Ring(int fd, unsigned peer, unsigned vector);
// Takes a vector ("any" or its number) and prints it. Its number.
unsigned TakeVector(int fd, const std::string& which, int eventfd);

// Vectors that can be allocated.
unsigned Usable(const ivmq_info& info);

// Null if it fails.
char* Map(int fd, std::size_t size, int protection = PROT_READ | PROT_WRITE, off_t offset = 0);

// IVMQ_IOC_ALLOC_VECTOR
int Alloc(int fd, ivmq_vector& vector);

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_QEMU_DRIVER_GUEST_DEVICE_H_
