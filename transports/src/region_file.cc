#include "src/region_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <sstream>

#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"

#include "src/file_lock.h"
#include "src/text.h"

namespace ivmq {
namespace {

constexpr std::string_view kFileScheme = "file:";
constexpr std::string_view kShmScheme = "shm:";
constexpr std::string_view kShmFolder = "/dev/shm";
constexpr mode_t kUsualMode = 0660;

std::string FormatHint(std::string_view address) {
  return "make one with `ivmq format " + std::string(address) + " --size 64M`";
}

Status OpenError(int error, const std::string& path, std::string_view address) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return {StatusCode::kNotFound, "there is no such file; " + FormatHint(address)};
    case EACCES:
    case EPERM:
    case EROFS:
      return {StatusCode::kPermissionDenied,
              ErrnoText(error) + ": " + AccessText(path) +
                  "; a peer needs to read and write it: run as its owner or join its group"};
    default:
      return {StatusCode::kInvalidArgument, "cannot be opened: " + ErrnoText(error)};
  }
}

std::string FileKind(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "a folder";
    case S_IFSOCK:
      return "a socket";
    case S_IFCHR:
    case S_IFBLK:
      return "a device";
    case S_IFIFO:
      return "a pipe";
    default:
      return "no regular file";
  }
}

// Who holds the region that `memory` has, as far as the locks of its own file do not tell: the
// caller has the lock of the whole file, so that all of that domain are gone.
std::string LivePeers(const Region& region, std::uint64_t own_domain) {
  std::string names;
  for (const PeerInfo& peer : PeerTable(region).Snapshot().peers) {
    const bool alive =
        peer.state == layout::PeerState::kLive || peer.state == layout::PeerState::kClaiming;
    const std::uint64_t domain =
        region.slot(peer.id.slot).lock_domain.load(std::memory_order_relaxed);
    if (!alive || domain == own_domain) continue;
    names += (names.empty() ? "'" : ", '") + peer.name + "'";
  }
  return names;
}

Status ForeignContent(std::uint64_t size) {
  return {StatusCode::kFailedPrecondition,
          "the file contains " + SizeText(size) +
              " of something that is no ivmq region, and is left as it is; give another path, or "
              "remove the file first if it is not needed"};
}

// Whether the file starts like a region, or like one that has not been formatted yet.
bool MayBeRegion(int fd) {
  std::uint64_t magic = 0;
  return pread(fd, &magic, sizeof(magic), 0) <= 0 || magic == 0 || magic == layout::kMagic;
}

// Makes existing content all zero if it may be.
Status Clear(std::span<std::byte> memory, int fd, bool replace) {
  const auto& header = *reinterpret_cast<const layout::Header*>(memory.data());
  if (header.magic.load(std::memory_order_acquire) != layout::kMagic) {
    return ForeignContent(memory.size());
  }
  if (!replace) {
    return {
        StatusCode::kAlreadyExists,
        "the file is an ivmq region already; formatting it again loses its messages and has to be "
        "forced"};
  }
  if (const auto region = Region::Attach(memory); region.ok()) {
    const std::string names = LivePeers(*region, LockDomainOf(fd));
    if (!names.empty()) {
      return {StatusCode::kFailedPrecondition,
              "attached to the region, as its peer table says: " + names +
                  "; stop them, or remove the file if they are gone"};
    }
  }
  // Not by truncation: that would end a QEMU that has the file mapped.
  std::memset(memory.data(), 0, memory.size());
  return {};
}

Status LockForFormat(int fd) {
  switch (TryLockWholeFile(fd)) {
    case LockResult::kLocked:
      return {};
    case LockResult::kHeld:
      return {StatusCode::kFailedPrecondition,
              "a peer or a server is attached to the region (it holds a lock on the file); stop it "
              "first, see `ivmq ls`"};
    case LockResult::kError:
      break;
  }
  return {StatusCode::kFailedPrecondition, "cannot be locked: " + ErrnoText(errno)};
}

