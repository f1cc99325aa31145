// Random numbers for tests, and contents that can be checked.
#ifndef IVMQ_TESTS_SUPPORT_RANDOM_H_
#define IVMQ_TESTS_SUPPORT_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace ivmq::testing {

using Random = std::mt19937_64;

// A new seed, or that of IVMQ_TEST_SEED; printed, so that a failure can be repeated.
inline std::uint64_t TestSeed() {
  const char* given = std::getenv("IVMQ_TEST_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  std::cout << "seed: IVMQ_TEST_SEED=" << seed << '\n';
  return seed;
}

// 0..below-1
inline std::uint64_t Below(Random& random, std::uint64_t below) { return random() % below; }

// Small values most often, any of 0..max sometimes: sizes as they occur, and all of them.
inline std::uint64_t SkewedSize(Random& random, std::uint64_t max) {
  switch (Below(random, 8)) {
    case 0:
      return Below(random, max + 1);
    case 1:
      return max - Below(random, std::uint64_t{32} < max ? 32 : max);
    default:
      return Below(random, std::uint64_t{200} < max ? 200 : max + 1);
  }
}

// The bytes of message `number`: a function of the number and of each byte's place. Fast also where
// nothing is optimised.
[[gnu::always_inline]] inline std::byte PatternByte(std::uint64_t number, std::size_t i) noexcept {
  return static_cast<std::byte>((number * 0x9e3779b97f4a7c15U >> 32) + i * 131 + (i >> 8));
}
inline void FillPattern(std::span<std::byte> bytes, std::uint64_t number) noexcept {
  std::byte* const out = bytes.data();
  for (std::size_t i = 0, size = bytes.size(); i < size; ++i) out[i] = PatternByte(number, i);
}
inline bool HasPattern(std::span<const std::byte> bytes, std::uint64_t number) noexcept {
  const std::byte* const in = bytes.data();
  for (std::size_t i = 0, size = bytes.size(); i < size; ++i) {
    if (in[i] != PatternByte(number, i)) return false;
  }
  return true;
}
inline std::vector<std::byte> Pattern(std::size_t size, std::uint64_t number) {
  std::vector<std::byte> bytes(size);
  FillPattern(bytes, number);
  return bytes;
}
inline std::string AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_RANDOM_H_
