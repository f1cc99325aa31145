#include "pinger.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "ivmq/internal/peer_table.h"

#include "peers.h"
#include "text.h"

namespace ivmq::tool {

using std::chrono::nanoseconds;

Pinger::Pinger(Node& node, PeerInfo peer, std::uint64_t size, nanoseconds timeout,
               const Interrupt& interrupt)
    : node_(node),
      peer_(std::move(peer)),
      interrupt_(interrupt),
      timeout_(timeout),
      payload_(size) {
  for (std::size_t i = 0; i < payload_.size(); ++i) payload_[i] = static_cast<std::byte>(i);
}

bool Pinger::RoundTrip() {
  ++sequence_;
  std::memcpy(payload_.data(), &sequence_, sizeof(sequence_));
  answer_ = Answer::kNone;
  sent_at_ = Clock::now();
  const SendResult result =
      node_.Send(peer_.id, {.kind = layout::FrameKind::kBytes, .type = kPingType, .name = {}},
                 payload_, {.when_full = WhenFull::kWait, .timeout = timeout_});
  if (result != SendResult::kOk) {
    failure_ = SendFailure(node_, peer_, result);
    return false;
  }
  PollUntil(sent_at_ + timeout_, /*for_answer=*/true);
  if (answer_ == Answer::kRight) {
    latencies_.Add(answered_at_ - sent_at_);
    return true;
  }
  if (answer_ == Answer::kWrong) {
    failure_ = {StatusCode::kDataLoss, fmt::format("{}: {}: the answer differs from what was sent",
                                                   address(), peer_.name)};
  } else if (!interrupt_.requested()) {
    failure_ = NoAnswer();
  }
  return false;
}

void Pinger::Pause(nanoseconds interval) { PollUntil(sent_at_ + interval, /*for_answer=*/false); }

void Pinger::PollUntil(Clock::time_point deadline, bool for_answer) {
  // A peer that died is not waited for.
  constexpr nanoseconds kLook = std::chrono::milliseconds(250);
  for (;;) {
    const bool idle = node_.Poll([this](const Message& message) { Take(message); }) == 0;
    if (for_answer && answer_ != Answer::kNone) return;
    const nanoseconds left = deadline - Clock::now();
    if (left <= nanoseconds(0) || interrupt_.requested()) return;
    if (idle && !node_.Wait(std::min(left, kLook)) && !PeerIsThere()) return;
  }
}

bool Pinger::PeerIsThere() const {
  const auto peer = PeerTable(node_.region()).Read(peer_.id.slot);
  return peer && peer->id == peer_.id && peer->state == layout::PeerState::kLive;
}

void Pinger::Take(const Message& message) {
  const Clock::time_point now = Clock::now();
  std::uint64_t sequence = 0;
  if (message.from != peer_.id || message.kind != layout::FrameKind::kBytes ||
      message.type != kPingType || message.payload.size() < sizeof(sequence)) {
    return;  // not an answer
  }
  std::memcpy(&sequence, message.payload.data(), sizeof(sequence));
  if (sequence != sequence_) return;
  answered_at_ = now;
  answer_ = std::ranges::equal(message.payload, payload_) ? Answer::kRight : Answer::kWrong;
}

Status Pinger::NoAnswer() const {
  const std::string who =
      fmt::format("{}: {} (slot {}, pid {})", address(), peer_.name, peer_.id.slot, peer_.pid);
  if (!PeerIsThere()) {
    return {StatusCode::kUnavailable, who + " has left the region"};
  }
  const auto now = node_.Lookup(peer_.name);
  return {StatusCode::kDeadlineExceeded,
          fmt::format("{} did not answer within {}: {}", who, DurationText(timeout_),
                      now.ok() && now->suspected
                          ? "its heartbeat has stopped"
                          : "does it send pings back, as `ivmq recv --echo` does?")};
}

}  // namespace ivmq::tool
