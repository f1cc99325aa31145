// Durations in constant memory, however many: exact extremes, percentiles within 1 %.
#ifndef IVMQ_TOOLS_IVMQ_LATENCIES_H_
#define IVMQ_TOOLS_IVMQ_LATENCIES_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace ivmq::tool {

// Thread-compatible.
class Latencies {
 public:
  void Add(std::chrono::nanoseconds duration) noexcept;
  void Add(const Latencies& others) noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  // REQUIRES of what follows: count() > 0
  [[nodiscard]] std::chrono::nanoseconds min() const noexcept { return min_; }
  [[nodiscard]] std::chrono::nanoseconds max() const noexcept { return max_; }
  // The smallest duration that `fraction` (0..1) of all do not exceed.
  [[nodiscard]] std::chrono::nanoseconds Percentile(double fraction) const noexcept;
  // HdrHistogram's percentile distribution, in microseconds, as its plotters read it.
  [[nodiscard]] std::string HdrText() const;

 private:
  // A power of two is cut into 128 parts.
  static constexpr unsigned kPartBits = 7;
  // The largest value of a bucket.
  static std::uint64_t Top(std::size_t bucket) noexcept;

  std::uint64_t count_ = 0;
  std::chrono::nanoseconds min_ = std::chrono::nanoseconds::max();
  std::chrono::nanoseconds max_{0};
  std::array<std::uint64_t, (64 - kPartBits + 1) << kPartBits> buckets_{};
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_LATENCIES_H_
