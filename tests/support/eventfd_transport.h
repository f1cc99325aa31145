// The transport of core's tests. It has what InprocRegion has not, which the tests of the layers
// above use: its doorbells are eventfds that were made before forking, its slots have locks, and a
// test takes away what a peer is not to have.
#ifndef IVMQ_TESTS_SUPPORT_EVENTFD_TRANSPORT_H_
#define IVMQ_TESTS_SUPPORT_EVENTFD_TRANSPORT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ivmq/internal/region.h"
#include "ivmq/transport.h"

#include "support/shared_memory.h"

namespace ivmq::testing {

// A region, its doorbells and its lock file. Made before forking; must outlive its transports.
class Hub {
 public:
  explicit Hub(std::size_t region_size, const FormatOptions& options = {}, unsigned doorbells = 16);
  ~Hub();
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  [[nodiscard]] const Region& region() const noexcept { return region_.region; }
  [[nodiscard]] std::span<std::byte> memory() const noexcept { return region_.memory.bytes(); }
  [[nodiscard]] int doorbell(std::uint16_t ivposition) const noexcept;
  [[nodiscard]] int lock_file() const noexcept { return lock_file_; }
  // Doorbells rung by all transports of all processes.
  [[nodiscard]] std::uint64_t rings() const noexcept { return rings_->load(); }

 private:
  friend class EventfdTransport;

  TestRegion region_;
  SharedMemory counters_;
  std::atomic<std::uint64_t>* rings_;
  std::vector<int> doorbells_;
  int lock_file_;
};

struct EventfdTransportOptions {
  bool wakeable = true;
  bool can_ring = true;
  bool locks = true;  // life by file lock
  bool exclusive = false;
};

// Thread-safe, as Transport asks. Make it in the process that uses it.
class EventfdTransport : public Transport {
 public:
  using Options = EventfdTransportOptions;

  // REQUIRES: ivposition < the hub's doorbells.
  EventfdTransport(Hub& hub, std::uint16_t ivposition, Options options = {});
  ~EventfdTransport() override;

  [[nodiscard]] std::span<std::byte> memory() const noexcept override { return hub_.memory(); }
  [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
  void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept override;
  [[nodiscard]] int wake_fd() const noexcept override { return wake_fd_; }
  [[nodiscard]] std::uint64_t lock_domain() const noexcept override {
    return lock_fd_ < 0 ? 0 : 0x7e57;
  }
  Status LockSlot(std::uint32_t slot) override;
  void UnlockSlot(std::uint32_t slot) noexcept override;
  [[nodiscard]] bool IsSlotLocked(std::uint32_t slot) const noexcept override;
  void LetGoInChild() noexcept override;

 private:
  Hub& hub_;
  TransportInfo info_;
  int wake_fd_ = -1;
  int lock_fd_ = -1;
};

std::unique_ptr<Transport> MakeTransport(Hub& hub, std::uint16_t ivposition,
                                         EventfdTransportOptions options = {});

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_EVENTFD_TRANSPORT_H_
