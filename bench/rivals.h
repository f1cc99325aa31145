// The rivals that Debian packages, as far as they were there when this was built.
#ifndef IVMQ_BENCH_RIVALS_H_
#define IVMQ_BENCH_RIVALS_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "drive.h"

namespace ivmq::bench {

struct Rival {
  std::string name;
  std::function<Latency(const Slot&)> round_trip;
  std::function<double(const Slot&)> rate;
  std::function<tool::Latencies(const Slot&, double)> load;
  std::size_t most_bytes = std::size_t{64} << 20;  // a message's
};

// Those that poll, and those whose receivers sleep.
const std::vector<Rival>& PollingRivals();
const std::vector<Rival>& SleepingRivals();

// What was left out, for people: names of packages.
std::vector<std::string> MissingPackages();

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_RIVALS_H_
