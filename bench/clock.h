// Time by the processor's counter: a few nanoseconds a reading, the same on both cores.
#ifndef IVMQ_BENCH_CLOCK_H_
#define IVMQ_BENCH_CLOCK_H_

#include <x86intrin.h>

#include <chrono>
#include <cstdint>

namespace ivmq::bench {

using Ticks = std::uint64_t;

[[nodiscard]] inline Ticks Now() noexcept { return __rdtsc(); }

// Measured against the steady clock at its first call, which takes 20 ms.
double TicksPerNanosecond();

[[nodiscard]] inline Ticks ToTicks(std::chrono::nanoseconds time) {
  return static_cast<Ticks>(static_cast<double>(time.count()) * TicksPerNanosecond());
}
[[nodiscard]] inline double Microseconds(Ticks ticks) {
  return static_cast<double>(ticks) / TicksPerNanosecond() / 1e3;
}
[[nodiscard]] inline double Seconds(Ticks ticks) { return Microseconds(ticks) / 1e6; }

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CLOCK_H_
