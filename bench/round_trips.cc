// Round trips, both sides polling.
#include <map>
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
#include "rivals.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

constexpr const char* kBareLine = "floor: a bare cache line";
constexpr const char* kFloor = "floor: flag and the bytes copied";
constexpr const char* kRing = "**ivmq ring**";
constexpr const char* kNode = "**ivmq node**";
constexpr const char* kExclusive = "**ivmq node, exclusive sender**";
constexpr const char* kBoost = "boost::lockfree::spsc_queue";

Latency RunBoostSpsc(const Slot& slot) {
  return WithBoostSpsc(slot.bytes, [&]<typename C>() { return RoundTrip<C>(slot); });
}

std::vector<Rival> Candidates(const Plan& plan) {
  std::vector<Rival> all{
      {kBareLine, RoundTrip<Flag<false>>, {}, {}, 64},
      {kFloor, RoundTrip<Flag<true>>, {}, {}},
      {"ideal ring", RoundTrip<IdealRing>, {}, {}},
      {kRing, RoundTrip<IvmqRing<RingUse::kPlain>>, {}, {}},
      {"ivmq ring, a fence a message", RoundTrip<IvmqRing<RingUse::kFences>>, {}, {}},
      {kNode, RoundTrip<IvmqNode<NodeUse::kCopies>>, {}, {}},
      {kExclusive, RoundTrip<IvmqNode<NodeUse::kExclusive>>, {}, {}},
      {"ivmq node, trusting its peers", RoundTrip<IvmqNode<NodeUse::kInPlace>>, {}, {}},
      {kBoost, RunBoostSpsc, {}, {}},
      {"Boost.Interprocess message_queue", RoundTrip<BoostMessageQueue<false>>, {}, {}},
      {"AF_UNIX SOCK_SEQPACKET", RoundTrip<SeqPacket<false>>, {}, {}, SeqPacket<false>::kMostBytes},
  };
  all.insert(all.end(), PollingRivals().begin(), PollingRivals().end());
  std::erase_if(all, [&](const Rival& each) { return !plan.Takes(each.name); });
  return all;
}

struct Series {
  std::vector<double> p50, p99, p999, max;
};

}  // namespace

void RoundTrips(const Plan& plan, Outcome& outcome) {
  const std::vector<Rival> candidates = Candidates(plan);
  std::map<std::size_t, std::map<std::string, Series>> series;
  for (int round = 0; round < plan.rounds; ++round) {
    for (const std::size_t bytes : plan.sizes) {
      for (const Rival& each : candidates) {
        if (bytes > each.most_bytes) continue;
        const std::string what = "round trip, " + each.name + ", " + Bytes(bytes);
        Progress(fmt::format("{}/{} {}", round + 1, plan.rounds, what));
        const Latency latency = each.round_trip({bytes, QueueBytes(bytes), plan.slot, what});
        Series& to = series[bytes][each.name];
        to.p50.push_back(latency.p50);
        to.p99.push_back(latency.p99);
        to.p999.push_back(latency.p999);
        to.max.push_back(latency.max);
      }
    }
  }
  Progress("");

  PrintSection("Round trip, both polling",
               fmt::format("Microseconds from a message to its answer of the same size, one at a "
                           "time. Medians over {} rounds, max over all; `/ floor` is the p50 by "
                           "that of the flag with the bytes copied, round by round.",
                           plan.rounds));
  for (const std::size_t bytes : plan.sizes) {
    auto& of = series[bytes];
    Table table({Bytes(bytes), "p50", "p99", "p99.9", "max", "/ floor"});
    for (const Rival& each : candidates) {
      const auto found = of.find(each.name);
      if (found == of.end()) continue;
      const Series& s = found->second;
      const double ratio = MedianRatio(s.p50, of[kFloor].p50);
      table.Row({each.name, Short(Median(s.p50)), Short(Median(s.p99)), Short(Median(s.p999)),
                 Short(Largest(s.max)), Short(ratio)});
      outcome.results.Add("roundtrip", each.name,
                          {{"bytes", static_cast<double>(bytes)},
                           {"p50_us", Median(s.p50)},
                           {"p99_us", Median(s.p99)},
                           {"p999_us", Median(s.p999)},
                           {"max_us", Largest(s.max)},
                           {"by_floor", ratio}});
    }
    table.Print();
  }
  auto& of = series[64];
  const auto ratio = [&](const char* name, const char* to) {
    return MedianRatio(of[name].p50, of[to].p50);
  };
  outcome.aims.AtMost("round trip, 64 B, ring / floor", ratio(kRing, kFloor), 1.25);
  outcome.aims.AtMost("round trip, 64 B, node / floor", ratio(kNode, kFloor), 1.5);
  outcome.aims.AtMost("round trip, 64 B, node with an exclusive sender / floor",
                      ratio(kExclusive, kFloor), 1.35);
  outcome.aims.AtMost("round trip, 64 B, ring / boost spsc_queue (clearly below 1)",
                      ratio(kRing, kBoost), 0.9);
}

}  // namespace ivmq::bench
