#include "ledger.h"

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

void Ledger::Add(Fault fault, std::string_view text) const {
  if (shared_->faults[static_cast<std::size_t>(fault)].fetch_add(1) < kMostTextsOfAKind) {
    AddText(text);
  }
}

void Ledger::AddText(std::string_view text) const {
  const std::uint32_t slot = shared_->texts_used.fetch_add(1);
  if (slot >= kMostTexts) return;
  Text& out = shared_->texts[slot];
  std::copy_n(text.begin(), std::min(text.size(), out.size() - 1), out.begin());
}

std::string Ledger::Texts() const {
  std::string texts;
  const std::uint32_t used = shared_->texts_used.load();
  for (std::size_t i = 0; i < std::min<std::size_t>(used, kMostTexts); ++i) {
    texts += "  " + std::string(shared_->texts[i].data()) + "\n";
  }
  return texts;
}

}  // namespace ivmq::campaign
