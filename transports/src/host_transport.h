// A client of an ivshmem server: memory and eventfds come from its socket.
#ifndef IVMQ_TRANSPORTS_SRC_HOST_TRANSPORT_H_
#define IVMQ_TRANSPORTS_SRC_HOST_TRANSPORT_H_

#include <memory>
#include <string>
#include <string_view>

#include "ivmq/address.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

// Errors do not name the address.
Result<std::unique_ptr<Transport>> OpenHostTransport(const std::string& socket_path,
                                                     std::string_view address);
Result<RegionMemory> OpenHostRegion(const std::string& socket_path, std::string_view address,
                                    Access access);

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_HOST_TRANSPORT_H_
