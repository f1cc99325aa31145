// The ivshmem device of this guest by the best way there is. Who owns the device decides: the
// driver ivmq, vfio-pci, or nobody, which leaves sysfs.
#ifndef IVMQ_TRANSPORTS_SRC_GUEST_DEVICE_H_
#define IVMQ_TRANSPORTS_SRC_GUEST_DEVICE_H_

#include <memory>
#include <string>
#include <string_view>

#include "ivmq/address.h"
#include "ivmq/guest_device.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

// The one device under `devices` (kPciDevices) whose region is formatted. The description says why
// it is reached as it is. Errors as FindPciDevice() and those of the way taken.
Result<std::unique_ptr<Transport>> OpenGuestTransport(const std::string& devices,
                                                      std::string_view address);
Result<RegionMemory> FindGuestRegion(const std::string& devices, std::string_view address,
                                     Access access);

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_GUEST_DEVICE_H_
