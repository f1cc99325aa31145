// Memory of one NUMA node.
#ifndef IVMQ_TOOLS_IVMQD_NUMA_NODE_H_
#define IVMQ_TOOLS_IVMQD_NUMA_NODE_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "ivmq/status.h"

namespace ivmq::server {

// Runs `allocate`, with memory of this node only if one is given. `bytes` of ordinary pages are to
// be allocated in all; asked first, since the kernel ends a process for which a node has too
// little.
//   INVALID_ARGUMENT    there is no such node, or none with memory
//   RESOURCE_EXHAUSTED  it has too little
Status AllocateOnNode(std::optional<std::uint32_t> node, std::uint64_t bytes,
                      const std::function<Status()>& allocate);

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_NUMA_NODE_H_
