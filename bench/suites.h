// The tables of ivmq_bench, one function each.
#ifndef IVMQ_BENCH_SUITES_H_
#define IVMQ_BENCH_SUITES_H_

#include <chrono>

#include "report.h"

namespace ivmq::bench {

// How much time a run may take.
struct Plan {
  int rounds = 9;  // candidates take turns; a figure is the median over the rounds
  std::chrono::milliseconds slot{60};  // one candidate, one size, one round
  std::chrono::milliseconds idle{10000};
  int idle_messages = 50;
};

void RoundTrips(const Plan& plan, Promises& promises);
void Rates(const Plan& plan, Promises& promises);
void BlockingRoundTrips(const Plan& plan, Promises& promises);
void Doorbells(const Plan& plan, Promises& promises);
void ManyPeers(const Plan& plan, Promises& promises);
void Idle(const Plan& plan, Promises& promises);

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_SUITES_H_
