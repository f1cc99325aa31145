#include "src/file_transport.h"

#include <cerrno>
#include <utility>

#include "src/file_lock.h"
#include "src/region_file.h"
#include "src/text.h"

namespace ivmq {

FileTransport::FileTransport(UniqueFd file, Mapping mapping, TransportInfo info)
    : file_(std::move(file)),
      mapping_(std::move(mapping)),
      info_(std::move(info)),
      lock_domain_(LockDomainOf(file_.get())) {}

Status FileTransport::LockSlot(std::uint32_t slot) {
  switch (TryLockFile(file_.get(), slot, 1)) {
    case LockResult::kLocked:
      return {};
    case LockResult::kHeld:
      return {StatusCode::kAborted, info_.address + ": slot " + std::to_string(slot) +
                                        " is locked by another process, or the region is being "
                                        "formatted; try again"};
    case LockResult::kError:
      break;
  }
  return {StatusCode::kInternal,
          info_.address + ": locking slot " + std::to_string(slot) + ": " + ErrnoText(errno)};
}

void FileTransport::UnlockSlot(std::uint32_t slot) noexcept { UnlockFile(file_.get(), slot, 1); }

bool FileTransport::IsSlotLocked(std::uint32_t slot) const noexcept {
  return IsFileLocked(file_.get(), slot, 1);
}

Result<std::unique_ptr<Transport>> OpenFileTransport(const std::string& path,
                                                     std::string_view address) {
  auto file = OpenRegionFile(path, address, Access::kReadWrite);
  if (!file.ok()) return file.status();
  auto mapping = MapRegion(file->fd.get(), file->size, Access::kReadWrite);
  if (!mapping.ok()) return mapping.status();
  TransportInfo info;
  info.address = address;
  info.description = "file " + path + ", " + SizeText(file->size) + ", polling";
  return std::unique_ptr<Transport>(
      std::make_unique<FileTransport>(std::move(file->fd), *std::move(mapping), std::move(info)));
}

}  // namespace ivmq
