#include "src/mapping.h"

#include <sys/mman.h>

#include <cerrno>

#include <boost/interprocess/exceptions.hpp>

namespace ivmq {
namespace {

namespace ipc = boost::interprocess;

// A file that is open already, as Boost.Interprocess wants to see it.
class OpenFile {
 public:
  explicit OpenFile(int fd) : fd_(fd) {}
  [[nodiscard]] ipc::mapping_handle_t get_mapping_handle() const noexcept {
    return {.handle = fd_, .is_xsi = false};
  }

 private:
  int fd_;
};

}  // namespace

bool Mapping::Map(int fd, std::uint64_t size, Access access, int* error,
                  std::uint64_t offset) noexcept {
  try {
    region_ = ipc::mapped_region(OpenFile(fd),
                                 access == Access::kReadOnly ? ipc::read_only : ipc::read_write,
                                 static_cast<ipc::offset_t>(offset), size);
    return true;
  } catch (const ipc::interprocess_exception& failure) {
    *error = failure.get_native_error() != 0 ? failure.get_native_error() : EINVAL;
    return false;
  }
}

bool Mapping::Replace(int fd) noexcept {
  return mmap(region_.get_address(), region_.get_size(), PROT_READ | PROT_WRITE,
              MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
}

bool Mapping::Detach() noexcept {
  return mmap(region_.get_address(), region_.get_size(), PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

}  // namespace ivmq
