// One sender, each of whose messages goes to all of several receivers.
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "candidates/ivmq_node.h"
#include "candidates/kernel.h"
#include "candidates/streams.h"
#include "drive.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

constexpr std::array<std::size_t, 3> kSizes{64, 16U << 10, 1U << 20};
constexpr std::array<std::size_t, 4> kReceivers{1, 2, 4, 8};

// Messages a second that all of `count` receivers have got. The receivers share core 1, so they
// sleep rather than poll.
template <typename C>
double RateToMany(const Slot& slot, std::size_t count) {
  std::vector<std::unique_ptr<C>> candidates;
  for (std::size_t i = 0; i < count; ++i) candidates.push_back(std::make_unique<C>(slot));
  const Shared<std::atomic<std::size_t>> opened;
  const Shared<std::atomic<std::size_t>> done;
  double rate = 0;
  const auto receive = [&](C& candidate) {
    candidate.Open(Side::kServer);
    opened->fetch_add(1);
    const Checker checker(slot.bytes, Side::kClient);
    std::uint64_t sequence = 0;
    bool last = false;
    const auto use = [&](Message message) {
      last = (internal::CheckOne<C>(checker, message, sequence++) & kLast) != 0;
    };
    while (!last) {
      if (candidate.Receive(use) == 0) candidate.Wait();
    }
    done->fetch_add(1);
  };
  const auto send = [&] {
    for (const auto& each : candidates) each->Open(Side::kClient);
    Source source(slot.bytes, Side::kClient);
    while (opened->load() < count) std::this_thread::sleep_for(std::chrono::microseconds(20));
    const Ticks begun = Now();
    const Ticks end = begun + ToTicks(slot.duration);
    std::uint64_t sequence = 0;
    for (bool last = false; !last; ++sequence) {
      last = Now() >= end;
      const Message message = source.Make(last ? sequence | kLast : sequence);
      for (const auto& each : candidates) internal::SendOne(*each, message);
    }
    while (done->load() < count) std::this_thread::sleep_for(std::chrono::microseconds(20));
    rate = static_cast<double>(sequence) / Seconds(Now() - begun);
  };
  {
    std::vector<std::unique_ptr<Child>> others;
    RunPair(
        slot.what,
        [&] {
          for (std::size_t i = 1; i < count; ++i) {
            others.push_back(std::make_unique<Child>(1, [&, i] { receive(*candidates[i]); }));
          }
          send();
        },
        [&] { receive(*candidates[0]); });
  }
  return rate;
}

struct Sender {
  std::string name;
  std::function<double(const Slot&, std::size_t)> run;
};

}  // namespace

void ManyReceivers(const Plan& plan, Outcome& outcome) {
  const std::vector<Sender> senders{
      {"**ivmq node**", RateToMany<IvmqNode<NodeUse::kSleeps>>},
      {"AF_UNIX SOCK_SEQPACKET", RateToMany<SeqPacket<true>>},
      {"pipe", RateToMany<Pipes<true>>},
      {"TCP loopback", RateToMany<TcpLoopback<true>>},
  };
  std::map<std::size_t, std::map<std::string, std::map<std::size_t, std::vector<double>>>> rates;
  const int rounds = std::max(1, plan.rounds / 3);
  for (int round = 0; round < rounds; ++round) {
    for (const std::size_t bytes : kSizes) {
      for (const std::size_t count : kReceivers) {
        for (const Sender& each : senders) {
          if (!plan.Takes(each.name)) continue;
          const std::string what =
              fmt::format("{} receivers, {}, {}", count, each.name, Bytes(bytes));
          Progress(fmt::format("{}/{} {}", round + 1, rounds, what));
          rates[bytes][each.name][count].push_back(
              each.run({bytes, QueueBytes(bytes), plan.slot, what}, count));
        }
      }
    }
  }
  Progress("");
  PrintSection("Several receivers",
               fmt::format("Messages a second, each sent to all of the receivers, which sleep and "
                           "share a core; in parentheses the time for a message and receiver. "
                           "Medians over {} rounds.",
                           rounds));
  for (const std::size_t bytes : kSizes) {
    std::vector<std::string> head{Bytes(bytes)};
    for (const std::size_t count : kReceivers) head.push_back(std::to_string(count));
    Table table(head);
    for (const Sender& each : senders) {
      if (!plan.Takes(each.name)) continue;
      std::vector<std::string> row{each.name};
      for (const std::size_t count : kReceivers) {
        const double rate = Median(rates[bytes][each.name][count]);
        row.push_back(fmt::format("{} ({} us)", PerSecond(rate),
                                  Short(1e6 / rate / static_cast<double>(count))));
        outcome.results.Add("receivers", each.name,
                            {{"bytes", static_cast<double>(bytes)},
                             {"receivers", static_cast<double>(count)},
                             {"messages_per_second", rate},
                             {"us_per_receiver", 1e6 / rate / static_cast<double>(count)}});
      }
      table.Row(row);
    }
    table.Print();
  }
}

}  // namespace ivmq::bench
