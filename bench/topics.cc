// What publishing costs the publisher, by the number of subscribers.
#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/core.h>

#include "ivmq/internal/copy.h"
#include "ivmq/topic.h"

#include "candidates/ivmq_node.h"
#include "drive.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

constexpr std::array<std::size_t, 2> kSizes{64, 1U << 20};
constexpr std::array<std::size_t, 4> kSubscribers{1, 2, 4, 8};
constexpr const char* kTopic = "bench";

// Of messages that are written in place, and published once all subscribers have read the one
// before. The subscribers share core 1: they look again and again, and give each other the core in
// between, or they sleep.
Latency PublishCost(const Slot& slot, std::size_t count, bool sleeps) {
  const LocalRegion region(256U << 20,
                           {.max_peers = 16, .ring_capacity = static_cast<std::uint32_t>(1U << 20)},
                           static_cast<std::uint32_t>(count) + 1);
  const Shared<std::atomic<std::uint64_t>> handled;
  const auto subscribe = [&](std::size_t i) {
    const auto node = region.Open(
        static_cast<std::uint32_t>(i) + 1,
        {.name = fmt::format("subscriber-{}", i), .spin_budget = std::chrono::nanoseconds(0)});
    const Checker checker(slot.bytes, Side::kClient);
    std::uint64_t sequence = 0;
    bool last = false;
    const auto subscription =
        node->Subscribe(kTopic,
                        [&](const TopicMessage& got) {
                          last = (checker.Check(got.message.payload, sequence++) & kLast) != 0;
                          handled->fetch_add(1);
                        },
                        {.when_slow = WhenSlow::kWait});
    if (!subscription.ok()) Fail("subscribe: " + subscription.status().ToString());
    while (!last) {
      if (node->Poll([](const ivmq::Message&) {}) != 0) continue;
      if (sleeps) {
        node->Wait(std::chrono::seconds(1));
      } else {
        sched_yield();
      }
    }
  };
  std::vector<Ticks> samples;
  const auto publish = [&] {
    const auto node = region.Open(0, {.name = "publisher"});
    auto topic = node->Advertise(kTopic);
    if (!topic.ok()) Fail("advertise: " + topic.status().ToString());
    const auto poll = [&] { node->Poll([](const ivmq::Message&) {}); };
    while (topic->subscribers() < count) {
      poll();
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    Source source(slot.bytes, Side::kClient);
    const Ticks warm = Now() + ToTicks(slot.duration) / 4;
    const Ticks end = warm + ToTicks(slot.duration);
    bool last = false;
    for (std::uint64_t sequence = 0; !last; ++sequence) {
      const Ticks begun = Now();
      last = begun >= end && samples.size() >= internal::FewestSamples(slot.bytes);
      const Message message = source.Make(last ? sequence | kLast : sequence);
      auto loan = topic->Loan(message.size());
      if (loan->result() == SendResult::kOk) {
        CopyBlock(loan->payload().data(), message.data(), message.size());
      }
      if (const SendResult result = loan->Publish(); result != SendResult::kOk) {
        Fail("publish: " + topic->Explain(result).ToString());
      }
      if (begun >= warm) samples.push_back(Now() - begun);
      while (handled->load() < (sequence + 1) * count) {
        poll();
        SpinOnce();
      }
    }
  };
  std::vector<std::unique_ptr<Child>> others;
  RunPair(
      slot.what,
      [&] {
        for (std::size_t i = 1; i < count; ++i) {
          others.push_back(std::make_unique<Child>(1, [&, i] { subscribe(i); }));
        }
        publish();
      },
      [&] { subscribe(0); });
  return Percentiles(samples);
}

}  // namespace

void Topics(const Plan& plan, Outcome& outcome) {
  // By size, by whether they sleep.
  std::map<std::size_t, std::map<bool, std::map<std::size_t, std::vector<double>>>> p50;
  for (int round = 0; round < plan.rounds; ++round) {
    for (const std::size_t bytes : kSizes) {
      for (const bool sleeps : {false, true}) {
        for (const std::size_t count : kSubscribers) {
          const std::string what = fmt::format("publish, {} subscribers that {}, {}", count,
                                               sleeps ? "sleep" : "poll", Bytes(bytes));
          Progress(fmt::format("{}/{} {}", round + 1, plan.rounds, what));
          const Latency cost =
              PublishCost({.bytes = bytes, .duration = plan.slot, .what = what}, count, sleeps);
          p50[bytes][sleeps][count].push_back(cost.p50);
        }
      }
    }
  }
  Progress("");
  PrintSection("Publishing",
               fmt::format("Microseconds that it takes to write a message in place and publish it, "
                           "p50; in parentheses the ratio to one subscriber, round by round. The "
                           "subscribers share a core. Medians over {} rounds.",
                           plan.rounds));
  std::vector<std::string> head{"subscribers"};
  for (const std::size_t count : kSubscribers) head.push_back(std::to_string(count));
  Table table(head);
  for (const std::size_t bytes : kSizes) {
    for (const bool sleeps : {false, true}) {
      auto& of = p50[bytes][sleeps];
      std::vector<std::string> row{
          fmt::format("{}, they {}", Bytes(bytes), sleeps ? "sleep" : "poll")};
      for (const std::size_t count : kSubscribers) {
        row.push_back(
            fmt::format("{} ({:.2f})", Short(Median(of[count])), MedianRatio(of[count], of[1])));
        outcome.results.Add("topics", row[0],
                            {{"bytes", static_cast<double>(bytes)},
                             {"subscribers", static_cast<double>(count)},
                             {"p50_us", Median(of[count])}});
      }
      table.Row(row);
    }
  }
  table.Print();
  auto& of = p50[1U << 20][false];
  for (const std::size_t count : kSubscribers) {
    if (count == 1) continue;
    outcome.aims.AtMost(fmt::format("publishing 1 MiB to {} subscribers / to one", count),
                        MedianRatio(of[count], of[1]), 1.1);
  }
}

}  // namespace ivmq::bench
