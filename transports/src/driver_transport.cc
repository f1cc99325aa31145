#include "src/driver_transport.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <bit>
#include <cerrno>
#include <utility>

#include "driver/uapi/ivmq.h"
#include "src/mapping.h"
#include "src/text.h"
#include "src/unique_fd.h"

namespace ivmq {
namespace {

struct Opened {
  UniqueFd fd;
  ivmq_info info{};
  Mapping memory;
};

// The oldest interface of a driver that this library can use.
constexpr std::uint32_t kOldestApi = 1;

std::string VectorsText(const ivmq_info& info) {
  if ((info.flags & IVMQ_INFO_DOORBELL) == 0) return "plain";
  if (info.vectors == 0) return "no interrupts";
  std::string text = std::to_string(info.vectors) + (info.vectors == 1 ? " vector" : " vectors");
  if (info.server_vectors != 0 && info.server_vectors < info.vectors) {
    text += " (" + std::to_string(info.server_vectors) + " of the server)";
  }
  return text;
}

// Opens the node and asks what it is.
Result<Opened> OpenNode(const std::string& path, Access access) {
  Opened opened;
  const int mode = access == Access::kReadOnly ? O_RDONLY : O_RDWR;
  opened.fd.reset(open(path.c_str(), mode | O_CLOEXEC));
  if (!opened.fd.valid()) {
    const int error = errno;
    if (error == ENOENT) {
      return Status(StatusCode::kNotFound,
                    "there is no " + path + "; load the driver (modprobe ivmq), or use pci:auto");
    }
    if (error == EACCES || error == EPERM) {
      return Status(StatusCode::kPermissionDenied,
                    AccessText(path) +
                        "; join its group, or install the udev rule 99-ivmq.rules of the driver");
    }
    return Status(
        error == ENODEV || error == ENXIO ? StatusCode::kFailedPrecondition : StatusCode::kInternal,
        path + ": " + ErrnoText(error));
  }
  if (ioctl(opened.fd.get(), IVMQ_IOC_INFO, &opened.info) != 0) {
    const int error = errno;
    if (error == ENOTTY || error == EINVAL) {
      return Status(StatusCode::kInvalidArgument,
                    path + " is no node of the driver ivmq; use /dev/ivmqN");
    }
    return Status(StatusCode::kFailedPrecondition, path + ": " + ErrnoText(error));
  }
  if (opened.info.api_version < kOldestApi) {
    return Status(StatusCode::kFailedPrecondition,
                  "the driver's interface is of version " +
                      std::to_string(opened.info.api_version) + ", this library needs " +
                      std::to_string(kOldestApi) + "; load a newer ivmq.ko");
  }
  return opened;
}

Result<Opened> Open(const std::string& path, Access access) {
  auto opened = OpenNode(path, access);
  if (!opened.ok()) return opened;
  const std::uint64_t size = opened->info.region_size;
  if (!std::has_single_bit(size) || size < layout::kPage) {
    return Status(StatusCode::kFailedPrecondition,
                  "its memory of " + SizeText(size) + " can hold no region");
  }
  int error = 0;
  if (!opened->memory.Map(opened->fd.get(), size, access, &error)) {
    return Status(StatusCode::kInternal, path + " cannot be mapped: " + ErrnoText(error));
  }
  if (opened->info.api_version < 2) {
    const auto* header = reinterpret_cast<const layout::Header*>(opened->memory.bytes().data());
    opened->info.server_vectors = header->server_vectors.load(std::memory_order_relaxed);
  }
  return opened;
}

class DriverTransport : public Transport {
 public:
  DriverTransport(Opened device, UniqueFd event, TransportInfo info)
      : device_(std::move(device)), event_(std::move(event)), info_(std::move(info)) {}

