#include "record.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "id_pool.h"
#include "src/text.h"
#include "step.h"
#include "system_error.h"

namespace ivmq::server {
namespace {

constexpr std::uint64_t kRecordMagic = 0x64726f6365726976;  // "viRecord"
constexpr RecordVersion kKnown{};

constexpr std::size_t kPenAt = 4096;
constexpr std::size_t kRegionsAt = std::size_t{64} << 10;
constexpr std::size_t kIds = IdSet().size();
constexpr std::size_t kMostIdBytes = 256;
// Within a region.
constexpr std::size_t kIdsAt = 8192;
constexpr std::size_t kDoorbellsAt = kIdsAt + kIds * kMostIdBytes;
constexpr std::size_t kToldAt = kDoorbellsAt + kIds * ivshmem::kMaxVectors * sizeof(RecordedFd);
constexpr std::size_t kToldBytes = kIds / 8;
// Memory is taken by what is written only.
constexpr std::size_t kRegionBytes = kToldAt + kIds * kToldBytes;

constexpr std::size_t kMostRegions = 1024;
constexpr std::uint64_t kIsPartial = std::uint64_t{1} << 63;

static_assert(sizeof(RecordHeader) <= kPenAt && kPenAt + sizeof(Pen) <= kRegionsAt);
static_assert(sizeof(RegionHeader) <= kIdsAt && sizeof(IdEntry) == 32);
static_assert(sizeof(ClientBacklog::Told::known) == kToldBytes);

template <std::size_t kSize>
void SetText(std::array<char, kSize>& field, const std::string& text) {
  field.fill(0);
  text.copy(field.data(), field.size() - 1);
}

template <std::size_t kSize>
std::string GetText(const std::array<char, kSize>& field) {
  return {field.data(), strnlen(field.data(), field.size())};
}

}  // namespace

// ---- RegionRecord

RegionHeader& RegionRecord::header() const { return *reinterpret_cast<RegionHeader*>(base_); }

IdEntry& RegionRecord::entry(std::uint16_t id) const {
  return *reinterpret_cast<IdEntry*>(base_ + kIdsAt + id * id_bytes_);
}

RecordedFd* RegionRecord::doorbells(std::uint16_t id) const {
  return reinterpret_cast<RecordedFd*>(base_ + kDoorbellsAt) +
         std::size_t{id} * ivshmem::kMaxVectors;
}

std::span<std::atomic<std::uint64_t>> RegionRecord::told_bits(std::uint16_t id) const {
  return {reinterpret_cast<std::atomic<std::uint64_t>*>(base_ + kToldAt + id * kToldBytes),
          kToldBytes / sizeof(std::uint64_t)};
}

void RegionRecord::SetNames(const std::string& socket, const std::string& region) const {
  SetText(header().socket, socket);
  SetText(header().region, region);
}

void RegionRecord::ClearTold(std::uint16_t id) const {
  const auto bits = told_bits(id);
  // Gives the memory back; where the kernel cannot, it is written.
  if (madvise(bits.data(), kToldBytes, MADV_REMOVE) == 0) return;
  for (std::atomic<std::uint64_t>& word : bits) word.store(0, std::memory_order_relaxed);
}

void RegionRecord::SetDoorbells(std::uint16_t id, std::span<const RecordedFd> numbers) const {
  std::copy(numbers.begin(), numbers.end(), doorbells(id));
}

void RegionRecord::Connect(std::uint16_t id, RecordedFd socket, ClientBacklog::Order order,
                           std::span<const RecordedFd> doorbells) const {
  IVMQ_SERVER_STEP("connect.before");
  ClearTold(id);
  SetDoorbells(id, doorbells);
  IdEntry& its = entry(id);
  its.own_first = order == ClientBacklog::Order::kOwnFirst ? 1 : 0;
  its.socket = socket;
  its.partial.store(0, std::memory_order_relaxed);
  its.stage.store(0, std::memory_order_relaxed);
  SetState(id, IdState::kConnected);
  IVMQ_SERVER_STEP("connect.after");
}

void RegionRecord::SetState(std::uint16_t id, IdState state) const {
  entry(id).state.store(static_cast<std::uint32_t>(state), std::memory_order_release);
}

void RegionRecord::SetSocket(std::uint16_t id, RecordedFd socket) const {
  entry(id).socket = socket;
}

// Each message stores what holds after it, whatever held before: so a successor may apply a batch
// of which its predecessor had applied a part.
void RegionRecord::Sent(std::uint16_t id, const ClientBacklog::Message& message) const {
  using Kind = ClientBacklog::Kind;
  using Stage = ClientBacklog::Stage;
  IdEntry& its = entry(id);
  const auto reach = [&its](Stage stage) {
    its.stage.store(static_cast<std::uint32_t>(stage), std::memory_order_release);
  };
  std::atomic<std::uint64_t>& word = told_bits(id)[message.id / 64];
  const std::uint64_t bit = std::uint64_t{1} << (message.id % 64);
  switch (message.kind) {
    case Kind::kVersion:
      return reach(Stage::kOwnId);
    case Kind::kOwnId:
      return reach(Stage::kSharedMemory);
    case Kind::kSharedMemory:
      return reach(Stage::kPresent);
    case Kind::kGone:
      word.store(word.load(std::memory_order_relaxed) & ~bit, std::memory_order_release);
      return;
    case Kind::kVector:
      break;
  }
  if (message.vector == 0) {
    word.store(word.load(std::memory_order_relaxed) | bit, std::memory_order_release);
  }
  const bool is_last = message.vector + 1 == header().vectors;
  its.partial.store(
      is_last ? 0 : kIsPartial | std::uint64_t{message.id} << 32 | (message.vector + 1),
      std::memory_order_release);
  if (is_last && message.id == id) reach(Stage::kUpToDate);
}

void RegionRecord::SetTold(std::uint16_t id, const ClientBacklog::Told& told,
                           ClientBacklog::Order order) const {
  IdEntry& its = entry(id);
  its.own_first = order == ClientBacklog::Order::kOwnFirst ? 1 : 0;
  its.stage.store(static_cast<std::uint32_t>(told.stage), std::memory_order_relaxed);
  its.partial.store(
      told.partial ? kIsPartial | std::uint64_t{told.partial->id} << 32 | told.partial->vector : 0,
      std::memory_order_relaxed);
  const auto bits = told_bits(id);
  for (std::size_t i = 0; i < kIds; ++i) {
    if (!told.known[i]) continue;
    std::atomic<std::uint64_t>& word = bits[i / 64];
    word.store(word.load(std::memory_order_relaxed) | std::uint64_t{1} << (i % 64),
               std::memory_order_relaxed);
  }
}

std::string RegionRecord::socket() const { return GetText(header().socket); }
std::string RegionRecord::region() const { return GetText(header().region); }

IdState RegionRecord::state(std::uint16_t id) const {
  return static_cast<IdState>(entry(id).state.load(std::memory_order_acquire));
}

ClientBacklog::Order RegionRecord::order(std::uint16_t id) const {
  return entry(id).own_first != 0 ? ClientBacklog::Order::kOwnFirst
                                  : ClientBacklog::Order::kPeersFirst;
}

RecordedFd RegionRecord::socket(std::uint16_t id) const { return entry(id).socket; }

RecordedFd RegionRecord::doorbell(std::uint16_t id, std::uint32_t vector) const {
  return doorbells(id)[vector];
}

ClientBacklog::Told RegionRecord::told(std::uint16_t id) const {
  ClientBacklog::Told told;
  const IdEntry& its = entry(id);
  told.stage = static_cast<ClientBacklog::Stage>(
      std::min(its.stage.load(std::memory_order_relaxed),
               static_cast<std::uint32_t>(ClientBacklog::Stage::kUpToDate)));
  if (const std::uint64_t partial = its.partial.load(std::memory_order_relaxed);
      (partial & kIsPartial) != 0) {
    told.partial = ClientBacklog::Message{ClientBacklog::Kind::kVector,
                                          static_cast<std::uint16_t>(partial >> 32),
                                          static_cast<std::uint32_t>(partial)};
  }
  const auto bits = told_bits(id);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    for (std::uint64_t word = bits[i].load(std::memory_order_relaxed); word != 0;
         word &= word - 1) {
      told.known.set(i * 64 + static_cast<std::size_t>(std::countr_zero(word)));
    }
  }
  return told;
}

