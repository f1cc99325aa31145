#include "src/doorbell_reach.h"

#include <algorithm>

#include "ivmq/internal/doorbell_epochs.h"

namespace ivmq {

using layout::Life;
using layout::PeerState;

DoorbellReach::DoorbellReach(NodeContext& context)
    : context_(context),
      is_wakeable_(context.transport->info().wakeable),
      generation_(context.table.generation() - 1) {
  apart_.reserve(context.region.max_peers());
}

void DoorbellReach::LookAtPeers() noexcept {
  const Region& region = context_.region;
  const DoorbellEpochs epochs(region);
  const std::uint16_t own = context_.ivposition();
  announced_ = Announced::kAlways;
  apart_.clear();
  for (std::uint32_t s = 0; s < region.max_peers(); ++s) {
    const Life life = Life::FromWord(region.slot(s).life.load(std::memory_order_acquire));
    if (s == context_.self.id.slot || life.state != PeerState::kLive) continue;
    if ((life.flags & layout::kPeerCanRing) == 0) {
      announced_ = Announced::kNotAlways;
      return;
    }
    if (!epochs.AreTogether(life.ivposition, own)) apart_.push_back(s);
  }
  if (!apart_.empty()) announced_ = Announced::kButForFirsts;
}

Announced DoorbellReach::LookAtRings() const noexcept {
  const bool has_ring = std::any_of(apart_.begin(), apart_.end(), [this](std::uint32_t slot) {
    return context_.HasRingWith(slot);
  });
  return has_ring ? Announced::kNotAlways : Announced::kButForFirsts;
}

}  // namespace ivmq
