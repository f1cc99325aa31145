// Whether a call is still wanted. Its end, a cancel, its deadline, the death and suspicion of the
// peer at its other side, and the end of this node's own life are looked at here and nowhere else:
// every wait of a call asks this.
#ifndef IVMQ_RPC_CALL_LIFE_H_
#define IVMQ_RPC_CALL_LIFE_H_

#include <atomic>
#include <chrono>
#include <cstdint>

#include "ivmq/node.h"

#include "src/call_state.h"
#include "src/polling.h"

namespace ivmq::rpc::internal {

enum class Verdict : std::uint8_t {
  kWanted,
  kEnded,      // somebody has ended the call and said why
  kCancelled,  // the client does not want it any more
  kLate,       // its deadline has passed
  kPeerGone,   // that life of the peer has ended; its last words may wait in its ring
  kPeerStill,  // the peer has shown no sign of life for two seconds
  kSelfGone,   // this node's own life was declared over
};

// Whether the node's own life was declared over, or belongs to another process. A life word that
// only was damaged is put right by status().
inline bool IsOver(const Node& node) noexcept {
  return !node.IsLive(node.id()) && !node.status().ok();
}

// Thread-safe, except for SetPeer().
class CallLife final : public StopCondition {
 public:
  // References must live until the call has ended, and while somebody asks.
  CallLife(const Node& node, Clock::time_point deadline,
           const std::atomic<bool>& cancelled) noexcept
      : node_(node), deadline_(deadline), cancelled_(cancelled) {}

  // The same of a call whose peer is known.
  CallLife(const Node& node, Clock::time_point deadline, const std::atomic<bool>& cancelled,
           PeerId peer) noexcept
      : CallLife(node, deadline, cancelled) {
    SetPeer(peer);
  }

  // The peer that the call goes to, or comes from. Until then nobody's death counts. Before other
  // threads know the call.
  void SetPeer(PeerId peer) noexcept {
    peer_ = peer;
    has_peer_ = true;
  }
  [[nodiscard]] const Node& node() const noexcept { return node_; }
  [[nodiscard]] const PeerId& peer() const noexcept { return peer_; }
  [[nodiscard]] bool has_peer() const noexcept { return has_peer_; }
  [[nodiscard]] Clock::time_point deadline() const noexcept { return deadline_; }
  [[nodiscard]] bool has_deadline() const noexcept { return deadline_ != Clock::time_point::max(); }

  // Of a client's call; a server's stays kNew.
  [[nodiscard]] CallState<ClientCallState>& state() noexcept { return state_; }
  [[nodiscard]] const CallState<ClientCallState>& state() const noexcept { return state_; }

  [[nodiscard]] Verdict Look(Clock::time_point now) const noexcept {
    // The context may be gone with the call.
    if (HasEnded(state_.Get())) return Verdict::kEnded;
    if (cancelled_.load(std::memory_order_relaxed)) return Verdict::kCancelled;
    if (now >= deadline_) return Verdict::kLate;
    if (IsOver(node_)) [[unlikely]]
      return Verdict::kSelfGone;
    if (has_peer_ && !node_.IsLive(peer_)) return Verdict::kPeerGone;
    if (has_peer_ && node_.IsSuspected(peer_)) return Verdict::kPeerStill;
    return Verdict::kWanted;
  }
  [[nodiscard]] Verdict Look() const noexcept { return Look(Now()); }
  // Looks at the clock only if there is a deadline.
  [[nodiscard]] Clock::time_point Now() const noexcept {
    return has_deadline() ? Clock::now() : Clock::time_point::min();
  }
  [[nodiscard]] bool IsStopped() const noexcept override { return Look() != Verdict::kWanted; }

 private:
  const Node& node_;
  const Clock::time_point deadline_;
  const std::atomic<bool>& cancelled_;
  PeerId peer_;
  bool has_peer_ = false;
  CallState<ClientCallState> state_{ClientCallState::kNew};
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_CALL_LIFE_H_
