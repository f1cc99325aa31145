#include "kill/ledger.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace ivmq::campaign {

std::string NameOf(std::uint32_t process) {
  return (IsDurable(process) ? "durable-" : "ephemeral-") + std::to_string(process);
}

Ledger::Ledger(std::uint32_t most_messages) : most_messages_(most_messages) {
  const std::size_t head = (sizeof(Shared) + 4095) & ~std::size_t{4095};
  bytes_ = head + sizeof(Entry) * kProcesses * kProcesses * (std::size_t{most_messages} + 1);
  // Zero pages, which is what the entries start with; they take memory only once they are used.
  void* const memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    std::abort();
  }
  shared_ = new (memory) Shared;
  entries_ = reinterpret_cast<Entry*>(static_cast<std::byte*>(memory) + head);
}

Ledger::~Ledger() { munmap(shared_, bytes_); }

bool Ledger::IsFull() const {
  return std::ranges::any_of(
      shared_->processes, [](const Process& process) { return process.life + 10 >= kMostLives; });
}

}  // namespace ivmq::campaign
