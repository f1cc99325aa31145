// What reaches a sleeping node by its doorbell, and what it has to look for by itself.
#ifndef IVMQ_DOORBELL_REACH_H_
#define IVMQ_DOORBELL_REACH_H_

#include <cstdint>
#include <vector>

#include "src/node_context.h"

namespace ivmq {

enum class Announced : std::uint8_t {
  kAlways,        // a doorbell announces whatever any peer does
  kButForFirsts,  // what a peer with doorbells of another server does, there being no ring yet
                  // between it and this node, nothing announces
  kNotAlways,  // there is such a ring; or a peer cannot ring at all, or this node has no doorbell
};

// For one thread at a time: the node's poller.
class DoorbellReach {
 public:
  explicit DoorbellReach(NodeContext& context);

  // Before each sleep.
  [[nodiscard]] Announced Look() noexcept {
    if (!is_wakeable_) return Announced::kNotAlways;
    if (const std::uint64_t generation = context_.table.generation(); generation != generation_)
        [[unlikely]] {
      generation_ = generation;
      LookAtPeers();
    }
    return announced_ == Announced::kButForFirsts ? LookAtRings() : announced_;
  }

  // Whether nobody has come or gone since the last Look().
  [[nodiscard]] bool IsUpToDate() const noexcept {
    return context_.table.generation() == generation_;
  }

 private:
  // Looks at who lives. A peer counts from when it has joined, since its first message comes as
  // silently as the others.
  [[gnu::noinline]] void LookAtPeers() noexcept;
  [[gnu::noinline]] Announced LookAtRings() const noexcept;

  NodeContext& context_;
  const bool is_wakeable_;
  Announced announced_ = Announced::kNotAlways;
  std::uint64_t generation_;          // of the peer table, when it was looked at
  std::vector<std::uint32_t> apart_;  // slots of peers with doorbells of another server
};

}  // namespace ivmq

#endif  // IVMQ_DOORBELL_REACH_H_
