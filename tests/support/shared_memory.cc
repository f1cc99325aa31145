#include "support/shared_memory.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ivmq::testing {
namespace {

std::size_t WholePages(std::size_t bytes) {
  return (bytes + layout::kPage - 1) / layout::kPage * layout::kPage;
}

[[noreturn]] void Die(const char* what, const char* why) {
  (void)std::fprintf(stderr, "%s: %s\n", what, why);
  std::abort();
}

}  // namespace

SharedMemory::SharedMemory(std::size_t bytes) {
  const std::size_t size = WholePages(bytes);
  void* base =
      mmap(nullptr, size + 2 * layout::kPage, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) Die("mmap", std::strerror(errno));
  auto* begin = static_cast<std::byte*>(base) + layout::kPage;
  if (mprotect(begin, size, PROT_READ | PROT_WRITE) != 0) Die("mprotect", std::strerror(errno));
  bytes_ = {begin, size};
}

SharedMemory::~SharedMemory() {
  munmap(bytes_.data() - layout::kPage, bytes_.size() + 2 * layout::kPage);
}

void SharedMemory::Clear() noexcept { std::memset(bytes_.data(), 0, bytes_.size()); }

Region FormatAndAttach(std::span<std::byte> memory, const FormatOptions& options) {
  if (const Status status = Format(memory, options); !status.ok()) {
    Die("Format", status.ToString().c_str());
  }
  Result<Region> region = Region::Attach(memory);
  if (!region.ok()) Die("Attach", region.status().ToString().c_str());
  return *region;
}

TestRegion::TestRegion(std::size_t size, const FormatOptions& options)
    : memory(size), region(FormatAndAttach(memory.bytes(), options)) {}

TestRing::TestRing(std::uint64_t capacity)
    : memory(RingView::Footprint(capacity)), view(RingView::At(memory.bytes().data(), capacity)) {
  view.Initialize(1);
}

}  // namespace ivmq::testing
