#include "slot_owner.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "ivmq/transport.h"

#include "src/unique_fd.h"
#include "support/memory_transport.h"

namespace ivmq::testing {
namespace {

[[noreturn]] void Die(const std::string& what) {
  (void)std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

std::span<std::byte> Map(int fd) {
  struct stat file {};
  if (fstat(fd, &file) != 0) Die("fstat");
  const auto size = static_cast<std::size_t>(file.st_size);
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) Die("mmap");
  return {static_cast<std::byte*>(memory), size};
}

Region Attach(std::span<std::byte> memory) {
  auto region = Region::Attach(memory);
  if (!region.ok()) Die(region.status().ToString());
  return *region;
}

ClaimedSlot Claim(const Region& region, const std::string& name, std::uint16_t ivposition,
                  std::uint32_t vector, bool wakeable) {
  TransportInfo info;
  info.ivposition = ivposition;
  info.vector = vector;
  info.can_ring = true;
  info.wakeable = wakeable;
  MemoryTransport transport({}, std::move(info));
  ClaimRequest request;
  request.name = name;
  request.pid = static_cast<std::uint32_t>(getpid());
  request.boot_id = ReadBootId();
  const auto claimed = PeerTable(region).Claim(request, transport);
  if (!claimed.ok()) Die(claimed.status().ToString());
  return *claimed;
}

}  // namespace

MappedRegion::MappedRegion(std::span<std::byte> memory)
    : memory_(memory), region_(Attach(memory)) {}
MappedRegion::MappedRegion(int fd) : MappedRegion(Map(fd)) {}
MappedRegion::MappedRegion(const std::string& path)
    : MappedRegion(UniqueFd(open(path.c_str(), O_RDWR | O_CLOEXEC)).get()) {}
MappedRegion::~MappedRegion() { munmap(memory_.data(), memory_.size()); }

SlotOwner::SlotOwner(const Region& region, const std::string& name, std::uint16_t ivposition,
                     std::uint32_t vector, bool wakeable)
    : region_(region), claimed_(Claim(region, name, ivposition, vector, wakeable)) {}

}  // namespace ivmq::testing
