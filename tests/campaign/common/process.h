// The processes of a campaign, and what they share.
#ifndef IVMQ_TESTS_CAMPAIGN_COMMON_PROCESS_H_
#define IVMQ_TESTS_CAMPAIGN_COMMON_PROCESS_H_

#include <sys/mman.h>
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <vector>

namespace ivmq::campaign {

// Nanoseconds of a clock that all processes share.
std::int64_t MonotonicNanoseconds();

// Runs `body` in a forked process, which ends with what that returns, and is killed if this one
// ends.
pid_t Fork(const std::function<int()>& body);

// SIGKILL, and waits until the kernel has given back what the process held.
void KillAndWait(pid_t pid);

// Runs them beside each other, each in a process; kills those that run longer than `limit`.
void RunBeside(const std::vector<std::function<void()>>& bodies, std::chrono::milliseconds limit);

// Until `done` says so, calls `meanwhile` every `tick`; false if `limit` has passed.
bool Until(std::chrono::milliseconds limit, const std::function<bool()>& done,
           const std::function<void()>& meanwhile, std::chrono::milliseconds tick);

// How the process ended, as waitpid() says; nullopt if it runs.
std::optional<int> EndOf(pid_t pid);
// In words.
std::string TextOfEnd(int status);

// Bytes of memory that are the process's own.
std::uint64_t MemoryOf(pid_t pid);
// The address sanitizer keeps for a while what was freed.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IVMQ_WITH_ASAN
#endif
#endif
#ifdef IVMQ_WITH_ASAN
inline constexpr std::uint64_t kKeptBySanitizer = std::uint64_t{2} << 30;
#else
inline constexpr std::uint64_t kKeptBySanitizer = 0;
#endif
std::size_t DescriptorsOf(pid_t pid);

// An object in memory that forked processes share: what one has stored there before it was killed
// stands there afterwards.
template <typename T>
class Shared {
 public:
  Shared()
      : memory_(mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (memory_ == MAP_FAILED) {
      std::perror("mmap");
      std::abort();
    }
    value_ = new (memory_) T;
  }
  ~Shared() { munmap(memory_, sizeof(T)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  T& operator*() const noexcept { return *value_; }
  T* operator->() const noexcept { return value_; }

 private:
  void* memory_;
  T* value_;
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_COMMON_PROCESS_H_