// ---- Record

RecordHeader& Record::header() const {
  return *reinterpret_cast<RecordHeader*>(mapping_.bytes().data());
}

Pen& Record::pen() const { return *reinterpret_cast<Pen*>(mapping_.bytes().data() + kPenAt); }

RegionRecord Record::region(std::size_t index) const {
  return {mapping_.bytes().data() + kRegionsAt + index * header().region_bytes, header().id_bytes};
}

Result<Record> Record::Create(std::size_t regions, RecordVersion version) {
  const std::size_t size = kRegionsAt + regions * kRegionBytes;
  UniqueFd fd(memfd_create("ivmqd-record", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return SystemError(errno, "memfd_create");
  // Looked at first: to grow a file beyond this limit ends the process with SIGXFSZ.
  if (rlimit limit{}; getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < size) {
    return Status(StatusCode::kResourceExhausted,
                  fmt::format("no space for the record of the server's clients: it has {}, most of "
                              "which are never used, and this process may create files of at most "
                              "{}; raise that limit (ulimit -f, LimitFSIZE=)",
                              SizeText(size), SizeText(limit.rlim_cur)));
  }
  if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0 ||
      fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return SystemError(errno, "a record of the server's clients");
  }
  Mapping mapping;
  int error = 0;
  if (!mapping.Map(fd.get(), size, Access::kReadWrite, &error)) {
    return SystemError(error, "a record of the server's clients");
  }
  Record record(std::move(fd), std::move(mapping));
  // The kernel's receipts must find their pages in memory. Not more than a hope where the limit of
  // locked memory is low: then they are only where they were a moment ago.
  (void)mlock(record.mapping_.bytes().data(), kPenAt + sizeof(Pen));
  std::memset(record.mapping_.bytes().data(), 0, kRegionsAt);
  RecordHeader& header = record.header();
  header.major = version.major;
  header.minor = version.minor;
  header.region_bytes = kRegionBytes;
  header.regions = static_cast<std::uint32_t>(regions);
  header.id_bytes = static_cast<std::uint32_t>(sizeof(IdEntry)) + version.more_id_bytes;
  std::atomic_ref(header.magic).store(kRecordMagic, std::memory_order_release);
  return record;
}

Result<Record> Record::Open(UniqueFd fd) {
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) return SystemError(errno, "fstat");
  const auto none = [](const std::string& what) {
    return Status(StatusCode::kFailedPrecondition, what);
  };
  const auto size = static_cast<std::uint64_t>(file.st_size);
  if (!S_ISREG(file.st_mode) || size < kRegionsAt) return none("this is no record of a server");
  Mapping mapping;
  int error = 0;
  if (!mapping.Map(fd.get(), size, Access::kReadWrite, &error)) {
    return SystemError(error, "the record of the last server");
  }
  Record record(std::move(fd), std::move(mapping));
  const RecordHeader& header = record.header();
  if (header.magic != kRecordMagic) return none("this is no record of a server");
  if (header.major != kKnown.major) {
    return none(fmt::format("its record has version {}.{}, and this ivmqd reads {}.x only",
                            header.major, header.minor, kKnown.major));
  }
  if (header.id_bytes < sizeof(IdEntry) || header.id_bytes > kMostIdBytes ||
      header.id_bytes % alignof(IdEntry) != 0 || header.regions > kMostRegions ||
      header.region_bytes < kRegionBytes || header.region_bytes % alignof(RegionHeader) != 0 ||
      header.region_bytes > size || kRegionsAt + header.regions * header.region_bytes > size) {
    return none("its record is damaged");
  }
  return record;
}

