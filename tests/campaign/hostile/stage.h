// What the processes of a round share: peers of which a scribbler leaves some alone, and what these
// have sent each other.
#ifndef IVMQ_TESTS_CAMPAIGN_HOSTILE_STAGE_H_
#define IVMQ_TESTS_CAMPAIGN_HOSTILE_STAGE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "common/fault_log.h"

namespace ivmq::campaign {

// The first peers are spared: nobody scribbles on their slots, nor on what is between two of them.
inline constexpr std::uint32_t kSpared = 3;
inline constexpr std::uint32_t kPeers = 6;
inline constexpr std::uint32_t kNowhere = 0xffffffff;

inline std::string NameOfPeer(std::uint32_t peer) {
  return (peer < kSpared ? "spared-" : "exposed-") + std::to_string(peer);
}

enum class Part : std::uint8_t {
  kWarmUp,    // spared peers meet
  kScribble,  // all of them work, and somebody scribbles
  kSettle,    // spared peers receive what they were sent
  kEnd,
};

enum class Fault : std::uint8_t {
  kLost,        // between spared peers
  kOrder,       // twice, out of order, changed, or from nobody
  kSparedCall,  // a call between spared peers that did not end with its answer
  kEndless,     // a call of anybody that did not end
  kHung,        // a step that did not return
  kCrashed,
  kOverdrawn,  // more memory than the bound
  kServer,     // ivmqd ended
  kCount,
};

// From one spared peer to another. Only sends that returned kOk count.
struct SparedPair {
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint64_t> handled{0};
};

struct Peer {
  std::atomic<std::uint32_t> slot{kNowhere};
  std::atomic<std::int64_t> stepped_at{0};  // monotonic ns
  std::atomic<std::uint32_t> step{0};       // what it does now
  std::atomic<bool> met_all{false};         // of spared ones: rings in both directions are there
  std::atomic<bool> done{false};            // sends nothing more
};

struct Stage {
  std::atomic<Part> part{Part::kWarmUp};
  std::array<Peer, kPeers> peers;
  std::array<SparedPair, kSpared * kSpared> pairs;

  // Of all rounds.
  FaultLog<Fault> faults;
  std::atomic<std::uint64_t> scribbles{0};
  std::atomic<std::uint64_t> spared_messages{0};
  std::atomic<std::uint64_t> spared_calls{0};
  std::atomic<std::uint64_t> exposed_messages{0};
  std::atomic<std::uint64_t> exposed_calls{0};
  std::atomic<std::uint64_t> exposed_calls_ok{0};
  std::atomic<std::uint64_t> nodes_opened{0};
  std::atomic<std::uint64_t> nodes_refused{0};
  std::atomic<std::uint64_t> rings_given_up{0};

  SparedPair& pair(std::uint32_t from, std::uint32_t to) { return pairs.at(from * kSpared + to); }
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_HOSTILE_STAGE_H_
