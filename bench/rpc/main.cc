// ivmq_rpc_bench: calls over ivmq beside their floor and gRPC, in Markdown. See ../README.md.
#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "candidates/floor.h"
#include "candidates/kernel.h"
#include "drive.h"
#include "report.h"
#include "rows.h"
#ifdef IVMQ_BENCH_IVMQD
#include "ivmqd.h"
#endif

namespace ivmq::bench {
namespace {

using std::chrono::nanoseconds;

constexpr std::size_t kBytes = 64;

struct LatencyRow {
  std::string name;
  std::function<Latency(nanoseconds)> run;
  std::size_t floor;  // the row that it is compared with
  std::vector<double> p50{}, p99{}, max{};
};

struct RateRow {
  std::string name;
  std::function<double(nanoseconds)> run;
  std::vector<double> rate{};
};

template <typename C>
Latency Floor(nanoseconds duration) {
  return RoundTrip<C>({.bytes = kBytes, .duration = duration, .what = "floor"});
}

// `match`: rows only whose name holds one of these; none: all.
void Run(int rounds, nanoseconds slot, const std::vector<std::string>& match) {
  std::string address;
  std::vector<LatencyRow> latencies{
      {"floor: a bare cache line", Floor<Flag<false>>, 0},
      {"**ivmq**, both polling, handler inline",
       [](nanoseconds time) { return IvmqLatency(Unary::kInline, "", time); }, 0},
      {"ivmq, both polling, handler in the pool",
       [](nanoseconds time) { return IvmqLatency(Unary::kPool, "", time); }, 0},
  };
#ifdef IVMQ_BENCH_IVMQD
  const Ivmqd server(IVMQ_BENCH_IVMQD);
  address = server.address();
  const std::size_t sleeping_floor = latencies.size();
  const std::size_t sleeping = sleeping_floor + 1;
  latencies.push_back({"floor: eventfd, ppoll and read", Floor<EventFd<false>>, sleeping_floor});
  latencies.push_back(
      {"**ivmq**, both sleeping, through ivmqd",
       [&](nanoseconds time) { return IvmqLatency(Unary::kBlocking, address, time); },
       sleeping_floor});
#endif
  const std::size_t inline_row = 1;
  const std::size_t pool_row = 2;
  std::vector<RateRow> rates{
      {"**ivmq**, unary, 64 under way",
       [](nanoseconds time) { return IvmqRate(Many::kUnary, time); }},
      {"**ivmq**, server stream",
       [](nanoseconds time) { return IvmqRate(Many::kServerStream, time); }},
      {"**ivmq**, client stream",
       [](nanoseconds time) { return IvmqRate(Many::kClientStream, time); }},
  };
  [[maybe_unused]] const std::size_t kinds = rates.size();
#ifdef IVMQ_BENCH_GRPC
  const std::size_t grpc = latencies.size();
  latencies.push_back(
      {"gRPC, unix socket", [](nanoseconds time) { return GrpcLatency("", time); }, 0});
  latencies.push_back({"gRPC, TCP on loopback",
                       [](nanoseconds time) { return GrpcLatency("127.0.0.1:42119", time); }, 0});
  rates.push_back(
      {"gRPC, unary, 64 under way", [](nanoseconds time) { return GrpcRate(Many::kUnary, time); }});
  rates.push_back({"gRPC, server stream",
                   [](nanoseconds time) { return GrpcRate(Many::kServerStream, time); }});
  rates.push_back({"gRPC, client stream",
                   [](nanoseconds time) { return GrpcRate(Many::kClientStream, time); }});
#endif

  const auto takes = [&](const std::string& name) {
    return match.empty() || std::any_of(match.begin(), match.end(), [&](const std::string& part) {
             return name.find(part) != std::string::npos;
           });
  };
  for (int round = 0; round < rounds; ++round) {
    for (LatencyRow& row : latencies) {
      if (!takes(row.name)) continue;
      Progress(fmt::format("{}/{} {}", round + 1, rounds, row.name));
      const Latency latency = row.run(slot);
      row.p50.push_back(latency.p50);
      row.p99.push_back(latency.p99);
      row.max.push_back(latency.max);
    }
    for (RateRow& row : rates) {
      if (!takes(row.name)) continue;
      Progress(fmt::format("{}/{} {}", round + 1, rounds, row.name));
      row.rate.push_back(row.run(slot));
    }
  }
  Progress("");

  PrintSection(
      "Calls",
      fmt::format("A request and a response with {} bytes each in a protobuf message, between two "
                  "processes; microseconds of a synchronous call, calls or messages a second of "
                  "many. Medians over {} rounds, max over all; ratios round by round: `/ floor` of "
                  "the p50 by that of the floor above, `gRPC` how many times slower gRPC is.",
                  kBytes, rounds));
  Table table({"64 B", "p50", "p99", "max", "/ floor", "a second", "gRPC"});
  for (const LatencyRow& row : latencies) {
    if (row.p50.empty()) continue;
    std::string rival;
#ifdef IVMQ_BENCH_GRPC
    rival = Short(MedianRatio(latencies[grpc].p50, row.p50));
#endif
    table.Row({row.name, Short(Median(row.p50)), Short(Median(row.p99)), Short(Largest(row.max)),
               Short(MedianRatio(row.p50, latencies[row.floor].p50)), "", rival});
  }
  for (std::size_t i = 0; i < rates.size(); ++i) {
    if (rates[i].rate.empty()) continue;
    std::string rival;
#ifdef IVMQ_BENCH_GRPC
    rival = Short(MedianRatio(rates[i].rate, rates[kinds + i % kinds].rate));
#endif
    table.Row({rates[i].name, "", "", "", "", PerSecond(Median(rates[i].rate)), rival});
  }
  table.Print();

  Aims aims;
  // A call's own work does not get shorter where the line is quick.
  constexpr double kQuickLine = 0.2;
  if (const double line = Median(latencies[0].p50); line != 0 && line <= kQuickLine) {
    aims.AtMost("unary call, handler inline, us", Median(latencies[inline_row].p50), 0.75);
  } else {
    aims.AtMost("unary call, handler inline / bare cache line",
                MedianRatio(latencies[inline_row].p50, latencies[0].p50), 3);
  }
  aims.AtMost("unary call, handler in the pool, both polling, us", Median(latencies[pool_row].p50),
              5);
#ifdef IVMQ_BENCH_GRPC
  aims.AtLeast("gRPC over a unix socket / unary call, handler inline",
               MedianRatio(latencies[grpc].p50, latencies[inline_row].p50), 60);
#endif
#ifdef IVMQ_BENCH_IVMQD
  aims.AtMost("unary call, both sleeping / eventfd",
              MedianRatio(latencies[sleeping].p50, latencies[sleeping_floor].p50), 1.2);
#endif
  aims.AtLeast("unary calls of one client, M/s", Median(rates[0].rate) / 1e6, 1);
  aims.AtLeast("messages of a server stream, M/s", Median(rates[1].rate) / 1e6, 5);
  aims.Print();
}

}  // namespace
}  // namespace ivmq::bench

int main(int argc, char** argv) {
  CLI::App app(
      "Measures calls over ivmq beside their floor and gRPC; prints Markdown.\n"
      "Exit code 1 only if a call failed, or a message was damaged or out of order.\n"
      "Example: ivmq_rpc_bench --rounds 21");
  bool quick = false;
  int rounds = 0;
  int slot = 0;
  std::vector<std::string> match;
  app.add_flag("--quick", quick, "a few seconds, noisier");
  app.add_option("--match", match, "rows only whose name holds one of these")->delimiter(',');
  app.add_option("--rounds", rounds, "how often the candidates take turns")
      ->check(CLI::Range(1, 1000));
  app.add_option("--slot", slot, "milliseconds for one row and round")->check(CLI::Range(1, 60000));
  CLI11_PARSE(app, argc, argv);
  if (slot == 0) slot = quick ? 40 : 150;
  if (rounds == 0) rounds = quick ? 3 : 9;

  ivmq::bench::PrintHead(argc, argv);
  ivmq::bench::Run(rounds, std::chrono::milliseconds(slot), match);
  return 0;
}
