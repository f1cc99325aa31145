// ivshmem PCI devices of this guest, through sysfs and without a driver.
#ifndef IVMQ_TRANSPORTS_SRC_PCI_DEVICE_H_
#define IVMQ_TRANSPORTS_SRC_PCI_DEVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/address.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

// Where sysfs lists the PCI devices, each a folder named by its address.
inline constexpr std::string_view kPciDevices = "/sys/bus/pci/devices";

// The command word in a configuration space, and the registers of a device in BAR0.
inline constexpr std::size_t kPciCommand = 4;
inline constexpr std::uint64_t kIvposition = 8;
inline constexpr std::uint64_t kDoorbell = 12;

// What a device's configuration space and resource list say.
struct PciDevice {
  std::string bdf;                // 0000:00:04.0
  std::string folder;             // its folder in sysfs
  bool doorbell = false;          // ivshmem-doorbell: has interrupts; ivshmem-plain: has none
  std::uint32_t vectors = 0;      // of a doorbell device; 0: not readable without CAP_SYS_ADMIN
  std::uint64_t bar0_offset = 0;  // of BAR0 within the first page of resource0
};

// The ivshmem devices of whatever revision under `devices`, by address; devices that are none are
// left out.
std::vector<std::string> ListIvshmemDevices(const std::string& devices);

// Reads and checks the device at `bdf` ("0000:00:04.0" or "00:04.0"). Turns its memory decoding on
// if it is off. INVALID_ARGUMENT: no such address form, or another kind of device. NOT_FOUND: no
// such device. FAILED_PRECONDITION: revision 0. Errors do not name the address.
Result<PciDevice> InspectPciDevice(const std::string& devices, std::string_view bdf);

// The kernel driver that owns the device, or "".
std::string DriverOf(const PciDevice& device);

// "ivshmem-doorbell 0000:00:04.0, 8 vectors".
std::string Describe(const PciDevice& device);

// The transport over BAR2 of a device; on a doorbell device it rings through BAR0. `reason`, for
// the description: why this way was taken, or "".
Result<std::unique_ptr<Transport>> OpenPciTransport(const PciDevice& device,
                                                    std::string_view address,
                                                    std::string_view reason = {});

// Why `resource` ("resource0" or "resource2") of a device could not be opened or mapped.
Status PciResourceError(const PciDevice& device, const std::string& resource, int error);

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
