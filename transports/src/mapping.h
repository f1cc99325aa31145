// Bytes of a file, mapped shared for as long as this lives.
#ifndef IVMQ_TRANSPORTS_SRC_MAPPING_H_
#define IVMQ_TRANSPORTS_SRC_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include <boost/interprocess/mapped_region.hpp>

#include "ivmq/address.h"
#include "ivmq/status.h"

namespace ivmq {

// Thread-compatible; movable.
class Mapping {
 public:
  Mapping() = default;
  // Maps `size` bytes of `fd`, which may be closed afterwards. On failure returns false and sets
  // `error` to the errno: what it means depends on the file.
  bool Map(int fd, std::uint64_t size, Access access, int* error,
           std::uint64_t offset = 0) noexcept;

  // Maps the same number of bytes of `fd`, from its start, to the same addresses, readable and
  // writable. In one step: whoever uses the memory meanwhile sees the one or the other. False:
  // nothing has changed, see errno. REQUIRES: Map() was called with Access::kReadWrite and offset
  // 0.
  bool Replace(int fd) noexcept;

  // Puts memory of this process's own, zeroes at first, to the same addresses, in one step as
  // Replace() does. False: nothing has changed, see errno.
  bool Detach() noexcept;

  // With Access::kReadOnly a store to these bytes ends the process.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    return {static_cast<std::byte*>(region_.get_address()), region_.get_size()};
  }

 private:
  boost::interprocess::mapped_region region_;
};

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_MAPPING_H_
