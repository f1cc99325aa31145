// Pings: round trips to a peer that sends messages back.
//
// A ping is an ordinary message of bytes: FrameKind::kBytes, type kPingType, and a payload that
// begins with an 8-byte little-endian number. Whoever sends it back unchanged, type and bytes,
// answers it.
#ifndef IVMQ_TOOLS_IVMQ_PINGER_H_
#define IVMQ_TOOLS_IVMQ_PINGER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ivmq/node.h"
#include "ivmq/status.h"

#include "interrupt.h"
#include "latencies.h"

namespace ivmq::tool {

inline constexpr std::uint32_t kPingType = 0x676e6970;  // the bytes "ping"
inline constexpr std::uint64_t kMinPingSize = sizeof(std::uint64_t);

// Pings one peer, from the node's polling thread. Thread-compatible.
class Pinger {
 public:
  // REQUIRES: size >= kMinPingSize
  Pinger(Node& node, PeerInfo peer, std::uint64_t size, std::chrono::nanoseconds timeout,
         const Interrupt& interrupt);

  // One round trip. False if there was no answer, or not the right one: see failure(), which is OK
  // if a signal came.
  bool RoundTrip();
  // Waits until so long after the last ping was sent.
  void Pause(std::chrono::nanoseconds interval);

  [[nodiscard]] const PeerInfo& peer() const noexcept { return peer_; }
  [[nodiscard]] const Latencies& latencies() const noexcept { return latencies_; }
  // Of the last round trip. REQUIRES: it succeeded
  [[nodiscard]] std::chrono::nanoseconds last() const noexcept { return answered_at_ - sent_at_; }
  [[nodiscard]] const Status& failure() const noexcept { return failure_; }

 private:
  using Clock = std::chrono::steady_clock;
  enum class Answer : std::uint8_t { kNone, kRight, kWrong };

  [[nodiscard]] const std::string& address() const { return node_.transport().info().address; }
  void PollUntil(Clock::time_point deadline, bool for_answer);
  [[nodiscard]] bool PeerIsThere() const;
  void Take(const Message& message);
  [[nodiscard]] Status NoAnswer() const;

  Node& node_;
  const PeerInfo peer_;
  const Interrupt& interrupt_;
  const std::chrono::nanoseconds timeout_;
  std::vector<std::byte> payload_;
  std::uint64_t sequence_ = 0;
  Clock::time_point sent_at_;
  Clock::time_point answered_at_;
  Answer answer_ = Answer::kNone;
  Latencies latencies_;
  Status failure_;
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_PINGER_H_
