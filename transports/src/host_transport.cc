#include "src/host_transport.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <span>
#include <utility>

#include "ivmq/ivshmem_client.h"

#include "src/file_lock.h"
#include "src/ivshmem_socket.h"
#include "src/mapping.h"
#include "src/region_file.h"

namespace ivmq {
namespace {

using Clock = ivshmem::Clock;

constexpr std::chrono::seconds kObserverTimeout(5);
// The node's heartbeat waits for it.
constexpr std::chrono::milliseconds kReconnectTimeout(200);
constexpr std::chrono::milliseconds kFirstPause(250);
constexpr std::chrono::milliseconds kLongestPause = std::chrono::seconds(30);
// A connection that is lost sooner is still the same trouble.
constexpr std::chrono::seconds kStable(10);

bool IsSameFile(int a, int b) {
  struct stat file_a {};
  struct stat file_b {};
  return fstat(a, &file_a) == 0 && fstat(b, &file_b) == 0 && file_a.st_dev == file_b.st_dev &&
         file_a.st_ino == file_b.st_ino;
}

class HostTransport : public Transport {
 public:
  HostTransport(std::string socket_path, std::unique_ptr<IvshmemClient> client, Mapping mapping,
                TransportInfo info)
      : socket_path_(std::move(socket_path)),
        client_(std::move(client)),
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
  [[nodiscard]] Served served() const noexcept override { return served_; }
  bool HandleControl() noexcept override { return client_->HandleControl(); }
  Status Attend(const Move& move) override;
  void LetGoInChild() noexcept override {
    client_->CloseInChild();
    if (fresh_) fresh_->CloseInChild();
  }

 private:
  [[nodiscard]] bool IsOrphaned() const;
  void Reconnect(const Move& move);

  std::string socket_path_;
  std::unique_ptr<IvshmemClient> client_;
  Mapping mapping_;
  TransportInfo info_;
  std::atomic<int> wake_fd_;
  std::atomic<Served> served_{Served::kYes};

  // Attend()'s.
  std::unique_ptr<IvshmemClient> fresh_;
  bool is_lost_ = false;
  bool is_news_ = false;              // the loss is still to be reported
  Clock::time_point connected_at_{};  // after a loss; at first, long ago
  Clock::time_point retry_at_{};
  std::chrono::milliseconds pause_{};
};

Status HostTransport::Attend(const Move& move) {
  client_->CloseFormer();
  if (client_->HandleControl()) return {};
  const Clock::time_point now = Clock::now();
  if (!std::exchange(is_lost_, true)) {
    // A server that ends closes this connection a little before it lets go of the memory. So more
    // is known at the next look.
    is_news_ = now - connected_at_ >= kStable;
    if (is_news_) pause_ = kFirstPause;
    retry_at_ = now + pause_;
    served_ = Served::kUnknown;
    return {};
  }
  // There is nothing to come back to.
  if (served_ == Served::kNever) return {};
  if (IsOrphaned()) {
    served_ = Served::kNever;
    return {};
  }
  const Status connection = client_->connection();
  if (std::exchange(is_news_, false)) {
    return {connection.code(),
            info_.address + ": the connection to the server was lost: " + connection.message() +
                "; the node goes on without news of new peers, and tries to reconnect"};
  }
  if (now < retry_at_) return {};
  if (connection.code() == StatusCode::kResourceExhausted) client_->DropPeers();
  Reconnect(move);
  pause_ = std::min(pause_ * 2, kLongestPause);
  retry_at_ = now + pause_;
  return {};
}

// A server locks all ids, or whoever keeps its descriptors for the next one does. Where these locks
// are gone and the memory has no name, as a memfd, nobody can come into it any more but by those
// who are there. Other servers than ivmqd lock nothing, which proves nothing.
bool HostTransport::IsOrphaned() const {
  const auto& header = *reinterpret_cast<const layout::Header*>(mapping_.bytes().data());
  struct stat file {};
  return header.server_epoch.load(std::memory_order_relaxed) != 0 &&
         fstat(client_->shared_memory(), &file) == 0 && file.st_nlink == 0 &&
         !IsFileLocked(client_->shared_memory(), kIdLocks + layout::kNoIvposition, 1);
}

// The new connection's lock shows that this process lives before the former one's goes: so whoever
// judges it by either finds it alive.
void HostTransport::Reconnect(const Move& move) {
  auto connected = IvshmemClient::Connect(socket_path_, kReconnectTimeout);
  if (!connected.ok()) return;
  fresh_ = *std::move(connected);
  if (!IsSameFile(fresh_->shared_memory(), client_->shared_memory()) || !move(fresh_->id())) {
    fresh_.reset();
    return;
  }
  // If this fails the former lock stays, too.
  (void)mapping_.Replace(fresh_->shared_memory());
  client_->Adopt(std::move(fresh_));
  wake_fd_ = client_->vector_fd(info_.vector);
  connected_at_ = Clock::now();
  is_lost_ = false;
  served_ = Served::kYes;
}

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
  return std::unique_ptr<Transport>(std::make_unique<HostTransport>(
      socket_path, *std::move(client), *std::move(mapping), std::move(info)));
}

Result<RegionMemory> OpenHostRegion(const std::string& socket_path, std::string_view address,
                                    Access access) {
  if (access == Access::kReadWrite) {
    // An observer gets a descriptor that cannot be written.
    auto transport = OpenHostTransport(socket_path, address);
    if (!transport.ok()) return transport.status();
    std::shared_ptr<Transport> client = *std::move(transport);
    return RegionMemory{std::string(address), client->info().description, client->memory(), client};
  }
  const auto fd = ivshmem::FetchSharedMemory(socket_path, ivshmem::Clock::now() + kObserverTimeout);
  if (!fd.ok()) return fd.status();
  auto mapped = MapShared(fd->get(), access);
  if (!mapped.ok()) return mapped.status();
  auto mapping = std::make_shared<Mapping>(*std::move(mapped));
  return RegionMemory{std::string(address), "region of the ivshmem server at " + socket_path,
                      mapping->bytes(), mapping};
}

}  // namespace ivmq
