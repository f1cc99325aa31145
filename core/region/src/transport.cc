#include "ivmq/transport.h"

namespace ivmq {

Status Doorbell::Attend(const Move& /*move*/) {
  if (control_fd() >= 0) (void)HandleControl();
  return {};
}

Status ProofOfLife::LockSlot(std::uint32_t /*slot*/) {
  return {StatusCode::kUnimplemented, "this transport has no slot locks"};
}

void ProofOfLife::UnlockSlot(std::uint32_t /*slot*/) noexcept {}

bool ProofOfLife::IsSlotLocked(std::uint32_t /*slot*/) const noexcept { return true; }

Status ProofOfLife::RegisterSlot(std::uint32_t /*slot*/, std::uint64_t /*live_word*/,
                                 std::span<const std::uint64_t, 2> /*boot_id*/) {
  return {};
}

void ProofOfLife::UnregisterSlot(std::uint32_t /*slot*/) noexcept {}

Status ProofOfLife::CheckPlace() const { return {}; }

}  // namespace ivmq
