#include "ivmq/address.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <utility>

#include "ivmq/internal/region.h"

#include "src/driver_transport.h"
#include "src/file_transport.h"
#include "src/guest_device.h"
#include "src/host_transport.h"
#include "src/inproc.h"
#include "src/pci_device.h"
#include "src/region_file.h"
#include "src/text.h"
#include "src/vfio_transport.h"

namespace ivmq {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr std::string_view kPci = "pci:";
constexpr std::string_view kVfio = "vfio:";
constexpr std::string_view kDriver = "ivmq:";
constexpr std::string_view kInproc = "inproc:";
constexpr std::string_view kAuto = "auto";

// What "auto" stands for.
std::string Resolve(std::string_view address) {
  if (!address.empty() && address != kAuto) return std::string(address);
  const char* const chosen = std::getenv("IVMQ_ADDRESS");
  if (chosen == nullptr || *chosen == '\0') return std::string(kAuto);
  return chosen;
}

Status UnknownScheme() {
  return {StatusCode::kInvalidArgument,
          "unknown scheme; known are unix:PATH, shm:/NAME, file:PATH, ivmq:/dev/ivmqN, "
          "vfio:ADDRESS, pci:ADDRESS, pci:auto, inproc:NAME and auto"};
}

Result<PciDevice> PciDeviceAt(std::string_view bdf) {
  const std::string devices(kPciDevices);
  if (bdf != kAuto) return InspectPciDevice(devices, bdf);
  return FindPciDevice(devices, [](const PciDevice& device) {
    return OpenPciRegion(device, "", Access::kReadOnly);
  });
}

Result<std::unique_ptr<Transport>> OpenAny(std::string_view address) {
  if (address.starts_with(kUnix)) {
    return OpenHostTransport(std::string(address.substr(kUnix.size())), address);
  }
  if (auto path = RegionFilePath(address)) {
    if (!path->ok()) return path->status();
    return OpenFileTransport(**path, address);
  }
  if (address.starts_with(kPci)) {
    const auto device = PciDeviceAt(address.substr(kPci.size()));
    if (!device.ok()) return device.status();
    return OpenPciTransport(*device, address);
  }
  if (address.starts_with(kVfio)) {
    const auto device = InspectPciDevice(std::string(kPciDevices), address.substr(kVfio.size()));
    if (!device.ok()) return device.status();
    return OpenVfioTransport(*device, address);
  }
  if (address.starts_with(kDriver)) {
    return OpenDriverTransport(std::string(address.substr(kDriver.size())), address);
  }
  if (address == kAuto) return OpenGuestTransport(std::string(kPciDevices), address);
  if (address.starts_with(kInproc)) {
    const auto region = FindInprocRegion(address.substr(kInproc.size()));
    if (!region.ok()) return region.status();
    return (*region)->Join(address);
  }
  return UnknownScheme();
}

Result<RegionMemory> OpenAnyRegion(std::string_view address, Access access) {
  if (address.starts_with(kUnix)) {
    return OpenHostRegion(std::string(address.substr(kUnix.size())), address, access);
  }
  if (auto path = RegionFilePath(address)) {
    if (!path->ok()) return path->status();
    auto file = OpenRegionFile(**path, address, access);
    if (!file.ok()) return file.status();
    auto mapped = MapRegion(file->fd.get(), file->size, access);
    if (!mapped.ok()) return mapped.status();
    auto mapping = std::make_shared<Mapping>(*std::move(mapped));
    return RegionMemory{std::string(address), "file " + **path + ", " + SizeText(file->size),
                        mapping->bytes(), mapping};
  }
  if (address.starts_with(kPci)) {
    const auto device = PciDeviceAt(address.substr(kPci.size()));
    if (!device.ok()) return device.status();
    return OpenPciRegion(*device, address, access);
  }
  if (address.starts_with(kVfio)) {
    const auto device = InspectPciDevice(std::string(kPciDevices), address.substr(kVfio.size()));
    if (!device.ok()) return device.status();
    return OpenVfioRegion(*device, address, access);
  }
  if (address.starts_with(kDriver)) {
    return OpenDriverRegion(std::string(address.substr(kDriver.size())), address, access);
  }
  if (address == kAuto) return FindGuestRegion(std::string(kPciDevices), address, access);
  if (address.starts_with(kInproc)) {
    auto region = FindInprocRegion(address.substr(kInproc.size()));
    if (!region.ok()) return region.status();
    return RegionMemory{std::string(address), "region of this process", (*region)->memory(),
                        *region};
  }
  return UnknownScheme();
}

}  // namespace

Result<std::unique_ptr<Transport>> OpenTransport(std::string_view address) {
  const std::string resolved = Resolve(address);
  auto transport = OpenAny(resolved);
  Status status = transport.status();
  if (status.ok()) status = Region::Attach((*transport)->memory()).status();
  if (status.ok()) return transport;
  return At(resolved, status);
}

Result<RegionMemory> OpenRegion(std::string_view address, Access access) {
  const std::string resolved = Resolve(address);
  auto region = OpenAnyRegion(resolved, access);
  if (region.ok()) return region;
  return At(resolved, region.status());
}

Result<std::uint64_t> ParseSize(std::string_view text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  if (unit.size() == 3 && unit.ends_with("iB")) unit.remove_suffix(2);
  constexpr std::string_view kUnits = "KMGT";
  unsigned shift = 0;
  bool good = error == std::errc() && unit.size() <= 1;
  if (good && !unit.empty()) {
    const auto at = kUnits.find(static_cast<char>(unit[0] & ~0x20));
    good = at != std::string_view::npos;
    shift = good ? static_cast<unsigned>(10 * (at + 1)) : 0;
  }
  if (!good || value > std::numeric_limits<std::uint64_t>::max() >> shift) {
    return Status(
        StatusCode::kInvalidArgument,
        "'" + std::string(text) + "' is not a size; use a number of bytes, or 64K, 64M, 1G");
  }
  return value << shift;
}

}  // namespace ivmq
