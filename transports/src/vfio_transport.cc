#include "src/vfio_transport.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"

#include "src/mapping.h"
#include "src/text.h"
#include "src/unique_fd.h"

namespace ivmq {
namespace {

constexpr const char* kContainer = "/dev/vfio/vfio";

// Of QEMU. With the interrupt controller of KVM alone its IOMMU remaps no interrupts.
constexpr const char* kIommu = "-machine q35,kernel-irqchip=split -device intel-iommu,intremap=on";

constexpr std::uint16_t kMemoryAndBusMaster = 0x2 | 0x4;

// What a node of vfio's that does not open says, with `remedy` where rights are not the reason.
Status OpenError(const std::string& path, int error, const std::string& remedy = "") {
  const bool refused = error == EACCES || error == EPERM;
  return {refused ? StatusCode::kPermissionDenied : StatusCode::kFailedPrecondition,
          path + ": " + ErrnoText(error) + (refused ? ": " + AccessText(path) : remedy)};
}

// The device as vfio gives it: its regions are ranges of one descriptor.
class VfioDevice {
 public:
  Status Open(const PciDevice& device);
  // Where a region (VFIO_PCI_BAR0_REGION_INDEX and so on) lies in fd().
  Result<vfio_region_info> Region(std::uint32_t index) const;
  // Has an interrupt of vector 0 written to `event`, and lets the device send it.
  Status EnableInterrupt(int event) const;
  // Has `event` written to when somebody wants the device back: to unplug it, or for another
  // driver.
  Status AnnounceRequests(int event) const;
  [[nodiscard]] int fd() const noexcept { return device_.get(); }
  void Close() noexcept {
    device_.reset();
    group_.reset();
    container_.reset();
  }
  // Gives the device back while other threads may be using fd(), which becomes a copy of `other`.
  void GiveBack(int other) noexcept {
    (void)dup3(other, device_.get(), O_CLOEXEC);
    group_.reset();
    container_.reset();
  }

 private:
  Status OpenGroup(const std::string& path);
  Status SetEvent(std::uint32_t interrupt, int event) const;