// What a file system without a size of its own can hold: the memory of the machine.
std::uint64_t AvailableMemory() {
  std::ifstream file("/proc/meminfo");
  std::uint64_t bytes = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t kilobytes = 0;
    if (words >> name >> kilobytes && (name == "MemAvailable:" || name == "SwapFree:")) {
      bytes += kilobytes << 10;
    }
  }
  return bytes == 0 ? UINT64_MAX : bytes;
}

std::uint64_t FreeBytes(const struct statfs& fs) {
  if (fs.f_blocks != 0) return fs.f_bavail * static_cast<std::uint64_t>(fs.f_bsize);
  // A hugetlbfs without a size: its mapping reserves the pages, or fails.
  return fs.f_type == HUGETLBFS_MAGIC ? UINT64_MAX : AvailableMemory();
}

std::string HugePageFolder(const struct statfs& fs) {
  return "/sys/kernel/mm/hugepages/hugepages-" + std::to_string(fs.f_bsize >> 10) + "kB";
}

Status NoSpace(int error, const struct statfs& fs, std::uint64_t size) {
  const std::string free =
      fs.f_type == HUGETLBFS_MAGIC
          ? "too few huge pages of " + SizeText(static_cast<std::uint64_t>(fs.f_bsize)) +
                " are free; write to " + HugePageFolder(fs) +
                "/nr_hugepages how many there shall be"
          : SizeText(FreeBytes(fs)) +
                (fs.f_blocks != 0 ? " are free in its file system" : " of memory are free");
  return {StatusCode::kResourceExhausted,
          "no space for " + SizeText(size) + " (" + ErrnoText(error) + "); " + free};
}

Status AllocationError(int error, const struct statfs& fs, std::uint64_t size) {
  if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == ENOMEM) {
    return NoSpace(error, fs, size);
  }
  return {StatusCode::kInternal, "allocating " + SizeText(size) + ": " + ErrnoText(error)};
}

Status SetOwnership(int fd, bool created, const CreateOptions& options) {
  if (options.group && fchown(fd, static_cast<uid_t>(-1), *options.group) != 0) {
    return {StatusCode::kPermissionDenied,
            "cannot be given to gid " + std::to_string(*options.group) + ": " + ErrnoText(errno) +
                "; its owner has to be a member, or root"};
  }
  std::optional<std::uint32_t> mode = options.mode;
  if (!mode && created && options.group) mode = kUsualMode;
  if (mode && fchmod(fd, static_cast<mode_t>(*mode)) != 0) {
    return {StatusCode::kPermissionDenied, "its mode cannot be set: " + ErrnoText(errno)};
  }
  return {};
}

// REQUIRES: the lock of the whole file
Status FormatFile(int fd, std::uint64_t size, bool created, const CreateOptions& options) {
  struct stat file {};
  if (fstat(fd, &file) != 0) return {StatusCode::kInternal, "fstat: " + ErrnoText(errno)};
  if (!S_ISREG(file.st_mode)) {
    return {StatusCode::kInvalidArgument, "is " + FileKind(file.st_mode) + ", not a file"};
  }
  const auto found = static_cast<std::uint64_t>(file.st_size);
  if (!MayBeRegion(fd)) return ForeignContent(found);
  if (found != 0 && size != 0 && found != size) {
    return {StatusCode::kFailedPrecondition, "the file has " + SizeText(found) + " already, not " +
                                                 SizeText(size) +
                                                 "; leave the size out, or remove the file first"};
  }
  if (size == 0) size = found;
  if (const auto plan = PlanGeometry(size, options.format); !plan.ok()) return plan.status();
  // Checked by the kernel only when it is too late: the size of a huge page.
  struct statfs fs {};
  if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC &&
      size % static_cast<std::uint64_t>(fs.f_bsize) != 0) {
    return {StatusCode::kInvalidArgument,
            SizeText(size) + " is no multiple of this file system's huge page of " +
                SizeText(static_cast<std::uint64_t>(fs.f_bsize))};
  }
  if (Status status = Allocate(fd, size); !status.ok()) return status;
  auto mapping = MapRegion(fd, size, Access::kReadWrite);
  if (!mapping.ok()) return mapping.status();
  if (!created && !IsAllZero(mapping->bytes())) {
    if (Status status = Clear(mapping->bytes(), fd, options.replace); !status.ok()) {
      return status;
    }
  }
  if (Status status = SetOwnership(fd, created, options); !status.ok()) return status;
  FormatOptions format = options.format;
  format.known_zero = true;
  return Format(mapping->bytes(), format);
}

}  // namespace

