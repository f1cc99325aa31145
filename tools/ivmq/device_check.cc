#include "device_check.h"

#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "ivmq/guest_device.h"
#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"

#include "access_check.h"
#include "load_timing.h"
#include "region_check.h"
#include "text.h"
#include "user_names.h"

namespace ivmq::tool {
namespace {

constexpr std::string_view kPciScheme = "pci:";
constexpr std::string_view kPciAuto = "pci:auto";
constexpr std::string_view kVfioScheme = "vfio:";
constexpr std::string_view kDriverScheme = "ivmq:";

// Whether modprobe would find the driver.
bool DriverIsInstalled() {
  utsname kernel{};
  if (uname(&kernel) != 0) return false;
  std::ifstream modules(fmt::format("/lib/modules/{}/modules.dep", kernel.release));
  for (std::string line; std::getline(modules, line);) {
    const std::string file = line.substr(0, line.find(':'));
    if (file.substr(file.rfind('/') + 1).starts_with("ivmq.ko")) return true;
  }
  return false;
}

// How the driver gets hold of a device that it does not have.
Findings::Remedies DriverRemedies(const PciDevice& device, const std::string& owner) {
  Findings::Remedies remedies;
  if (!owner.empty()) {
    remedies.push_back(fmt::format("echo {} > {}/driver/unbind", device.bdf, device.folder));
  }
  std::string override;
  std::ifstream(device.folder + "/driver_override") >> override;
  if (!override.empty() && override != "(null)" && override != "ivmq") {
    remedies.push_back(fmt::format("echo > {}/driver_override", device.folder));
  }
  if (Exists("/sys/module/ivmq")) {
    remedies.push_back(fmt::format(
        "echo {} > /sys/bus/pci/drivers/ivmq/bind   # once its memory holds a region", device.bdf));
  } else if (DriverIsInstalled()) {
    remedies.emplace_back("modprobe ivmq");
  } else {
    remedies.emplace_back(
        "sh ivmq-guest-" IVMQ_VERSION
        ".sh   # not installed: the installer for guests; or apt-get install ivmq-dkms");
  }
  return remedies;
}

bool OnlyRootMay(const std::string& path) {
  struct stat file {};
  return stat(path.c_str(), &file) == 0 && file.st_uid == 0 &&
         ((file.st_mode & S_IRWXG) == 0 || file.st_gid == 0) && (file.st_mode & S_IRWXO) == 0;
}

// "the driver kvmfr, of Looking Glass".
std::string DriverText(const std::string& driver) {
  const char* of = "";
  if (driver == "kvmfr") {
    of = ", of Looking Glass";
  } else if (driver.starts_with("uio")) {
    of = ", for a program that has the device to itself";
  }
  return fmt::format("the driver {}{}", driver, of);
}

std::string FormatCommand(const PciDevice& device) {
  return device.doorbell
             ? fmt::format(
                   "ivmqd --socket PATH --size {}M   # on the host, instead of the server behind "
                   "QEMU's chardev",
                   device.bar2_size >> 20)
             : "ivmq format FILE   # on the host; FILE is mem-path= of QEMU's memory-backend-file";
}

// Whether what is written to the memory stays there. The word only says that the peer table may
// have changed: who watches it looks once more.
void CheckWrites(const PciDevice& device, const std::string& address, const RegionHome& home,
                 Findings* findings) {
  // Over vfio it would take the device twice.
  if (address.starts_with(kVfioScheme)) return;
  const auto memory = OpenGuestRegion(device, address, Access::kReadWrite);
  if (!memory.ok()) return;
  const auto region = Region::Attach(memory->memory);
  if (!region.ok()) return;
  layout::Word& changes = region->header().peers_generation;
  const std::uint64_t before = changes.fetch_add(1, std::memory_order_acq_rel);
  if (changes.load(std::memory_order_acquire) != before) return;
  findings->Problem("memory-read-only", home.subject,
                    "the memory does not keep what is written to it, so no peer can join from here",
                    {"-object memory-backend-file,...,share=on   # of QEMU, without readonly=on"});
}

void LookInside(const PciDevice& device, const std::string& address, const RegionHome& home,
                Findings* findings) {
  const auto memory = OpenGuestRegion(device, address, Access::kReadOnly);
  if (memory.ok()) {
    if (const Status status = CheckVectors(device.vectors, memory->memory); !status.ok()) {
      findings->Note("vectors-differ", home.subject, status.message(),
                     {fmt::format("-device ivshmem-doorbell,...,vectors=N   # of QEMU, or ivmqd "
                                  "--vectors {}, on the host",
                                  device.vectors)});
    }
    CheckRegion(*memory, home, findings);
    CheckWrites(device, address, home, findings);
  } else {
    findings->Problem(home.subject, memory.status());
  }
}

Findings::Remedies Above4GRemedies() {
  return {
      "-machine q35 -device pcie-root-port,id=rp0,chassis=1,slot=1,pref64-reserve=4G   # of QEMU",
      "-device ivshmem-...,bus=rp0   # likewise: BAR2 is then above 4 GiB, and cached"};
}

void NoteUncached(const std::string& subject, Findings* findings) {
  findings->Note("uncached", subject,
                 "the firmware marks BAR2 uncached (MTRR); on hosts that honour this it is slow",
                 Above4GRemedies());
}

// Whether /proc/mtrr, which root may read, says so of the addresses of BAR2.
bool FirmwareMarksUncached(const PciDevice& device) {
  std::ifstream resources(device.folder + "/resource");
  std::string line;
  for (int bar = 0; bar <= 2; ++bar) std::getline(resources, line);
  unsigned long long start = 0;
  if (std::sscanf(line.c_str(), "%llx", &start) != 1 || start == 0) return false;
  std::ifstream ranges("/proc/mtrr");
  while (std::getline(ranges, line)) {
    // reg00: base=0x080000000 ( 2048MB), size= 2048MB, count=1: uncachable
    unsigned long long base = 0;
    unsigned long long mebibytes = 0;
    if (std::sscanf(line.c_str(), "reg%*d: base=%llx (%*[^)]), size=%lluMB", &base, &mebibytes) ==
            2 &&
        line.ends_with("uncachable") && start >= base && start - base < mebibytes << 20) {
      return true;
    }
  }
  return false;
}

// Where the firmware has put BAR2; 0: it does not say.
std::uint64_t FirmwareAddress(const PciDevice& device) {
  constexpr std::size_t kBar2 = 0x18;
  std::array<char, kBar2 + sizeof(std::uint64_t)> config{};
  std::ifstream file(device.folder + "/config", std::ios::binary);
  if (!file.read(config.data(), config.size())) return 0;
  std::uint64_t address = 0;
  std::memcpy(&address, config.data() + kBar2, sizeof(address));
  constexpr std::uint64_t kFlags = 0xf;
  constexpr std::uint64_t kIs64Bit = 4;
  return (address & kIs64Bit) == 0 ? 0 : address & ~kFlags;
}

void NoteUnassigned(const PciDevice& device, Findings* findings) {
  const unsigned bits = PhysicalAddressBits();
  if (const std::uint64_t address = FirmwareAddress(device); address >> bits != 0) {
    findings->Problem(
        "address-width", device.bdf,
        fmt::format("the kernel gave its memory, BAR2, no addresses: the firmware put it at {:#x}, "
                    "beyond the {} bits that this machine can address",
                    address, bits),
        {"-cpu host,host-phys-bits=on   # of QEMU with KVM; or a smaller region"});
    return;
  }
  findings->Problem(
      "no-bar2-addresses", device.bdf,
      "the kernel gave its memory, BAR2, no addresses: no space in the bridge's window",
      {"-device pcie-root-port,...,pref64-reserve=SIZE   # of QEMU"});
}

void NotePlain(const std::string& subject, Findings* findings) {
  findings->Note(
      "polling-only", subject, "polling only: a plain device has no interrupts; receivers poll",
      {"-device ivshmem-doorbell,chardev=...   # of QEMU, with ivmqd behind the chardev"});
}

void CheckUnowned(const PciDevice& device, Findings* findings) {
  const Findings::Remedies driver = DriverRemedies(device, "");
  if (device.doorbell) {
    findings->Note("no-driver", device.bdf,
                   "no driver: polling only; processes here can ring others, but cannot be woken",
                   driver);
  } else {
    NotePlain(device.bdf, findings);
  }
  const std::string memory = device.folder + "/resource2";
  if (!Exists(memory)) {
    NoteUnassigned(device, findings);
    return;
  }
  Findings::Remedies rights = driver;
  rights.emplace_back(
      "sudo ivmq doctor   # only root may use sysfs; a group may use the driver's node");
  if (!CheckAccess(device.bdf, memory, findings, rights)) return;
  if (FirmwareMarksUncached(device)) NoteUncached(device.bdf, findings);
  LookInside(device, "pci:" + device.bdf,
             {.subject = device.bdf,
              .format = FormatCommand(device),
              .uncached = driver,
              .on_host = false,
              .served = device.doorbell},
             findings);
}

void CheckDriver(const PciDevice& device, Findings* findings) {
  const GuestWay way = WayTo(device);
  if (!Exists(way.file)) {
    findings->Problem("no-node", device.bdf,
                      fmt::format("the driver ivmq is bound to it, but there is no {}", way.file),
                      {"udevadm trigger -s ivmq   # or mount devtmpfs on /dev"});
    return;
  }
  const Findings::Remedies rule = {"groupadd --system ivmq",
                                   "cp /usr/src/ivmq-" IVMQ_VERSION
                                   "/99-ivmq.rules /etc/udev/rules.d/ && udevadm control --reload",
                                   "udevadm trigger -s ivmq",
                                   "usermod -aG ivmq USER   # then log in again"};
  if (!CheckAccess(way.address, way.file, findings, rule)) return;
  CheckPublic(way.address, way.file, findings);
  if (OnlyRootMay(way.file)) {
    if (FindGroup("ivmq")) {
      findings->Note("not-permitted", way.address, "only root may use it", rule);
    } else {
      findings->Note("missing-group", way.address,
                     "only root may use it: the group ivmq does not exist", rule);
    }
  }
  const auto node = AskDriver(way.file);
  if (!node.ok()) {
    findings->Problem(way.address, node.status());
    return;
  }
  if (!device.doorbell) {
    NotePlain(way.address, findings);
  } else if (node->vectors == 0) {
    findings->Problem("no-vector", way.address, "none of its vectors works; see the kernel log",
                      {"dmesg | grep ivmq"});
  } else {
    findings->Ok(
        way.address,
        fmt::format("woken by interrupts: ivposition {}, {} vectors, {} of them unused, "
                    "{} interrupts so far",
                    node->ivposition,
                    node->server_vectors == 0 ? node->vectors
                                              : std::min(node->vectors, node->server_vectors),
                    node->vectors_unused, node->interrupts));
    if (node->vectors_unused == 0) {
      findings->Note(
          "vectors-shared", way.address,
          "all vectors are taken: further processes share vectors and wake together",
          {"-device ivshmem-doorbell,...,vectors=64   # of QEMU, and ivmqd --vectors 64"});
    }
    if (!device.bus_master) {
      findings->Problem("bus-master-off", way.address,
                        "bus mastering is off, so the device cannot send interrupts",
                        {fmt::format("setpci -s {} COMMAND=4:4", device.bdf)});
    }
  }
  if (node->firmware_uncached) {
    NoteUncached(way.address, findings);
  }
  LookInside(device, way.address,
             {.subject = way.address,
              .format = FormatCommand(device),
              .uncached = Above4GRemedies(),
              .on_host = false,
              .served = device.doorbell},
             findings);
}

void CheckVfioScheme(const PciDevice& device, bool asked, Findings* findings) {
  const GuestWay way = WayTo(device);
  if (IommuGroupOf(device).empty()) {
    findings->Problem("no-iommu", way.address,
                      "bound to vfio-pci, but in no IOMMU group, so no process can open it",
                      {"-machine q35,kernel-irqchip=split -device intel-iommu,intremap=on   # of "
                       "QEMU, and intel_iommu=on for the guest's kernel"});
    return;
  }
  for (const std::string& file : {std::string("/dev/vfio/vfio"), way.file}) {
    if (!Exists(file)) {
      findings->Problem("no-node", way.address, fmt::format("there is no {}", file),
                        {"modprobe vfio-pci vfio_iommu_type1"});
      return;
    }
    if (!CheckAccess(way.address, file, findings)) return;
  }
  findings->Ok(way.address,
               fmt::format("bound to vfio-pci, in IOMMU group {}: {}, for one process",
                           IommuGroupOf(device), device.doorbell ? "interrupts" : "polling only"));
  if (!asked) {
    findings->Note("one-process", way.address,
                   "not inspected, since no other process could open it in the meantime",
                   {fmt::format("ivmq doctor {}", way.address)});
    return;
  }
  LookInside(device, way.address,
             {.subject = way.address,
              .format = FormatCommand(device),
              .uncached = DriverRemedies(device, "vfio-pci"),
              .on_host = false,
              .served = device.doorbell},
             findings);
}

// `asked`: the address by which it was asked for, or "" for whatever its owner offers.
void CheckDevice(const PciDevice& device, const std::string& asked, Findings* findings) {
  findings->Ok(device.bdf,
               fmt::format("{}, revision {}, BAR2 of {}{}, bus master {}",
                           device.doorbell ? "ivshmem-doorbell" : "ivshmem-plain", device.revision,
                           SizeText(device.bar2_size),
                           device.vectors == 0 ? "" : fmt::format(", {} vectors", device.vectors),
                           device.bus_master ? "on" : "off"));
  const std::string owner = DriverOf(device);
  const std::string offered = WayTo(device).address;
  const bool other_way =
      !asked.empty() && asked.substr(0, asked.find(':')) != offered.substr(0, offered.find(':'));
  if (owner == "ivmq" || owner == "vfio-pci" || owner.empty()) {
    if (other_way) {
      Findings::Remedies remedies = {fmt::format("ivmq doctor {}", offered)};
      if (asked.starts_with(kVfioScheme)) {
        remedies = {
            fmt::format("echo vfio-pci > {}/driver_override", device.folder), "modprobe vfio-pci",
            fmt::format("echo {} > /sys/bus/pci/drivers_probe   # or use {}", device.bdf, offered)};
        if (!owner.empty()) {
          remedies.insert(remedies.begin() + 1,
                          fmt::format("echo {} > {}/driver/unbind", device.bdf, device.folder));
        }
      }
      findings->Problem(
          owner.empty() ? Cause("no-driver") : Cause("other-driver"), asked,
          owner.empty() ? "no driver has the device; so it is " + offered
                        : fmt::format("the driver {} has the device; so it is {}", owner, offered),
          remedies);
      return;
    }
    if (owner.empty()) return CheckUnowned(device, findings);
    if (owner == "ivmq") return CheckDriver(device, findings);
    return CheckVfioScheme(device, !asked.empty(), findings);
  }
  findings->Problem("other-driver", device.bdf, "belongs to " + DriverText(owner),
                    DriverRemedies(device, owner));
}

void Inspect(const std::string& devices, const std::string& bdf, const std::string& asked,
             Findings* findings) {
  const auto device = InspectPciDevice(devices, bdf);
  if (device.ok()) {
    CheckDevice(*device, asked, findings);
  } else {
    findings->Problem(bdf, device.status());
  }
}

// Whether the device is clearly not for ivmq.
bool IsOthers(const PciDevice& device) {
  const std::string driver = DriverOf(device);
  if (!driver.empty()) return driver != "ivmq" && driver != "vfio-pci";
  const auto region = OpenGuestRegion(device, "pci:" + device.bdf, Access::kReadOnly);
  if (!region.ok() || region->memory.size() < sizeof(layout::Header)) return false;
  const auto* const header = reinterpret_cast<const layout::Header*>(region->memory.data());
  return header->magic.load(std::memory_order_relaxed) != layout::kMagic;
}

void NoteOther(const PciDevice& device, Findings* findings) {
  const std::string driver = DriverOf(device);
  findings->Note("other-device", device.bdf,
                 driver.empty() ? "left alone: its memory holds no region of ivmq"
                                : fmt::format("left alone: belongs to {}", DriverText(driver)));
}

// ivmq:/dev/ivmqN: the device with that node.
void CheckNode(const std::string& devices, const std::string& address, Findings* findings) {
  Findings::Remedies remedies;
  for (const std::string& bdf : ListIvshmemDevices(devices)) {
    const auto device = InspectPciDevice(devices, bdf);
    if (!device.ok()) continue;
    if (WayTo(*device).address == address) return CheckDevice(*device, address, findings);
    if (DriverOf(*device).empty() && remedies.empty()) remedies = DriverRemedies(*device, "");
  }
  findings->Problem("no-driver", address, "no ivshmem device has this node",
                    remedies.empty() ? Findings::Remedies{"ivmq doctor"} : remedies);
}

}  // namespace

bool IsDeviceAddress(const std::string& address) {
  return address.starts_with(kPciScheme) || address.starts_with(kVfioScheme) ||
         address.starts_with(kDriverScheme);
}

std::size_t CheckDevices(const std::string& devices, Findings* findings) {
  const std::vector<std::string> found = ListIvshmemDevices(devices);
  // Beside a device of ivmq's, one of somebody else's is no fault.
  std::vector<PciDevice> others;
  for (const std::string& bdf : found) {
    const auto device = InspectPciDevice(devices, bdf);
    if (device.ok() && IsOthers(*device)) others.push_back(*device);
  }
  for (const std::string& bdf : found) {
    const auto other = std::find_if(others.begin(), others.end(),
                                    [&](const PciDevice& device) { return device.bdf == bdf; });
    if (other == others.end() || others.size() == found.size()) {
      Inspect(devices, bdf, "", findings);
    } else {
      NoteOther(*other, findings);
    }
  }
  return found.size();
}

void CheckDeviceAt(const std::string& devices, const std::string& address, Findings* findings) {
  if (address == kPciAuto) {
    if (CheckDevices(devices, findings) == 0) {
      findings->Problem("no-device", address, "this machine has no ivshmem device (PCI 1af4:1110)",
                        NoDeviceRemedies());
    }
  } else if (address.starts_with(kDriverScheme)) {
    CheckNode(devices, address, findings);
  } else {
    Inspect(devices, address.substr(address.find(':') + 1), address, findings);
  }
}

Findings::Remedies NoDeviceRemedies() {
  return {
      "-chardev socket,path=/run/ivmq/ivmq.sock,id=iv -device ivshmem-doorbell,chardev=iv,vectors=8"
      "   # of QEMU, for a guest"};
}

}  // namespace ivmq::tool
