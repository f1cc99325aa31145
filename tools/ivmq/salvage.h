// The messages that a region holds which nobody uses any more.
#ifndef IVMQ_TOOLS_IVMQ_SALVAGE_H_
#define IVMQ_TOOLS_IVMQ_SALVAGE_H_

#include <cstdint>
#include <functional>
#include <string>

#include "ivmq/internal/region.h"

#include "common/ring_messages.h"

namespace ivmq::tool {

// What a ring gave.
struct Salvaged {
  std::uint64_t messages = 0;
  std::uint64_t lost_messages = 0;  // parts of messages, and messages that cannot be read
  std::uint64_t lost_bytes = 0;     // between records, where no commit word is valid
};

// Reads all messages of the ring that its receiver has not handled, from `acked` on; beyond damage
// it goes on at the next word that is a commit word at its position. Reads only, and nothing
// outside of the region. `heap_budget`: see MessageReader. REQUIRES: nobody writes the region.
Salvaged SalvageRing(const Region& region, std::uint32_t producer, std::uint32_t consumer,
                     std::uint64_t* heap_budget,
                     const std::function<void(const inspect::RingMessage&)>& take);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_SALVAGE_H_