std::optional<Result<std::string>> RegionFilePath(std::string_view address) {
  if (address.starts_with(kFileScheme)) {
    std::string path(address.substr(kFileScheme.size()));
    if (path.empty()) {
      return Status(StatusCode::kInvalidArgument, "names no file; use file:PATH");
    }
    return path;
  }
  if (address.starts_with(kShmScheme)) {
    const std::string name(address.substr(kShmScheme.size()));
    if (name.size() < 2 || name.size() > NAME_MAX || name[0] != '/' || name == "/." ||
        name == "/.." || name.find('/', 1) != std::string::npos) {
      return Status(StatusCode::kInvalidArgument,
                    "not a name of shared memory; use shm:/NAME with one slash, at the start");
    }
    return std::string(kShmFolder) + name;
  }
  return std::nullopt;
}

Result<std::uint64_t> CheckRegionSize(int fd, std::string_view remedy) {
  struct stat file {};
  if (fstat(fd, &file) != 0) return Status(StatusCode::kInternal, "fstat: " + ErrnoText(errno));
  const std::string end = remedy.empty() ? "" : "; " + std::string(remedy);
  if (!S_ISREG(file.st_mode)) {
    return Status(StatusCode::kInvalidArgument,
                  "is " + FileKind(file.st_mode) + ", which cannot hold a region" + end);
  }
  const auto size = static_cast<std::uint64_t>(file.st_size);
  if (size == 0) return Status(StatusCode::kFailedPrecondition, "is empty" + end);
  if (size < layout::kPage) {
    return Status(StatusCode::kFailedPrecondition,
                  "has " + SizeText(size) + ", less than a page: too small for a region" + end);
  }
  if (!std::has_single_bit(size)) {
    return Status(StatusCode::kFailedPrecondition,
                  "has " + SizeText(size) +
                      ", which is not a power of two: it is not a region, or a truncated one" +
                      end);
  }
  return size;
}

Result<RegionFile> OpenRegionFile(const std::string& path, std::string_view address,
                                  Access access) {
  RegionFile file;
  const int mode = access == Access::kReadOnly ? O_RDONLY : O_RDWR;
  // A pipe must not block.
  file.fd.reset(open(path.c_str(), mode | O_CLOEXEC | O_NONBLOCK));
  if (!file.fd.valid()) {
    const int error = errno;
    struct stat found {};
    if (stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode)) {
      const std::string hint =
          S_ISSOCK(found.st_mode) ? "; a server's socket is opened as unix:" + path : "";
      return Status(StatusCode::kInvalidArgument,
                    "is " + FileKind(found.st_mode) + ", which cannot hold a region" + hint);
    }
    return OpenError(error, path, address);
  }
  const auto size = CheckRegionSize(file.fd.get(), FormatHint(address));
  if (!size.ok()) return size.status();
  file.size = *size;
  return file;
}

