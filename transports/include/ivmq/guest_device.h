// The ivshmem devices of this guest and how processes reach them. For programs that display this;
// peers open an address.
#ifndef IVMQ_GUEST_DEVICE_H_
#define IVMQ_GUEST_DEVICE_H_

#include "ivmq/export.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/address.h"
#include "ivmq/status.h"

namespace ivmq {

// Where sysfs lists the PCI devices: a folder for each, named by its address.
inline constexpr std::string_view kPciDevices = "/sys/bus/pci/devices";

// What the configuration space and the resource list of a device contain.
struct PciDevice {
  std::string bdf;     // 0000:00:04.0
  std::string folder;  // its folder in sysfs
  std::uint32_t revision = 0;
  bool doorbell = false;          // ivshmem-doorbell: has interrupts; ivshmem-plain: has none
  std::uint32_t vectors = 0;      // of a doorbell device; 0: not readable without CAP_SYS_ADMIN
  bool bus_master = false;        // it may send interrupts
  std::uint64_t bar0_offset = 0;  // of BAR0 within the first page of resource0
  std::uint64_t bar2_size = 0;    // bytes; 0: the kernel assigned it no addresses
};

// The addresses of the ivshmem devices of any revision under `devices`. Other devices are omitted.
IVMQ_EXPORT std::vector<std::string> ListIvshmemDevices(const std::string& devices);

// Reads and checks the device at `bdf` ("0000:00:04.0" or "00:04.0"). Enables its memory decoding
// if that is disabled. INVALID_ARGUMENT: malformed address, or another kind of device. NOT_FOUND:
// no such device. FAILED_PRECONDITION: revision 0. Error messages do not contain the address.
IVMQ_EXPORT Result<PciDevice> InspectPciDevice(const std::string& devices, std::string_view bdf);

// The kernel driver that is bound to the device, or "".
IVMQ_EXPORT std::string DriverOf(const PciDevice& device);

// Its IOMMU group, a number, or "".
IVMQ_EXPORT std::string IommuGroupOf(const PciDevice& device);

// "ivshmem-doorbell 0000:00:04.0, 8 vectors".
IVMQ_EXPORT std::string Describe(const PciDevice& device);

// How "auto" reaches a device.
struct GuestWay {
  std::string address;  // "ivmq:/dev/ivmq0", "vfio:0000:00:04.0" or "pci:0000:00:04.0"
  std::string file;     // what a process opens: the driver's node, the group's, or resource2
};
IVMQ_EXPORT GuestWay WayTo(const PciDevice& device);

// The memory of a device, reached by that address. Over vfio, no other process can use the device
// until it is closed.
IVMQ_EXPORT Result<RegionMemory> OpenGuestRegion(const PciDevice& device, std::string_view address,
                                                 Access access);

// Whether a doorbell device with `vectors` (0: unknown) and the server of the region in `memory`
// have the same number of vectors. A device can ring only those vectors of other peers that it has
// itself, and no peer rings a vector for which the server has no doorbell. FAILED_PRECONDITION says
// which number is smaller, what that means, and which option to change. OK if there is no ivmqd.
IVMQ_EXPORT Status CheckVectors(std::uint32_t vectors, std::span<const std::byte> memory);
// Whether such a device reaches every vector by which peers of that region can be woken.
IVMQ_EXPORT bool ReachesAllVectors(std::uint32_t vectors, std::span<const std::byte> memory);

// What the ivmq driver reports about a device.
struct DriverNode {
  std::uint32_t ivposition = 0;
  std::uint32_t vectors = 0;         // of the device; 0 for a plain one and without MSI-X
  std::uint32_t vectors_unused = 0;  // that a process could allocate, and none has
  std::uint32_t server_vectors = 0;  // for which the server has doorbells; 0: unknown
  std::uint64_t interrupts = 0;      // since the driver took the device over
  bool firmware_uncached = false;    // the firmware's MTRRs declare the memory uncached
};

// Asks the driver at `path` ("/dev/ivmq0"). Allocates no vector. Errors: those of opening the
// address ivmq:PATH; messages do not contain the path.
IVMQ_EXPORT Result<DriverNode> AskDriver(const std::string& path);

}  // namespace ivmq

#endif  // IVMQ_GUEST_DEVICE_H_
