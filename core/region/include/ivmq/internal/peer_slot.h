// Reading a slot of the peer table while other processes change it.
#ifndef IVMQ_INTERNAL_PEER_SLOT_H_
#define IVMQ_INTERNAL_PEER_SLOT_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "ivmq/internal/layout.h"
#include "ivmq/transport.h"

namespace ivmq {

using NameWords = std::array<std::uint64_t, layout::kNameBytes / sizeof(std::uint64_t)>;

inline NameWords ToWords(std::string_view name) {
  NameWords words{};
  std::memcpy(words.data(), name.data(), std::min(name.size(), layout::kNameBytes - 1));
  return words;
}

inline NameWords LoadName(const layout::PeerSlot& slot) {
  NameWords words{};
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = slot.name[i].load(std::memory_order_relaxed);
  }
  return words;
}

inline layout::Life LoadLife(const layout::PeerSlot& slot) {
  return layout::Life::FromWord(slot.life.load(std::memory_order_acquire));
}

// Whether the slot's identity is that of this life. The owner stores name_incarnation after the
// identity, so a claimer that has not written it yet is not mistaken for the previous owner.
inline bool HasIdentity(const layout::PeerSlot& slot, const layout::Life& life) {
  return slot.name_incarnation.load(std::memory_order_acquire) == life.incarnation;
}

// Whether the name in the slot is that of this life. A peer that takes over a durable slot has the
// name that is already there, even if it dies before it has written anything.
inline bool HasName(const layout::PeerSlot& slot, const layout::Life& life) {
  return (life.flags & layout::kPeerResumed) != 0 || HasIdentity(slot, life);
}

// The slot's life, if it has that name. Reads again while the slot changes, so that a claim that
// becomes live at that moment is not missed. A correct slot changes a few times a second at most,
// so the number of attempts is bounded.
inline std::optional<layout::Life> LifeNamed(const layout::PeerSlot& slot, const NameWords& name) {
  constexpr int kMostLooks = 100;
  for (int attempt = 0;; ++attempt) {
    const layout::Life life = LoadLife(slot);
    const bool is_named =
        life.state != layout::PeerState::kFree && HasName(slot, life) && LoadName(slot) == name;
    if (LoadLife(slot) == life || attempt == kMostLooks) {
      return is_named ? std::optional(life) : std::nullopt;
    }
  }
}

inline bool IsDurable(const layout::Life& life) { return (life.flags & layout::kPeerDurable) != 0; }

inline std::string_view StateName(layout::PeerState state) {
  switch (state) {
    case layout::PeerState::kFree:
      return "free";
    case layout::PeerState::kClaiming:
      return "claiming";
    case layout::PeerState::kLive:
      return "live";
    case layout::PeerState::kDead:
      return "dead";
  }
  return "damaged";
}

// Releases what shows other processes that this one owns the slot.
inline void LetGoOfSlot(ProofOfLife& proof, std::uint32_t slot) noexcept {
  proof.UnregisterSlot(slot);
  if (proof.lock_domain() != 0) proof.UnlockSlot(slot);
}

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_PEER_SLOT_H_