  [[nodiscard]] std::span<std::byte> memory() const noexcept override {
    return device_.memory.bytes();
  }
  [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
  void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept override {
    const ivmq_ring ring{.peer = ivposition, .vector = vector};
    if ((device_.info.flags & IVMQ_INFO_DOORBELL) != 0) {
      (void)ioctl(device_.fd.get(), IVMQ_IOC_RING, &ring);
    }
  }
  [[nodiscard]] int wake_fd() const noexcept override { return event_.get(); }

  // Asked, the driver looks itself (from version 3 of its interface on): if the device has another
  // ivposition, it parts this process from it, as at an unplug.
  [[nodiscard]] Status CheckPlace() const override {
    ivmq_info info{};
    if (ioctl(device_.fd.get(), IVMQ_IOC_INFO, &info) == 0 || errno != ENODEV) return {};
    return {StatusCode::kFailedPrecondition,
            "the driver has detached it from the device, which was unplugged or has another "
            "ivposition, or this machine is a clone; the kernel log says which"};
  }

  Status RegisterSlot(std::uint32_t slot, std::uint64_t live_word,
                      std::span<const std::uint64_t, 2> boot_id) override {
    ivmq_slot registration{};
    registration.live_word = live_word;
    registration.boot_id[0] = boot_id[0];
    registration.boot_id[1] = boot_id[1];
    registration.slot = slot;
    if (ioctl(device_.fd.get(), IVMQ_IOC_REGISTER_SLOT, &registration) == 0) return {};
    const int error = errno;
    return {error == EBUSY ? StatusCode::kAborted : StatusCode::kInternal,
            info_.address + ": the driver does not register slot " + std::to_string(slot) + ": " +
                ErrnoText(error)};
  }
  void UnregisterSlot(std::uint32_t slot) noexcept override {
    (void)ioctl(device_.fd.get(), IVMQ_IOC_UNREGISTER_SLOT, &slot);
  }
  void LetGoInChild() noexcept override { device_.fd.reset(); }

 private:
  Opened device_;
  UniqueFd event_;
  TransportInfo info_;
};

}  // namespace

Result<std::unique_ptr<Transport>> OpenDriverTransport(const std::string& path,
                                                       std::string_view address,
                                                       std::string_view reason) {
  auto device = Open(path, Access::kReadWrite);
  if (!device.ok()) return device.status();
  TransportInfo info;
  info.address = address;
  info.description = "driver " + path + ", " + VectorsText(device->info);
  UniqueFd event;
  const bool doorbell = (device->info.flags & IVMQ_INFO_DOORBELL) != 0;
  if (doorbell) {
    info.ivposition = static_cast<std::uint16_t>(device->info.ivposition);
    info.can_ring = ReachesAllVectors(device->info.vectors, device->memory.bytes());
    info.complaint = CheckVectors(device->info.vectors, device->memory.bytes());
  }
  if (doorbell && device->info.vectors != 0) {
    event.reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!event.valid()) {
      return Status(StatusCode::kResourceExhausted, "eventfd: " + ErrnoText(errno));
    }
    ivmq_vector vector{};
    vector.eventfd = event.get();
    if (device->info.api_version < 2 && device->info.server_vectors != 0 &&
        device->info.server_vectors < device->info.vectors) {
      vector.flags = IVMQ_VECTOR_EXACT;  // that driver would hand out one that nobody can ring
    }
    if (ioctl(device->fd.get(), IVMQ_IOC_ALLOC_VECTOR, &vector) != 0) {
      const int error = errno;
      return Status(error == ENOSPC ? StatusCode::kResourceExhausted : StatusCode::kInternal,
                    path + " has no vector for this process: " + ErrnoText(error) +
                        (error == ENOSPC ? "; give the device more (vectors=)" : ""));
    }
    info.vector = vector.vector;
    info.wakeable = true;
    info.description += ", interrupts of vector " + std::to_string(vector.vector) +
                        (vector.users > 1 ? ", which is shared" : "");
  } else {
    info.description += ", polling";
  }
  info.description += BecauseText(reason);
  return std::unique_ptr<Transport>(
      std::make_unique<DriverTransport>(*std::move(device), std::move(event), std::move(info)));
}

Result<RegionMemory> OpenDriverRegion(const std::string& path, std::string_view address,
                                      Access access) {
  auto device = Open(path, access);
  if (!device.ok()) return device.status();
  auto held = std::make_shared<Opened>(*std::move(device));
  return RegionMemory{std::string(address), "driver " + path + ", " + VectorsText(held->info),
                      held->memory.bytes(), held};
}

Result<DriverNode> AskDriver(const std::string& path) {
  const auto opened = OpenNode(path, Access::kReadOnly);
  if (!opened.ok()) return opened.status();
  const ivmq_info& info = opened->info;
  return DriverNode{.ivposition = info.ivposition,
                    .vectors = info.vectors,
                    .vectors_unused = info.vectors_unused,
                    .server_vectors = info.server_vectors,
                    .interrupts = info.interrupts,
                    .firmware_uncached = (info.flags & IVMQ_INFO_FIRMWARE_UNCACHED) != 0};
}

}  // namespace ivmq
