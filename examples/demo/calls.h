// What the calls of the demo say, how long they take, and how that is printed: the same for ivmq
// and gRPC.
#ifndef IVMQ_EXAMPLES_DEMO_CALLS_H_
#define IVMQ_EXAMPLES_DEMO_CALLS_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "greeter.pb.h"

namespace ivmq::demo {

inline constexpr std::size_t kCallBytes = 64;
// Before the clock counts.
inline constexpr std::uint32_t kWarmUp = 10;

// Calls `greet(request, &response)`, which says what went wrong, `count` times to the first of
// `servers`, which asks the second and so on. Checks every answer and prints a row; false if one is
// wrong.
template <typename Greet>
bool CallAndPrint(const std::string& over, const std::string& caller,
                  const std::vector<std::string>& servers, std::uint32_t count, Greet&& greet) {
  std::vector<double> microseconds;
  Greeting response;
  for (std::uint32_t i = 0; i < count + kWarmUp; ++i) {
    Greeting request;
    request.set_text("hello from " + caller);
    request.set_data(std::string(kCallBytes, static_cast<char>('a' + i % 26)));
    std::string wanted = request.text();
    for (const std::string& server : servers) {
      wanted += ", " + server;
      if (&server != &servers.front()) request.add_via(server);
    }
    const auto begin = std::chrono::steady_clock::now();
    const std::string error = greet(request, &response);
    const std::chrono::duration<double, std::micro> taken =
        std::chrono::steady_clock::now() - begin;
    if (!error.empty() || response.text() != wanted || response.data() != request.data()) {
      (void)std::fprintf(stderr, "%s: call %u to %s: %s\n", caller.c_str(), i,
                         servers.front().c_str(),
                         error.empty() ? "the answer is wrong" : error.c_str());
      return false;
    }
    if (i >= kWarmUp) microseconds.push_back(taken.count());
  }
  std::sort(microseconds.begin(), microseconds.end());
  std::string way = caller;
  for (const std::string& server : servers) way += " -> " + server;
  const std::string row =
      fmt::format("  {:<20} {:<22} {:>7}   {:>9.1f} {:>9.1f} {:>9.1f}\n", way, over,
                  fmt::format("{0}/{0}", count), microseconds[microseconds.size() / 2],
                  microseconds[microseconds.size() * 99 / 100], microseconds.back());
  (void)std::fputs(row.c_str(), stdout);
  return true;
}

}  // namespace ivmq::demo

#endif  // IVMQ_EXAMPLES_DEMO_CALLS_H_
