#include "src/guest_device.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "src/driver_transport.h"
#include "src/pci_device.h"
#include "src/vfio_transport.h"

namespace ivmq {
namespace {

constexpr const char* kDriverName = "ivmq";
constexpr const char* kVfioName = "vfio-pci";

// The node of a device that the driver ivmq owns.
std::string NodeOf(const PciDevice& device) {
  std::error_code error;
  const std::filesystem::directory_iterator nodes(device.folder + "/" + kDriverName, error);
  if (error || nodes == std::filesystem::directory_iterator()) return "/dev/ivmq?";
  return "/dev/" + nodes->path().filename().string();
}

Result<RegionMemory> OpenByOwner(const PciDevice& device, std::string_view address, Access access) {
  const std::string owner = DriverOf(device);
  if (owner == kDriverName) return OpenDriverRegion(NodeOf(device), address, access);
  if (owner == kVfioName) return OpenVfioRegion(device, address, access);
  return OpenPciRegion(device, address, access);
}

Result<PciDevice> Find(const std::string& devices) {
  return FindPciDevice(
      devices, [](const PciDevice& device) { return OpenByOwner(device, "", Access::kReadOnly); });
}

}  // namespace

Result<std::unique_ptr<Transport>> OpenGuestTransport(const std::string& devices,
                                                      std::string_view address) {
  const auto device = Find(devices);
  if (!device.ok()) return device.status();
  const std::string owner = DriverOf(*device);
  if (owner == kDriverName) {
    return OpenDriverTransport(NodeOf(*device), address, "the driver ivmq has the device");
  }
  if (owner == kVfioName) return OpenVfioTransport(*device, address, "vfio-pci has the device");
  return OpenPciTransport(*device, address, "no driver has the device");
}

Result<RegionMemory> OpenGuestRegion(const std::string& devices, std::string_view address,
                                     Access access) {
  const auto device = Find(devices);
  if (!device.ok()) return device.status();
  return OpenByOwner(*device, address, access);
}

}  // namespace ivmq
