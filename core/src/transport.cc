#include "ivmq/transport.h"

namespace ivmq {

Status Transport::LockSlot(std::uint32_t /*slot*/) {
  return {StatusCode::kUnimplemented, info().address + ": this transport has no slot locks"};
}

void Transport::UnlockSlot(std::uint32_t /*slot*/) noexcept {}

bool Transport::IsSlotLocked(std::uint32_t /*slot*/) const noexcept { return true; }

}  // namespace ivmq
