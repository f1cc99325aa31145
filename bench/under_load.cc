// One-way latencies while messages come at a given part of the highest rate.
#include <array>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "candidates/boost_queues.h"
#include "candidates/ivmq_node.h"
#include "candidates/ivmq_ring.h"
#include "candidates/kernel.h"
#include "drive.h"
#include "rivals.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

constexpr std::size_t kBytes = 64;
// More a sender that looks at the clock for each message cannot do.
constexpr double kMostRate = 4e6;
constexpr std::array<int, 5> kLoads{10, 30, 50, 70, 90};  // percent of the highest rate

template <typename C>
Rival Make(const char* name) {
  return {name, {}, Rate<C>, UnderLoad<C>};
}

std::vector<Rival> Candidates(const Plan& plan) {
  std::vector<Rival> all{
      Make<IvmqRing<RingUse::kPlain>>("ivmq ring"),
      Make<IvmqNode<NodeUse::kCopies>>("**ivmq node**"),
      Make<IvmqNode<NodeUse::kSleeps>>("ivmq node, receiver sleeps"),
      Make<BoostSpsc<kBytes>>("boost::lockfree::spsc_queue"),
      Make<SeqPacket<false>>("AF_UNIX SOCK_SEQPACKET"),
      Make<SeqPacket<true>>("AF_UNIX SOCK_SEQPACKET, receiver sleeps"),
  };
  all.insert(all.end(), PollingRivals().begin(), PollingRivals().end());
  for (Rival each : SleepingRivals()) {
    each.name += ", receiver sleeps";
    all.push_back(std::move(each));
  }
  std::erase_if(all, [&](const Rival& each) { return !plan.Takes(each.name); });
  return all;
}

std::string FileName(std::string name, int load) {
  std::erase(name, '*');
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return fmt::format("{}-{}.hdr", name, load);
}

}  // namespace

void UnderLoad(const Plan& plan, Outcome& outcome) {
  const std::vector<Rival> candidates = Candidates(plan);
  std::map<std::string, std::map<int, tool::Latencies>> latencies;
  std::map<std::string, std::vector<double>> peaks;
  const int rounds = std::max(1, plan.rounds / 3);
  for (int round = 0; round < rounds; ++round) {
    for (const Rival& each : candidates) {
      const std::string what = "under load, " + each.name;
      Progress(fmt::format("{}/{} {}", round + 1, rounds, what));
      const double peak =
          std::min(kMostRate, each.rate({kBytes, QueueBytes(kBytes), plan.slot, what}));
      peaks[each.name].push_back(peak);
      for (const int load : kLoads) {
        latencies[each.name][load].Add(
            each.load({kBytes, QueueBytes(kBytes), 2 * plan.slot, what}, peak * load / 100));
      }
    }
  }
  Progress("");

  PrintSection(
      "Latency under load",
      fmt::format(
          "Microseconds, one way, {}, p50 / p99 / p99.9, at a part of the "
          "candidate's own highest rate, or of 4 M/s. Messages come when they are due, however "
          "late the ones before were, and their time counts from then. All "
          "samples of {} rounds.",
          Bytes(kBytes), rounds));
  std::vector<std::string> head{"load", "messages/s at 100 %"};
  for (const int load : kLoads) head.push_back(fmt::format("{} %", load));
  Table table(head);
  for (const Rival& each : candidates) {
    const double peak = Median(peaks[each.name]);
    std::vector<std::string> row{each.name, PerSecond(peak)};
    for (const int load : kLoads) {
      const tool::Latencies& of = latencies[each.name][load];
      if (of.count() == 0) {  // the sender did not keep up through the warm-up
        row.emplace_back("overloaded");
        continue;
      }
      const auto at = [&](double part) {
        return static_cast<double>(of.Percentile(part).count()) / 1e3;
      };
      row.push_back(fmt::format("{} / {} / {}", Short(at(0.5)), Short(at(0.99)), Short(at(0.999))));
      outcome.results.Add("load", each.name,
                          {{"bytes", kBytes},
                           {"percent", load},
                           {"messages_per_second", peak * load / 100},
                           {"p50_us", at(0.5)},
                           {"p99_us", at(0.99)},
                           {"p999_us", at(0.999)},
                           {"max_us", static_cast<double>(of.max().count()) / 1e3}});
      if (!plan.folder.empty()) {
        const std::string path = plan.folder + "/" + FileName(each.name, load);
        std::ofstream file(path);
        file << of.HdrText();
        if (!file) Fail("cannot write " + path);
      }
    }
    table.Row(row);
  }
  table.Print();
}

}  // namespace ivmq::bench
