// What the processes around a server share.
#ifndef IVMQ_TESTS_CAMPAIGN_SERVER_STAGE_H_
#define IVMQ_TESTS_CAMPAIGN_SERVER_STAGE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "common/fault_log.h"

namespace ivmq::campaign {

inline constexpr std::uint32_t kHonest = 4;

enum class Part : std::uint8_t { kWarmUp, kLoad, kSettle, kEnd };

enum class Fault : std::uint8_t {
  kLost,     // between honest peers
  kOrder,    // twice, out of order or changed
  kRefused,  // a newcomer that was not let in
  kUnheard,  // one that got no answer from a peer that was there before
  kNet,      // what no doorbell announced
  kServer,
  kMemory,
  kDescriptors,
  kHung,
  kCrashed,
  kCount,
};

struct HonestPeer {
  std::atomic<bool> ready{false};
  std::atomic<bool> done{false};
  std::atomic<std::int64_t> stepped_at{0};
  std::array<std::atomic<std::uint64_t>, kHonest> sent{};
  std::array<std::atomic<std::uint64_t>, kHonest> handled{};
  std::atomic<std::uint64_t> net_finds{0};
};

struct Stage {
  std::atomic<Part> part{Part::kWarmUp};
  std::array<HonestPeer, kHonest> peers;
  std::atomic<std::int64_t> newcomer_stepped_at{0};
  // Without a keeper nobody is let in while there is no server.
  std::atomic<bool> is_down{false};
  std::atomic<std::uint64_t> downs{0};
  FaultLog<Fault> faults;
  std::atomic<std::uint64_t> messages{0};
  std::atomic<std::uint64_t> newcomers{0};
  std::atomic<std::uint64_t> turned_away{0};  // while there was no server
  std::atomic<std::uint64_t> server_kills{0};
  std::atomic<std::uint64_t> server_upgrades{0};
  std::atomic<std::int64_t> longest_join{0};       // ns until a newcomer had its answer
  std::atomic<std::uint64_t> connects{0};          // of rude clients
  std::atomic<std::uint64_t> most_descriptors{0};  // of the server
  std::atomic<std::uint64_t> rude_bytes{0};        // that they wrote
  std::atomic<std::uint64_t> unread{0};            // connections that they did not read, or slowly
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_SERVER_STAGE_H_