bool IsRecord(int fd) {
  std::uint64_t magic = 0;
  struct stat file {};
  return fstat(fd, &file) == 0 && S_ISREG(file.st_mode) &&
         pread(fd, &magic, sizeof(magic), offsetof(RecordHeader, magic)) == sizeof(magic) &&
         magic == kRecordMagic;
}

// ---- Pen

PenResult SendWithReceipts(Pen& pen, std::uint32_t region, std::uint32_t id, const KeptFd& socket,
                           std::span<const PenMessage> messages) {
  pen.region = region;
  pen.id = id;
  pen.socket = RecordedFd(socket);
  pen.count = static_cast<std::uint32_t>(messages.size());
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const PenMessage& message = messages[i];
    pen.lines[i] = {static_cast<std::uint32_t>(message.message.kind), message.message.id,
                    message.message.vector};
    pen.wire[i] = htole64(static_cast<std::uint64_t>(message.value));
    pen.parts[i] = {&pen.wire[i], sizeof(pen.wire[i])};
    pen.headers[i] = {};
    msghdr& header = pen.headers[i].msg_hdr;
    header.msg_iov = &pen.parts[i];
    header.msg_iovlen = 1;
    if (message.fd < 0) continue;
    header.msg_control = pen.controls[i].bytes.data();
    header.msg_controllen = pen.controls[i].bytes.size();
    cmsghdr* const control = CMSG_FIRSTHDR(&header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(control), &message.fd, sizeof(int));
  }
  pen.is_down.store(1, std::memory_order_release);
  IVMQ_SERVER_STEP("send.before");
  PenResult result;
  // Without an error the next call says why the last one stopped.
  while (result.sent < messages.size()) {
    const int sent =
        sendmmsg(socket.get(), &pen.headers[result.sent],
                 static_cast<unsigned>(messages.size() - result.sent), MSG_DONTWAIT | MSG_NOSIGNAL);
    IVMQ_SERVER_STEP("send.after");
    if (sent > 0) {
      result.sent += static_cast<std::size_t>(sent);
    } else if (errno != EINTR) {
      result.next = ivshmem::SendError(errno);
      break;
    }
  }
  return result;
}

std::vector<ClientBacklog::Message> Receipts(const Pen& pen) {
  std::vector<ClientBacklog::Message> sent;
  if (pen.is_down.load(std::memory_order_acquire) == 0) return sent;
  for (std::size_t i = 0; i < std::min<std::size_t>(pen.count, Pen::kMost); ++i) {
    if (pen.headers[i].msg_len != ivshmem::kMessageBytes) break;
    const Pen::Line& line = pen.lines[i];
    sent.push_back({static_cast<ClientBacklog::Kind>(line.kind),
                    static_cast<std::uint16_t>(line.id), line.vector});
  }
  return sent;
}

}  // namespace ivmq::server
