// Addresses: one string says how a process reaches a region.
//
//   unix:PATH          the socket of an ivshmem server, e.g. unix:/run/ivmq/ivmq.sock
//   shm:/NAME          POSIX shared memory of this host, as shm_open(3) names it
//   file:PATH          a file of this host: in tmpfs, hugetlbfs or elsewhere
//   ivmq:/dev/ivmqN    in a guest: an ivshmem device through the driver ivmq.ko
//   vfio:BDF           in a guest: one that vfio-pci owns, for one process, e.g. vfio:0000:00:04.0;
//                      while that has it open, unplugging and unbinding the device wait
//   pci:BDF            in a guest: one without a driver, e.g. pci:0000:00:04.0 (domain 0000 may be
//                      left out)
//   pci:auto           in a guest: the one such device whose region is formatted
//   inproc:NAME        memory of this process, made by the first opener; inproc:NAME?size=16M
//   auto               $IVMQ_ADDRESS if it is set; else, in a guest, the one device whose region is
//                      formatted, by ivmq:, vfio: or pci: as its owner asks; the empty string means
//                      the same
//
// Over shm:, file: and a plain device nobody can be woken: receivers look by themselves. A plain
// file or shm can be truncated by anyone who may write it, which ends every process that maps it by
// SIGBUS; the memory of `ivmqd` cannot, unless it was told to use a file.
#ifndef IVMQ_ADDRESS_H_
#define IVMQ_ADDRESS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ivmq/internal/region.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

// Opens `address` for a peer. The memory is that of a formatted region: Region::Attach() succeeded
// on it. Blocks up to 5 s while an ivshmem server is slow, else not at all. Thread-safe. Messages
// start with the address. Errors, beside those of Region::Attach:
//   INVALID_ARGUMENT     no such scheme, or not of its form; the file is no regular file
//   NOT_FOUND            no such file, socket or device
//   PERMISSION_DENIED    the message says who may and who tried
//   FAILED_PRECONDITION  empty, size not a power of two, device of revision 0 or owned by a driver,
//                        a server that refuses or speaks another protocol version
//   UNAVAILABLE          nobody listens at the socket, or the server left midway
//   DEADLINE_EXCEEDED    the server did not finish its greeting
//   DATA_LOSS            the server broke its protocol
Result<std::unique_ptr<Transport>> OpenTransport(std::string_view address);

enum class Access : std::uint8_t { kReadOnly, kReadWrite };

// The memory of a region that the caller looks at without being a peer.
struct RegionMemory {
  std::string address;
  std::string description;              // as TransportInfo::description
  std::span<std::byte> memory;          // kReadOnly: a store to it ends the process
  std::shared_ptr<const void> mapping;  // keeps `memory` mapped
};

// Opens `address` for a tool. It takes no id: an ivshmem server other than ivmqd lends one for a
// moment. The memory need not be formatted: call Region::Attach(). Thread-safe; errors as for
// OpenTransport.
Result<RegionMemory> OpenRegion(std::string_view address, Access access = Access::kReadOnly);

struct CreateOptions {
  FormatOptions format;
  std::uint32_t mode = 0660;  // of a new file, less the umask
  // Formats an existing ivmq region anew, whose messages are lost. Never applies to other content.
  bool replace = false;
};

// Makes the region of a file: or shm: address: creates the file if there is none, allocates all of
// it (in hugetlbfs: from the pool of huge pages) and formats it. `size`: bytes, a power of two; 0 =
// that of the existing file. Holds the file's lock meanwhile, so that nobody attaches. Thread-safe.
// Errors:
//   INVALID_ARGUMENT     another scheme, or a size that is no power of two or too small
//                        (PlanGeometry)
//   ALREADY_EXISTS       a region, and !replace
//   FAILED_PRECONDITION  a peer or server is attached, another size, or content that is no region's
//   RESOURCE_EXHAUSTED   no space, or too few huge pages
//   PERMISSION_DENIED, NOT_FOUND (the folder)
Status CreateRegionFile(std::string_view address, std::uint64_t size,
                        const CreateOptions& options = {});

// Bytes from "65536", "64K", "64M" or "1G", also "64KiB" and so on; 1K is 1024. INVALID_ARGUMENT
// otherwise.
Result<std::uint64_t> ParseSize(std::string_view text);

}  // namespace ivmq

#endif  // IVMQ_ADDRESS_H_
