// The loop of the commands that receive.
#ifndef IVMQ_TOOLS_IVMQ_RECEIVE_H_
#define IVMQ_TOOLS_IVMQ_RECEIVE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

#include <CLI/CLI.hpp>

#include "ivmq/node.h"

#include "interrupt.h"

namespace ivmq::tool {

struct ReceiveLimits {
  std::uint64_t count = 0;                             // ends after so many; 0: no limit
  std::optional<std::chrono::nanoseconds> timeout;     // ends when none has come for so long
  std::optional<std::chrono::nanoseconds> duration{};  // ends after so long
};
// --count and --timeout.
void AddReceiveLimits(CLI::App* command, ReceiveLimits* limits);

// The messages that ReceiveAll() hands out, to a handler or to a subscription's.
struct Receiving {
  std::function<void(const Message&)> handler;
  std::function<std::uint64_t()> received;  // how many were handled, that count
  // Called so often, if there is an interval.
  std::optional<std::chrono::nanoseconds> interval{};
  std::function<void()> at_interval{};
};

enum class ReceiveEnd : std::uint8_t { kCount, kTimeout, kDuration, kSignal };

ReceiveEnd ReceiveAll(Node& node, const Receiving& receiving, const ReceiveLimits& limits,
                      const Interrupt& interrupt);

// The exit status of a command that has received so many.
[[nodiscard]] int ReceiveExitCode(ReceiveEnd end, std::uint64_t received,
                                  const ReceiveLimits& limits);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_RECEIVE_H_
