#include "ivmq/internal/copy.h"

#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

namespace ivmq {
namespace {

constexpr std::byte kUntouched{0xee};
constexpr std::size_t kMargin = 64;

// Bytes that repeat at no distance that a copy could be wrong by.
std::vector<std::byte> Pattern(std::size_t bytes) {
  std::vector<std::byte> pattern(bytes);
  std::size_t state = bytes + 1;
  for (std::byte& each : pattern) {
    state = state * 6364136223846793005 + 1442695040888963407;
    each = static_cast<std::byte>(state >> 56);
  }
  return pattern;
}

using Copy = void (*)(std::byte*, const std::byte*, std::size_t);

void ExpectExactCopy(Copy copy, std::size_t bytes, std::size_t to_offset, std::size_t from_offset) {
  SCOPED_TRACE(testing::Message() << bytes << " bytes to +" << to_offset << " from +"
                                  << from_offset);
  const std::vector<std::byte> from = Pattern(from_offset + bytes);
  std::vector<std::byte> expected(kMargin + to_offset + bytes + kMargin, kUntouched);
  std::vector<std::byte> to = expected;
  for (std::size_t i = 0; i < bytes; ++i) expected[kMargin + to_offset + i] = from[from_offset + i];
  copy(to.data() + kMargin + to_offset, from.data() + from_offset, bytes);
  EXPECT_TRUE(to == expected);
}

void ExpectExactCopies(Copy copy) {
  for (std::size_t bytes = 0; bytes <= 600; ++bytes) ExpectExactCopy(copy, bytes, 8, 3);
  for (std::size_t pieces = 1; pieces <= 3; ++pieces) {
    for (std::size_t bytes = pieces * kCopyPiece - 65; bytes <= pieces * kCopyPiece + 65;
         bytes += 13) {
      ExpectExactCopy(copy, bytes, 24, 1);
    }
  }
}

TEST(CopyTest, AMessageOfAnySizeIsCopiedAndNothingBesideIt) {
  ExpectExactCopies([](std::byte* to, const std::byte* from, std::size_t bytes) {
    CopyMessage(to, from, bytes);
  });
}

TEST(CopyTest, ABlockOfAnySizeIsCopiedAndNothingBesideIt) { ExpectExactCopies(CopyBlock); }

TEST(CopyTest, NoBytesMayBeNowhere) {
  CopyMessage(nullptr, nullptr, 0);
  CopyBlock(nullptr, nullptr, 0);
}

}  // namespace
}  // namespace ivmq
