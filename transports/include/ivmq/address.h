// Addresses: a string that says how a process reaches a region.
//
//   unix:PATH          the socket of an ivshmem server, e.g. unix:/run/ivmq/ivmq.sock
//   shm:/NAME          POSIX shared memory of this host, as shm_open(3) names it
//   file:PATH          a file of this host: in tmpfs, hugetlbfs or elsewhere
//   ivmq:/dev/ivmqN    in a guest: an ivshmem device through the driver ivmq.ko
//   vfio:BDF           in a guest: a device bound to vfio-pci, for one process, e.g.
//                      vfio:0000:00:04.0. Unplugging or unbinding the device waits until the
//                      process has closed it
//   pci:BDF            in a guest: a device without a driver, e.g. pci:0000:00:04.0 (the domain
//                      0000 may be omitted)
//   pci:auto           in a guest: the one such device whose region is formatted
//   inproc:NAME        memory of this process, created by the first opener; inproc:NAME?size=16M
//   auto               $IVMQ_ADDRESS if it is set; otherwise, in a guest, the one device whose
//                      region is formatted, by ivmq:, vfio: or pci: depending on its driver; the
//                      empty string means the same
//
// Over shm:, file: and a plain device, no peer can be woken: receivers poll. A plain file or shm
// can be truncated by any process that may write it, which ends every process that maps it with
// SIGBUS. The memory of `ivmqd` cannot be truncated, unless `ivmqd` was told to use a file.
#ifndef IVMQ_ADDRESS_H_
#define IVMQ_ADDRESS_H_

#include "ivmq/export.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ivmq/internal/region.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

// Opens `address` for a peer. The memory is that of a formatted region: Region::Attach() has
// succeeded on it. Blocks for up to 5 s if an ivshmem server is slow, otherwise not at all.
// Thread-safe. Messages begin with the address. Errors, in addition to those of Region::Attach:
//   INVALID_ARGUMENT     unknown scheme, malformed address, or not a regular file
//   NOT_FOUND            no such file, socket or device
//   PERMISSION_DENIED    the message says who may open it, and who tried to
//   FAILED_PRECONDITION  the file is empty or its size is not a power of two; the device has
//                        revision 0 or belongs to another driver; the server refuses the client or
//                        has another protocol version
//   UNAVAILABLE          no process listens on the socket, or the server closed the connection
//   DEADLINE_EXCEEDED    the server did not complete its greeting
//   DATA_LOSS            the server violated its protocol
IVMQ_EXPORT Result<std::unique_ptr<Transport>> OpenTransport(std::string_view address);

enum class Access : std::uint8_t { kReadOnly, kReadWrite };

// The memory of a region that the caller inspects without being a peer.
struct RegionMemory {
  std::string address;
  std::string description;              // as TransportInfo::description
  std::span<std::byte> memory;          // kReadOnly: a store to it ends the process
  std::shared_ptr<const void> mapping;  // keeps `memory` mapped
};

// Opens `address` for a tool. kReadOnly takes no id, except for a moment from an ivshmem server other
// than ivmqd; kReadWrite takes one of a server's until the mapping goes. The memory need not be formatted: call Region::Attach(). Thread-safe. Errors: those of
// OpenTransport.
IVMQ_EXPORT Result<RegionMemory> OpenRegion(std::string_view address,
                                            Access access = Access::kReadOnly);

struct CreateOptions {
  FormatOptions format;
  // The permissions of the file, whatever the umask. Without it, a new file has 0660 less the umask.
  std::optional<std::uint32_t> mode{};
  // The id of the file's group; a new file then has 0660 if there is no `mode`. Without it, a new
  // file has the group that the system gives it.
  std::optional<std::uint32_t> group{};
  // Formats an existing ivmq region again; its messages are lost. Does not apply to other content.
  bool replace = false;
};

// Creates the region of a file: or shm: address: creates the file if it does not exist, allocates
// all of it (in hugetlbfs: from the pool of huge pages) and formats it. `size`: bytes, a power of
// two; 0 = the size of the existing file. Holds the file's lock until it returns, so that no peer
// attaches. Thread-safe. Errors:
//   INVALID_ARGUMENT     another scheme, or a size that is not a power of two or too small
//                        (PlanGeometry)
//   ALREADY_EXISTS       the file contains a region, and !replace
//   FAILED_PRECONDITION  a peer or server is attached, the file has another size, or its content is
//                        not a region
//   RESOURCE_EXHAUSTED   no space, or too few huge pages
//   PERMISSION_DENIED    the file cannot be created or written, or not be given that mode or group
//   NOT_FOUND            the folder does not exist
IVMQ_EXPORT Status CreateRegionFile(std::string_view address, std::uint64_t size,
                                    const CreateOptions& options = {});

// The number of bytes in "65536", "64K", "64M" or "1G", also "64KiB" and so on; 1K is 1024.
// INVALID_ARGUMENT for other text.
IVMQ_EXPORT Result<std::uint64_t> ParseSize(std::string_view text);

}  // namespace ivmq

#endif  // IVMQ_ADDRESS_H_
