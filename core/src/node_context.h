// What the parts of a node share.
#ifndef IVMQ_NODE_CONTEXT_H_
#define IVMQ_NODE_CONTEXT_H_

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ivmq/arena.h"
#include "ivmq/node.h"
#include "ivmq/peer_table.h"
#include "ivmq/region.h"
#include "ivmq/transport.h"

namespace ivmq {

// Thread-safe: all but the atomics is constant once the node is open.
struct NodeContext {
  NodeContext(std::unique_ptr<Transport> transport_in, const Region& region_in,
              NodeOptions options_in)
      : transport(std::move(transport_in)),
        region(region_in),
        table(region_in),
        arena(region_in),
        options(std::move(options_in)) {}

  std::unique_ptr<Transport> transport;
  Region region;
  PeerTable table;
  Arena arena;
  NodeOptions options;
  ClaimRequest identity;
  ClaimedSlot self;
  std::mutex services_mutex;
  std::vector<std::string> services;  // guarded by services_mutex; what this peer offers
  // Set once somebody declared this life dead: nothing is sent any more.
  std::atomic<bool> ended{false};
  std::array<std::atomic<std::uint64_t>, layout::kCounterWords> counters{};

  [[nodiscard]] layout::PeerSlot& slot() const noexcept { return region.slot(self.id.slot); }

  void Count(layout::Counter counter, std::uint64_t amount = 1) noexcept {
    counters[static_cast<std::size_t>(counter)].fetch_add(amount, std::memory_order_relaxed);
  }
  // The same without a locked instruction, for counters that one thread only writes.
  void CountAlone(layout::Counter counter, std::uint64_t amount = 1) noexcept {
    auto& value = counters[static_cast<std::size_t>(counter)];
    value.store(value.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }

  void Report(const Status& status) {
    if (!options.on_report) return;
    const std::lock_guard lock(report_mutex);
    options.on_report(status);
  }
  std::mutex report_mutex;
};

}  // namespace ivmq

#endif  // IVMQ_NODE_CONTEXT_H_
