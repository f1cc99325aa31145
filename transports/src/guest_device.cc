#include "src/guest_device.h"

#include <array>
#include <filesystem>
#include <system_error>
#include <utility>

#include "ivmq/internal/layout.h"

#include "src/driver_transport.h"
#include "src/ivshmem_protocol.h"
#include "src/pci_device.h"
#include "src/text.h"
#include "src/vfio_transport.h"

namespace ivmq {
namespace {

// The node of a device that the driver ivmq owns.
std::string DriverNodeOf(const PciDevice& device) {
  std::error_code error;
  const std::filesystem::directory_iterator nodes(device.folder + "/ivmq", error);
  if (error || nodes == std::filesystem::directory_iterator()) return "/dev/ivmq?";
  return "/dev/" + nodes->path().filename().string();
}

// Of the server that keeps the region; 0: none, or not known.
std::uint32_t ServerVectors(std::span<const std::byte> memory) {
  if (memory.size() < sizeof(layout::Header)) return 0;
  const auto* header = reinterpret_cast<const layout::Header*>(memory.data());
  if (header->magic.load(std::memory_order_acquire) != layout::kMagic) return 0;
  const std::uint32_t vectors = header->server_vectors.load(std::memory_order_relaxed);
  // Anybody may have written it.
  return vectors <= ivshmem::kMaxVectors ? vectors : 0;
}

struct Way {
  std::string_view owner;  // "": whoever it is, if anybody
  std::string_view reason;
  GuestWay (*describe)(const PciDevice& device);
  Result<std::unique_ptr<Transport>> (*open)(const PciDevice& device, std::string_view address,
                                             std::string_view reason);
  Result<RegionMemory> (*open_region)(const PciDevice& device, std::string_view address,
                                      Access access);
};

constexpr std::array<Way, 3> kWays = {{
    {"ivmq", "the driver ivmq has the device",
     [](const PciDevice& device) {
       const std::string node = DriverNodeOf(device);
       return GuestWay{"ivmq:" + node, node};
     },
     [](const PciDevice& device, std::string_view address, std::string_view reason) {
       return OpenDriverTransport(DriverNodeOf(device), address, reason);
     },
     [](const PciDevice& device, std::string_view address, Access access) {
       return OpenDriverRegion(DriverNodeOf(device), address, access);
     }},
    {"vfio-pci", "vfio-pci has the device",
     [](const PciDevice& device) {
       return GuestWay{"vfio:" + device.bdf, "/dev/vfio/" + IommuGroupOf(device)};
     },
     OpenVfioTransport, OpenVfioRegion},
    {"", "no driver has the device",
     [](const PciDevice& device) {
       return GuestWay{"pci:" + device.bdf, device.folder + "/resource2"};
     },
     OpenPciTransport, OpenPciRegion},
}};

const Way& WayOf(const PciDevice& device) {
  const std::string owner = DriverOf(device);
  for (const Way& way : kWays) {
    if (way.owner == owner) return way;
  }
  return kWays.back();
}

Result<PciDevice> Find(const std::string& devices) {
  return FindPciDevice(devices, [](const PciDevice& device) {
    return OpenGuestRegion(device, "", Access::kReadOnly);
  });
}

}  // namespace

Status CheckVectors(std::uint32_t vectors, std::span<const std::byte> memory) {
  const std::uint32_t server = ServerVectors(memory);
  if (vectors == 0 || server == 0 || vectors == server) return {};
  const std::string numbers = "the device has " + std::to_string(vectors) +
                              (vectors == 1 ? " vector" : " vectors") + ", and ivmqd makes " +
                              std::to_string(server) + " for each client: ";
  const std::string remedy =
      "; give both the same number: -device ivshmem-doorbell,vectors=" + std::to_string(server) +
      " of QEMU, or ivmqd --vectors " + std::to_string(vectors);
  if (vectors > server) {
    return {StatusCode::kFailedPrecondition,
            numbers + "those from " + std::to_string(server) +
                " on cannot be rung by any peer, so they are not used" + remedy};
  }
  return {StatusCode::kFailedPrecondition,
          numbers + "peers that are woken by those from " + std::to_string(vectors) +
              " on cannot be rung from here, and have to poll" + remedy};
}

bool ReachesAllVectors(std::uint32_t vectors, std::span<const std::byte> memory) {
  return vectors == 0 || vectors >= ServerVectors(memory);
}

GuestWay WayTo(const PciDevice& device) { return WayOf(device).describe(device); }

Result<RegionMemory> OpenGuestRegion(const PciDevice& device, std::string_view address,
                                     Access access) {
  return WayOf(device).open_region(device, address, access);
}

Result<std::unique_ptr<Transport>> OpenGuestTransport(const std::string& devices,
                                                      std::string_view address) {
  const auto device = Find(devices);
  if (!device.ok()) return device.status();
  const Way& way = WayOf(*device);
  return way.open(*device, address, way.reason);
}

Result<RegionMemory> FindGuestRegion(const std::string& devices, std::string_view address,
                                     Access access) {
  const auto device = Find(devices);
  if (!device.ok()) return device.status();
  auto region = OpenGuestRegion(*device, address, access);
  if (region.ok()) region->description += BecauseText(WayOf(*device).reason);
  return region;
}

}  // namespace ivmq
