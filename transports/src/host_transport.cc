#include "src/host_transport.h"

#include <chrono>
#include <cstddef>
#include <span>
#include <utility>

#include "ivmq/ivshmem_client.h"

#include "src/ivshmem_socket.h"
#include "src/mapping.h"
#include "src/region_file.h"

namespace ivmq {
namespace {

constexpr std::chrono::seconds kObserverTimeout(5);

class HostTransport : public Transport {
 public:
  HostTransport(std::unique_ptr<IvshmemClient> client, Mapping mapping, TransportInfo info)
      : client_(std::move(client)),
        mapping_(std::move(mapping)),
        info_(std::move(info)),
        wake_fd_(client_->vector_fd(info_.vector)) {}

  [[nodiscard]] std::span<std::byte> memory() const noexcept override { return mapping_.bytes(); }
  [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
  void Ring(std::uint16_t ivposition, std::uint32_t vector) noexcept override {
    client_->RingWhenKnown(ivposition, vector);
  }
  [[nodiscard]] int wake_fd() const noexcept override { return wake_fd_; }
  [[nodiscard]] int control_fd() const noexcept override { return client_->control_fd(); }
  bool HandleControl() noexcept override { return client_->HandleControl(); }
  void LetGoInChild() noexcept override { client_->CloseInChild(); }

 private:
  std::unique_ptr<IvshmemClient> client_;
  Mapping mapping_;
  TransportInfo info_;
  int wake_fd_;
};

Result<Mapping> MapShared(int fd, Access access) {
  const auto size = CheckRegionSize(fd, "this is the shared memory that the server gave");
  if (!size.ok()) return size.status();
  return MapRegion(fd, *size, access);
}

}  // namespace

Result<std::unique_ptr<Transport>> OpenHostTransport(const std::string& socket_path,
                                                     std::string_view address) {
  auto client = IvshmemClient::Connect(socket_path);
  if (!client.ok()) return client.status();
  auto mapping = MapShared((*client)->shared_memory(), Access::kReadWrite);
  if (!mapping.ok()) return mapping.status();
  TransportInfo info;
  info.address = address;
  info.description = "client " + std::to_string((*client)->id()) + " of the ivshmem server at " +
                     socket_path + ", eventfd";
  info.ivposition = (*client)->id();
  info.can_ring = true;
  info.wakeable = true;
  return std::unique_ptr<Transport>(
      std::make_unique<HostTransport>(*std::move(client), *std::move(mapping), std::move(info)));
}

Result<RegionMemory> OpenHostRegion(const std::string& socket_path, std::string_view address,
                                    Access access) {
  const auto fd = ivshmem::FetchSharedMemory(socket_path, ivshmem::Clock::now() + kObserverTimeout);
  if (!fd.ok()) return fd.status();
  auto mapped = MapShared(fd->get(), access);
  if (!mapped.ok()) return mapped.status();
  auto mapping = std::make_shared<Mapping>(*std::move(mapped));
  return RegionMemory{std::string(address), "region of the ivshmem server at " + socket_path,
                      mapping->bytes(), mapping};
}

}  // namespace ivmq
