// The process at the other end of a UNIX socket.
#ifndef IVMQ_TOOLS_IVMQD_CLIENT_PROCESS_H_
#define IVMQ_TOOLS_IVMQD_CLIENT_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>

#include "src/unique_fd.h"

namespace ivmq::server {

// Descriptors that a process may open if its limit cannot be read: what nearly every process has.
inline constexpr std::uint64_t kUnknownDescriptorLimit = 1024;

// Tells processes apart, also when one gets the pid of another that has ended. A process that
// changes its user becomes another one.
struct ProcessKey {
  pid_t pid = 0;  // 0: not visible, so all such processes of a user have one key
  uid_t uid = static_cast<uid_t>(-1);
  std::uint64_t birth = 0;  // 0: unknown
  friend auto operator<=>(const ProcessKey&, const ProcessKey&) = default;
};

// Who called connect(). A launcher may have passed the connection on since: that shows only once it
// has ended. Thread-compatible.
class ClientProcess {
 public:
  explicit ClientProcess(int socket);

  // 0: not visible from this process's pid namespace.
  [[nodiscard]] pid_t pid() const noexcept { return key_.pid; }
  [[nodiscard]] uid_t uid() const noexcept { return key_.uid; }
  [[nodiscard]] const ProcessKey& key() const noexcept { return key_; }

  // The soft RLIMIT_NOFILE of whoever has the connection, now. If that cannot be known, as little
  // as is usual: kUnknownDescriptorLimit, or what its launcher had if that was less.
  [[nodiscard]] std::uint64_t DescriptorLimit();
  [[nodiscard]] bool IsLimitKnown() const { return pid() != 0 && !HasEnded(); }
  // Closes what the limit is looked at by. Both of the above are not to be asked any more.
  void ForgetLimit() noexcept { pidfd_.reset(); }

  // Whether the program that it runs, or what it calls itself, begins with "qemu". A server without
  // privileges sees the program of its own user's processes only.
  [[nodiscard]] bool IsQemu() const noexcept { return is_qemu_; }

  // What it called itself when it connected; empty if its pid is not visible.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  // When it connected.
  [[nodiscard]] std::chrono::system_clock::time_point since() const noexcept { return since_; }
  // "pid 812 (qemu-system-x86), uid 1000"
  [[nodiscard]] const std::string& description() const noexcept { return description_; }

 private:
  [[nodiscard]] bool HasEnded() const;

  ProcessKey key_;
  UniqueFd pidfd_;
  std::uint64_t descriptor_limit_ = kUnknownDescriptorLimit;
  std::chrono::system_clock::time_point since_ = std::chrono::system_clock::now();
  std::string name_;
  std::string description_;
  bool is_qemu_ = false;
};

// What a process calls itself, for people: it may hold anything, and is kept to printable ASCII.
std::string ProcessName(pid_t pid);

// Raises this process's soft RLIMIT_NOFILE to the hard one.
void RaiseOwnDescriptorLimit();
// This process's soft RLIMIT_NOFILE.
std::uint64_t OwnDescriptorLimit();

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_CLIENT_PROCESS_H_
