#include "peers.h"

#include <algorithm>
#include <thread>

#include <fmt/format.h>

#include "text.h"
#include "topics.h"

namespace ivmq::tool {

using layout::Counter;
using layout::PeerState;
using std::chrono::nanoseconds;

std::string_view StateText(const PeerInfo& peer) {
  switch (peer.state) {
    case PeerState::kFree:
      return "free";
    case PeerState::kClaiming:
      return "claiming";
    case PeerState::kLive:
      return "live";
    case PeerState::kDead:
      return peer.durable ? "away" : "dead";
  }
  return "unknown";
}

StillPeers::StillPeers(const PeerTable& table, const std::vector<PeerInfo>& peers) {
  for (const PeerInfo& peer : peers) {
    if (peer.state == PeerState::kLive) still_[peer.id.slot] = peer.heartbeat;
  }
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::seconds(2);
  for (;;) {
    std::erase_if(still_, [&](const auto& entry) {
      const auto now = table.Read(entry.first);
      return !now || now->heartbeat != entry.second;
    });
    if (still_.empty() || Clock::now() >= deadline) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

Json PeerJson(const PeerInfo& peer) {
  Json json;
  json["slot"] = peer.id.slot;
  json["name"] = peer.name;
  json["state"] = StateText(peer);
  json["durable"] = peer.durable;
  json["incarnation"] = peer.id.incarnation;
  json["ivposition"] =
      peer.ivposition == layout::kNoIvposition ? Json(nullptr) : Json(peer.ivposition);
  json["vector"] = peer.vector;
  json["can_ring"] = peer.can_ring;
  json["wakeable"] = peer.wakeable;
  json["disconnected"] = peer.disconnected;
  json["pid"] = peer.pid;
  json["boot_id"] = fmt::format("{:016x}{:016x}", peer.boot_id[0], peer.boot_id[1]);
  json["claimed_at"] = TimeText(peer.claimed_at);
  json["asleep"] = (peer.armed & 1) != 0;
  json["services"] = peer.services;
  AddTopicsOf(peer, &json);
  Json counters = Json::object();
  for (std::size_t i = 0; i < static_cast<std::size_t>(Counter::kCount); ++i) {
    counters[std::string(CounterName(static_cast<Counter>(i)))] = peer.counters[i];
  }
  json["counters"] = std::move(counters);
  return json;
}

std::string NameOf(const Node& node, PeerId id) {
  const auto peer = PeerTable(node.region()).Read(id.slot);
  if (!peer || peer->id != id) return fmt::format("slot {}", id.slot);
  return PrintableName(peer->name);
}

Result<PeerInfo> FindPeer(const Node& node, const std::string& name,
                          std::optional<nanoseconds> await, const Interrupt& interrupt) {
  if (!await) return node.Lookup(name);
  // In slices, so that a signal ends it.
  constexpr nanoseconds kSlice = std::chrono::milliseconds(100);
  const auto deadline = std::chrono::steady_clock::now() + *await;
  for (;;) {
    const nanoseconds left = deadline - std::chrono::steady_clock::now();
    auto peer = node.Await(name, std::clamp(left, nanoseconds(0), kSlice));
    if (peer.ok()) return peer;
    if (interrupt.requested()) return Status(StatusCode::kCancelled, "interrupted");
    if (left > kSlice) continue;
    return Status(
        StatusCode::kDeadlineExceeded,
        fmt::format("{}: no live peer named '{}' came within {}; `ivmq ls` shows who is there",
                    node.transport().info().address, name, DurationText(*await)));
  }
}

Status SendFailure(const Node& node, const PeerInfo& peer, SendResult result) {
  const std::string where = fmt::format("{}: {}: ", node.transport().info().address, peer.name);
  switch (result) {
    case SendResult::kOk:
      return {};
    case SendResult::kFull:
    case SendResult::kTimedOut:
    case SendResult::kStopped:
      return {StatusCode::kDeadlineExceeded,
              where +
                  "its ring is full and it did not read in time; is it running? A longer time "
                  "is --wait TIME"};
    case SendResult::kDropped:
      return {StatusCode::kResourceExhausted, where + "its ring is full: the message was dropped"};
    case SendResult::kTooLarge:
      return {StatusCode::kInvalidArgument,
              fmt::format("{}the message is larger than the limit of {}", where,
                          SizeText(NodeOptions().max_message_bytes))};
    case SendResult::kPeerGone:
      return {StatusCode::kUnavailable, where + "it has left the region"};
    case SendResult::kNoRoom:
      return {StatusCode::kResourceExhausted,
              where + node.Explain(SendResult::kNoRoom, peer.id).message()};
    case SendResult::kBusy:
      break;  // this thread batches nothing
  }
  return {StatusCode::kInternal, where + "sending failed"};
}

}  // namespace ivmq::tool
