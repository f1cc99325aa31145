// Counts what a test program allocates, and has it fail: it replaces operator new, so link it only
// to programs that ask.
#ifndef IVMQ_TESTS_SUPPORT_ALLOCATIONS_H_
#define IVMQ_TESTS_SUPPORT_ALLOCATIONS_H_

#include <cstdint>

namespace ivmq::testing {

// Since the program began. Thread-safe.
[[nodiscard]] std::uint64_t AllocationsOfThisThread() noexcept;
[[nodiscard]] std::uint64_t AllocationsOfAllThreads() noexcept;

// While one lives, every allocation of the thread that made it fails.
class NoMemory {
 public:
  NoMemory() noexcept;
  ~NoMemory();
  NoMemory(const NoMemory&) = delete;
  NoMemory& operator=(const NoMemory&) = delete;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_ALLOCATIONS_H_
