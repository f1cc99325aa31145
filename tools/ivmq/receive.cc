#include "receive.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>

#include "command.h"
#include "exit_code.h"

namespace ivmq::tool {

namespace {

using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

}  // namespace

void AddReceiveLimits(CLI::App* command, ReceiveLimits* limits) {
  command->add_option("-n,--count", limits->count, "End after this many messages")
      ->type_name("COUNT");
  AddDuration(command, "--timeout", &limits->timeout,
              "End when no message has arrived for this long");
}

ReceiveEnd ReceiveAll(Node& node, const Receiving& receiving, const ReceiveLimits& limits,
                      const Interrupt& interrupt) {
  constexpr std::uint64_t kAtOnce = 64;
  const std::uint64_t wanted =
      limits.count == 0 ? std::numeric_limits<std::uint64_t>::max() : limits.count;
  std::uint64_t received = receiving.received();
  const Clock::time_point start = Clock::now();
  Clock::time_point last = start;
  Clock::time_point called = start;
  while (received < wanted && !interrupt.requested()) {
    const auto limit = static_cast<std::size_t>(std::min(wanted - received, kAtOnce));
    const bool idle = node.Poll(receiving.handler, limit) == 0;
    const std::uint64_t before = std::exchange(received, receiving.received());
    if (!limits.timeout && !limits.duration && !receiving.interval) {
      if (idle) (void)node.Wait(nanoseconds::max());
      continue;
    }
    const Clock::time_point now = Clock::now();
    if (received != before) last = now;
    nanoseconds left = nanoseconds::max();
    if (limits.timeout) {
      left = last + *limits.timeout - now;
      if (left <= nanoseconds(0)) return ReceiveEnd::kTimeout;
    }
    if (limits.duration) {
      left = std::min(left, start + *limits.duration - now);
      if (left <= nanoseconds(0)) return ReceiveEnd::kDuration;
    }
    if (receiving.interval) {
      if (now - called >= *receiving.interval) {
        receiving.at_interval();
        called = now;
      }
      left = std::min(left, called + *receiving.interval - now);
    }
    if (idle) (void)node.Wait(left);
  }
  return received >= wanted ? ReceiveEnd::kCount : ReceiveEnd::kSignal;
}

int ReceiveExitCode(ReceiveEnd end, std::uint64_t received, const ReceiveLimits& limits) {
  const bool complete = received >= std::max<std::uint64_t>(limits.count, 1);
  if (end == ReceiveEnd::kTimeout) return complete ? kExitOk : kExitTimedOut;
  if (end == ReceiveEnd::kDuration) return kExitOk;
  return limits.count == 0 || complete ? kExitOk : kExitInterrupted;
}

}  // namespace ivmq::tool
