#include "region_owner.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "ivmq/internal/doorbell_epochs.h"

#include "numa_node.h"
#include "src/file_lock.h"
#include "src/region_file.h"
#include "src/text.h"
#include "system_error.h"

namespace ivmq::server {
namespace {

// MFD_NOEXEC_SEAL of Linux 6.3, which older headers do not have.
constexpr unsigned kMfdNoexecSeal = 8;

constexpr const char* kRemedy = "give another file, or remove it if nobody needs what it holds";

// Takes a fraction of a second.
constexpr std::uint64_t kAllocatedAtOnce = std::uint64_t{256} << 20;
// Holds clients up for some milliseconds; for longer where it is a page of 1 GiB.
constexpr std::uint64_t kAllocatedPerStep = std::uint64_t{32} << 20;

// The file of a region, open twice: for locks and for the clients.
struct LockedFile {
  UniqueFd lock;
  UniqueFd fd;
  std::uint64_t allocated = 0;
  bool is_blank = false;  // holds nothing, as far as can be told without looking at each byte
};

// Removes a file that was made, unless Keep() is called.
class Undo {
 public:
  explicit Undo(const std::string& path) : path_(path) {}
  ~Undo() {
    if (made_) (void)unlink(path_.c_str());
  }
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;

  void Made() { made_ = true; }
  void Keep() { made_ = false; }

