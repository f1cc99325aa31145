// A peer of the region as far as its slot goes, for tests of what the server does to slots.
#ifndef IVMQ_TESTS_PROCESS_SERVER_SLOT_OWNER_H_
#define IVMQ_TESTS_PROCESS_SERVER_SLOT_OWNER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"

namespace ivmq::testing {

// A formatted region, mapped. Ends the test program if it cannot be.
class MappedRegion {
 public:
  explicit MappedRegion(int fd);
  explicit MappedRegion(const std::string& path);
  ~MappedRegion();
  MappedRegion(const MappedRegion&) = delete;
  MappedRegion& operator=(const MappedRegion&) = delete;

  [[nodiscard]] const Region& region() const noexcept { return region_; }

 private:
  explicit MappedRegion(std::span<std::byte> memory);

  std::span<std::byte> memory_;
  Region region_;
};

// Claims a slot with an ivposition, and never leaves it.
class SlotOwner {
 public:
  SlotOwner(const Region& region, const std::string& name, std::uint16_t ivposition,
            std::uint32_t vector = 0, bool wakeable = true);

  [[nodiscard]] layout::PeerSlot& slot() const noexcept { return region_.slot(claimed_.id.slot); }
  [[nodiscard]] bool IsLive() const noexcept { return slot().life.load() == claimed_.live_word; }

 private:
  Region region_;
  ClaimedSlot claimed_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_SERVER_SLOT_OWNER_H_
