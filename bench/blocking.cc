// Round trips, both sides sleeping until they are woken.
#include <array>
#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "candidates/boost_queues.h"
#include "candidates/ivmq_node.h"
#include "candidates/kernel.h"
#include "drive.h"
#include "rivals.h"
#include "suites.h"
#ifdef IVMQ_BENCH_IVMQD
#include "ivmqd.h"
#endif

namespace ivmq::bench {
namespace {

constexpr std::array<std::size_t, 2> kSizes{64, 1024};

#ifdef IVMQ_BENCH_IVMQD
// The same node, in a region that ivmqd serves, over the transport that ships.
class ServedNode {
 public:
  static constexpr bool kBare = false;

  explicit ServedNode(const Slot& slot) : address_(slot.address) {}
  void Open(Side side) {
    Result<std::unique_ptr<Node>> node =
        Node::Open(address_, NodeEnd<NodeUse::kSleeps>::Options(side));
    if (!node.ok()) Fail("open: " + node.status().ToString());
    end_.Open(side, std::move(*node));
  }
  bool TrySend(Message message) { return end_.TrySend(message); }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    return end_.Receive(use);
  }
  void Wait() { end_.Wait(); }

 private:
  std::string address_;
  NodeEnd<NodeUse::kSleeps> end_;
};
#endif

std::vector<Rival> Candidates() {
  std::vector<Rival> all{
      {"floor: eventfd, ppoll and read", RoundTrip<EventFd<false>>, {}, {}},
      {"floor: eventfd, epoll and read", RoundTrip<EventFd<true>>, {}, {}},
      {"**ivmq node**, eventfds", RoundTrip<IvmqNode<NodeUse::kSleeps>>, {}, {}},
#ifdef IVMQ_BENCH_IVMQD
      {"**ivmq node**, `unix:` and ivmqd", RoundTrip<ServedNode>, {}, {}},
#endif
      {"AF_UNIX SOCK_SEQPACKET", RoundTrip<SeqPacket<true>>, {}, {}},
      {"Boost.Interprocess message_queue", RoundTrip<BoostMessageQueue<true>>, {}, {}},
  };
  all.insert(all.end(), SleepingRivals().begin(), SleepingRivals().end());
  return all;
}

constexpr std::size_t kPpoll = 0;
constexpr std::size_t kEpoll = 1;
constexpr std::size_t kNode = 2;

struct Series {
  std::vector<double> p50, p99, p999, max;
};

}  // namespace

void BlockingRoundTrips(const Plan& plan, Outcome& outcome) {
  const std::vector<Rival> rivals = Candidates();
  std::vector<std::array<Series, kSizes.size()>> series(rivals.size());
  std::string address;
#ifdef IVMQ_BENCH_IVMQD
  const Ivmqd server(IVMQ_BENCH_IVMQD);
  address = server.address();
#endif
  for (int round = 0; round < plan.rounds; ++round) {
    for (std::size_t size = 0; size < kSizes.size(); ++size) {
      for (std::size_t i = 0; i < rivals.size(); ++i) {
        const std::string what =
            "blocking round trip, " + rivals[i].name + ", " + Bytes(kSizes[size]);
        Progress(fmt::format("{}/{} {}", round + 1, plan.rounds, what));
        const Latency latency = rivals[i].round_trip(
            {kSizes[size], QueueBytes(kSizes[size]), 2 * plan.slot, what, address});
        Series& to = series[i][size];
        to.p50.push_back(latency.p50);
        to.p99.push_back(latency.p99);
        to.p999.push_back(latency.p999);
        to.max.push_back(latency.max);
      }
    }
  }
  Progress("");

  PrintSection(
      "Round trip, both sleeping",
      fmt::format("Microseconds, with a spin budget of 0: each message wakes its receiver. The "
                  "floor copies the bytes through shared memory and announces them by a "
                  "non-blocking eventfd. A node waits by epoll. Medians over {} rounds, max over "
                  "all; ratios of the p50, round by round.",
                  plan.rounds));
  for (std::size_t size = 0; size < kSizes.size(); ++size) {
    Table table({Bytes(kSizes[size]), "p50", "p99", "p99.9", "max", "/ ppoll", "/ epoll"});
    for (std::size_t i = 0; i < rivals.size(); ++i) {
      const Series& s = series[i][size];
      table.Row({rivals[i].name, Short(Median(s.p50)), Short(Median(s.p99)), Short(Median(s.p999)),
                 Short(Largest(s.max)), Short(MedianRatio(s.p50, series[kPpoll][size].p50)),
                 Short(MedianRatio(s.p50, series[kEpoll][size].p50))});
      outcome.results.Add("blocking", rivals[i].name,
                          {{"bytes", static_cast<double>(kSizes[size])},
                           {"p50_us", Median(s.p50)},
                           {"p99_us", Median(s.p99)},
                           {"p999_us", Median(s.p999)},
                           {"max_us", Largest(s.max)}});
    }
    table.Print();
  }
  outcome.aims.AtMost("blocking round trip, 64 B, node / eventfd with epoll",
                      MedianRatio(series[kNode][0].p50, series[kEpoll][0].p50), 1.1);
#ifdef IVMQ_BENCH_IVMQD
  outcome.aims.AtMost("blocking round trip, 64 B, node through ivmqd / eventfd with epoll",
                      MedianRatio(series[kNode + 1][0].p50, series[kEpoll][0].p50), 1.1);
#endif
}

}  // namespace ivmq::bench
