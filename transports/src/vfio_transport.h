// An ivshmem device of this guest that vfio-pci owns: one process has it to itself and is woken by
// its interrupts, without a driver of ours.
#ifndef IVMQ_TRANSPORTS_SRC_VFIO_TRANSPORT_H_
#define IVMQ_TRANSPORTS_SRC_VFIO_TRANSPORT_H_

#include <memory>
#include <string_view>

#include "ivmq/address.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

#include "src/pci_device.h"

namespace ivmq {

// `reason`, for the description: why this way was taken, or "". FAILED_PRECONDITION: vfio-pci does
// not own the device, its IOMMU group cannot be used, or another process has it. PERMISSION_DENIED:
// the group's file. Errors do not name the address.
Result<std::unique_ptr<Transport>> OpenVfioTransport(const PciDevice& device,
                                                     std::string_view address,
                                                     std::string_view reason = {});

// BAR2 alone; takes the device for as long as the memory is mapped.
Result<RegionMemory> OpenVfioRegion(const PciDevice& device, std::string_view address,
                                    Access access);

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_VFIO_TRANSPORT_H_
