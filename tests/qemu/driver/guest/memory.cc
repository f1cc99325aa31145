#include "memory.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>

namespace ivmq::testing {
namespace {

std::array<sigjmp_buf, 1> jump;
int caught = 0;

void OnFault(int signal) {
  caught = signal;
  siglongjmp(jump[0], 1);
}

// Bytes of page tables of this process.
std::size_t PageTables() {
  std::FILE* file = std::fopen("/proc/self/status", "r");
  std::array<char, 256> line{};
  std::size_t kib = 0;
  while (file != nullptr && std::fgets(line.data(), line.size(), file) != nullptr) {
    if (std::sscanf(line.data(), "VmPTE: %zu", &kib) == 1) break;
  }
  if (file == nullptr || kib == 0) Die("VmPTE");
  std::fclose(file);
  return kib << 10;
}

// A debugger may read what is mapped read-only, and does not get round that.
void CheckReadOnly(const char* word) {
  const int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  const auto at = reinterpret_cast<off_t>(word);
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  CHECK(pread(memory, &before, sizeof before, at) == sizeof before);
  const std::uint64_t other = ~before;
  CHECK_FAILS(EIO, pwrite(memory, &other, sizeof other, at));
  CHECK(pread(memory, &after, sizeof after, at) == sizeof after && after == before);
  close(memory);
}

// The kernel writes down from now on which pages are written, for which it forbids the first write.
void TrackWrites() {
  const int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  CHECK(write(file, "4", 1) == 1);
  close(file);
}

// The first write to a page or an entry of 2 MiB that was read before is forbidden by the kernel,
// and then succeeds; also when several threads come at once.
void CheckTrackedWrites(int fd, std::size_t size) {
  constexpr std::size_t kEntry = 2 << 20;
  for (int round = 0; round < 20; ++round) {
    char* base = Map(fd, size);
    if (base == nullptr) Die("mmap");
    TrackWrites();
    std::vector<std::thread> threads;
    for (char i = 0; i < 4; ++i) {
      threads.emplace_back([=] {
        for (std::size_t at = 0; at < size; at += kEntry) {
          volatile char* byte = base + at + 64 * i;
          (void)*byte;
          *byte = i;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (std::size_t at = 0; at < size; at += kEntry) CHECK(base[at + 192] == 3);
    munmap(base, size);
  }
}

}  // namespace

int Touch(const volatile char* byte) {
  struct sigaction action {};
  action.sa_handler = OnFault;
  sigaction(SIGBUS, &action, nullptr);
  sigaction(SIGSEGV, &action, nullptr);
  caught = 0;
  if (sigsetjmp(jump[0], 1) == 0) (void)*byte;
  return caught;
}

void CheckDebugger(char* word) {
  const int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  const auto at = reinterpret_cast<off_t>(word);
  const std::uint64_t before = 0x0123'4567'89ab'cdef;
  std::uint64_t seen = 0;
  std::memcpy(word, &before, sizeof before);
  CHECK(pread(memory, &seen, sizeof seen, at) == sizeof seen && seen == before);
  seen = 0;
  CHECK(pwrite(memory, &seen, sizeof seen, at) == sizeof seen && word[0] == 0 && word[7] == 0);
  close(memory);
}

void CheckOwnMemory(char* base, std::size_t size) {
  CHECK(Touch(base) == 0 && Touch(base + size - 1) == 0);
  for (std::size_t at = 0; at < size; at += 4096) {
    CHECK(base[at] == 0 && base[at + 4095] == 0);
    std::memcpy(base + at, &at, sizeof at);
  }
  for (std::size_t at = 0; at < size; at += 4096) {
    CHECK(std::memcmp(base + at, &at, sizeof at) == 0);
  }
  CheckDebugger(base + size - 8);
}

void CheckMappings(const char* device, const ivmq_info& info) {
  const int fd = Open(device);
  const std::size_t size = info.region_size;
  const auto end = static_cast<off_t>(size);
  const auto fails = [](char* base) { return base == nullptr ? -1 : 0; };
  CHECK_FAILS(EINVAL, fails(Map(fd, size + 4096)));
  CHECK_FAILS(EINVAL, fails(Map(fd, 4096, PROT_READ, end)));
  CHECK_FAILS(EINVAL, fails(Map(fd, 8192, PROT_READ, end - 4096)));
  CHECK_FAILS(EINVAL, fails(Map(fd, 4096, PROT_READ, off_t{1} << 51)));
  errno = 0;
  CHECK(Map(fd, 4096, PROT_READ, static_cast<off_t>(~0ULL << 12)) == nullptr);
  CHECK(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EINVAL);
  CHECK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) == MAP_FAILED);
  const int reader = Open(device, O_RDONLY);
  CHECK_FAILS(EACCES, fails(Map(reader, 4096)));
  char* read_only = Map(reader, 4096, PROT_READ);
  CHECK(read_only != nullptr && Touch(read_only) == 0);
  CHECK_FAILS(EACCES, mprotect(read_only, 4096, PROT_READ | PROT_WRITE));
  CheckReadOnly(read_only);
  close(reader);
  // Also where the process could make it writable, and has not.
  char* protected_page = Map(fd, 4096, PROT_READ);
  CHECK(protected_page != nullptr);
  CheckReadOnly(protected_page);

  char* base = Map(fd, size);
  CHECK(base != nullptr);
  if (base == nullptr) return;
  // Every page of it is there, and the last word is the last one that the other mapping shows.
  for (std::size_t at = 0; at < size; at += 4096) CHECK(Touch(base + at) == 0);
  char* tail = Map(fd, 4096, PROT_READ, end - 4096);
  CHECK(tail != nullptr);
  base[size - 1] = 0x5a;
  CHECK(tail[4095] == 0x5a);
  base[size - 1] = 0;
  CHECK(mremap(tail, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
  CHECK(mremap(base, 0, 4096, MREMAP_MAYMOVE) == MAP_FAILED);
  char* moved = static_cast<char*>(mremap(tail, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED,
                                          static_cast<char*>(tail) + (std::size_t{1} << 30)));
  CHECK(moved != MAP_FAILED && Touch(moved) == 0 && Touch(tail) == SIGSEGV);
  CHECK_FAILS(EINVAL, madvise(base, size, MADV_DOFORK));
  // A hole in the middle: the file's mappings become two.
  CHECK(munmap(base + 4096, 4096) == 0 && Touch(base) == 0 && Touch(base + 4096) == SIGSEGV);
  const pid_t child = fork();
  if (child == 0) _exit(Touch(base) == SIGSEGV ? 0 : 1);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  // A debugger sees it, and changes it.
  CheckDebugger(base + size - 8);
  close(fd);  // the mapping keeps it
  CHECK(Touch(base + 8192) == 0);
}

int Poke(const char* device, const char* offset, const char* value) {
  const int fd = Open(device);
  char* base = Map(fd, Info(fd).region_size);
  if (base == nullptr) Die("mmap");
  auto* word = reinterpret_cast<std::uint64_t*>(base + std::strtoull(offset, nullptr, 0));
  std::atomic_ref(*word).store(std::strtoull(value, nullptr, 0));
  return 0;
}

// A region of gigabytes costs entries of 2 MiB each, and changes hands like a small one.
int Huge(const char* device) {
  constexpr std::size_t kEntry = 2 << 20;
  const int fd = Open(device);
  const std::size_t size = Info(fd).region_size;
  const std::size_t before = PageTables();
  char* base = Map(fd, size);
  if (base == nullptr) Die("mmap");
  for (std::size_t at = 0; at < size; at += kEntry) std::memcpy(base + at, &at, sizeof at);
  // With pages of 4 KiB it would be 8 bytes for each page.
  CHECK(PageTables() - before < size / 4096);
  for (std::size_t at = 0; at < size; at += kEntry) CHECK(!std::memcmp(base + at, &at, sizeof at));
  CheckDebugger(base + size / 2 - 8);
  CheckTrackedWrites(fd, 16 * kEntry);
  // A part of an entry goes; the rest of it is there.
  CHECK(munmap(base + kEntry + 4096, 4096) == 0);
  CHECK(Touch(base + kEntry) == 0 && Touch(base + kEntry + 4096) == SIGSEGV);
  CHECK(Touch(base + kEntry + 8192) == 0);
  // A mapping that begins within an entry shows the same bytes.
  char* odd = Map(fd, 2 * kEntry, PROT_READ | PROT_WRITE, 4096);
  CHECK(odd != nullptr && std::memcmp(odd + kEntry - 4096, base + kEntry, 64) == 0);
  // It moves, and can be protected in part.
  void* const room = mmap(nullptr, 4 * kEntry, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto aligned = (reinterpret_cast<std::uintptr_t>(room) + kEntry - 1) & ~(kEntry - 1);
  char* moved =
      static_cast<char*>(mremap(base + 4 * kEntry, 2 * kEntry, 2 * kEntry,
                                MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(aligned)));
  const std::size_t fifth = 5 * kEntry;
  CHECK(moved != MAP_FAILED && !std::memcmp(moved + kEntry, &fifth, sizeof fifth));
  CHECK(mprotect(base, 4096, PROT_READ) == 0 && Touch(base) == 0 && Touch(base + 4096) == 0);
  CHECK(write(eventfd(0, EFD_CLOEXEC), base + size - 8, 8) == 8);  // read by the kernel
  std::printf(failures == 0 ? "ok\n" : "failed\n");
  std::printf("ready\n");
  pollfd gone{fd, POLLIN, 0};
  CHECK(poll(&gone, 1, -1) == 1);
  CHECK(base[8] == 0 && Touch(base + 3 * kEntry) == 0);
  const std::size_t third = 3 * kEntry;
  CHECK(std::memcmp(base + 3 * kEntry, &third, sizeof third) != 0);
  std::printf(failures == 0 ? "over\n" : "failed\n");
  return failures != 0;
}

}  // namespace ivmq::testing
