// Points of time as the library keeps them.
#ifndef IVMQ_RPC_INTERNAL_DEADLINE_H_
#define IVMQ_RPC_INTERNAL_DEADLINE_H_

#include <chrono>

namespace ivmq::rpc::internal {

// A point of any of std::chrono's clocks, by what is left of it. max(): it is more than a year
// away.
template <typename ClockType, typename Duration>
std::chrono::steady_clock::time_point ToSteady(
    const std::chrono::time_point<ClockType, Duration>& when) {
  using Steady = std::chrono::steady_clock;
  const auto now = Steady::now();
  // The difference, and the sum, must not overflow.
  if (when == std::chrono::time_point<ClockType, Duration>::max()) return Steady::time_point::max();
  if (when == std::chrono::time_point<ClockType, Duration>::min()) return now;
  const auto left = when - ClockType::now();
  if (left > std::chrono::hours(24 * 365)) return Steady::time_point::max();
  return now + std::chrono::duration_cast<Steady::duration>(left);
}

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_INTERNAL_DEADLINE_H_
