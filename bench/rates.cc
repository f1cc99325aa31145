// One-way rates to a receiver that polls.
#include <array>
#include <functional>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "candidates/boost_queues.h"
#include "candidates/ideal_ring.h"
#include "candidates/ivmq_node.h"
#include "candidates/ivmq_ring.h"
#include "candidates/kernel.h"
#include "drive.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

constexpr std::array<std::size_t, 4> kSizes{64, 1024, 16384, 1U << 20};

constexpr std::size_t RingBytes(std::size_t message) {
  return message >= (1U << 20) ? 4U << 20 : 256U << 10;
}

struct Rival {
  std::string name;
  std::function<double(const Slot&)> run;
};

double RunBoostSpsc(const Slot& slot) {
  switch (slot.bytes) {
    case 64:
      return Rate<BoostSpsc<64>>(slot);
    case 1024:
      return Rate<BoostSpsc<1024>>(slot);
    case 16384:
      return Rate<BoostSpsc<16384>>(slot);
    default:
      return Rate<BoostSpsc<1U << 20>>(slot);
  }
}

constexpr std::size_t kIdeal = 0;
constexpr std::size_t kRing = 1;
constexpr std::size_t kBatches = 2;
constexpr std::size_t kFences = 3;
constexpr std::size_t kBoost = 7;

const std::vector<Rival>& Rivals() {
  static const std::vector<Rival> kRivals{
      {"ideal ring", Rate<IdealRing>},
      {"**ivmq ring**", Rate<IvmqRing<RingUse::kPlain>>},
      {"**ivmq ring, batches of 16**", Rate<IvmqRing<RingUse::kBatches>>},
      {"**ivmq ring, a fence a message**", Rate<IvmqRing<RingUse::kFences>>},
      {"ivmq node", Rate<IvmqNode<NodeUse::kCopies>>},
      {"ivmq node, trusting its peers", Rate<IvmqNode<NodeUse::kInPlace>>},
      {"ivmq node, trusting, batches of 16", Rate<IvmqNode<NodeUse::kBatches>>},
      {"boost::lockfree::spsc_queue", RunBoostSpsc},
      {"Boost.Interprocess message_queue", Rate<BoostMessageQueue<false>>},
      {"AF_UNIX SOCK_SEQPACKET", Rate<SeqPacket<false>>},
  };
  return kRivals;
}

using Series = std::vector<double>;

double MedianRatio(const Series& of, const Series& to) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < of.size(); ++i) ratios.push_back(of[i] / to[i]);
  return Median(ratios);
}

}  // namespace

void Rates(const Plan& plan, Promises& promises) {
  const std::vector<Rival>& rivals = Rivals();
  std::vector<std::array<Series, kSizes.size()>> rates(rivals.size());
  for (int round = 0; round < plan.rounds; ++round) {
    for (std::size_t size = 0; size < kSizes.size(); ++size) {
      for (std::size_t i = 0; i < rivals.size(); ++i) {
        const std::string what = "rate, " + rivals[i].name + ", " + Bytes(kSizes[size]);
        Progress(fmt::format("{}/{} {}", round + 1, plan.rounds, what));
        rates[i][size].push_back(
            rivals[i].run({kSizes[size], RingBytes(kSizes[size]), plan.slot, what}));
      }
    }
  }
  Progress("");

  PrintSection(
      "One-way rate",
      fmt::format("Messages a second to a receiver that polls; in parentheses the ratio to the "
                  "ideal ring and to `boost::lockfree::spsc_queue`, round by round. Rings of {} "
                  "for messages up to 16 KiB, of {} for 1 MiB. Medians over {} rounds.",
                  Bytes(RingBytes(64)), Bytes(RingBytes(1U << 20)), plan.rounds));
  std::vector<std::string> head{"messages of"};
  for (const std::size_t bytes : kSizes) head.push_back(Bytes(bytes));
  Table table(head);
  for (std::size_t i = 0; i < rivals.size(); ++i) {
    std::vector<std::string> row{rivals[i].name};
    for (std::size_t size = 0; size < kSizes.size(); ++size) {
      const Series& s = rates[i][size];
      row.push_back(fmt::format("{} ({:.2f}, {:.2f})", PerSecond(Median(s)),
                                MedianRatio(s, rates[kIdeal][size]),
                                MedianRatio(s, rates[kBoost][size])));
    }
    table.Row(row);
  }
  table.Print();

  promises.AtLeast("rate, 64 B, ring with a fence a message / boost spsc_queue",
                   MedianRatio(rates[kFences][0], rates[kBoost][0]), 2.5);
  for (std::size_t size = 0; size < kSizes.size(); ++size) {
    const std::string bytes = Bytes(kSizes[size]);
    promises.AtLeast(fmt::format("rate, {}, ring to a polling receiver / ideal ring", bytes),
                     MedianRatio(rates[kRing][size], rates[kIdeal][size]), 0.9);
    promises.AtLeast(fmt::format("rate, {}, ring in batches / ideal ring", bytes),
                     MedianRatio(rates[kBatches][size], rates[kIdeal][size]), 0.9);
  }
}

}  // namespace ivmq::bench
