// A transport that has memory, and nothing by which a process would ring or be woken or be seen to
// live.
#ifndef IVMQ_TESTS_SUPPORT_MEMORY_TRANSPORT_H_
#define IVMQ_TESTS_SUPPORT_MEMORY_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "ivmq/transport.h"

namespace ivmq::testing {

// Thread-safe.
class MemoryTransport final : public Transport {
 public:
  // What it says of itself is `info`, true or not. The memory must outlive it.
  explicit MemoryTransport(std::span<std::byte> memory, TransportInfo info = {})
      : memory_(memory), info_(std::move(info)) {}

  [[nodiscard]] std::span<std::byte> memory() const noexcept override { return memory_; }
  [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
  void Ring(std::uint16_t /*ivposition*/, std::uint32_t /*vector*/) noexcept override {}

 private:
  std::span<std::byte> memory_;
  TransportInfo info_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_MEMORY_TRANSPORT_H_
