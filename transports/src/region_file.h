// Files that hold a region: regular files of any file system, hugetlbfs and POSIX shm included.
#ifndef IVMQ_TRANSPORTS_SRC_REGION_FILE_H_
#define IVMQ_TRANSPORTS_SRC_REGION_FILE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ivmq/address.h"
#include "ivmq/status.h"

#include "src/mapping.h"
#include "src/unique_fd.h"

namespace ivmq {

// The path behind "file:PATH" or "shm:/NAME"; nothing for another scheme. INVALID_ARGUMENT if it is
// empty, or a shm name that shm_open(3) would refuse.
std::optional<Result<std::string>> RegionFilePath(std::string_view address);

struct RegionFile {
  UniqueFd fd;  // an open file description of its own
  std::uint64_t size = 0;
};

// Opens an existing file and checks that it can hold a region: regular, its size a power of two and
// at least a page. Errors do not name the file; they say how to make one at `address`.
Result<RegionFile> OpenRegionFile(const std::string& path, std::string_view address, Access access);

// Checks that the open file `fd` can hold a region and returns its size. `remedy` ends the message.
Result<std::uint64_t> CheckRegionSize(int fd, std::string_view remedy);

// Gives `fd` the size. RESOURCE_EXHAUSTED with the remedy if there is no space for all of it now.
Status Resize(int fd, std::uint64_t size);
// Allocates `length` bytes from `offset` on. REQUIRES: Resize(fd, size).ok()
Status AllocateRange(int fd, std::uint64_t size, std::uint64_t offset, std::uint64_t length);
// Both, for all of it.
Status Allocate(int fd, std::uint64_t size);

// Maps all of it.
Result<Mapping> MapRegion(int fd, std::uint64_t size, Access access);

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_REGION_FILE_H_
