#include "ivmq/ivshmem_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <utility>

#include "src/ivshmem_protocol.h"
#include "src/ivshmem_socket.h"
#include "src/text.h"
#include "src/unique_fd.h"

namespace ivmq {
namespace {

using ivshmem::Clock;
using ivshmem::ReadResult;

// Whether a received descriptor may be written to: an anonymous inode, as an eventfd is. Any other
// kind could block, or raise SIGPIPE.
bool IsEventfd(int fd) {
  struct stat file {};
  return fstat(fd, &file) == 0 && (file.st_mode & S_IFMT) == 0;
}

bool MakeNonBlocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

// Takes what the eventfd counts; false if that is 0. RWF_NOWAIT, since O_NONBLOCK belongs to all
// who hold the eventfd, and a QEMU that starts with it clears it for a moment.
bool TakeCount(int fd, std::uint64_t* count) {
  const iovec buffer{.iov_base = count, .iov_len = sizeof(*count)};
  if (preadv2(fd, &buffer, 1, -1, RWF_NOWAIT) == sizeof(*count)) return true;
  if (errno != EOPNOTSUPP) return false;
  // Not for eventfds before Linux 5.8. This client alone reads its own ones.
  pollfd rung{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&rung, 1, 0) == 1 && read(fd, count, sizeof(*count)) == sizeof(*count);
}

void WriteEventfd(int fd) noexcept {
  const std::uint64_t one = 1;
  // EAGAIN: the counter is full, so whoever waits for it has been woken. All else: nobody to wake.
  // It would wait if a client had filled the counter and cleared O_NONBLOCK, which is common to all
  // who have the eventfd: RWF_NOWAIT is not for writing to one (docs/guarantees.md, "Not promised").
  (void)!write(fd, &one, sizeof(one));
}

}  // namespace

struct IvshmemClient::Impl {
  struct Doorbells {
    std::vector<UniqueFd> vectors;
    bool gone = false;
    bool stale = false;  // announced by the connection before Adopt() only
  };
  struct Pending {
    std::uint16_t peer = 0;
    std::uint32_t vector = 0;
    friend bool operator==(const Pending&, const Pending&) = default;
  };
  enum class Expects : std::uint8_t { kVersion, kId, kSharedMemory, kOwnVector, kAnnouncements };

  Status Greet(Clock::time_point deadline);
  Status Take(ivshmem::Message message);
  Status TakeDoorbell(std::uint16_t peer, UniqueFd fd);
  void DeliverPending(std::uint16_t peer, std::uint32_t vector, int fd) noexcept;
  RingResult Ring(std::uint16_t peer, std::uint32_t vector) noexcept;
  void DeliverPending() noexcept;
  [[nodiscard]] std::string Progress() const;

  // Open until the end or CloseFormer(), so that whoever polls it never polls a stranger.
  UniqueFd socket;
  std::atomic<int> socket_number{-1};  // of `socket`, for any thread
  std::mutex control;  // held by the thread that handles control; guards reader and expects
  ivshmem::MessageReader reader;
  Expects expects = Expects::kVersion;
  std::atomic<std::uint16_t> id{0};
  UniqueFd memory;
  UniqueFd former_socket;                  // of the connection before Adopt(), until CloseFormer()
  std::vector<UniqueFd> former_doorbells;  // own ones of then
  std::uint32_t next_vector = 0;           // that Wait() looks at first

