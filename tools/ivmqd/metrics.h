// What Prometheus is told about the regions, their peers and this server.
#ifndef IVMQ_TOOLS_IVMQD_METRICS_H_
#define IVMQ_TOOLS_IVMQD_METRICS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ivmq/internal/layout.h"

#include "common/region_sample.h"
#include "region_server.h"
#include "server_state.h"

namespace ivmq::server {

using CounterValues = std::array<std::uint64_t, static_cast<std::size_t>(layout::Counter::kCount)>;

// Adds up what the peers of a region count, so that a peer's end makes no sum smaller. What a peer
// counts after the last look at it is missed. Thread-compatible.
class CounterTotals {
 public:
  // Whatever the region says, no total becomes smaller.
  void Look(const inspect::RegionSample& sample);
  [[nodiscard]] const CounterValues& values() const noexcept { return totals_; }

 private:
  struct Life {
    std::uint32_t incarnation = 0;
    CounterValues seen{};
  };

  CounterValues totals_{};
  std::map<std::uint32_t, Life> lives_;  // by slot; those of the last look
};

struct RegionFigures {
  std::string name;  // empty: it is "default"
  std::uint64_t size = 0;
  ServerState server;
  std::vector<ClientInfo> clients;
  inspect::RegionSample sample;
  CounterValues totals{};
};

// Peers of a region that have figures of their own; further ones are only in the sums.
inline constexpr std::size_t kMostPeersWithMetrics = 64;

// What no single region has.
struct ServerFigures {
  std::uint64_t log_lines_dropped = 0;  // see Log::dropped()
  std::uint64_t takeovers = 0;          // servers before this one whose clients it serves on
};

// In Prometheus' text format. Its size is bounded whatever the regions contain, and names of peers
// are kept to printable ASCII.
std::string MetricsText(const std::vector<RegionFigures>& regions, const ServerFigures& server);

// The figures of a region that is served. Looking at it takes some milliseconds, so that is done
// twice a second at most. Thread-compatible.
class RegionMetrics {
 public:
  // The server must outlive this.
  RegionMetrics(std::string name, std::uint64_t size, const RegionServer& server)
      : name_(std::move(name)), size_(size), server_(server) {}

  RegionFigures Look();

 private:
  std::string name_;
  std::uint64_t size_;
  const RegionServer& server_;
  inspect::RegionSample sample_;
  CounterTotals totals_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_METRICS_H_
