// Round trips, both sides polling.
#include <array>
#include <functional>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "candidates/boost_queues.h"
#include "candidates/floor.h"
#include "candidates/ideal_ring.h"
#include "candidates/ivmq_node.h"
#include "candidates/ivmq_ring.h"
#include "candidates/kernel.h"
#include "drive.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

constexpr std::array<std::size_t, 3> kSizes{64, 1024, 16384};
constexpr std::size_t kRingBytes = 256U << 10;

struct Rival {
  std::string name;
  std::function<Latency(const Slot&)> run;
};

Latency RunBoostSpsc(const Slot& slot) {
  switch (slot.bytes) {
    case 64:
      return RoundTrip<BoostSpsc<64>>(slot);
    case 1024:
      return RoundTrip<BoostSpsc<1024>>(slot);
    default:
      return RoundTrip<BoostSpsc<16384>>(slot);
  }
}

constexpr std::size_t kFloor = 1;
constexpr std::size_t kRing = 3;
constexpr std::size_t kNode = 5;
constexpr std::size_t kBoost = 7;

const std::vector<Rival>& Rivals() {
  static const std::vector<Rival> kRivals{
      {"floor: a bare cache line", RoundTrip<Flag<false>>},
      {"floor: flag and the bytes copied", RoundTrip<Flag<true>>},
      {"ideal ring", RoundTrip<IdealRing>},
      {"**ivmq ring**", RoundTrip<IvmqRing<RingUse::kPlain>>},
      {"ivmq ring, a fence a message", RoundTrip<IvmqRing<RingUse::kFences>>},
      {"**ivmq node**", RoundTrip<IvmqNode<NodeUse::kCopies>>},
      {"ivmq node, trusting its peers", RoundTrip<IvmqNode<NodeUse::kInPlace>>},
      {"boost::lockfree::spsc_queue", RunBoostSpsc},
      {"Boost.Interprocess message_queue", RoundTrip<BoostMessageQueue<false>>},
      {"AF_UNIX SOCK_SEQPACKET", RoundTrip<SeqPacket<false>>},
  };
  return kRivals;
}

struct Series {
  std::vector<double> p50, p99, p999, max, ratio;
};

}  // namespace

void RoundTrips(const Plan& plan, Promises& promises) {
  const std::vector<Rival>& rivals = Rivals();
  std::vector<std::array<Series, kSizes.size()>> series(rivals.size());
  for (int round = 0; round < plan.rounds; ++round) {
    for (std::size_t size = 0; size < kSizes.size(); ++size) {
      for (std::size_t i = 0; i < rivals.size(); ++i) {
        // A bare line has one size.
        if (i == 0 && size != 0) continue;
        const std::string what = "round trip, " + rivals[i].name + ", " + Bytes(kSizes[size]);
        Progress(fmt::format("{}/{} {}", round + 1, plan.rounds, what));
        const Latency latency = rivals[i].run({kSizes[size], kRingBytes, plan.slot, what});
        Series& to = series[i][size];
        to.p50.push_back(latency.p50);
        to.p99.push_back(latency.p99);
        to.p999.push_back(latency.p999);
        to.max.push_back(latency.max);
      }
    }
  }
  Progress("");

  PrintSection(
      "Round trip, both polling",
      fmt::format("Microseconds from a message to its answer of the same size, one at a time; "
                  "rings of {}. Medians over {} rounds, max over all; `/ floor` is the p50 by "
                  "that of the flag with the bytes copied, round by round.",
                  Bytes(kRingBytes), plan.rounds));
  for (std::size_t size = 0; size < kSizes.size(); ++size) {
    Table table({Bytes(kSizes[size]), "p50", "p99", "p99.9", "max", "/ floor"});
    for (std::size_t i = 0; i < rivals.size(); ++i) {
      Series& s = series[i][size];
      if (s.p50.empty()) continue;
      const std::vector<double>& floor = series[kFloor][size].p50;
      for (std::size_t r = 0; r < s.p50.size(); ++r) s.ratio.push_back(s.p50[r] / floor[r]);
      table.Row({rivals[i].name, Short(Median(s.p50)), Short(Median(s.p99)), Short(Median(s.p999)),
                 Short(Largest(s.max)), Short(Median(s.ratio))});
    }
    table.Print();
  }
  const auto ratio = [&](std::size_t i) { return Median(series[i][0].ratio); };
  promises.AtMost("round trip, 64 B, ring / floor", ratio(kRing), 1.25);
  promises.AtMost("round trip, 64 B, node / floor", ratio(kNode), 1.6);
  promises.AtMost("round trip, 64 B, ring / boost spsc_queue (clearly below 1)",
                  ratio(kRing) / ratio(kBoost), 0.9);
}

}  // namespace ivmq::bench
