// A region that is a file: on the host a file or POSIX shm, in a guest a device's sysfs resource.
// Nobody is woken; the life of peers shows in locks on the file.
#ifndef IVMQ_TRANSPORTS_SRC_FILE_TRANSPORT_H_
#define IVMQ_TRANSPORTS_SRC_FILE_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ivmq/transport.h"

#include "src/mapping.h"
#include "src/unique_fd.h"

namespace ivmq {

class FileTransport : public Transport {
 public:
  // REQUIRES: `file` is an open file description of its own, and `mapping` is of it, so that the
  // slot's lock goes with the last mapping, and not before. Its lock domain is the file's.
  FileTransport(UniqueFd file, Mapping mapping, TransportInfo info);

  [[nodiscard]] std::span<std::byte> memory() const noexcept override { return mapping_.bytes(); }
  [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
  void Ring(std::uint16_t, std::uint32_t) noexcept override {}
  [[nodiscard]] std::uint64_t lock_domain() const noexcept override { return lock_domain_; }
  Status LockSlot(std::uint32_t slot) override;
  void UnlockSlot(std::uint32_t slot) noexcept override;
  [[nodiscard]] bool IsSlotLocked(std::uint32_t slot) const noexcept override;
  void LetGoInChild() noexcept override { file_.reset(); }

 private:
  UniqueFd file_;
  Mapping mapping_;
  TransportInfo info_;
  std::uint64_t lock_domain_;
};

// Opens the region file `path` of `address`. Errors do not name the address.
Result<std::unique_ptr<Transport>> OpenFileTransport(const std::string& path,
                                                     std::string_view address);

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_FILE_TRANSPORT_H_
