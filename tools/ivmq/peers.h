// Peers, as the commands name, find and describe them.
#ifndef IVMQ_TOOLS_IVMQ_PEERS_H_
#define IVMQ_TOOLS_IVMQ_PEERS_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/internal/peer_table.h"
#include "ivmq/node.h"

#include "common/region_sample.h"
#include "interrupt.h"
#include "output.h"

namespace ivmq::tool {

// "live", "claiming", "dead", or "away" for a durable peer that is expected back.
std::string_view StateText(const PeerInfo& peer);

using inspect::CounterName;
using inspect::CounterOf;

// The live peers whose heartbeat does not move: a living one's moves four times a second.
class StillPeers {
 public:
  // Returns when all have moved, or after two seconds.
  StillPeers(const PeerTable& table, const std::vector<PeerInfo>& peers);
  [[nodiscard]] bool Contains(const PeerInfo& peer) const { return still_.contains(peer.id.slot); }

 private:
  std::map<std::uint32_t, std::uint64_t> still_;  // slot, heartbeat
};

// Everything a slot says, but its heartbeat.
Json PeerJson(const PeerInfo& peer);

// The name behind an id, made printable; "slot 7" if the slot has changed hands.
std::string NameOf(const Node& node, PeerId id);

// The peer called `name`: at once, or when it is live within `await`. NOT_FOUND, DEADLINE_EXCEEDED,
// or CANCELLED if a signal came.
Result<PeerInfo> FindPeer(const Node& node, const std::string& name,
                          std::optional<std::chrono::nanoseconds> await,
                          const Interrupt& interrupt);

// What a failed Send() to `peer` means.
Status SendFailure(const Node& node, const PeerInfo& peer, SendResult result);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_PEERS_H_
