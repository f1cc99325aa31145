// Memory that forked processes share, between two pages that nobody may touch: an access beyond
// either end is a SIGSEGV even without a sanitizer.
#ifndef IVMQ_TESTS_SUPPORT_SHARED_MEMORY_H_
#define IVMQ_TESTS_SUPPORT_SHARED_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "ivmq/internal/region.h"
#include "ivmq/internal/ring.h"

namespace ivmq::testing {

class SharedMemory {
 public:
  // All zero. `bytes` is rounded up to whole pages; the accessible part ends where the pages end.
  explicit SharedMemory(std::size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  void Clear() noexcept;

 private:
  std::span<std::byte> bytes_;
};

// A formatted region in shared memory.
struct TestRegion {
  explicit TestRegion(std::size_t size, const FormatOptions& options = {});

  SharedMemory memory;
  Region region;
};

// A ring in shared memory of its own, initialized.
struct TestRing {
  explicit TestRing(std::uint64_t capacity = layout::kMinRingCapacity);

  [[nodiscard]] layout::RingHeader& header() const noexcept { return *view.header; }

  SharedMemory memory;
  RingView view;
};

// Attaches to what was just formatted; ends the test program if that fails.
Region FormatAndAttach(std::span<std::byte> memory, const FormatOptions& options);

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_SHARED_MEMORY_H_
