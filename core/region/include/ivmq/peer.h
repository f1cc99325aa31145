// The peers of a region: what a node knows about each of them.
#ifndef IVMQ_PEER_H_
#define IVMQ_PEER_H_

#include "ivmq/export.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ivmq/internal/layout.h"

namespace ivmq {

// Names one life of a peer: the slot, and the incarnation that distinguishes it from earlier and
// later owners of the slot. A value; compare freely.
struct PeerId {
  std::uint32_t slot = 0;
  std::uint32_t incarnation = 0;
  friend bool operator==(const PeerId&, const PeerId&) = default;
};

using BootId = std::array<std::uint64_t, 2>;

// What happens to messages of a topic for a subscriber that has `depth` of them before it, which it
// has not handled yet.
enum class WhenSlow : std::uint8_t {
  kDropOldest,  // the publisher keeps the newest `depth` of them; they go as soon as possible
  kDropNewest,  // they are not sent
  kWait,        // the publisher waits until they can be sent, as long as it has said it would
};

inline constexpr std::uint32_t kMaxTopicDepth = 1024;

// A topic that a peer publishes, or a subscription of the peer's. See ivmq/topic.h.
struct PeerTopic {
  bool is_subscription = false;
  std::uint32_t id = 0;       // each topic and each subscription of a life has another
  std::string name;           // of a subscription: its pattern
  std::uint32_t history = 0;  // how many a late subscriber gets, or wants to get, at most
  WhenSlow when_slow = WhenSlow::kDropOldest;  // of a subscription, as what follows
  std::uint32_t depth = 0;                     // 1..kMaxTopicDepth
  friend bool operator==(const PeerTopic&, const PeerTopic&) = default;
};

struct PeerInfo {
  PeerId id;
  std::string name;
  layout::PeerState state = layout::PeerState::kFree;
  bool durable = false;
  bool can_ring = false;
  bool wakeable = false;
  std::uint16_t ivposition = layout::kNoIvposition;
  std::uint32_t vector = 0;
  std::uint32_t pid = 0;  // in the peer's own pid namespace
  BootId boot_id{};
  std::uint64_t claimed_at = 0;  // ns since the Unix epoch, by the peer's clock
  std::uint64_t heartbeat = 0;
  std::uint64_t armed = 0;
  bool disconnected = false;  // ivmqd has lost its connection to it, but not seen it end
  // No sign of life in eight of the observer's samples; a Node fills it in.
  bool suspected = false;
  std::array<std::uint64_t, layout::kCounterWords> counters{};
  std::vector<std::string> services;  // full names of those it offers; empty unless it is live
  std::vector<PeerTopic> topics;  // what it publishes and subscribes to; empty unless it is live
};

// What Peers() returns. `generation` changes whenever a peer comes or goes, or its state, its
// services or its topics change. An observer that compares it misses no change, however many
// coalesced.
struct PeerSnapshot {
  std::uint64_t generation = 0;
  std::vector<PeerInfo> peers;  // every slot that is not free, by slot
};

}  // namespace ivmq

#endif  // IVMQ_PEER_H_
