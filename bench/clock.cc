#include "clock.h"

namespace ivmq::bench {

double TicksPerNanosecond() {
  static const double kRate = [] {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    const Ticks first = Now();
    Clock::time_point now = start;
    while (now - start < std::chrono::milliseconds(20)) now = Clock::now();
    const Ticks last = Now();
    return static_cast<double>(last - first) /
           static_cast<double>(std::chrono::nanoseconds(now - start).count());
  }();
  return kRate;
}

}  // namespace ivmq::bench
