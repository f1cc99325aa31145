// LD_PRELOAD: the driver speaks version 1 of its interface, as a library sees it.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>

#include "ivmq.h"

extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const long result = syscall(SYS_ioctl, fd, request, argument);
  if (result == 0 && request == IVMQ_IOC_INFO) {
    auto* info = static_cast<ivmq_info*>(argument);
    info->api_version = 1;
    info->server_vectors = 0;  // reserved then
  }
  return static_cast<int>(result);
}
