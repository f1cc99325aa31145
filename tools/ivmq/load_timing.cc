#include "load_timing.h"

#include <cpuid.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>

namespace ivmq::tool {
namespace {

constexpr int kRounds = 200;
constexpr int kLoads = 256;  // a round: long enough for the clock, short against a time slice

double TimeRound(const volatile std::uint64_t* word) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  for (int i = 0; i < kLoads; ++i) (void)*word;
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count() / kLoads;
}

}  // namespace

LoadTiming TimeLoads(std::span<const std::byte> memory) {
  const std::uint64_t own = 0;
  const auto* const word = reinterpret_cast<const volatile std::uint64_t*>(memory.data());
  constexpr double kNever = std::numeric_limits<double>::max();
  LoadTiming best{kNever, kNever};
  // The fastest round is the one that nothing interrupted.
  for (int i = 0; i < kRounds; ++i) {
    best.region_ns = std::min(best.region_ns, TimeRound(word));
    best.ordinary_ns = std::min(best.ordinary_ns, TimeRound(&own));
  }
  // A clock too coarse to see a round tells nothing apart.
  constexpr double kLeast = 0.01;
  return {std::max(best.region_ns, kLeast), std::max(best.ordinary_ns, kLeast)};
}

bool CpuIsEmulated() {
  constexpr unsigned kHypervisorBit = 1U << 31;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kHypervisorBit) == 0) return false;
  __cpuid(0x40000000, a, b, c, d);
  std::array<char, 12> name{};
  std::memcpy(name.data(), &b, 4);
  std::memcpy(name.data() + 4, &c, 4);
  std::memcpy(name.data() + 8, &d, 4);
  return std::string_view(name.data(), name.size()) == "TCGTCGTCGTCG";
}

unsigned PhysicalAddressBits() {
  constexpr unsigned kLeaf = 0x80000008;
  constexpr unsigned kUsual = 36;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(kLeaf, &a, &b, &c, &d) == 0 ? kUsual : a & 0xff;
}

}  // namespace ivmq::tool
