// Units of memory.
#ifndef IVMQ_TESTS_SUPPORT_SIZES_H_
#define IVMQ_TESTS_SUPPORT_SIZES_H_

#include <cstdint>

namespace ivmq::testing {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_SIZES_H_
