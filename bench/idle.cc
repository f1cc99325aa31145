// What a node costs that has nothing to do, and how soon it answers then.
#include <sys/resource.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <fmt/core.h>

#include "candidates/ivmq_node.h"
#include "clock.h"
#include "drive.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

using Clock = std::chrono::steady_clock;

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Cost {
  double doorbell = 0, polling = 0;  // percent of a core
};

// Part of a core that an idle node of this process takes, in percent. Its peer is there and silent.
double IdleCost(const LocalRegion& region, const char* name, std::uint32_t index, bool doorbell,
                std::chrono::milliseconds time) {
  const auto node = region.Open(index, {.name = name}, doorbell);
  while (node->Poll([](const ivmq::Message&) {}) == 0) node->Wait(std::chrono::seconds(1));
  const auto begun = Clock::now();
  const double before = CpuSeconds();
  for (auto now = begun; now < begun + time; now = Clock::now()) {
    node->Poll([](const ivmq::Message&) {});
    node->Wait(begun + time - now);
  }
  const double wall = std::chrono::duration<double>(Clock::now() - begun).count();
  return (CpuSeconds() - before) / wall * 100;
}

// Microseconds from the sending of a message to the call of its handler, after pauses in which the
// receiver sank into its longest sleeps.
std::vector<double> FirstMessages(bool doorbell, int messages) {
  const LocalRegion region(16U << 20, {.max_peers = 4}, 2);
  const Shared<std::atomic<Ticks>> handled;
  std::vector<double> delays;
  const auto client = [&] {
    const auto node = region.Open(0, {.name = "sender"});
    const PeerId to = AwaitPeer(*node, "receiver");
    for (int i = 0; i < messages; ++i) {
      // Neither a multiple of the receiver's sleeps nor of the heartbeat.
      std::this_thread::sleep_for(std::chrono::microseconds(40'000 + i * 370));
      const Ticks sent = Now();
      const std::uint64_t number = static_cast<std::uint64_t>(i);
      handled->store(0);
      if (node->Send(to, std::as_bytes(std::span(&number, 1))) != SendResult::kOk) Fail("send");
      while (handled->load() == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
      delays.push_back(Microseconds(handled->load() - sent));
    }
  };
  const auto server = [&] {
    const auto node = region.Open(1, {.name = "receiver"}, doorbell);
    std::uint64_t expected = 0;
    const auto handler = [&](const ivmq::Message& message) {
      const Ticks now = Now();
      if (message.payload.size() != sizeof expected ||
          std::memcmp(message.payload.data(), &expected, sizeof expected) != 0) {
        Fail("content check: wrong message after idleness");
      }
      ++expected;
      handled->store(now);
    };
    while (expected < static_cast<std::uint64_t>(messages)) {
      if (node->Poll(handler) == 0) node->Wait(std::chrono::seconds(1));
    }
  };
  RunPair("first message after idleness", client, server);
  return delays;
}

}  // namespace

void Idle(const Plan& plan, Outcome& outcome) {
  Progress(fmt::format("idle nodes, {} ms", plan.idle.count()));
  const Shared<Cost> cost;
  {
    // A region each: whoever shares one with a peer that cannot ring does not rely on doorbells.
    const LocalRegion with_doorbells(16U << 20, {.max_peers = 4}, 2);
    const LocalRegion without(16U << 20, {.max_peers = 4}, 2);
    const Child doorbell(
        1, [&] { cost->doorbell = IdleCost(with_doorbells, "idle", 0, true, plan.idle); });
    const Child polling(1, [&] { cost->polling = IdleCost(without, "idle", 0, false, plan.idle); });
    // Their peers, so that they have a ring to look at.
    const auto say = [](Node& node) {
      if (node.Send(AwaitPeer(node, "idle"), "here") != SendResult::kOk) Fail("cannot send");
    };
    const auto rings = with_doorbells.Open(1, {.name = "silent"});
    const auto silent = without.Open(1, {.name = "silent"});
    say(*rings);
    say(*silent);
    std::this_thread::sleep_for(plan.idle);
  }
  const std::vector<double> doorbell = FirstMessages(true, plan.idle_messages);
  const std::vector<double> polling = FirstMessages(false, plan.idle_messages);
  Progress("");

  PrintSection(
      "Idle nodes",
      fmt::format("Processor time (user and system, heartbeat included) of a process whose node "
                  "waits with default options for {} s beside a silent peer, and microseconds "
                  "until a handler has the first message after 40 ms or more of silence ({} "
                  "times).",
                  static_cast<double>(plan.idle.count()) / 1000, plan.idle_messages));
  Table table({"a node that", "part of a core", "first message p50", "max"});
  table.Row({"has a doorbell", fmt::format("{:.3f} %", cost->doorbell), Short(Median(doorbell)),
             Short(Largest(doorbell))});
  table.Row({"polls", fmt::format("{:.3f} %", cost->polling), Short(Median(polling)),
             Short(Largest(polling))});
  table.Print();
  outcome.aims.AtMost("idle node with a doorbell, percent of a core", cost->doorbell, 0.1);
  outcome.aims.AtMost("idle polling node, percent of a core", cost->polling, 3);
  outcome.aims.AtMost("first message to an idle polling node, worst, us", Largest(polling), 2000);
}

}  // namespace ivmq::bench
