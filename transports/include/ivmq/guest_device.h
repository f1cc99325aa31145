// The ivshmem devices of this guest and how processes reach them, for programs that show that.
// Peers open an address.
#ifndef IVMQ_GUEST_DEVICE_H_
#define IVMQ_GUEST_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/address.h"
#include "ivmq/status.h"

namespace ivmq {

// Where sysfs lists the PCI devices, each a folder named by its address.
inline constexpr std::string_view kPciDevices = "/sys/bus/pci/devices";

// What a device's configuration space and resource list say.
struct PciDevice {
  std::string bdf;     // 0000:00:04.0
  std::string folder;  // its folder in sysfs
  std::uint32_t revision = 0;
  bool doorbell = false;          // ivshmem-doorbell: has interrupts; ivshmem-plain: has none
  std::uint32_t vectors = 0;      // of a doorbell device; 0: not readable without CAP_SYS_ADMIN
  bool bus_master = false;        // may send interrupts
  std::uint64_t bar0_offset = 0;  // of BAR0 within the first page of resource0
  std::uint64_t bar2_size = 0;    // bytes; 0: the kernel gave it no addresses
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

// Its IOMMU group, a number, or "".
std::string IommuGroupOf(const PciDevice& device);

// "ivshmem-doorbell 0000:00:04.0, 8 vectors".
std::string Describe(const PciDevice& device);

// How "auto" reaches a device.
struct GuestWay {
  std::string address;  // "ivmq:/dev/ivmq0", "vfio:0000:00:04.0" or "pci:0000:00:04.0"
  std::string file;     // what a process opens: the driver's node, the group's, or resource2
};
GuestWay WayTo(const PciDevice& device);

// The memory of a device, that way. Over vfio it keeps other processes from the device meanwhile.
Result<RegionMemory> OpenGuestRegion(const PciDevice& device, std::string_view address,
                                     Access access);

// Whether a doorbell device with `vectors` (0: not known) and the server that keeps the region in
// `memory` agree. A device reaches only those vectors of others that it has itself, and nobody
// rings a vector that the server does not make. FAILED_PRECONDITION says which number is smaller,
// what follows, and which option to change; OK also where there is no ivmqd.
Status CheckVectors(std::uint32_t vectors, std::span<const std::byte> memory);
// Whether it reaches all vectors that peers of that region can be woken by.
bool ReachesAllVectors(std::uint32_t vectors, std::span<const std::byte> memory);

// What the driver ivmq says about a device.
struct DriverNode {
  std::uint32_t ivposition = 0;
  std::uint32_t vectors = 0;         // of the device; 0 for a plain one and without MSI-X
  std::uint32_t vectors_unused = 0;  // that a process can have, and none has
  std::uint32_t server_vectors = 0;  // for which the server makes doorbells; 0: not known
  std::uint64_t interrupts = 0;      // since the driver took the device over
  bool firmware_uncached = false;    // the firmware's MTRRs call the memory uncached
};

// Asks at `path` ("/dev/ivmq0"); takes no vector. Errors as for the address ivmq:PATH, without it.
Result<DriverNode> AskDriver(const std::string& path);

}  // namespace ivmq

#endif  // IVMQ_GUEST_DEVICE_H_
