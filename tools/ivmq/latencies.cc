#include "latencies.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

#include <fmt/format.h>

namespace ivmq::tool {

void Latencies::Add(std::chrono::nanoseconds duration) noexcept {
  duration = std::max(duration, std::chrono::nanoseconds(0));
  const auto value = static_cast<std::uint64_t>(duration.count());
  ++count_;
  min_ = std::min(min_, duration);
  max_ = std::max(max_, duration);
  // Values below 2^(kPartBits + 1) have a bucket each.
  const unsigned width = static_cast<unsigned>(std::bit_width(value));
  const unsigned shift = width > kPartBits + 1 ? width - kPartBits - 1 : 0;
  ++buckets_[(std::size_t{shift} << kPartBits) + static_cast<std::size_t>(value >> shift)];
}

void Latencies::Add(const Latencies& others) noexcept {
  count_ += others.count_;
  min_ = std::min(min_, others.min_);
  max_ = std::max(max_, others.max_);
  for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += others.buckets_[i];
}

std::uint64_t Latencies::Top(std::size_t bucket) noexcept {
  const std::size_t shift = bucket >> kPartBits == 0 ? 0 : (bucket >> kPartBits) - 1;
  const std::uint64_t part = bucket - (shift << kPartBits);
  return ((part + 1) << shift) - 1;
}

std::string Latencies::HdrText() const {
  const auto microseconds = [](std::uint64_t nanoseconds) {
    return static_cast<double>(nanoseconds) / 1e3;
  };
  const auto total = static_cast<double>(count_);
  std::string text = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n";
  std::uint64_t seen = 0;
  double sum = 0;
  double squares = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    if (buckets_[i] == 0) continue;
    seen += buckets_[i];
    const double value = microseconds(std::min(Top(i), static_cast<std::uint64_t>(max_.count())));
    sum += value * static_cast<double>(buckets_[i]);
    squares += value * value * static_cast<double>(buckets_[i]);
    const double fraction = static_cast<double>(seen) / total;
    text += fmt::format("{:12.3f} {:14.12f} {:10}", value, fraction, seen);
    text += seen == count_ ? "\n" : fmt::format(" {:14.2f}\n", 1 / (1 - fraction));
  }
  const double mean = count_ == 0 ? 0 : sum / total;
  const double deviation =
      count_ == 0 ? 0 : std::sqrt(std::max(0.0, squares / total - mean * mean));
  text += fmt::format("#[Mean    = {:12.3f}, StdDeviation   = {:12.3f}]\n", mean, deviation);
  text += fmt::format("#[Max     = {:12.3f}, Total count    = {:12}]\n",
                      microseconds(static_cast<std::uint64_t>(max_.count())), count_);
  text += fmt::format("#[Buckets = {:12}, SubBuckets     = {:12}]\n", buckets_.size() >> kPartBits,
                      std::size_t{1} << kPartBits);
  return text;
}

std::chrono::nanoseconds Latencies::Percentile(double fraction) const noexcept {
  const auto wanted = static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(count_)));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen == 0 || seen < wanted) continue;
    return std::clamp(std::chrono::nanoseconds(Top(i)), min_, max_);
  }
  return max_;
}

}  // namespace ivmq::tool
