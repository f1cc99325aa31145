#include "src/pci_device.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "ivmq/internal/region.h"

#include "src/file_transport.h"
#include "src/region_file.h"
#include "src/text.h"
#include "src/unique_fd.h"

namespace ivmq {
namespace {

constexpr std::uint16_t kIvshmemVendor = 0x1af4;
constexpr std::uint16_t kIvshmemDevice = 0x1110;

// Configuration space.
constexpr std::size_t kVendor = 0x00;
constexpr std::size_t kDevice = 0x02;
constexpr std::uint16_t kCommandMemory = 0x2;
constexpr std::uint16_t kCommandBusMaster = 0x4;
constexpr std::size_t kStatus = 0x06;
constexpr std::uint16_t kStatusCapabilities = 0x10;
constexpr std::size_t kRevision = 0x08;
constexpr std::size_t kCapabilities = 0x34;
constexpr std::uint8_t kCapabilityMsix = 0x11;
constexpr std::size_t kHeaderEnd = 0x40;

constexpr std::uint64_t kRegistersEnd = 16;  // in BAR0

struct Config {
  std::array<std::uint8_t, 256> bytes{};
  std::size_t size = 0;  // 64 without CAP_SYS_ADMIN

  [[nodiscard]] std::uint16_t Word(std::size_t at) const {
    return static_cast<std::uint16_t>(bytes[at] | bytes[at + 1] << 8);
  }
};

std::optional<Config> ReadConfig(const std::string& folder) {
  Config config;
  UniqueFd fd(open((folder + "/config").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  while (config.size < config.bytes.size()) {
    const ssize_t got = pread(fd.get(), config.bytes.data() + config.size,
                              config.bytes.size() - config.size, static_cast<off_t>(config.size));
    if (got <= 0) break;
    config.size += static_cast<std::size_t>(got);
  }
  if (config.size < kHeaderEnd) return std::nullopt;
  return config;
}

// The number of MSI-X vectors; 0 if the device has no such capability, nothing if it cannot be
// seen.
std::optional<std::uint32_t> MsixVectors(const Config& config) {
  if ((config.Word(kStatus) & kStatusCapabilities) == 0) return 0;
  if (config.size < config.bytes.size()) return std::nullopt;
  std::size_t at = config.bytes[kCapabilities] & ~std::size_t{3};
  // A list may not be longer than what fits, so that a damaged one ends.
  for (int left = 48; left > 0 && at >= kHeaderEnd; --left) {
    if (config.bytes[at] == kCapabilityMsix) return (config.Word(at + 2) & 0x7ffU) + 1U;
    at = config.bytes[at + 1] & ~std::size_t{3};
  }
  return 0;
}

struct Bar {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

// The first three lines of `resource`: start, end and flags of each BAR, 0 for one that is not
// there.
std::optional<std::array<Bar, 3>> ReadBars(const std::string& folder) {
  UniqueFd fd(open((folder + "/resource").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  std::array<char, 1024> text{};
  if (read(fd.get(), text.data(), text.size() - 1) <= 0) return std::nullopt;
  std::array<Bar, 3> bars;
  const char* line = text.data();
  for (Bar& bar : bars) {
    unsigned long long start = 0;
    unsigned long long end = 0;
    if (std::sscanf(line, "%llx %llx", &start, &end) != 2) return std::nullopt;
    bar = {start, end};
    line = std::strchr(line, '\n');
    if (line == nullptr) return std::nullopt;
    ++line;
  }
  return bars;
}

// "0000:00:04.0" of that or of "00:04.0". Nothing else passes, so that no path can be made of it.
std::optional<std::string> FullBdf(std::string_view text) {
  std::string bdf(text);
  if (bdf.size() == 7) bdf = "0000:" + bdf;
  constexpr std::string_view kForm = "xxxx:xx:xx.x";
  if (bdf.size() != kForm.size()) return std::nullopt;
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    char& c = bdf[i];
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    const bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (kForm[i] == 'x' ? !digit : c != kForm[i]) return std::nullopt;
  }
  return bdf;
}

// Opens resource2 and maps all of it.
struct Bar2 {
  UniqueFd fd;
  Mapping mapping;
};

Result<Bar2> OpenBar2(const PciDevice& device, Access access) {
  Bar2 bar;
  const int mode = access == Access::kReadOnly ? O_RDONLY : O_RDWR;
  bar.fd.reset(open((device.folder + "/resource2").c_str(), mode | O_CLOEXEC));
  if (!bar.fd.valid()) return PciResourceError(device, "resource2", errno);
  const auto size = CheckRegionSize(bar.fd.get(), "");
  if (!size.ok()) return At(Describe(device) + ": resource2", size.status());
  int error = 0;
  if (!bar.mapping.Map(bar.fd.get(), *size, access, &error)) {
    return PciResourceError(device, "resource2", error);
  }
  return bar;
}

// The registers of a doorbell device.
class Registers {
 public:
  Registers() = default;
  Status Open(const PciDevice& device) {
    UniqueFd fd(open((device.folder + "/resource0").c_str(), O_RDWR | O_CLOEXEC));
    if (!fd.valid()) return PciResourceError(device, "resource0", errno);
    // Only whole pages can be mapped, and the BAR may lie anywhere inside one.
    int error = 0;
    if (!page_.Map(fd.get(), layout::kPage, Access::kReadWrite, &error)) {
      return PciResourceError(device, "resource0", error);
    }
    base_ = page_.bytes().data() + device.bar0_offset;
    return {};
  }
  [[nodiscard]] bool mapped() const noexcept { return base_ != nullptr; }
  [[nodiscard]] std::uint32_t Read(std::uint64_t at) const noexcept {
    return *reinterpret_cast<const volatile std::uint32_t*>(base_ + at);
  }
  void Write(std::uint64_t at, std::uint32_t value) const noexcept {
    *reinterpret_cast<volatile std::uint32_t*>(base_ + at) = value;
  }

 private:
  Mapping page_;
  std::byte* base_ = nullptr;
};

class PciTransport : public FileTransport {
 public:
  PciTransport(Bar2 bar2, Registers registers, TransportInfo info)
      : FileTransport(std::move(bar2.fd), std::move(bar2.mapping), std::move(info)),
        registers_(std::move(registers)) {}

  void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept override {
    if (registers_.mapped() && vector <= 0xffff) {
      registers_.Write(kDoorbell, std::uint32_t{ivposition} << 16 | vector);
    }
  }
  [[nodiscard]] Status CheckPlace() const override {
    if (!registers_.mapped()) return {};
    return CheckIvposition(info().ivposition, registers_.Read(kIvposition));
  }

 private:
  Registers registers_;
};

}  // namespace

std::vector<std::string> ListIvshmemDevices(const std::string& devices) {
  std::vector<std::string> found;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(devices, error), end; !error && entry != end;
       entry.increment(error)) {
    const auto config = ReadConfig(entry->path().string());
    if (config && config->Word(kVendor) == kIvshmemVendor &&
        config->Word(kDevice) == kIvshmemDevice) {
      found.push_back(entry->path().filename().string());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

Result<PciDevice> InspectPciDevice(const std::string& devices, std::string_view bdf) {
  const auto full = FullBdf(bdf);
  if (!full) {
    return Status(StatusCode::kInvalidArgument,
                  "not a PCI address; use pci:DDDD:BB:DD.F as lspci -D prints it, or pci:auto");
  }
  PciDevice device;
  device.bdf = *full;
  device.folder = devices + "/" + *full;
  auto config = ReadConfig(device.folder);
  if (!config) {
    std::string others;
    for (const std::string& other : ListIvshmemDevices(devices)) others += " " + other;
    return Status(StatusCode::kNotFound, "no PCI device has this address; ivshmem devices here:" +
                                             (others.empty() ? " none" : others));
  }
  const std::uint16_t vendor = config->Word(kVendor);
  const std::uint16_t id = config->Word(kDevice);
  if (vendor != kIvshmemVendor || id != kIvshmemDevice) {
    std::array<char, 16> ids{};
    std::snprintf(ids.data(), ids.size(), "%04x:%04x", vendor, id);
    return Status(StatusCode::kInvalidArgument,
                  "is device " + std::string(ids.data()) + ", not ivshmem (1af4:1110)" +
                      (vendor == 0x110a ? "; Jailhouse's ivshmem is another device" : ""));
  }
  device.revision = config->bytes[kRevision];
  if (device.revision == 0) {
    return Status(
        StatusCode::kFailedPrecondition,
        "is an ivshmem device of revision 0, from before QEMU 2.6, whose registers differ; use "
        "-device ivshmem-plain or ivshmem-doorbell of a newer QEMU");
  }
  const auto bars = ReadBars(device.folder);
  if (!bars) {
    return Status(StatusCode::kInternal, "its list of resources cannot be read or understood");
  }
  // The capability decides; a process that may not see it goes by BAR1, which holds its table.
  const auto vectors = MsixVectors(*config);
  device.doorbell = vectors ? *vectors != 0 : (*bars)[1].end != 0;
  device.vectors = vectors.value_or(0);
  device.bus_master = (config->Word(kPciCommand) & kCommandBusMaster) != 0;
  device.bar0_offset = (*bars)[0].start % layout::kPage;
  const Bar& bar2 = (*bars)[2];
  device.bar2_size = bar2.end > bar2.start ? bar2.end - bar2.start + 1 : 0;
  if (device.bar0_offset > layout::kPage - kRegistersEnd) {
    return Status(StatusCode::kInternal, "its BAR0 crosses a page");
  }
  if ((config->Word(kPciCommand) & kCommandMemory) == 0) {
    const std::string enable = device.folder + "/enable";
    UniqueFd fd(open(enable.c_str(), O_WRONLY | O_CLOEXEC));
    const bool written = fd.valid() && write(fd.get(), "1", 1) == 1;
    const int error = errno;
    config = ReadConfig(device.folder);
    if (!config || (config->Word(kPciCommand) & kCommandMemory) == 0) {
      return Status(
          written ? StatusCode::kFailedPrecondition : StatusCode::kPermissionDenied,
          Describe(device) + " is disabled (its memory is not decoded)" +
              (written ? " and stays so after a 1 was written to " + enable +
                             "; write 0 there as often as it takes to reach 0, then 1"
                       : "; as root: echo 1 > " + enable + " (" + ErrnoText(error) + ")"));
    }
  }
  return device;
}

Status CheckIvposition(std::uint16_t opened, std::uint32_t now) {
  if (now == opened || now >= layout::kNoIvposition) return {};
  return {StatusCode::kFailedPrecondition,
          "the device's ivposition changed from " + std::to_string(opened) + " to " +
              std::to_string(now) + ": this guest was restored or cloned"};
}

std::string DriverOf(const PciDevice& device) {
  std::error_code error;
  return std::filesystem::read_symlink(device.folder + "/driver", error).filename().string();
}

std::string IommuGroupOf(const PciDevice& device) {
  std::error_code error;
  return std::filesystem::read_symlink(device.folder + "/iommu_group", error).filename().string();
}

std::string Describe(const PciDevice& device) {
  std::string text = device.doorbell ? "ivshmem-doorbell " : "ivshmem-plain ";
  text += device.bdf;
  if (device.vectors != 0) {
    text += ", " + std::to_string(device.vectors) + (device.vectors == 1 ? " vector" : " vectors");
  }
  return text;
}

Status PciResourceError(const PciDevice& device, const std::string& resource, int error) {
  const std::string path = device.folder + "/" + resource;
  const std::string what = Describe(device) + ": " + resource;
  const std::string driver = DriverOf(device);
  if (error == ENOENT) {
    return {
        StatusCode::kFailedPrecondition,
        what +
            " is missing: the kernel gave this BAR no addresses (no space in the bridge's window; "
            "give its port more with pref64-reserve)"};
  }
  if (error == EINVAL && !driver.empty()) {
    return {StatusCode::kFailedPrecondition,
            what + " cannot be mapped while the driver '" + driver +
                "' owns the device (IO_STRICT_DEVMEM); use the driver, or release it: echo " +
                device.bdf + " > " + device.folder + "/driver/unbind"};
  }
  if (error == EACCES || error == EPERM) {
    return {
        StatusCode::kPermissionDenied,
        what + " may not be used: " + ErrnoText(error) + ": " + AccessText(path) +
            "; run as root, or let a udev rule give it to your group (a locked-down kernel allows "
            "nobody)"};
  }
  return {StatusCode::kInternal, what + " cannot be used: " + ErrnoText(error)};
}

Result<std::unique_ptr<Transport>> OpenPciTransport(const PciDevice& device,
                                                    std::string_view address,
                                                    std::string_view reason) {
  auto bar2 = OpenBar2(device, Access::kReadWrite);
  if (!bar2.ok()) return bar2.status();
  TransportInfo info;
  info.address = address;
  info.description = Describe(device) + ", polling" + BecauseText(reason);
  Registers registers;
  if (device.doorbell) {
    if (const Status status = registers.Open(device); !status.ok()) return status;
    const std::uint32_t ivposition = registers.Read(kIvposition);
    if (ivposition > 0xffff) {
      return Status(StatusCode::kUnavailable,
                    Describe(device) + " has no id yet: its server has not finished greeting QEMU");
    }
    info.ivposition = static_cast<std::uint16_t>(ivposition);
    info.can_ring = ReachesAllVectors(device.vectors, bar2->mapping.bytes());
    info.complaint = CheckVectors(device.vectors, bar2->mapping.bytes());
  }
  return std::unique_ptr<Transport>(
      std::make_unique<PciTransport>(*std::move(bar2), std::move(registers), std::move(info)));
}

Result<RegionMemory> OpenPciRegion(const PciDevice& device, std::string_view address,
                                   Access access) {
  auto bar2 = OpenBar2(device, access);
  if (!bar2.ok()) return bar2.status();
  auto mapping = std::make_shared<Mapping>(std::move(bar2->mapping));
  return RegionMemory{std::string(address), Describe(device), mapping->bytes(), mapping};
}

Result<PciDevice> FindPciDevice(const std::string& devices,
                                const std::function<Result<RegionMemory>(const PciDevice&)>& open) {
  const std::vector<std::string> found = ListIvshmemDevices(devices);
  if (found.empty()) {
    return Status(
        StatusCode::kNotFound,
        "this machine has no ivshmem device (PCI 1af4:1110); give the guest -device "
        "ivshmem-doorbell or ivshmem-plain, or name the region: unix:, shm: or file: on a host");
  }
  std::optional<PciDevice> chosen;
  int formatted = 0;
  std::string list;
  for (const std::string& bdf : found) {
    auto device = InspectPciDevice(devices, bdf);
    Status status = device.status();
    if (device.ok()) {
      const auto region = open(*device);
      status = region.ok() ? Region::Attach(region->memory).status() : region.status();
    }
    if (status.ok()) {
      chosen = *std::move(device);
      ++formatted;
    }
    list += (list.empty() ? " " : "; ") + bdf + ": " +
            (status.ok() ? "an ivmq region" : status.message());
  }
  if (formatted == 1) return *std::move(chosen);
  return Status(StatusCode::kFailedPrecondition,
                (formatted == 0 ? "no ivshmem device of this machine has an ivmq region:"
                                : "several ivshmem devices have an ivmq region; choose one with "
                                  "pci:ADDRESS:") +
                    list);
}

}  // namespace ivmq
