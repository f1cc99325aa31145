#include "drive.h"

#include <algorithm>

namespace ivmq::bench {

Latency Percentiles(std::vector<Ticks>& samples) {
  if (samples.empty()) Fail("a measurement gave no sample");
  std::sort(samples.begin(), samples.end());
  // The counter of some processors moves in steps of 10 ns. Equal samples count as spread evenly
  // over one step, so that percentiles are finer than that.
  const auto at = [&](double part) {
    const double rank = part * static_cast<double>(samples.size());
    const Ticks value = samples[std::min(static_cast<std::size_t>(rank), samples.size() - 1)];
    const auto [first, last] = std::equal_range(samples.begin(), samples.end(), value);
    const double within =
        (rank - static_cast<double>(first - samples.begin())) / static_cast<double>(last - first);
    const double step = first == samples.begin() ? 0 : static_cast<double>(value - *(first - 1));
    return (static_cast<double>(value) + (within - 0.5) * step) / TicksPerNanosecond() / 1e3;
  };
  return {at(0.5), at(0.99), at(0.999), Microseconds(samples.back())};
}

}  // namespace ivmq::bench
