// What is measured of one side of the comparison.
#ifndef IVMQ_BENCH_RPC_ROWS_H_
#define IVMQ_BENCH_RPC_ROWS_H_

#include <chrono>
#include <functional>
#include <string>

#include "drive.h"

namespace ivmq::bench {

enum class Unary : std::uint8_t {
  kInline,    // both sides poll, the handler runs where the request is found
  kPool,      // both sides poll, the handler runs on a thread of the pool
  kBlocking,  // a spin budget of 0, through ivmqd
};
enum class Many : std::uint8_t { kUnary, kServerStream, kClientStream };

Latency IvmqLatency(Unary how, const std::string& address, std::chrono::nanoseconds duration);
double IvmqRate(Many what, std::chrono::nanoseconds duration);

#ifdef IVMQ_BENCH_GRPC
// An empty `address` is a unix socket.
Latency GrpcLatency(const std::string& address, std::chrono::nanoseconds duration);
double GrpcRate(Many what, std::chrono::nanoseconds duration);
#endif

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_RPC_ROWS_H_
