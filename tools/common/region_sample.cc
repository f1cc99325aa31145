#include "common/region_sample.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "ivmq/internal/extent.h"
#include "ivmq/internal/peer_table.h"

namespace ivmq::inspect {
namespace {

using layout::Cell;
using layout::CellState;
using layout::Counter;
using std::chrono::duration;

// Records that one sample counts, in all rings together.
constexpr std::uint64_t kMostSteps = std::uint64_t{1} << 20;

constexpr double kHeartbeatPeriod = 0.25;  // seconds

Cell LoadCell(const Region& region, std::uint32_t index) {
  return Cell::FromWord(region.cell(index).load(std::memory_order_acquire));
}

RingSample SampleRing(const Region& region, std::uint32_t index, const Cell& cell,
                      std::uint64_t* steps) {
  RingSample sample{.producer = index % region.max_peers(),
                    .consumer = index / region.max_peers(),
                    .generation = cell.generation};
  const std::optional<RingView> ring = region.RingOf(cell);
  if (!ring) {
    sample.unread.problem = "the cell points outside the arena";
    return sample;
  }
  if (!ring->IsDescribed(index, cell)) {
    sample.unread.problem = "the cell does not lead to a ring of this pair";
    return sample;
  }
  sample.capacity = ring->capacity;
  sample.committed = ring->header->committed.load(std::memory_order_acquire);
  sample.acked = ring->header->acked.load(std::memory_order_acquire);
  sample.unread = CountUnread(*ring, steps);
  return sample;
}

std::vector<RingSample> SampleRings(const Region& region) {
  // Each ring of a correct region has a page of its own, so this is more than there can be.
  const std::size_t most = std::min<std::size_t>(region.geometry().unit_count, 65536);
  std::vector<RingSample> rings;
  std::uint64_t steps = kMostSteps;
  for (std::uint32_t index = 0; index < region.geometry().pair_cells(); ++index) {
    const Cell cell = LoadCell(region, index);
    if (cell.state != CellState::kLive) continue;
    if (rings.size() == most) break;
    RingSample ring = SampleRing(region, index, cell, &steps);
    // A ring that is being replaced is not looked at meanwhile.
    if (!ring.unread.problem.empty() && !(LoadCell(region, index) == cell)) continue;
    rings.push_back(std::move(ring));
  }
  return rings;
}

std::vector<HeapSample> SampleHeaps(const Region& region) {
  std::vector<HeapSample> heaps;
  for (std::uint32_t slot = 0; slot < region.max_peers(); ++slot) {
    HeapSample heap{.slot = slot};
    for (std::uint32_t extent = 0; extent < layout::kHeapExtents; ++extent) {
      const std::uint32_t index = region.HeapCellIndex(slot, extent);
      const Cell cell = LoadCell(region, index);
      if (cell.state != CellState::kLive) continue;
      const std::optional<ExtentView> view = ExtentOf(region, cell);
      if (!view || !view->IsDescribed(index, cell)) continue;
      ++heap.extents;
      heap.bytes += view->memory.size();
    }
    if (heap.extents != 0) heaps.push_back(heap);
  }
  return heaps;
}

// How much it has grown; 0 if it has shrunk, which no correct peer's does.
double Growth(std::uint64_t before, std::uint64_t after) {
  return after > before ? static_cast<double>(after - before) : 0;
}

PeerRates RatesOf(const PeerInfo& before, const PeerInfo& after, double seconds) {
  PeerRates rates;
  const double beats = Growth(before.heartbeat, after.heartbeat);
  rates.moves = beats != 0;
  // Both ends of what the counters cover are known to a quarter of a second.
  const double covered =
      std::clamp(beats * kHeartbeatPeriod, std::max(seconds - kHeartbeatPeriod, kHeartbeatPeriod),
                 seconds + kHeartbeatPeriod);
  for (std::size_t i = 0; i < rates.counters.size(); ++i) {
    rates.counters[i] = Growth(before.counters[i], after.counters[i]) / covered;
  }
  return rates;
}

}  // namespace

std::string_view CounterName(Counter counter) {
  constexpr std::array<std::string_view, static_cast<std::size_t>(Counter::kCount)> kNames = {
      "messages_sent", "bytes_sent",     "messages_received",  "bytes_received",  "doorbells_rung",
      "sleeps",        "wakeups",        "net_finds",          "rings_full",      "dropped",
      "redelivered",   "rings_poisoned", "fragments_received", "assemblies_lost", "unhandled",
      "unparsable",    "kept",           "kept_now",           "keeps_refused",   "topics_dropped",
      "topics_missed"};
  static_assert(!kNames.back().empty(), "a counter has no name");
  return kNames[static_cast<std::size_t>(counter)];
}

const PeerInfo* RegionSample::PeerAt(std::uint32_t slot) const noexcept {
  const auto at = std::lower_bound(peers.begin(), peers.end(), slot,
                                   [](const PeerInfo& peer, auto s) { return peer.id.slot < s; });
  return at != peers.end() && at->id.slot == slot ? &*at : nullptr;
}

const RingSample* RegionSample::RingFrom(std::uint32_t producer,
                                         std::uint32_t consumer) const noexcept {
  const std::pair key(consumer, producer);
  const auto at = std::lower_bound(rings.begin(), rings.end(), key, [](const auto& ring, auto k) {
    return std::pair(ring.consumer, ring.producer) < k;
  });
  return at != rings.end() && std::pair(at->consumer, at->producer) == key ? &*at : nullptr;
}

std::uint64_t RegionSample::Sum(Counter counter) const noexcept {
  std::uint64_t sum = 0;
  for (const PeerInfo& peer : peers) sum += CounterOf(peer, counter);
  return sum;
}

RegionSample Sample(const Region& region) {
  RegionSample sample;
  sample.taken = std::chrono::steady_clock::now();
  sample.server_epoch = region.header().server_epoch.load(std::memory_order_relaxed);
  sample.server_pid = region.header().server_pid.load(std::memory_order_relaxed);
  PeerSnapshot snapshot = PeerTable(region).Snapshot();
  sample.generation = snapshot.generation;
  sample.peers = std::move(snapshot.peers);
  sample.rings = SampleRings(region);
  sample.heaps = SampleHeaps(region);
  sample.arena = Arena(region).Stats();
  return sample;
}

Rates RatesBetween(const RegionSample& before, const RegionSample& after) {
  const double seconds = std::max(duration<double>(after.taken - before.taken).count(), 1e-3);
  Rates rates;
  for (const PeerInfo& peer : after.peers) {
    const PeerInfo* const earlier = before.PeerAt(peer.id.slot);
    rates.peers.push_back(earlier != nullptr && earlier->id == peer.id
                              ? RatesOf(*earlier, peer, seconds)
                              : PeerRates{});
  }
  for (const RingSample& ring : after.rings) {
    const RingSample* const earlier = before.RingFrom(ring.producer, ring.consumer);
    const bool same = earlier != nullptr && earlier->generation == ring.generation;
    rates.rings.push_back({same ? Growth(earlier->acked, ring.acked) / seconds : 0});
  }
  return rates;
}

}  // namespace ivmq::inspect
