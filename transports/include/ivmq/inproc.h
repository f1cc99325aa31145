// A region within one process: for tests, examples and threads that want to talk as peers do. A
// node over it behaves as one over an ivshmem server: each member has an ivposition and an eventfd.
#ifndef IVMQ_INPROC_H_
#define IVMQ_INPROC_H_

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

// What the members share. Lives until the last of its members and owners goes. Thread-safe.
class InprocRegion : public std::enable_shared_from_this<InprocRegion> {
 public:
  // Fresh memory, formatted. INVALID_ARGUMENT as PlanGeometry(), RESOURCE_EXHAUSTED if there is
  // none.
  static Result<std::shared_ptr<InprocRegion>> Create(std::uint64_t size,
                                                      const FormatOptions& options = {});
  // Memory of the caller's, formatted or not, that outlives all members.
  static std::shared_ptr<InprocRegion> Over(std::span<std::byte> memory);

  ~InprocRegion();
  InprocRegion(const InprocRegion&) = delete;
  InprocRegion& operator=(const InprocRegion&) = delete;

  [[nodiscard]] std::span<std::byte> memory() const noexcept;

  // A transport of a new member. Its ivposition is 1, 2 and so on, never one used before.
  // RESOURCE_EXHAUSTED: no file descriptor, or all 65534 ivpositions were used.
  Result<std::unique_ptr<Transport>> Join(std::string_view address = "inproc:");

 private:
  friend class InprocTransport;
  struct Impl;
  explicit InprocRegion(std::unique_ptr<Impl> impl);
  void Ring(std::uint16_t ivposition) noexcept;
  void Leave(std::uint16_t ivposition) noexcept;

  std::unique_ptr<Impl> impl_;
};

}  // namespace ivmq

#endif  // IVMQ_INPROC_H_
