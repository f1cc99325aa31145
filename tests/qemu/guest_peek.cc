// Reads or writes one 64-bit word of the shared memory of a guest's ivshmem device, without any
// code of ivmq: guest_peek OFFSET [VALUE]
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

std::string FindDevice() {
  for (const auto& entry : std::filesystem::directory_iterator("/sys/bus/pci/devices")) {
    std::string vendor;
    std::string device;
    std::ifstream(entry.path() / "vendor") >> vendor;
    std::ifstream(entry.path() / "device") >> device;
    if (vendor == "0x1af4" && device == "0x1110") return entry.path();
  }
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: guest_peek OFFSET [VALUE]\n");
    return 2;
  }
  const std::string device = FindDevice();
  const int fd = open((device + "/resource2").c_str(), O_RDWR | O_CLOEXEC);
  if (device.empty() || fd < 0) {
    std::fprintf(stderr, "guest_peek: no ivshmem device (1af4:1110) with resource2\n");
    return 1;
  }
  const auto offset = std::strtoull(argv[1], nullptr, 0);
  const auto page = offset & ~std::uint64_t{4095};
  void* base =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(page));
  if (base == MAP_FAILED) {
    std::perror("guest_peek: mmap of resource2");
    return 1;
  }
  auto* word = reinterpret_cast<std::uint64_t*>(static_cast<char*>(base) + (offset - page));
  std::atomic_ref<std::uint64_t> shared(*word);
  if (argc > 2) {
    shared.store(std::strtoull(argv[2], nullptr, 0));
  } else {
    std::printf("0x%llx\n", static_cast<unsigned long long>(shared.load()));
  }
  return 0;
}
