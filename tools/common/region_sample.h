// What a region says about its peers and rings at one moment, for programs that only look: the tool
// and the server's metrics.
#ifndef IVMQ_TOOLS_COMMON_REGION_SAMPLE_H_
#define IVMQ_TOOLS_COMMON_REGION_SAMPLE_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"
#include "ivmq/peer.h"

#include "common/ring_cursor.h"

namespace ivmq::inspect {

[[nodiscard]] inline std::uint64_t CounterOf(const PeerInfo& peer, layout::Counter counter) {
  return peer.counters[static_cast<std::size_t>(counter)];
}

// "messages_sent" and so on.
[[nodiscard]] std::string_view CounterName(layout::Counter counter);

// A ring that a live cell of the directory names.
struct RingSample {
  std::uint32_t producer = 0;  // slots
  std::uint32_t consumer = 0;
  std::uint32_t generation = 0;
  std::uint64_t capacity = 0;
  std::uint64_t committed = 0;  // by its producer's word, of up to a quarter of a second ago
  std::uint64_t acked = 0;      // by its consumer's word, of now
  // What the consumer has not handled yet. Its problem may also be that the cell leads to no ring of
  // this pair; then there are no figures.
  Unread unread{};
  // The part of the ring that is taken, 0 to 1.
  [[nodiscard]] double fill() const noexcept {
    return capacity == 0 ? 0 : static_cast<double>(unread.bytes) / static_cast<double>(capacity);
  }
};

// The heap of a slot that has one.
struct HeapSample {
  std::uint32_t slot = 0;
  std::uint32_t extents = 0;
  std::uint64_t bytes = 0;
};

struct RegionSample {
  std::chrono::steady_clock::time_point taken;
  std::uint64_t server_epoch = 0;  // 0: no server has had the region
  std::uint32_t server_pid = 0;    // 0: it has ended
  std::uint64_t generation = 0;    // see PeerSnapshot
  std::vector<PeerInfo> peers;     // every slot that is not free, by slot
  std::vector<RingSample> rings;   // by consumer, then producer
  std::vector<HeapSample> heaps;   // by slot
  ArenaStats arena;

  // nullptr: the slot is free.
  [[nodiscard]] const PeerInfo* PeerAt(std::uint32_t slot) const noexcept;
  [[nodiscard]] const RingSample* RingFrom(std::uint32_t producer,
                                           std::uint32_t consumer) const noexcept;
  // Of all peers that are there now.
  [[nodiscard]] std::uint64_t Sum(layout::Counter counter) const noexcept;
};

// Looks once at everything. Never writes to the region, which may be mapped read-only, and whatever
// it contains: reads nothing outside of it, and takes a bounded time and memory, some 10 ms for the
// largest table of peers. What is not sane is left out, or has a `problem`. Thread-safe.
[[nodiscard]] RegionSample Sample(const Region& region);

// A peer's counters a second.
struct PeerRates {
  bool moves = false;  // its heartbeat has grown; it does so four times a second
  std::array<double, layout::kCounterWords> counters{};

  [[nodiscard]] double Of(layout::Counter counter) const noexcept {
    return counters[static_cast<std::size_t>(counter)];
  }
};

struct RingRates {
  double bytes = 0;  // that its consumer has handled, record headers included, a second
};

// What has happened between two samples of one region, a second. A peer that has come between them,
// or a ring, has no rates yet.
struct Rates {
  std::vector<PeerRates> peers;  // one for each of the later sample's, in its order
  std::vector<RingRates> rings;  // likewise
};

// Peers publish their counters with their heartbeats, four times a second: so a rate counts the
// heartbeats rather than the time, where that is more exact.
[[nodiscard]] Rates RatesBetween(const RegionSample& before, const RegionSample& after);

}  // namespace ivmq::inspect

#endif  // IVMQ_TOOLS_COMMON_REGION_SAMPLE_H_