  mutable std::mutex mutex;  // guards what follows
  Status connection;
  std::map<std::uint16_t, Doorbells> doorbells;  // own id included
  std::array<Pending, 256> pending;
  std::size_t pending_count = 0;
};

std::string IvshmemClient::Impl::Progress() const {
  switch (expects) {
    case Expects::kVersion:
      return "it sent nothing at all";
    case Expects::kId:
      return "it sent its version only";
    case Expects::kSharedMemory:
      return "it sent no shared memory";
    case Expects::kOwnVector:
      return "it sent the shared memory but no eventfd of this client; does it offer vectors?";
    case Expects::kAnnouncements:
      break;
  }
  return "its greeting is complete";
}

Status IvshmemClient::Impl::Greet(Clock::time_point deadline) {
  while (expects != Expects::kAnnouncements) {
    ivshmem::Message message;
    Status status = ivshmem::ReadMessage(reader, socket.get(), deadline, &message);
    if (status.ok()) status = Take(std::move(message));
    if (status.ok()) continue;
    if (status.code() == StatusCode::kDeadlineExceeded ||
        status.code() == StatusCode::kUnavailable) {
      return {status.code(), status.message() + " during its greeting: " + Progress()};
    }
    return status;
  }
  return {};
}

Status IvshmemClient::Impl::Take(ivshmem::Message message) {
  const std::int64_t value = message.value;
  const bool has_fd = message.fd.valid();
  if (expects == Expects::kVersion) {
    expects = Expects::kId;
    return ivshmem::CheckVersion(message);
  }
  if (expects == Expects::kSharedMemory) {
    if (value != ivshmem::kSharedMemory || !has_fd) {
      return {StatusCode::kDataLoss, "the server sent " + std::to_string(value) +
                                         (has_fd ? " with" : " without") +
                                         " a file descriptor in place of the shared memory"};
    }
    memory = std::move(message.fd);
    expects = Expects::kOwnVector;
    return {};
  }
  if (value < 0 || value > ivshmem::kMaxId) {
    return {StatusCode::kDataLoss,
            "the server sent " + std::to_string(value) + ", which is no id of a client"};
  }
  const auto peer = static_cast<std::uint16_t>(value);
  if (expects == Expects::kId) {
    if (has_fd) {
      return {StatusCode::kDataLoss, "the server sent a file descriptor with this client's id"};
    }
    id = peer;
    expects = Expects::kSharedMemory;
    return {};
  }
  if (has_fd) return TakeDoorbell(peer, std::move(message.fd));
  if (peer == id) {
    return {StatusCode::kDataLoss, "the server sent this client's id again, without an eventfd"};
  }
  // Unknown: it came and went before its announcement reached this client.
  const std::lock_guard lock(mutex);
  doorbells[peer] = {.vectors = {}, .gone = true};
  return {};
}

Status IvshmemClient::Impl::TakeDoorbell(std::uint16_t peer, UniqueFd fd) {
  if (!IsEventfd(fd.get()) || !MakeNonBlocking(fd.get())) {
    return {StatusCode::kDataLoss,
            "the server sent something that is no eventfd for peer " + std::to_string(peer)};
  }
  const std::lock_guard lock(mutex);
  Doorbells& bells = doorbells[peer];
  if (std::exchange(bells.stale, false)) bells.vectors.clear();
  if (bells.vectors.size() >= ivshmem::kMaxVectors) {
    return {StatusCode::kDataLoss, "the server sent more than " +
                                       std::to_string(ivshmem::kMaxVectors) +
                                       " eventfds for peer " + std::to_string(peer)};
  }
  bells.gone = false;
  const auto vector = static_cast<std::uint32_t>(bells.vectors.size());
  bells.vectors.push_back(std::move(fd));
  DeliverPending(peer, vector, bells.vectors.back().get());
  if (peer == id) expects = Expects::kAnnouncements;
  return {};
}

void IvshmemClient::Impl::DeliverPending(std::uint16_t peer, std::uint32_t vector,
                                         int fd) noexcept {
  const auto end = pending.begin() + static_cast<std::ptrdiff_t>(pending_count);
  const auto found = std::find(pending.begin(), end, Pending{peer, vector});
  if (found == end) return;
  *found = *(end - 1);
  --pending_count;
  WriteEventfd(fd);
}

// REQUIRES: mutex
void IvshmemClient::Impl::DeliverPending() noexcept {
  for (std::size_t i = 0; i < pending_count;) {
    if (Ring(pending[i].peer, pending[i].vector) == RingResult::kRung) {
      pending[i] = pending[--pending_count];
    } else {
      ++i;
    }
  }
}

// REQUIRES: mutex
IvshmemClient::RingResult IvshmemClient::Impl::Ring(std::uint16_t peer,
                                                    std::uint32_t vector) noexcept {
  const auto found = doorbells.find(peer);
  if (found == doorbells.end() || found->second.vectors.empty()) return RingResult::kNoSuchPeer;
  if (vector >= found->second.vectors.size()) return RingResult::kNoSuchVector;
  WriteEventfd(found->second.vectors[vector].get());
  return RingResult::kRung;
}

IvshmemClient::IvshmemClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
IvshmemClient::~IvshmemClient() = default;

Result<std::unique_ptr<IvshmemClient>> IvshmemClient::Connect(const std::string& socket_path,
                                                              std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  auto socket = ivshmem::ConnectSocket(socket_path, /*observer=*/false, deadline);
  if (!socket.ok()) return socket.status();
  auto impl = std::make_unique<Impl>();
  impl->socket = *std::move(socket);
  impl->socket_number = impl->socket.get();
  if (auto status = impl->Greet(deadline); !status.ok()) return status;
  std::unique_ptr<IvshmemClient> client(new IvshmemClient(std::move(impl)));
  // The rest of the greeting, as far as it is here. If the connection ends meanwhile, connection()
  // tells.
  (void)client->HandleControl();
  return client;
}

std::uint16_t IvshmemClient::id() const noexcept { return impl_->id; }

std::uint32_t IvshmemClient::vectors() const {
  const std::lock_guard lock(impl_->mutex);
  return static_cast<std::uint32_t>(impl_->doorbells.at(impl_->id).vectors.size());
}

std::vector<IvshmemClient::Peer> IvshmemClient::peers() const {
  const std::lock_guard lock(impl_->mutex);
  std::vector<Peer> peers;
  for (const auto& [id, bells] : impl_->doorbells) {
    if (id == impl_->id || bells.gone) continue;
    peers.push_back({id, static_cast<std::uint32_t>(bells.vectors.size())});
  }
  return peers;
}

int IvshmemClient::shared_memory() const noexcept { return impl_->memory.get(); }

IvshmemClient::RingResult IvshmemClient::Ring(std::uint16_t peer, std::uint32_t vector) noexcept {
  const std::lock_guard lock(impl_->mutex);
  return impl_->Ring(peer, vector);
}

void IvshmemClient::RingWhenKnown(std::uint16_t peer, std::uint32_t vector) noexcept {
  const std::lock_guard lock(impl_->mutex);
  Impl& impl = *impl_;
  if (impl.Ring(peer, vector) == RingResult::kRung || vector >= ivshmem::kMaxVectors) return;
  if (const auto found = impl.doorbells.find(peer);
      found != impl.doorbells.end() && found->second.gone) {
    return;
  }
  const auto end = impl.pending.begin() + static_cast<std::ptrdiff_t>(impl.pending_count);
  const Impl::Pending ring{peer, vector};
  if (end == impl.pending.end() || std::find(impl.pending.begin(), end, ring) != end) return;
  *end = ring;
  ++impl.pending_count;
}

Result<IvshmemClient::Rung> IvshmemClient::Wait(Clock::time_point deadline) {
  for (;;) {
    std::vector<pollfd> waits;
    bool connected = false;
    {
      const std::lock_guard lock(impl_->mutex);
      for (const UniqueFd& fd : impl_->doorbells.at(impl_->id).vectors) {
        waits.push_back({fd.get(), POLLIN, 0});
      }
      connected = impl_->connection.ok();
    }
    const auto count = static_cast<std::uint32_t>(waits.size());
    // Own eventfds are closed at the end and by CloseFormer() only, so they may be read without the
    // lock. In turn, so that a busy vector does not hide the others.
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t vector = (impl_->next_vector + i) % count;
      std::uint64_t rings = 0;
      if (!TakeCount(waits[vector].fd, &rings)) continue;
      impl_->next_vector = (vector + 1) % count;
      return Rung{vector, rings};
    }
    const int timeout = ivshmem::PollTimeout(deadline);
    if (timeout == 0) {
      return Status(StatusCode::kDeadlineExceeded,
                    "nobody rang client " + std::to_string(impl_->id.load()));
    }
    if (connected) waits.push_back({control_fd(), POLLIN, 0});
    (void)poll(waits.data(), waits.size(), timeout);
    if (connected && waits.back().revents != 0) (void)HandleControl();
  }
}

