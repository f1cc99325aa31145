// One-way rates.
#include <map>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "candidates/boost_queues.h"
#include "candidates/ideal_ring.h"
#include "candidates/ivmq_node.h"
#include "candidates/ivmq_ring.h"
#include "candidates/kernel.h"
#include "drive.h"
#include "rivals.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

constexpr const char* kIdeal = "ideal ring";
constexpr const char* kPieces = "ideal ring, 64 KiB pieces, copied out";
constexpr const char* kRing = "**ivmq ring**";
constexpr const char* kBatches = "**ivmq ring, batches of 16**";
constexpr const char* kFences = "**ivmq ring, a fence a message**";
constexpr const char* kNode = "**ivmq node**";
constexpr const char* kExclusive = "**ivmq node, exclusive sender**";
constexpr const char* kTrusting = "**ivmq node, trusting its peers**";
constexpr const char* kBoost = "boost::lockfree::spsc_queue";
constexpr const char* kBoostFences = "boost::lockfree::spsc_queue, a fence a message";
constexpr const char* kSeqPacket = "AF_UNIX SOCK_SEQPACKET";

double RunBoostSpsc(const Slot& slot) {
  return WithBoostSpsc(slot.bytes, [&]<typename C>() { return Rate<C>(slot); });
}

double RunBoostFences(const Slot& slot) {
  return WithBoostSpsc<true>(slot.bytes, [&]<typename C>() { return Rate<C>(slot); });
}

std::vector<Rival> Candidates(const Plan& plan) {
  std::vector<Rival> all{
      {kIdeal, {}, Rate<IdealRing>, {}},
      {kPieces, {}, Rate<IdealPieces>, {}},
      {kRing, {}, Rate<IvmqRing<RingUse::kPlain>>, {}},
      {kBatches, {}, Rate<IvmqRing<RingUse::kBatches>>, {}},
      {kFences, {}, Rate<IvmqRing<RingUse::kFences>>, {}},
      {kNode, {}, Rate<IvmqNode<NodeUse::kCopies>>, {}},
      {kExclusive, {}, Rate<IvmqNode<NodeUse::kExclusive>>, {}},
      {kTrusting, {}, Rate<IvmqNode<NodeUse::kInPlace>>, {}},
      {"ivmq node, trusting, batches of 16", {}, Rate<IvmqNode<NodeUse::kBatches>>, {}},
      {kBoost, {}, RunBoostSpsc, {}},
      {kBoostFences, {}, RunBoostFences, {}},
      {"Boost.Interprocess message_queue", {}, Rate<BoostMessageQueue<false>>, {}},
      {kSeqPacket, {}, Rate<SeqPacket<false>>, {}, SeqPacket<false>::kMostBytes},
  };
  all.insert(all.end(), PollingRivals().begin(), PollingRivals().end());
  for (Rival each : SleepingRivals()) {
    each.name += ", receiver sleeps";
    all.push_back(std::move(each));
  }
  std::erase_if(all, [&](const Rival& each) { return !plan.Takes(each.name); });
  return all;
}

}  // namespace

void Rates(const Plan& plan, Outcome& outcome) {
  const std::vector<Rival> candidates = Candidates(plan);
  std::map<std::size_t, std::map<std::string, std::vector<double>>> rates;
  for (int round = 0; round < plan.rounds; ++round) {
    for (const std::size_t bytes : plan.sizes) {
      for (const Rival& each : candidates) {
        if (bytes > each.most_bytes) continue;
        const std::string what = "rate, " + each.name + ", " + Bytes(bytes);
        Progress(fmt::format("{}/{} {}", round + 1, plan.rounds, what));
        rates[bytes][each.name].push_back(each.rate({bytes, QueueBytes(bytes), plan.slot, what}));
      }
    }
  }
  Progress("");

  PrintSection("One-way rate",
               fmt::format("Messages a second to a receiver that polls, unless it says otherwise; "
                           "in parentheses the ratio to the ideal ring and to "
                           "`boost::lockfree::spsc_queue`, round by round. Queues of 512 KiB, or "
                           "of four messages if they are larger. Medians over {} rounds.",
                           plan.rounds));
  std::vector<std::string> head{"messages of"};
  for (const std::size_t bytes : plan.sizes) head.push_back(Bytes(bytes));
  Table table(head);
  for (const Rival& each : candidates) {
    std::vector<std::string> row{each.name};
    for (const std::size_t bytes : plan.sizes) {
      auto& of = rates[bytes];
      const auto found = of.find(each.name);
      if (found == of.end()) {
        row.emplace_back("");
        continue;
      }
      const double rate = Median(found->second);
      const double by_boost = MedianRatio(found->second, of[kBoost]);
      row.push_back(fmt::format("{} ({:.2f}, {:.2f})", PerSecond(rate),
                                MedianRatio(found->second, of[kIdeal]), by_boost));
      outcome.results.Add("rate", each.name,
                          {{"bytes", static_cast<double>(bytes)},
                           {"messages_per_second", rate},
                           {"bytes_per_second", rate * static_cast<double>(bytes)},
                           {"by_boost", by_boost}});
    }
    table.Row(row);
  }
  table.Print();

  const auto ratio = [&](std::size_t bytes, const char* name, const char* to) {
    return MedianRatio(rates[bytes][name], rates[bytes][to]);
  };
  Aims& aims = outcome.aims;
  aims.AtLeast("rate, 64 B, ring with a fence a message / boost spsc_queue",
               ratio(64, kFences, kBoost), 2.5);
  aims.AtLeast("rate, 64 B, ring with a fence a message / boost with the same fence",
               ratio(64, kFences, kBoostFences), 1);
  aims.AtLeast("rate, 1 KiB, node / boost spsc_queue", ratio(1U << 10, kNode, kBoost), 1);
  aims.AtLeast("rate, 1 MiB, node / SEQPACKET", ratio(1U << 20, kNode, kSeqPacket), 1.2);
  aims.AtLeast("rate, 1 MiB, trusting node / SEQPACKET", ratio(1U << 20, kTrusting, kSeqPacket),
               1.2);
  aims.AtLeast("rate, 1 MiB, node / ideal ring, 64 KiB pieces, copied out",
               ratio(1U << 20, kNode, kPieces), 0.9);
  for (const std::size_t bytes : {std::size_t{64}, std::size_t{1} << 10, std::size_t{1} << 20}) {
    aims.AtLeast(fmt::format("rate, {}, ring to a polling receiver / ideal ring", Bytes(bytes)),
                 ratio(bytes, kRing, kIdeal), 0.9);
  }
}

}  // namespace ivmq::bench
