// The names of the services that a peer offers, in its slot: a seqlock that says whose they are, so
// that a slot's next owner does not inherit them.
#ifndef IVMQ_SERVICES_H_
#define IVMQ_SERVICES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ivmq/internal/layout.h"

namespace ivmq {

// Those of that life. What is no service's name is left out; none while their owner changes them.
std::vector<std::string> LoadServices(const layout::PeerSlot& slot, std::uint32_t incarnation);

// Whether the slot says exactly these. Does not allocate.
bool HasServices(const layout::PeerSlot& slot, std::uint32_t incarnation,
                 const std::vector<std::string>& services);

// For the slot's owner, one thread at a time. REQUIRES: CheckServices(services).ok()
void StoreServices(layout::PeerSlot& slot, std::uint32_t incarnation,
                   const std::vector<std::string>& services);

}  // namespace ivmq

#endif  // IVMQ_SERVICES_H_