  std::string what_;
  UniqueFd container_;  // closed after what hangs on it
  UniqueFd group_;
  UniqueFd device_;
};

Status VfioDevice::OpenGroup(const std::string& path) {
  container_.reset(open(kContainer, O_RDWR | O_CLOEXEC));
  if (!container_.valid()) return OpenError(kContainer, errno, "; load vfio-pci");
  if (ioctl(container_.get(), VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
      ioctl(container_.get(), VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1) {
    return {StatusCode::kFailedPrecondition,
            "this kernel's vfio offers no type 1 IOMMU; load vfio_iommu_type1"};
  }
  group_.reset(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!group_.valid()) {
    const int error = errno;
    if (error == EBUSY) {
      return {StatusCode::kFailedPrecondition,
              "another process has it: over vfio a device belongs to one process; end that, or use "
              "the driver ivmq"};
    }
    return OpenError(path, error);
  }
  vfio_group_status status{};
  status.argsz = sizeof(status);
  if (ioctl(group_.get(), VFIO_GROUP_GET_STATUS, &status) != 0 ||
      (status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0) {
    return {StatusCode::kFailedPrecondition,
            path +
                ": other devices of this IOMMU group belong to other drivers; bind them to "
                "vfio-pci as well, or give the device a port of its own"};
  }
  int container = container_.get();
  const bool joined = ioctl(group_.get(), VFIO_GROUP_SET_CONTAINER, &container) == 0;
  if (!joined || ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0) {
    const int error = errno;
    if (joined && error == EPERM) {
      return {StatusCode::kFailedPrecondition,
              path + ": the IOMMU does not remap interrupts; give QEMU " + kIommu +
                  ", or let the device raise any interrupt: echo 1 > "
                  "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"};
    }
    return {StatusCode::kInternal, path + ": cannot be used: " + ErrnoText(error)};
  }
  return {};
}

Status VfioDevice::Open(const PciDevice& device) {
  what_ = Describe(device);
  if (const std::string driver = DriverOf(device); driver != "vfio-pci") {
    return {
        StatusCode::kFailedPrecondition,
        what_ + (driver.empty() ? " has no driver" : " belongs to the driver '" + driver + "'") +
            "; give it to vfio-pci: modprobe vfio-pci; echo vfio-pci > " + device.folder +
            "/driver_override; " +
            (driver.empty() ? ""
                            : "echo " + device.bdf + " > " + device.folder + "/driver/unbind; ") +
            "echo " + device.bdf + " > /sys/bus/pci/drivers_probe"};
  }
  const std::string group = IommuGroupOf(device);
  if (group.empty()) {
    return {StatusCode::kFailedPrecondition,
            what_ + " is in no IOMMU group; vfio needs an IOMMU: " + kIommu +
                ", and intel_iommu=on on the guest's command line"};
  }
  if (Status status = OpenGroup("/dev/vfio/" + group); !status.ok()) return At(what_, status);
  device_.reset(ioctl(group_.get(), VFIO_GROUP_GET_DEVICE_FD, device.bdf.c_str()));
  if (!device_.valid()) {
    return {StatusCode::kInternal, what_ + ": vfio does not give the device: " + ErrnoText(errno)};
  }
  return {};
}

Result<vfio_region_info> VfioDevice::Region(std::uint32_t index) const {
  vfio_region_info info{};
  info.argsz = sizeof(info);
  info.index = index;
  if (ioctl(device_.get(), VFIO_DEVICE_GET_REGION_INFO, &info) != 0) {
    return Status(StatusCode::kInternal,
                  what_ + ": vfio region " + std::to_string(index) + ": " + ErrnoText(errno));
  }
  return info;
}

Status VfioDevice::EnableInterrupt(int event) const {
  const auto config = Region(VFIO_PCI_CONFIG_REGION_INDEX);
  if (!config.ok()) return config.status();
  const auto at = static_cast<off_t>(config->offset + kPciCommand);
  std::uint16_t command = 0;
  if (pread(device_.get(), &command, sizeof(command), at) != sizeof(command)) {
    return {StatusCode::kInternal, what_ + ": its configuration cannot be read"};
  }
  // Without bus mastering no MSI leaves the device.
  command |= kMemoryAndBusMaster;
  if (pwrite(device_.get(), &command, sizeof(command), at) != sizeof(command)) {
    return {StatusCode::kInternal, what_ + ": its configuration cannot be written"};
  }
  return SetEvent(VFIO_PCI_MSIX_IRQ_INDEX, event);
}

Status VfioDevice::AnnounceRequests(int event) const {
  return SetEvent(VFIO_PCI_REQ_IRQ_INDEX, event);
}

Status VfioDevice::SetEvent(std::uint32_t interrupt, int event) const {
  alignas(vfio_irq_set) std::array<std::byte, sizeof(vfio_irq_set) + sizeof(int)> bytes{};
  vfio_irq_set set{};
  set.argsz = bytes.size();
  set.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
  set.index = interrupt;
  set.count = 1;
  std::memcpy(bytes.data(), &set, sizeof(set));
  std::memcpy(bytes.data() + sizeof(set), &event, sizeof(event));
  if (ioctl(device_.get(), VFIO_DEVICE_SET_IRQS, bytes.data()) != 0) {
    return {StatusCode::kInternal, what_ + ": vfio sets no interrupt up: " + ErrnoText(errno)};
  }
  return {};
}

Result<Mapping> MapBar2(const PciDevice& device, const VfioDevice& vfio, Access access) {
  const auto bar = vfio.Region(VFIO_PCI_BAR2_REGION_INDEX);
  if (!bar.ok()) return bar.status();
  if (!std::has_single_bit(bar->size) || bar->size < layout::kPage ||
      (bar->flags & VFIO_REGION_INFO_FLAG_MMAP) == 0) {
    return Status(
        StatusCode::kFailedPrecondition,
        Describe(device) + ": vfio does not let its BAR2 of " + SizeText(bar->size) + " be mapped");
  }
  Mapping mapping;
  int error = 0;
  if (!mapping.Map(vfio.fd(), bar->size, access, &error, bar->offset)) {
    return Status(StatusCode::kInternal,
                  Describe(device) + ": BAR2 cannot be mapped through vfio: " + ErrnoText(error));
  }
  return mapping;
}

// Nothing, if the device cannot be asked. `bar0`: its offset in the device's descriptor.
std::optional<std::uint32_t> ReadIvposition(const VfioDevice& vfio, std::uint64_t bar0) {
  std::uint32_t ivposition = 0;
  if (pread(vfio.fd(), &ivposition, sizeof(ivposition), static_cast<off_t>(bar0 + kIvposition)) !=
      sizeof(ivposition)) {
    return std::nullopt;
  }
  return ivposition;
}

// The device of one process. When it is wanted back, the process loses it as one loses a device of
// the driver: its memory becomes its own and reads as zeroes, so that its node finds its life over.
class VfioTransport : public Transport {
 public:
  VfioTransport(VfioDevice device, Mapping memory, UniqueFd event, UniqueFd request,
                std::uint64_t bar0, TransportInfo info)
      : device_(std::move(device)),
        memory_(std::move(memory)),
        event_(std::move(event)),
        request_(std::move(request)),
        bar0_(bar0),
        info_(std::move(info)) {}

  [[nodiscard]] std::span<std::byte> memory() const noexcept override { return memory_.bytes(); }
  [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
  void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept override {
    if (!info_.wakeable || vector > 0xffff) return;
    const std::uint32_t value = std::uint32_t{ivposition} << 16 | vector;
    (void)!pwrite(device_.fd(), &value, sizeof(value), static_cast<off_t>(bar0_ + kDoorbell));
  }
  [[nodiscard]] int wake_fd() const noexcept override { return event_.get(); }
  [[nodiscard]] Status CheckPlace() const override {
    if (!info_.wakeable) return {};
    const auto now = ReadIvposition(device_, bar0_);
    return now ? CheckIvposition(info_.ivposition, *now) : Status();
  }
  Status Attend(const Move& move) override;
  void LetGoInChild() noexcept override { device_.Close(); }

 private:
  VfioDevice device_;
  Mapping memory_;
  UniqueFd event_;      // none: a plain device
  UniqueFd request_;    // readable: the device is wanted back
  std::uint64_t bar0_;  // its offset in the device's descriptor
  TransportInfo info_;
};

Status VfioTransport::Attend(const Move& /*move*/) {
  std::uint64_t requests = 0;
  if (read(request_.get(), &requests, sizeof(requests)) != sizeof(requests)) return {};
  // What this process still has to say to the others: that it is no more, once that is so.
  Mapping farewell;
  int error = 0;
  const auto bar = device_.Region(VFIO_PCI_BAR2_REGION_INDEX);
  if (!bar.ok() ||
      !farewell.Map(device_.fd(), bar->size, Access::kReadWrite, &error, bar->offset)) {
    farewell = {};  // the next one that opens the device says it
  }
  if (!memory_.Detach()) {
    return {StatusCode::kInternal,
            info_.address + ": the kernel asks for the device, but it cannot be released: " +
                ErrnoText(errno) + "; end this process"};
  }
  if (info_.ivposition != layout::kNoIvposition && !farewell.bytes().empty()) {
    if (const auto region = Region::Attach(farewell.bytes()); region.ok()) {
      (void)PeerTable(*region).MarkIvpositionDead(info_.ivposition);
    }
  }
  farewell = {};
  device_.GiveBack(request_.get());
  if (event_.valid()) {
    const std::uint64_t one = 1;
    (void)!write(event_.get(), &one, sizeof(one));  // who sleeps looks
  }
  return {StatusCode::kUnavailable,
          info_.address + ": this guest takes the device away, to unplug it or for another driver"};
}

}  // namespace

Result<std::unique_ptr<Transport>> OpenVfioTransport(const PciDevice& device,
                                                     std::string_view address,
                                                     std::string_view reason) {
  VfioDevice vfio;
  if (Status status = vfio.Open(device); !status.ok()) return status;
  auto memory = MapBar2(device, vfio, Access::kReadWrite);
  if (!memory.ok()) return memory.status();
  TransportInfo info;
  info.address = address;
  info.exclusive = true;
  UniqueFd event;
  UniqueFd request(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!request.valid())
    return Status(StatusCode::kResourceExhausted, "eventfd: " + ErrnoText(errno));
  if (Status status = vfio.AnnounceRequests(request.get()); !status.ok()) return status;
  std::uint64_t bar0_offset = 0;
  if (device.doorbell) {
    const auto bar0 = vfio.Region(VFIO_PCI_BAR0_REGION_INDEX);
    if (!bar0.ok()) return bar0.status();
    bar0_offset = bar0->offset;
    event.reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!event.valid())
      return Status(StatusCode::kResourceExhausted, "eventfd: " + ErrnoText(errno));
    if (Status status = vfio.EnableInterrupt(event.get()); !status.ok()) return status;
    const auto ivposition = ReadIvposition(vfio, bar0_offset);
    if (!ivposition || *ivposition > 0xffff) {
      return Status(StatusCode::kUnavailable,
                    Describe(device) + " has no id yet: its server has not finished greeting QEMU");
    }
    info.ivposition = static_cast<std::uint16_t>(*ivposition);
    info.can_ring = ReachesAllVectors(device.vectors, memory->bytes());
    info.complaint = CheckVectors(device.vectors, memory->bytes());
    info.wakeable = true;
  }
  info.description = Describe(device) +
                     (device.doorbell ? ", vfio interrupts" : ", vfio, polling") +
                     BecauseText(reason);
  return std::unique_ptr<Transport>(
      std::make_unique<VfioTransport>(std::move(vfio), *std::move(memory), std::move(event),
                                      std::move(request), bar0_offset, std::move(info)));
}

Result<RegionMemory> OpenVfioRegion(const PciDevice& device, std::string_view address,
                                    Access access) {
  struct Held {
    VfioDevice device;
    Mapping memory;
  };
  auto held = std::make_shared<Held>();
  if (Status status = held->device.Open(device); !status.ok()) return status;
  auto memory = MapBar2(device, held->device, access);
  if (!memory.ok()) return memory.status();
  held->memory = *std::move(memory);
  return RegionMemory{std::string(address), Describe(device), held->memory.bytes(), held};
}

}  // namespace ivmq