 private:
  const std::string& path_;
  bool made_ = false;
};

// The same file once more, not by its path, where another one may be by now.
Result<UniqueFd> OpenAgain(int fd, int mode = O_RDWR) {
  UniqueFd again(open(fmt::format("/proc/self/fd/{}", fd).c_str(), mode | O_CLOEXEC));
  if (!again.valid()) {
    return SystemError(errno, "opening the region again through /proc, which must be mounted");
  }
  return again;
}

bool IsTmpfs(int fd) {
  struct statfs system {};
  return fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC;
}

// Bytes of the huge pages that a file in a hugetlbfs, or a memfd, has; 0 for any other.
std::uint64_t HugePageOf(int fd) {
  struct statfs system {};
  return fstatfs(fd, &system) == 0 && system.f_type == HUGETLBFS_MAGIC
             ? static_cast<std::uint64_t>(system.f_bsize)
             : 0;
}

Status AllocateFirst(LockedFile& file, const Options& options) {
  const int fd = file.fd.get();
  const bool has_huge_pages = HugePageOf(fd) != 0;
  const bool is_in_memory = has_huge_pages || IsTmpfs(fd);
  // To map huge pages reserves all of them, but not on one node.
  const bool may_do_the_rest_later = is_in_memory && !(has_huge_pages && options.numa_node);
  file.allocated = may_do_the_rest_later ? std::min(options.size, kAllocatedAtOnce) : options.size;
  if (options.numa_node && !is_in_memory) {
    return {
        StatusCode::kInvalidArgument,
        fmt::format("--numa-node {}: the file is on a disk; use memfd, shm:NAME, or file:PATH in "
                    "a hugetlbfs",
                    *options.numa_node)};
  }
  if (Status status = Resize(fd, options.size); !status.ok()) return status;
  return AllocateOnNode(options.numa_node, has_huge_pages ? 0 : options.size,
                        [&] { return AllocateRange(fd, options.size, 0, file.allocated); });
}

int CreateMemfd(std::uint64_t huge_page) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (huge_page != 0) {
    flags |= MFD_HUGETLB | static_cast<unsigned>(std::countr_zero(huge_page)) << MAP_HUGE_SHIFT;
  }
  // Where vm.memfd_noexec=2 forbids any other kind. Unknown before Linux 6.3.
  const int fd = memfd_create("ivmq", flags | kMfdNoexecSeal);
  return fd >= 0 || errno != EINVAL ? fd : memfd_create("ivmq", flags);
}

Result<LockedFile> MakeMemfd(const Options& options) {
  LockedFile file;
  file.is_blank = true;
  file.fd.reset(CreateMemfd(options.huge_page));
  if (!file.fd.valid()) {
    if (options.huge_page == 0) return SystemError(errno, "memfd_create");
    return Status(StatusCode::kInvalidArgument,
                  fmt::format("--hugepages {}: {}; for the sizes that this machine has see "
                              "/sys/kernel/mm/hugepages",
                              HugePageText(options.huge_page), ErrnoText(errno)));
  }
  // It is born with 0777: whoever has a read-only descriptor could open it again to write.
  if (fchmod(file.fd.get(), 0600) != 0) return SystemError(errno, "setting its mode");
  if (Status status = AllocateFirst(file, options); !status.ok()) return status;
  if (fcntl(file.fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return SystemError(errno, "sealing");
  }
  Result<UniqueFd> lock = OpenAgain(file.fd.get());
  if (!lock.ok()) return lock.status();
  file.lock = *std::move(lock);
  return file;
}

// Opens `path`, or makes it; gives what it made its group and mode.
Result<UniqueFd> OpenOrMake(const std::string& path, const Options& options,
                            const CheckedOptions& checked, Undo& undo) {
  // O_NONBLOCK: a pipe must not hold the server up.
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NONBLOCK;
  UniqueFd fd(open(path.c_str(), kFlags | O_CREAT | O_EXCL, 0600));
  if (!fd.valid()) {
    if (errno == EEXIST) fd.reset(open(path.c_str(), kFlags));
    if (!fd.valid()) return SystemError(errno, "opening it");
    return fd;
  }
  undo.Made();
  if (checked.group && fchown(fd.get(), static_cast<uid_t>(-1), *checked.group) != 0) {
    return SystemError(errno, fmt::format("giving it to group {}", *checked.group));
  }
  if (fchmod(fd.get(), static_cast<mode_t>(options.mode)) != 0) {
    return SystemError(errno, "setting its mode");
  }
  return fd;
}

// Checks that the file can be the region before anything in it is touched.
Status CheckFile(int fd, const struct stat& found, const Options& options) {
  const std::uint64_t size = options.size;
  if (!S_ISREG(found.st_mode)) {
    return {StatusCode::kFailedPrecondition, "this is no regular file; give another path"};
  }
  if (found.st_size != 0 && static_cast<std::uint64_t>(found.st_size) != size) {
    return {StatusCode::kFailedPrecondition,
            fmt::format("it has {} bytes and --size is {}; start with --size {}, or {}",
                        found.st_size, size, found.st_size, kRemedy)};
  }
  const std::uint64_t page = HugePageOf(fd);
  if (options.huge_page != 0 && page != options.huge_page) {
    return {StatusCode::kInvalidArgument,
            fmt::format("its file system has {}, and --hugepages is {}; give a file in a hugetlbfs "
                        "that is mounted with pagesize={}, or memfd",
                        page == 0 ? "no huge pages" : "huge pages of " + SizeText(page),
                        HugePageText(options.huge_page), HugePageText(options.huge_page))};
  }
  if (page != 0 && size % page != 0) {
    return {
        StatusCode::kInvalidArgument,
        fmt::format("its file system has huge pages of {}, and --size {} is not a multiple of that",
                    SizeText(page), SizeText(size))};
  }
  return {};
}

Result<LockedFile> OpenFile(const Options& options, const CheckedOptions& checked, Undo& undo) {
  const std::string& path = checked.region_path;
  LockedFile file;
  Result<UniqueFd> opened = OpenOrMake(path, options, checked, undo);
  if (!opened.ok()) return opened.status();
  file.fd = *std::move(opened);
  struct stat found {};
  if (fstat(file.fd.get(), &found) != 0) return SystemError(errno, "fstat");
  if (Status status = CheckFile(file.fd.get(), found, options); !status.ok()) return status;

  file.lock.reset(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  struct stat locked {};
  if (!file.lock.valid() || fstat(file.lock.get(), &locked) != 0) {
    return SystemError(errno, "opening it");
  }
  if (locked.st_dev != found.st_dev || locked.st_ino != found.st_ino) {
    return Status(StatusCode::kUnavailable,
                  "it was replaced while the server opened it; try again");
  }
  switch (TryLockFile(file.lock.get(), kServerLock, 1)) {
    case LockResult::kLocked:
      break;
    case LockResult::kHeld:
      // It is not this server's to remove.
      undo.Keep();
      return Status(
          StatusCode::kAlreadyExists,
          "another server has it, or the keeper of one that has ended (ivmqd-keeper; an ivmqd with "
          "that one's --socket goes on from there), or `ivmq format` is running on it; end that "
          "first, or give another region");
    case LockResult::kError:
      return SystemError(errno, "locking it");
  }
  file.is_blank = found.st_size == 0 || (lseek(file.fd.get(), 0, SEEK_DATA) < 0 && errno == ENXIO);
  if (Status status = AllocateFirst(file, options); !status.ok()) return status;
  return file;
}

// No keeper needs the memory.
Result<Mapping> MapForServer(int fd, std::uint64_t size) {
  Result<Mapping> mapping = MapRegion(fd, size, Access::kReadWrite);
  if (mapping.ok()) (void)madvise(mapping->bytes().data(), mapping->bytes().size(), MADV_DONTFORK);
  return mapping;
}

// Attaches to what is there, which must be what the options would make.
Result<Region> Attach(std::span<std::byte> memory, const Options& options) {
  Result<Region> region = Region::Attach(memory);
  if (!region.ok()) {
    return Status(region.status().code(),
                  fmt::format("{}; {}", region.status().message(), kRemedy));
  }
  const Geometry& geometry = region->geometry();
  if (geometry.region_size != options.size || geometry.max_peers != options.max_peers ||
      (options.ring_size != 0 && geometry.ring_capacity != options.ring_size)) {
    return Status(
        StatusCode::kFailedPrecondition,
        fmt::format(
            "it is an ivmq region created with --size {} --max-peers {} --ring-size {}; start with "
            "these, or {}",
            geometry.region_size, geometry.max_peers, geometry.ring_capacity, kRemedy));
  }
  return region;
}

// Clients' shared locks stand beside this one, and no client can lock an id for itself alone, which
// would keep the id from all others.
Status ShareIdLocks(int fd) {
  switch (TryShareFile(fd, kIdLocks, IdSet().size())) {
    case LockResult::kLocked:
      return {};
    case LockResult::kHeld:
      return {StatusCode::kFailedPrecondition,
              "a process that has it open has locked ids of clients, which no process may do (see "
              "its inode in /proc/locks); end that process"};
    case LockResult::kError:
      break;
  }
  return SystemError(errno, "locking the ids of clients");
}

// Those of the `count` ids from `first` on whose byte is locked; few of them are.
void AddLockedIds(int fd, std::size_t first, std::size_t count, std::set<std::uint16_t>& ids) {
  if (!IsFileLocked(fd, kIdLocks + first, count)) return;
  if (count == 1) {
    ids.insert(static_cast<std::uint16_t>(first));
    return;
  }
  AddLockedIds(fd, first, count / 2, ids);
  AddLockedIds(fd, first + count / 2, count - count / 2, ids);
}

}  // namespace

RegionOwner::RegionOwner(UniqueFd fd, UniqueFd lock, Mapping mapping, const Region& region,
                         std::uint64_t allocated, std::optional<std::uint32_t> numa_node)
    : fd_(std::move(fd)),
      lock_(std::move(lock)),
      mapping_(std::move(mapping)),
      region_(region),
      allocated_(allocated),
      numa_node_(numa_node) {}

void RegionOwner::SayGoodbye() const {
  region_.header().server_pid.store(0, std::memory_order_release);
}

Result<RegionOwner> RegionOwner::Adopt(const Options& options, UniqueFd fd, UniqueFd lock,
                                       std::uint64_t allocated) {
  const std::string where = fmt::format("--region {}", options.region);
  Result<Mapping> mapping = MapForServer(fd.get(), options.size);
  if (!mapping.ok()) return At(where, mapping.status());
  const Result<Region> region = Attach(mapping->bytes(), options);
  if (!region.ok()) return At(where, region.status());
  RegionOwner owner(std::move(fd), std::move(lock), *std::move(mapping), *region,
                    std::min(allocated, options.size), options.numa_node);
  owner.taken_over_ = true;
  owner.crashed_pid_ = region->header().server_pid.load(std::memory_order_relaxed);
  return owner;
}

void RegionOwner::SayHello() const {
  region_.header().server_pid.store(static_cast<std::uint32_t>(getpid()),
                                    std::memory_order_release);
}

Result<RegionOwner> RegionOwner::Open(const Options& options, const CheckedOptions& checked) {
  const std::string where = fmt::format("--region {}", options.region);
  Undo undo(checked.region_path);
  Result<LockedFile> opened =
      checked.region_path.empty() ? MakeMemfd(options) : OpenFile(options, checked, undo);
  if (!opened.ok()) return At(where, opened.status());
  LockedFile file = *std::move(opened);
  if (Status status = ShareIdLocks(file.lock.get()); !status.ok()) return At(where, status);
  Result<Mapping> mapping = MapForServer(file.fd.get(), options.size);
  if (!mapping.ok()) return At(where, mapping.status());

  const bool empty = file.is_blank || IsAllZero(mapping->bytes());
  if (empty) {
    FormatOptions format = checked.format;
    format.known_zero = true;
    if (Status status = Format(mapping->bytes(), format); !status.ok()) {
      return At(where, status);
    }
  }
  const Result<Region> region = Attach(mapping->bytes(), options);
  if (!region.ok()) return At(where, region.status());
  undo.Keep();

  RegionOwner owner(std::move(file.fd), std::move(file.lock), *std::move(mapping), *region,
                    file.allocated, options.numa_node);
  layout::Header& header = region->header();
  owner.taken_over_ = !empty;
  owner.crashed_pid_ = header.server_pid.load(std::memory_order_relaxed);
  const std::set<std::uint16_t> former =
      owner.taken_over_ ? owner.FormerIds() : std::set<std::uint16_t>();
  // A process takes a vector by which all can ring it, clients of former servers included.
  std::uint32_t vectors = options.vectors;
  if (const std::uint32_t before = header.server_vectors.load(std::memory_order_relaxed);
      !former.empty() && before != 0) {
    vectors = std::min(vectors, before);
  }
  header.server_vectors.store(vectors, std::memory_order_relaxed);
  header.server_pid.store(static_cast<std::uint32_t>(getpid()), std::memory_order_relaxed);
  DoorbellEpochs(*region).Begin(former);
  return owner;
}

Result<UniqueFd> RegionOwner::OpenForClient(std::uint16_t id) const {
  Result<UniqueFd> fd = OpenAgain(fd_.get());
  if (fd.ok() && TryShareFile(fd->get(), kIdLocks + id, 1) != LockResult::kLocked) {
    return SystemError(errno, "locking the region");
  }
  return fd;
}

Result<UniqueFd> RegionOwner::OpenForObserver() const { return OpenAgain(fd_.get(), O_RDONLY); }

bool RegionOwner::IsHeld(std::uint16_t id) const {
  return IsFileLocked(lock_.get(), kIdLocks + id, 1);
}

Status RegionOwner::AllocateMore() {
  const std::uint64_t size = mapping_.bytes().size();
  const std::uint64_t step = std::min(size - allocated_, kAllocatedPerStep);
  if (Status status = AllocateOnNode(
          numa_node_, step, [&] { return AllocateRange(fd_.get(), size, allocated_, step); });
      !status.ok()) {
    return status;
  }
  allocated_ += step;
  return {};
}

std::set<std::uint16_t> RegionOwner::FormerIds() const {
  std::set<std::uint16_t> ids;
  AddLockedIds(lock_.get(), 0, IdSet().size(), ids);
  ids.erase(layout::kNoIvposition);
  const IdSet held = HeldIds();
  for (std::uint32_t id = 0; id <= kLastId; ++id) {
    if (held[id]) ids.insert(static_cast<std::uint16_t>(id));
  }
  return ids;
}

IdSet RegionOwner::HeldIds() const {
  IdSet held;
  for (std::uint32_t slot = 0; slot < region_.max_peers(); ++slot) {
    const auto life =
        layout::Life::FromWord(region_.slot(slot).life.load(std::memory_order_acquire));
    if (life.state == layout::PeerState::kLive || life.state == layout::PeerState::kClaiming) {
      held.set(life.ivposition);
    }
  }
  held.reset(layout::kNoIvposition);
  return held;
}

std::uint16_t RegionOwner::HighestId() const {
  std::uint16_t highest = 0;
  for (std::uint32_t slot = 0; slot < region_.max_peers(); ++slot) {
    const auto life =
        layout::Life::FromWord(region_.slot(slot).life.load(std::memory_order_relaxed));
    if (life.state != layout::PeerState::kFree && life.ivposition != layout::kNoIvposition) {
      highest = std::max(highest, life.ivposition);
    }
  }
  return highest;
}

}  // namespace ivmq::server