int IvshmemClient::vector_fd(std::uint32_t vector) const {
  const std::lock_guard lock(impl_->mutex);
  const auto& own = impl_->doorbells.at(impl_->id).vectors;
  return vector < own.size() ? own[vector].get() : -1;
}

int IvshmemClient::control_fd() const noexcept { return impl_->socket_number; }

bool IvshmemClient::HandleControl() noexcept {
  const std::unique_lock control(impl_->control, std::try_to_lock);
  if (!control.owns_lock()) return true;  // another thread is at it
  {
    const std::lock_guard lock(impl_->mutex);
    if (!impl_->connection.ok()) return false;
  }
  // Bounded, so that a server that never stops sending cannot hold up the caller.
  for (int left = 4096; left > 0; --left) {
    ivshmem::Message message;
    const ReadResult result = impl_->reader.Read(impl_->socket.get(), &message);
    if (result == ReadResult::kWouldBlock) break;
    Status status = result == ReadResult::kMessage ? impl_->Take(std::move(message))
                                                   : ivshmem::ReadError(result, errno);
    if (status.ok()) continue;
    // The server sees the end, too.
    (void)shutdown(impl_->socket.get(), SHUT_RDWR);
    const std::lock_guard lock(impl_->mutex);
    impl_->connection = std::move(status);
    return false;
  }
  return true;
}

void IvshmemClient::CloseInChild() noexcept {
  impl_->socket.reset();
  impl_->memory.reset();
  impl_->former_socket.reset();
}

void IvshmemClient::Adopt(std::unique_ptr<IvshmemClient> other) {
  Impl& from = *other->impl_;
  const std::scoped_lock lock(impl_->control, impl_->mutex, from.control, from.mutex);
  impl_->former_socket = std::exchange(impl_->socket, std::move(from.socket));
  impl_->socket_number = impl_->socket.get();
  impl_->reader = std::move(from.reader);
  impl_->expects = from.expects;
  impl_->connection = from.connection;
  impl_->memory = std::move(from.memory);
  const auto own = impl_->doorbells.find(impl_->id);
  impl_->former_doorbells = std::move(own->second.vectors);
  impl_->doorbells.erase(own);
  impl_->id = from.id.load();
  // Who is gone may have come back meanwhile.
  std::erase_if(impl_->doorbells, [](const auto& entry) { return entry.second.gone; });
  for (auto& [id, bells] : impl_->doorbells) bells.stale = true;
  for (auto& [id, bells] : from.doorbells) impl_->doorbells[id] = std::move(bells);
  impl_->DeliverPending();
}

void IvshmemClient::CloseFormer() noexcept {
  impl_->former_socket.reset();
  impl_->former_doorbells.clear();
}

void IvshmemClient::DropPeers() {
  const std::lock_guard lock(impl_->mutex);
  std::erase_if(impl_->doorbells, [this](const auto& entry) { return entry.first != impl_->id; });
}

Status IvshmemClient::connection() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->connection;
}

}  // namespace ivmq
