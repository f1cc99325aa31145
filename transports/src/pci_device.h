// ivshmem PCI devices of this guest, through sysfs and without a driver.
#ifndef IVMQ_TRANSPORTS_SRC_PCI_DEVICE_H_
#define IVMQ_TRANSPORTS_SRC_PCI_DEVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "ivmq/address.h"
#include "ivmq/guest_device.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

// The command word in a configuration space, and the registers of a device in BAR0.
inline constexpr std::size_t kPciCommand = 4;
inline constexpr std::uint64_t kIvposition = 8;
inline constexpr std::uint64_t kDoorbell = 12;

// The transport over BAR2 of a device; on a doorbell device it rings through BAR0. `reason`, for
// the description: why this way was taken, or "".
Result<std::unique_ptr<Transport>> OpenPciTransport(const PciDevice& device,
                                                    std::string_view address,
                                                    std::string_view reason = {});

// Why `resource` ("resource0" or "resource2") of a device could not be opened or mapped.
Status PciResourceError(const PciDevice& device, const std::string& resource, int error);

// FAILED_PRECONDITION if a device that was opened under one ivposition has another one `now`. All
// ones: there is no device any more.
Status CheckIvposition(std::uint16_t opened, std::uint32_t now);

// BAR2 alone.
Result<RegionMemory> OpenPciRegion(const PciDevice& device, std::string_view address,
                                   Access access);

// The one device under `devices` whose region, opened by `open`, is formatted. NOT_FOUND if there
// is no device; FAILED_PRECONDITION, with what is wrong with each, if none or several have such a
// region.
Result<PciDevice> FindPciDevice(const std::string& devices,
                                const std::function<Result<RegionMemory>(const PciDevice&)>& open);

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_PCI_DEVICE_H_
