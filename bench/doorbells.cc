// Doorbells rung while the receiver is the slower side.
#include <algorithm>
#include <chrono>
#include <string>

#include <fmt/core.h>

#include "candidates/ivmq_node.h"
#include "clock.h"
#include "drive.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

constexpr std::size_t kBytes = 64;
constexpr std::size_t kRingBytes = 256U << 10;
constexpr std::uint64_t kMessages = 1'000'000;

struct Figures {
  double sender_rang = 0, receiver_rang = 0;  // doorbells for 1000 messages
  double sleeps = 0;                          // of the receiver, for 1000 messages
  double net_finds = 0;
  double rate = 0;
};

// `work`: how long the receiver takes over a message.
Figures Run(Ticks work, std::chrono::nanoseconds spin_budget) {
  const LocalRegion region(16U << 20, {.max_peers = 4, .ring_capacity = kRingBytes}, 2);
  const internal::StartLine start_line;
  const internal::StartLine finish_line;
  const Shared<Figures> result;

  const auto client = [&] {
    const auto node = region.Open(0, {.name = "sender", .spin_budget = spin_budget});
    const PeerId to = AwaitPeer(*node, "receiver");
    Source source(kBytes, Side::kClient);
    start_line.Cross();
    const SendOptions options{WhenFull::kWait, std::chrono::seconds(30)};
    for (std::uint64_t sequence = 0; sequence < kMessages; ++sequence) {
      if (node->Send(to, source.Make(sequence), options) != SendResult::kOk) Fail("cannot send");
    }
    result->sender_rang = static_cast<double>(node->counter(layout::Counter::kDoorbellsRung));
    finish_line.Cross();
  };
  const auto server = [&] {
    const auto node = region.Open(1, {.name = "receiver", .spin_budget = spin_budget});
    const Checker checker(kBytes, Side::kClient);
    start_line.Cross();
    std::uint64_t sequence = 0;
    const Ticks begun = Now();
    const auto handler = [&](const ivmq::Message& message) {
      const Ticks until = Now() + work;
      checker.Check(message.payload, sequence++);
      while (Now() < until) {
      }
    };
    while (sequence < kMessages) {
      if (node->Poll(handler) == 0) node->Wait(std::chrono::seconds(1));
    }
    result->rate = static_cast<double>(kMessages) / Seconds(Now() - begun);
    result->receiver_rang = static_cast<double>(node->counter(layout::Counter::kDoorbellsRung));
    result->sleeps = static_cast<double>(node->counter(layout::Counter::kSleeps));
    result->net_finds = static_cast<double>(node->counter(layout::Counter::kNetFinds));
    finish_line.Cross();
  };
  RunPair("doorbells", client, server);
  Figures each = *result;
  for (double* count : {&each.sender_rang, &each.receiver_rang, &each.sleeps}) {
    *count /= static_cast<double>(kMessages) / 1000;
  }
  return each;
}

}  // namespace

void Doorbells(const Plan& plan, Outcome& outcome) {
  Progress("doorbells");
  // What the sender needs for a message, as long as the receiver keeps up.
  const double rate =
      Rate<IvmqNode<NodeUse::kInPlace>>({kBytes, kRingBytes, plan.slot, "doorbells, calibration"});
  const Ticks work = ToTicks(std::chrono::nanoseconds(static_cast<std::int64_t>(2e9 / rate)));
  PrintSection(
      "Doorbells",
      fmt::format("{} messages of {}, the sender as fast as it can ({} a second to a receiver "
                  "that polls) and waiting when the ring of {} is full, the receiver {} ns over "
                  "each message. The receiver rings for a sender that sleeps until there is "
                  "room.",
                  kMessages, Bytes(kBytes), PerSecond(rate), Bytes(kRingBytes),
                  static_cast<int>(2e9 / rate)));
  Table table({"for 1000 messages", "sender rings", "receiver rings", "receiver sleeps",
               "net finds", "messages/s"});
  double sender = 0;
  double receiver = 0;
  for (const auto budget : {std::chrono::microseconds(0), std::chrono::microseconds(50)}) {
    const Figures result = Run(work, budget);
    table.Row({fmt::format("spin budget {} us", budget.count()),
               fmt::format("{:.3f}", result.sender_rang),
               fmt::format("{:.3f}", result.receiver_rang), fmt::format("{:.3f}", result.sleeps),
               fmt::format("{:.0f}", result.net_finds), PerSecond(result.rate)});
    sender = std::max(sender, result.sender_rang);
    receiver = std::max(receiver, result.receiver_rang);
  }
  Progress("");
  table.Print();
  outcome.aims.AtMost("doorbells for 1000 messages to a receiver twice as slow, by the sender",
                      sender, 1);
  outcome.aims.AtMost("the same, by the receiver to a sender that waits for room", receiver, 1);
}

}  // namespace ivmq::bench
