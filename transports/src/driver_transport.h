// An ivshmem device of this guest through its driver, ivmq.ko: many processes share the device, and
// each sleeps on a vector.
#ifndef IVMQ_TRANSPORTS_SRC_DRIVER_TRANSPORT_H_
#define IVMQ_TRANSPORTS_SRC_DRIVER_TRANSPORT_H_

#include <memory>
#include <string>
#include <string_view>

#include "ivmq/address.h"
#include "ivmq/guest_device.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

// `path` is /dev/ivmqN. `reason`, for the description: why this way was taken, or "". NOT_FOUND: no
// such node. INVALID_ARGUMENT: not a node of the driver. PERMISSION_DENIED. FAILED_PRECONDITION: a
// driver with another interface, or the device is gone. Errors do not name the address.
Result<std::unique_ptr<Transport>> OpenDriverTransport(const std::string& path,
                                                       std::string_view address,
                                                       std::string_view reason = {});

// The memory alone.
Result<RegionMemory> OpenDriverRegion(const std::string& path, std::string_view address,
                                      Access access);

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_DRIVER_TRANSPORT_H_
