// The process at the other end of a UNIX socket.
#ifndef IVMQ_TRANSPORTS_SRC_SERVER_CLIENT_PROCESS_H_
#define IVMQ_TRANSPORTS_SRC_SERVER_CLIENT_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "src/unique_fd.h"

namespace ivmq::server {

// Descriptors that a process may open if its limit cannot be read: what nearly every process has.
inline constexpr std::uint64_t kUnknownDescriptorLimit = 1024;

// Who called connect(). Thread-compatible.
class ClientProcess {
 public:
  explicit ClientProcess(int socket);

  // 0: not visible from this process's pid namespace.
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] uid_t uid() const noexcept { return uid_; }

  // Readable when the process has ended. -1: it has ended already, the kernel (before 5.3) cannot
  // tell, or pidfd_error() is not 0.
  [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }
  // The errno if there was no descriptor or no memory for pidfd(), else 0.
  [[nodiscard]] int pidfd_error() const noexcept { return pidfd_error_; }

  // Its soft RLIMIT_NOFILE now; the last known value if it cannot be read any more.
  [[nodiscard]] std::uint64_t DescriptorLimit();

  // "pid 812 (qemu-system-x86), uid 1000"
  [[nodiscard]] const std::string& description() const noexcept { return description_; }

 private:
  pid_t pid_ = 0;
  uid_t uid_ = static_cast<uid_t>(-1);
  UniqueFd pidfd_;
  int pidfd_error_ = 0;
  std::uint64_t descriptor_limit_ = kUnknownDescriptorLimit;
  std::string description_;
};

// Raises this process's soft RLIMIT_NOFILE to the hard one.
void RaiseOwnDescriptorLimit();
// This process's soft RLIMIT_NOFILE.
std::uint64_t OwnDescriptorLimit();

}  // namespace ivmq::server

#endif  // IVMQ_TRANSPORTS_SRC_SERVER_CLIENT_PROCESS_H_
