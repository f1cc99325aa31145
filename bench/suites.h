// The tables of ivmq_bench, one function each.
#ifndef IVMQ_BENCH_SUITES_H_
#define IVMQ_BENCH_SUITES_H_

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "report.h"

namespace ivmq::bench {

// How much time a run may take.
struct Plan {
  int rounds = 9;  // candidates take turns; a figure is the median over the rounds
  std::chrono::milliseconds slot{60};  // one candidate, one size, one round
  std::chrono::milliseconds idle{10000};
  int idle_messages = 50;
  // Of messages: what is not among them is left out of the tables by size.
  std::vector<std::size_t> sizes{8, 64, 1U << 10, 16U << 10, 128U << 10, 1U << 20, 16U << 20};
  std::vector<std::string> match{};  // candidates whose name holds one of them; none: all
  std::string folder = "";           // for histograms; empty: none

  [[nodiscard]] bool Takes(std::string_view name) const {
    return match.empty() || std::any_of(match.begin(), match.end(), [&](const std::string& part) {
             return name.find(part) != std::string_view::npos;
           });
  }
};

void RoundTrips(const Plan& plan, Outcome& outcome);
void Rates(const Plan& plan, Outcome& outcome);
void LargeMessages(const Plan& plan, Outcome& outcome);
void BlockingRoundTrips(const Plan& plan, Outcome& outcome);
void Doorbells(const Plan& plan, Outcome& outcome);
void ManyPeers(const Plan& plan, Outcome& outcome);
void Idle(const Plan& plan, Outcome& outcome);
void UnderLoad(const Plan& plan, Outcome& outcome);
void ManyReceivers(const Plan& plan, Outcome& outcome);
void Topics(const Plan& plan, Outcome& outcome);

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_SUITES_H_
