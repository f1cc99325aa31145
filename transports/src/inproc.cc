#include "src/inproc.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <mutex>
#include <utility>

#include <boost/interprocess/anonymous_shared_memory.hpp>
#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include "ivmq/address.h"
#include "ivmq/internal/layout.h"

#include "src/text.h"
#include "src/unique_fd.h"

namespace ivmq {
namespace {

namespace ipc = boost::interprocess;

constexpr std::uint64_t kDefaultSize = std::uint64_t{16} << 20;

}  // namespace

struct InprocRegion::Impl {
  ipc::mapped_region owned;  // empty if the memory is the caller's
  std::span<std::byte> memory;

  std::mutex mutex;  // guards what follows
  std::uint32_t next_ivposition = 1;
  std::map<std::uint16_t, UniqueFd> members;  // eventfds
};

class InprocTransport : public Transport {
 public:
  InprocTransport(std::shared_ptr<InprocRegion> region, int wake_fd, TransportInfo info)
      : region_(std::move(region)), wake_fd_(wake_fd), info_(std::move(info)) {}
  ~InprocTransport() override { region_->Leave(info_.ivposition); }
  InprocTransport(const InprocTransport&) = delete;
  InprocTransport& operator=(const InprocTransport&) = delete;

  [[nodiscard]] std::span<std::byte> memory() const noexcept override { return region_->memory(); }
  [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
  void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept override {
    if (vector == 0) region_->Ring(ivposition);
  }
  [[nodiscard]] int wake_fd() const noexcept override { return wake_fd_; }

 private:
  std::shared_ptr<InprocRegion> region_;
  int wake_fd_;
  TransportInfo info_;
};

InprocRegion::InprocRegion(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
InprocRegion::~InprocRegion() = default;

Result<std::shared_ptr<InprocRegion>> InprocRegion::Create(std::uint64_t size,
                                                           const FormatOptions& options) {
  if (const auto plan = PlanGeometry(size, options); !plan.ok()) return plan.status();
  auto impl = std::make_unique<Impl>();
  try {
    impl->owned = ipc::anonymous_shared_memory(size);
  } catch (const ipc::interprocess_exception& error) {
    return Status(StatusCode::kResourceExhausted,
                  "no memory for " + SizeText(size) + ": " + error.what());
  }
  impl->memory = {static_cast<std::byte*>(impl->owned.get_address()), impl->owned.get_size()};
  if (auto status = Format(impl->memory, options); !status.ok()) return status;
  return std::shared_ptr<InprocRegion>(new InprocRegion(std::move(impl)));
}

std::shared_ptr<InprocRegion> InprocRegion::Over(std::span<std::byte> memory) {
  auto impl = std::make_unique<Impl>();
  impl->memory = memory;
  return std::shared_ptr<InprocRegion>(new InprocRegion(std::move(impl)));
}

std::span<std::byte> InprocRegion::memory() const noexcept { return impl_->memory; }

Result<std::unique_ptr<Transport>> InprocRegion::Join(std::string_view address) {
  UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) {
    return Status(StatusCode::kResourceExhausted, "eventfd: " + ErrnoText(errno));
  }
  const int wake_fd = fd.get();
  TransportInfo info;
  info.address = address;
  info.can_ring = true;
  info.wakeable = true;
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->next_ivposition == layout::kNoIvposition) {
      return Status(StatusCode::kResourceExhausted,
                    "this inproc region has had 65534 members, as many as there are ivpositions");
    }
    info.ivposition = static_cast<std::uint16_t>(impl_->next_ivposition++);
    impl_->members.emplace(info.ivposition, std::move(fd));
  }
  info.description = "member " + std::to_string(info.ivposition) +
                     " of a region of this process, " + SizeText(impl_->memory.size()) +
                     ", eventfd";
  return std::unique_ptr<Transport>(
      std::make_unique<InprocTransport>(shared_from_this(), wake_fd, std::move(info)));
}

void InprocRegion::Ring(std::uint16_t ivposition) noexcept {
  const std::lock_guard lock(impl_->mutex);
  const auto member = impl_->members.find(ivposition);
  if (member == impl_->members.end()) return;
  const std::uint64_t one = 1;
  (void)!write(member->second.get(), &one, sizeof(one));
}

void InprocRegion::Leave(std::uint16_t ivposition) noexcept {
  const std::lock_guard lock(impl_->mutex);
  impl_->members.erase(ivposition);
}

Result<std::shared_ptr<InprocRegion>> FindInprocRegion(std::string_view name) {
  static std::mutex mutex;
  // Never destroyed: a transport may outlive it at the end of the program.
  static auto& regions = *new std::map<std::string, std::weak_ptr<InprocRegion>, std::less<>>;

  std::uint64_t size = 0;
  constexpr std::string_view kSize = "size=";
  if (const auto question = name.find('?'); question != std::string_view::npos) {
    const std::string_view option = name.substr(question + 1);
    if (!option.starts_with(kSize)) {
      return Status(StatusCode::kInvalidArgument,
                    "unknown option '" + std::string(option) + "'; use inproc:NAME?size=16M");
    }
    const auto parsed = ParseSize(option.substr(kSize.size()));
    if (!parsed.ok()) return parsed.status();
    size = *parsed;
    name = name.substr(0, question);
  }
  if (name.empty()) return Status(StatusCode::kInvalidArgument, "has no name; use inproc:NAME");

  const std::lock_guard lock(mutex);
  std::erase_if(regions, [](const auto& entry) { return entry.second.expired(); });
  if (const auto found = regions.find(name); found != regions.end()) {
    if (auto region = found->second.lock()) {
      if (size == 0 || size == region->memory().size()) return region;
      return Status(StatusCode::kFailedPrecondition,
                    "is open with " + SizeText(region->memory().size()) + ", not " +
                        SizeText(size) + "; leave the size out, or choose another name");
    }
  }
  auto region = InprocRegion::Create(size == 0 ? kDefaultSize : size);
  if (region.ok()) regions.insert_or_assign(std::string(name), *region);
  return region;
}

}  // namespace ivmq