Status Resize(int fd, std::uint64_t size) {
  struct stat file {};
  struct statfs fs {};
  if (fstat(fd, &file) != 0 || fstatfs(fd, &fs) != 0) {
    return {StatusCode::kInternal, "fstat: " + ErrnoText(errno)};
  }
  const auto found = static_cast<std::uint64_t>(file.st_size);
  // Looked at first: to grow a file beyond this limit ends the process with SIGXFSZ.
  if (rlimit limit{}; found < size && getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
                      limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < size) {
    return {StatusCode::kResourceExhausted,
            "no space for " + SizeText(size) + ": this process may create files of at most " +
                SizeText(limit.rlim_cur) + "; raise that limit (ulimit -f, LimitFSIZE=)"};
  }
  // Likewise: allocation fills the file system before it fails, and where the file system cannot
  // allocate, posix_fallocate() writes block by block.
  const std::uint64_t has = static_cast<std::uint64_t>(file.st_blocks) * 512;
  if (has < size && size - has > FreeBytes(fs)) return NoSpace(ENOSPC, fs, size);
  if (found < size && ftruncate(fd, static_cast<off_t>(size)) != 0) {
    return AllocationError(errno, fs, size);
  }
  return {};
}

Status AllocateRange(int fd, std::uint64_t size, std::uint64_t offset, std::uint64_t length) {
  // A signal undoes all that the kernel has allocated in one call: a short piece is done again.
  constexpr std::uint64_t kPiece = std::uint64_t{4} << 20;
  while (length != 0) {
    const std::uint64_t piece = std::min(length, kPiece);
    const int error = posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(piece));
    if (error == EINTR) continue;
    if (error != 0) {
      struct statfs fs {};
      (void)fstatfs(fd, &fs);
      return AllocationError(error, fs, size);
    }
    offset += piece;
    length -= piece;
  }
  return {};
}

Status Allocate(int fd, std::uint64_t size) {
  if (Status status = Resize(fd, size); !status.ok()) return status;
  return AllocateRange(fd, size, 0, size);
}

Result<Mapping> MapRegion(int fd, std::uint64_t size, Access access) {
  Mapping mapping;
  int error = 0;
  if (mapping.Map(fd, size, access, &error)) return mapping;
  if (struct statfs fs{};
      error == ENOMEM && fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC) {
    return NoSpace(error, fs, size);
  }
  const StatusCode code = error == EACCES || error == EPERM ? StatusCode::kPermissionDenied
                          : error == ENOMEM                 ? StatusCode::kResourceExhausted
                                                            : StatusCode::kInternal;
  return Status(code, "mapping " + SizeText(size) + ": " + ErrnoText(error));
}

Status CreateRegionFile(std::string_view address, std::uint64_t size,
                        const CreateOptions& options) {
  const auto path = RegionFilePath(address);
  if (!path) {
    return At(address,
              {StatusCode::kInvalidArgument,
               "only file:PATH and shm:/NAME can be created; the region of any other address "
               "is created by its server or its machine"});
  }
  if (!path->ok()) return At(address, path->status());
  const std::string& name = **path;
  // Before a file is made.
  if (size != 0) {
    if (const auto plan = PlanGeometry(size, options.format); !plan.ok()) {
      return At(address, plan.status());
    }
  }

  const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  // What is to be given to somebody is nobody else's before.
  const mode_t mode = options.mode || options.group ? 0600 : kUsualMode;
  UniqueFd fd(size == 0 ? -1 : open(name.c_str(), flags | O_CREAT | O_EXCL, mode));
  const bool created = fd.valid();
  if (!created && (size == 0 || errno == EEXIST)) fd.reset(open(name.c_str(), flags));
  if (!fd.valid()) {
    const int error = errno;
    if (error == ENOENT && size == 0) {
      return At(address, {StatusCode::kInvalidArgument,
                          "there is no such file; give the size of the file to create"});
    }
    if (error == ENOENT || error == ENOTDIR) {
      return At(address, {StatusCode::kNotFound, "the folder does not exist; create it first"});
    }
    if (error == ELOOP) {
      return At(address,
                {StatusCode::kInvalidArgument, "is a symbolic link; name the file it stands for"});
    }
    return At(address, OpenError(error, name, address));
  }
  // From here on the file is this call's; before, somebody else may be formatting what it created.
  if (Status status = LockForFormat(fd.get()); !status.ok()) return At(address, status);
  Status status = FormatFile(fd.get(), size, created, options);
  if (status.ok()) return status;
  if (created) unlink(name.c_str());
  return At(address, status);
}

}  // namespace ivmq
