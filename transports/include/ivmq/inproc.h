// A region inside one process: for tests, examples, and threads that communicate as peers. A node
// over it behaves like one over an ivshmem server: each member has an ivposition and an eventfd.
#ifndef IVMQ_INPROC_H_
#define IVMQ_INPROC_H_

#include "ivmq/export.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ivmq/internal/region.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

// What the members share. Lives until its last member and owner are gone. Thread-safe.
class IVMQ_EXPORT InprocRegion : public std::enable_shared_from_this<InprocRegion> {
 public:
  // New memory, formatted. INVALID_ARGUMENT: as PlanGeometry(); RESOURCE_EXHAUSTED: no memory.
  static Result<std::shared_ptr<InprocRegion>> Create(std::uint64_t size,
                                                      const FormatOptions& options = {});
  // Memory of the caller, formatted or not, which must outlive all members.
  static std::shared_ptr<InprocRegion> Over(std::span<std::byte> memory);

  ~InprocRegion();
  InprocRegion(const InprocRegion&) = delete;
  InprocRegion& operator=(const InprocRegion&) = delete;

  [[nodiscard]] std::span<std::byte> memory() const noexcept;

  // The transport of a new member. Ivpositions are 1, 2 and so on; none is reused.
  // RESOURCE_EXHAUSTED: no file descriptor, or all 65534 ivpositions were used.
  Result<std::unique_ptr<Transport>> Join(std::string_view address = "inproc:");

 private:
  friend class InprocTransport;
  struct IVMQ_HIDDEN Impl;
  explicit InprocRegion(std::unique_ptr<Impl> impl);
  void Ring(std::uint16_t ivposition) noexcept;
  void Leave(std::uint16_t ivposition) noexcept;

  std::unique_ptr<Impl> impl_;
};

}  // namespace ivmq

#endif  // IVMQ_INPROC_H_
