#include "src/node_context.h"

#include <sys/mman.h>

#include "ivmq/internal/str_cat.h"

namespace ivmq {
namespace {

using layout::Life;
using layout::PeerState;

// No life word is 0 while its peer lives.
constexpr layout::Word kNobody{0};

// A word that changes each time it is put right is damage all the same.
constexpr int kMostRepairs = 8;

}  // namespace

void NodeContext::BeginLife(const ClaimedSlot& claimed) noexcept {
  const std::lock_guard lock(life_mutex_);
  self = claimed;
  live_word_.store(claimed.live_word, std::memory_order_relaxed);
  life_.store(&slot().life, std::memory_order_relaxed);
}

void NodeContext::BecomeForkedCopy() noexcept {
  forked_.store(true, std::memory_order_relaxed);
  life_.store(&kNobody, std::memory_order_relaxed);
  const std::span<std::byte> memory = transport->memory();
  // In one step, so that no other mapping can come into the place. Where that is refused, rather
  // nothing than the parent's.
  if (mmap(memory.data(), memory.size(), PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
    (void)munmap(memory.data(), memory.size());
  }
  transport->LetGoInChild();
  if (sleeper) sleeper->LetGoInChild();
}

bool NodeContext::JudgeLife() noexcept {
  // A lock may be held by a thread that the child does not have.
  if (is_forked_copy()) return false;
  const char* what = "another's";
  {
    const std::lock_guard lock(life_mutex_);
    if (!end_.ok()) return false;
    layout::Word& word = slot().life;
    const std::uint64_t live_word = live_word_.load(std::memory_order_relaxed);
    for (int repairs = 0;; ++repairs) {
      std::uint64_t found = word.load(std::memory_order_acquire);
      if (found == live_word || repairs == kMostRepairs) return true;
      const Life life = Life::FromWord(found);
      if (life.incarnation != self.id.incarnation) break;
      if (life.state == PeerState::kDead || life.state == PeerState::kFree) {
        what = life.state == PeerState::kDead ? "marked dead" : "free";
        break;
      }
      if (word.compare_exchange_strong(found, live_word)) return true;
    }
  }
  EndLife(StrCat("was declared over by another peer or the server: its slot is ", what));
  return false;
}

void NodeContext::EndLife(std::string_view why) {
  const Status end(StatusCode::kFailedPrecondition,
                   StrCat("the life of this node, '", identity.name, "' in slot ", self.id.slot,
                          ", incarnation ", self.id.incarnation, ", ", why,
                          "; it sends and receives nothing any more, so open a new node"));
  {
    const std::lock_guard lock(life_mutex_);
    if (!end_.ok()) return;
    end_ = end;
    life_.store(&kNobody, std::memory_order_relaxed);
  }
  Report(end);
  sleeper->Notify();
}

bool NodeContext::MoveLife(std::uint16_t ivposition) noexcept {
  {
    const std::lock_guard lock(life_mutex_);
    if (!end_.ok()) return false;
    std::uint64_t word = live_word_.load(std::memory_order_relaxed);
    Life life = Life::FromWord(word);
    life.ivposition = ivposition;
    // Whoever sees the new word before live_word_ has it judges the life, and waits for the mutex.
    if (!slot().life.compare_exchange_strong(word, life.ToWord())) return false;
    self.live_word = life.ToWord();
    live_word_.store(self.live_word, std::memory_order_relaxed);
  }
  region.header().peers_generation.fetch_add(1, std::memory_order_release);
  return true;
}

bool NodeContext::HasRingWith(std::uint32_t slot) const noexcept {
  const std::uint32_t own = self.id.slot;
  for (const std::uint32_t index : {region.CellIndex(own, slot), region.CellIndex(slot, own)}) {
    const std::uint64_t word = region.cell(index).load(std::memory_order_acquire);
    if (layout::Cell::FromWord(word).state != layout::CellState::kEmpty) return true;
  }
  return false;
}

Status NodeContext::LifeStatus() {
  if (IsMyLife()) return {};
  if (is_forked_copy()) {
    return {StatusCode::kFailedPrecondition,
            StrCat("this node, '", identity.name, "' in slot ", self.id.slot,
                   ", belongs to the parent process; open a node of your own in the child")};
  }
  const std::lock_guard lock(life_mutex_);
  return end_;
}

}  // namespace ivmq
