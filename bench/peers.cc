// One peer talks with a hub to which many others are attached.
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "candidates/ivmq_node.h"
#include "clock.h"
#include "drive.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

constexpr std::size_t kRingBytes = 64U << 10;
constexpr std::uint32_t kMaxPeers = 320;

// How many nodes beside the active one are attached to the hub of the candidates made from now on.
std::uint32_t g_idle = 0;  // NOLINT(readability-identifier-naming)

// The client is the active peer, the server is the hub. The idle ones live in one process: each has
// sent a message to the hub, so that the hub has a ring to look at for each, and sleeps.
class Hub {
 public:
  static constexpr bool kBare = false;

  explicit Hub(const Slot& slot)
      : region_(
            128U << 20,
            {.max_peers = kMaxPeers, .ring_capacity = static_cast<std::uint32_t>(slot.ring_bytes)},
            2 + g_idle),
        idle_(g_idle) {
    if (idle_ != 0) crowd_ = std::make_unique<Child>(-1, [this] { RunCrowd(); });
  }
  ~Hub() {
    if (crowd_) crowd_->Terminate();
  }
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  void Open(Side side) {
    node_ = region_.Open(static_cast<std::uint32_t>(side),
                         {.name = side == Side::kServer ? "hub" : "active", .trust_peers = true});
    peer_ = AwaitPeer(*node_, side == Side::kServer ? "active" : "hub");
    if (side == Side::kServer) {
      std::uint32_t greeted = 0;
      while (greeted < idle_) {
        const std::size_t some = node_->Poll([](const ivmq::Message&) {});
        if (some == 0) node_->Wait(std::chrono::milliseconds(100));
        greeted += static_cast<std::uint32_t>(some);
      }
    }
  }
  bool TrySend(Message message) {
    const SendResult result = node_->Send(peer_, message);
    if (result != SendResult::kOk && result != SendResult::kFull) Fail("cannot send to the hub");
    return result == SendResult::kOk;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    return node_->Poll([&](const ivmq::Message& message) { use(message.payload); });
  }
  void Wait() { SpinOnce(); }

 private:
  void RunCrowd() const {
    std::vector<std::unique_ptr<Node>> nodes;
    for (std::uint32_t i = 0; i < idle_; ++i) {
      nodes.push_back(region_.Open(2 + i, {.name = "idle-" + std::to_string(i)}));
    }
    const PeerId hub = AwaitPeer(*nodes.front(), "hub");
    for (const auto& node : nodes) {
      if (node->Send(hub, "here") != SendResult::kOk) Fail("an idle peer cannot send to the hub");
    }
    for (;;) pause();
  }

  LocalRegion region_;
  std::uint32_t idle_;
  std::unique_ptr<Child> crowd_;
  std::unique_ptr<Node> node_;
  PeerId peer_;
};

struct Series {
  std::vector<double> p50, p99, to_hub;
};

}  // namespace

void ManyPeers(const Plan& plan, Outcome& outcome) {
  constexpr std::array<std::uint32_t, 3> kAttached{1, 64, 256};
  std::array<Series, kAttached.size()> series;
  const int rounds = std::max(1, plan.rounds / 3);
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < kAttached.size(); ++i) {
      const std::string what = fmt::format("{} peers attached", kAttached[i]);
      Progress(fmt::format("{}/{} {}", round + 1, rounds, what));
      g_idle = kAttached[i] - 1;
      const Slot slot{64, kRingBytes, 2 * plan.slot, what, {}};
      const Latency latency = RoundTrip<Hub>(slot);
      series[i].p50.push_back(latency.p50);
      series[i].p99.push_back(latency.p99);
      series[i].to_hub.push_back(Rate<Hub>(slot));
    }
  }
  Progress("");
  PrintSection(
      "Many peers",
      fmt::format("A hub node and one active peer, both polling, 64 B; the other peers are "
                  "attached, have a ring to the hub and sleep (their heartbeats go on). Rings of "
                  "{}; medians over {} rounds.",
                  Bytes(kRingBytes), rounds));
  Table table({"peers of the hub", "round trip p50, us", "p99, us", "to the hub, messages/s"});
  for (std::size_t i = 0; i < kAttached.size(); ++i) {
    outcome.results.Add("peers", "ivmq node",
                        {{"peers", kAttached[i]},
                         {"p50_us", Median(series[i].p50)},
                         {"p99_us", Median(series[i].p99)},
                         {"messages_per_second", Median(series[i].to_hub)}});
    table.Row({std::to_string(kAttached[i]), Short(Median(series[i].p50)),
               Short(Median(series[i].p99)), PerSecond(Median(series[i].to_hub))});
  }
  table.Print();
}

}  // namespace ivmq::bench
