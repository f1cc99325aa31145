#include "ivmq/transport.h"

namespace ivmq {

Status Transport::LockSlot(std::uint32_t /*slot*/) {
  return {StatusCode::kUnimplemented, info().address + ": this transport has no slot locks"};
}

Status Transport::Attend(const Move& /*move*/) {
  if (control_fd() >= 0) (void)HandleControl();
  return {};
}

Status Transport::CheckPlace() const { return {}; }

Status Transport::RegisterSlot(std::uint32_t /*slot*/, std::uint64_t /*live_word*/,
                               std::span<const std::uint64_t, 2> /*boot_id*/) {
  return {};
}

void Transport::UnregisterSlot(std::uint32_t /*slot*/) noexcept {}

void Transport::UnlockSlot(std::uint32_t /*slot*/) noexcept {}

bool Transport::IsSlotLocked(std::uint32_t /*slot*/) const noexcept { return true; }

}  // namespace ivmq
