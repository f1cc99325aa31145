// Which processes of this machine have a region of ivmqd, as /proc shows it.
#ifndef IVMQ_TOOLS_IVMQ_REGION_HOLDERS_H_
#define IVMQ_TOOLS_IVMQ_REGION_HOLDERS_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace ivmq::tool {

// Device and inode.
using FileId = std::pair<dev_t, ino_t>;

struct RegionHolder {
  pid_t pid = 0;
  std::string text;  // "pid 4711 (qemu-system-x86, vm1)"
  bool is_qemu = false;
  std::set<std::uint16_t> ids;  // by which its server knows it
};

struct HeldRegion {
  FileId file;
  bool is_memfd = false;
  // Whether newcomers can get it: a server, or who keeps its descriptors, has the server's lock.
  // True where that cannot be told.
  bool has_server = true;
  std::vector<RegionHolder> holders;  // by pid; without ivmqd and this process
};

// All memfds of ivmqd, and the region in the file `also`. Only processes are found whose
// descriptors this one may see: for root all, otherwise its user's.
std::vector<HeldRegion> FindHeldRegions(std::optional<FileId> also);

// The file that is mapped at `memory`.
std::optional<FileId> FileMappedAt(const std::byte* memory);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_REGION_HOLDERS_H_
