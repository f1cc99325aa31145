#include "latencies.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

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

std::chrono::nanoseconds Latencies::Percentile(double fraction) const noexcept {
  const auto wanted = static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(count_)));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen == 0 || seen < wanted) continue;
    const std::size_t shift = i >> kPartBits == 0 ? 0 : (i >> kPartBits) - 1;
    const std::uint64_t part = i - (shift << kPartBits);
    // The bucket's largest value.
    const std::uint64_t value = ((std::uint64_t{part} + 1) << shift) - 1;
    return std::clamp(std::chrono::nanoseconds(value), min_, max_);
  }
  return max_;
}

}  // namespace ivmq::tool
