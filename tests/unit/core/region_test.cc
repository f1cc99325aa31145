// The layout manager: planning, formatting, attaching.
#include "ivmq/internal/region.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/header_crc.h"
#include "support/random.h"
#include "support/shared_memory.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Header;
using ::testing::HasSubstr;
using testing::kKiB;
using testing::kMiB;
using testing::SharedMemory;
using testing::TestRegion;

// ---- PlanGeometry ----

TEST(PlanGeometryTest, SixtyFourPeersInSixtyFourMiB) {
  const Result<Geometry> g = PlanGeometry(64 * kMiB, {});
  ASSERT_TRUE(g.ok()) << g.status().ToString();
  EXPECT_EQ(g->max_peers, 64U);
  EXPECT_EQ(g->peer_table_offset, 4096U);
  EXPECT_EQ(g->directory_offset, 4096U + 64 * 4096);
  EXPECT_EQ(g->owners_offset, g->directory_offset + (64 * 64 + 64 * 8) * 8);
  EXPECT_EQ(g->unit_size, 4096U);
  EXPECT_EQ(g->arena_offset, g->owners_offset + 64 * kMiB / 4096 * 8);
  EXPECT_EQ(g->unit_count, (64 * kMiB - g->arena_offset) / 4096);
  EXPECT_EQ(g->small_unit_first, g->unit_count - g->unit_count / 4);
  EXPECT_EQ(g->ring_capacity, 256 * kKiB);
  EXPECT_EQ(g->ring_capacity_small, 16 * kKiB);
}

TEST(PlanGeometryTest, ADirectoryOf1024PeersHasEightMiBForPairs) {
  const Result<Geometry> g = PlanGeometry(64 * kMiB, {.max_peers = 1024});
  ASSERT_TRUE(g.ok()) << g.status().ToString();
  EXPECT_EQ(g->owners_offset - g->directory_offset, 8 * kMiB + 1024 * 8 * 8);
}

TEST(PlanGeometryTest, ThePartsLieInOrderAndFillTheRegion) {
  unsigned planned = 0;
  for (std::uint64_t size = 128 * kKiB; size <= 64 * 1024 * kMiB; size *= 2) {
    for (const std::uint32_t peers : {2U, 3U, 64U, 256U, 1024U}) {
      const Result<Geometry> g = PlanGeometry(size, {.max_peers = peers});
      if (!g.ok()) continue;
      ++planned;
      SCOPED_TRACE(std::to_string(size) + " bytes, " + std::to_string(peers) + " peers");
      EXPECT_EQ(g->region_size, size);
      EXPECT_GE(g->peer_table_offset, sizeof(Header));
      EXPECT_GE(g->directory_offset, g->peer_table_offset + peers * sizeof(layout::PeerSlot));
      EXPECT_GE(g->owners_offset, g->directory_offset + g->cells() * 8);
      EXPECT_GE(g->arena_offset, g->owners_offset + std::uint64_t{g->unit_count} * 8);
      EXPECT_EQ(g->arena_offset % layout::kPage, 0U);
      const std::uint64_t end = g->arena_offset + std::uint64_t{g->unit_count} * g->unit_size;
      EXPECT_LE(end, size);
      EXPECT_GT(end + g->unit_size, size) << "a whole unit is left over";
      EXPECT_LT(g->unit_count, 1U << 24) << "a directory cell has 24 bits for the first unit";
      EXPECT_TRUE(std::has_single_bit(g->ring_capacity));
      EXPECT_GE(g->ring_capacity, g->ring_capacity_small);
      EXPECT_LE(g->ring_capacity, kMiB);
      EXPECT_LE(g->UnitsFor(g->ring_capacity), g->small_unit_first);
      EXPECT_GE(g->unit_count - g->small_unit_first, g->unit_count / 4);
      // As stated: 2 * max_peers first rings fit into three quarters, unless they are the smallest.
      if (g->ring_capacity > g->ring_capacity_small) {
        EXPECT_LE(std::uint64_t{g->UnitsFor(g->ring_capacity)} * 2 * peers, g->small_unit_first);
      }
    }
  }
  EXPECT_GT(planned, 60U);
}

TEST(PlanGeometryTest, UnitsForCountsTheRingsHeader) {
  const Result<Geometry> g = PlanGeometry(64 * kMiB, {});
  ASSERT_TRUE(g.ok());
  EXPECT_EQ(g->UnitsFor(16 * kKiB), 5U);
  EXPECT_EQ(g->UnitsFor(256 * kKiB), 65U);
}

TEST(PlanGeometryTest, AChosenRingCapacityIsTaken) {
  const Result<Geometry> g = PlanGeometry(64 * kMiB, {.ring_capacity = 4 * kMiB});
  ASSERT_TRUE(g.ok()) << g.status().ToString();
  EXPECT_EQ(g->ring_capacity, 4 * kMiB);
}

struct Refusal {
  std::uint64_t size;
  FormatOptions options;
  const char* names;  // what the message must name
};

TEST(PlanGeometryTest, RefusalsNameTheNumbers) {
  const std::vector<Refusal> refusals = {
      {0, {}, "0 bytes"},
      {64 * kMiB - 1, {}, "67108863"},
      {96 * kMiB, {}, "100663296"},
      {(std::uint64_t{1} << 63) + 1, {}, "9223372036854775809"},
      {64 * kMiB, {.max_peers = 0}, "max_peers 0"},
      {64 * kMiB, {.max_peers = 1}, "max_peers 1"},
      {64 * kMiB, {.max_peers = 1025}, "1025"},
      {64 * kMiB, {.max_peers = 0xffffffff}, "4294967295"},
      {64 * kMiB, {.ring_capacity = 8 * kKiB}, "8192"},
      {64 * kMiB, {.ring_capacity = 48 * kKiB}, "49152"},
      {64 * kMiB, {.ring_capacity = 512 * kMiB}, "536870912"},
      {64 * kMiB, {.ring_capacity = 64 * kMiB}, "67108864"},
      {1, {}, "a region of 1 byte is"},
      {4096, {}, "4096"},
      {128 * kKiB, {}, "64 peers"},
      {8 * kMiB, {.max_peers = 1024}, "1024 peers"},
  };
  for (const Refusal& refusal : refusals) {
    const Result<Geometry> g = PlanGeometry(refusal.size, refusal.options);
    ASSERT_FALSE(g.ok()) << refusal.size << ' ' << refusal.names;
    EXPECT_EQ(g.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(g.status().message(), HasSubstr(refusal.names));
  }
}

// The remedy that the message offers is one.
TEST(PlanGeometryTest, TheSizeThatARefusalOffersIsEnough) {
  for (const std::uint32_t peers : {2U, 64U, 256U, 1024U}) {
    const Result<Geometry> refused = PlanGeometry(8 * kKiB, {.max_peers = peers});
    ASSERT_FALSE(refused.ok());
    const std::string& message = refused.status().message();
    const std::size_t at = message.find("at least ");
    ASSERT_NE(at, std::string::npos) << message;
    const std::uint64_t offered = std::stoull(message.substr(at + 9));
    const Result<Geometry> g = PlanGeometry(offered, {.max_peers = peers});
    EXPECT_TRUE(g.ok()) << g.status().ToString();
  }
}

// ---- Format ----

TEST(FormatTest, WhatWasFormattedCanBeAttached) {
  for (const std::uint32_t peers : {2U, 64U}) {
    TestRegion sut(kMiB, {.max_peers = peers});
    const Result<Geometry> plan = PlanGeometry(kMiB, {.max_peers = peers});
    const Geometry& g = sut.region.geometry();
    EXPECT_EQ(g.region_size, kMiB);
    EXPECT_EQ(g.max_peers, peers);
    EXPECT_EQ(g.arena_offset, plan->arena_offset);
    EXPECT_EQ(g.unit_count, plan->unit_count);
    EXPECT_EQ(g.ring_capacity, plan->ring_capacity);
    EXPECT_EQ(g.version_minor, layout::kVersionMinor);
    EXPECT_GT(g.formatted_at, 0U);
  }
}

TEST(FormatTest, TwoRegionsHaveDifferentIds) {
  TestRegion a(kMiB);
  TestRegion b(kMiB);
  EXPECT_NE(a.region.geometry().region_id, b.region.geometry().region_id);
}

TEST(FormatTest, OnlyTheHeaderIsWritten) {
  TestRegion sut(kMiB);
  EXPECT_TRUE(IsAllZero(sut.memory.bytes().subspan(layout::kHeaderImmutableBytes)));
}

TEST(FormatTest, MemoryThatIsNotAllZeroIsLeftAlone) {
  SharedMemory memory(kMiB);
  for (const std::size_t at : {std::size_t{0}, std::size_t{7}, std::size_t{127}, std::size_t{4096},
                               std::size_t{kMiB / 2 + 1}, std::size_t{kMiB - 1}}) {
    memory.Clear();
    memory.bytes()[at] = std::byte{1};
    const Status status = Format(memory.bytes(), {});
    ASSERT_FALSE(status.ok()) << at;
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
    EXPECT_EQ(std::to_integer<int>(memory.bytes()[at]), 1);
    memory.bytes()[at] = std::byte{0};
    EXPECT_TRUE(IsAllZero(memory.bytes())) << at;
  }
}

TEST(FormatTest, AFormattedRegionIsNotFormattedAgain) {
  TestRegion sut(kMiB);
  const auto id = sut.region.geometry().region_id;
  EXPECT_EQ(Format(sut.memory.bytes(), {}).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(Region::Attach(sut.memory.bytes())->geometry().region_id, id);
}

TEST(FormatTest, WhatCannotBePlannedIsNotTouched) {
  SharedMemory memory(96 * kKiB);
  EXPECT_EQ(Format(memory.bytes(), {}).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(IsAllZero(memory.bytes()));
}

TEST(IsAllZeroTest, FindsEveryByte) {
  std::vector<std::byte> bytes(70);
  EXPECT_TRUE(IsAllZero(bytes));
  EXPECT_TRUE(IsAllZero({}));
  for (std::byte& byte : bytes) {
    byte = std::byte{0x80};
    EXPECT_FALSE(IsAllZero(bytes));
    byte = std::byte{0};
  }
}

// ---- Attach ----

class AttachTest : public ::testing::Test {
 protected:
  AttachTest() : sut_(kMiB, {.max_peers = 4}) {}

  std::span<std::byte> bytes() { return sut_.memory.bytes(); }
  template <typename T>
  void Put(std::size_t offset, T value) {
    std::memcpy(bytes().data() + offset, &value, sizeof(value));
  }
  void ExpectRefusal(StatusCode code, const std::string& names) {
    const Result<Region> region = Region::Attach(bytes());
    ASSERT_FALSE(region.ok());
    EXPECT_EQ(region.status().code(), code) << region.status().ToString();
    EXPECT_THAT(region.status().message(), HasSubstr(names));
  }

  TestRegion sut_;
};

TEST_F(AttachTest, AnUnformattedRegionIsNamedAsSuch) {
  sut_.memory.Clear();
  ExpectRefusal(StatusCode::kFailedPrecondition, "not formatted");
}

TEST_F(AttachTest, AForeignRegionIsNamedAsSuch) {
  std::memcpy(bytes().data(), "\x7f\x45LF....", 8);
  ExpectRefusal(StatusCode::kFailedPrecondition, "not an ivmq region");
}

TEST_F(AttachTest, AnotherMajorVersionIsRefusedByItsNumber) {
  for (const std::uint32_t major :
       {0U, layout::kVersionMajor - 1U, layout::kVersionMajor + 1U, 77U}) {
    Put(offsetof(Header, version), major << 16 | 3);
    testing::RepairHeaderCrc(bytes());
    ExpectRefusal(StatusCode::kFailedPrecondition, std::to_string(major) + ".3");
  }
}

TEST_F(AttachTest, ANewerMinorVersionIsAccepted) {
  Put(offsetof(Header, version), std::uint32_t{layout::kVersionMajor} << 16 | 9);
  testing::RepairHeaderCrc(bytes());
  const Result<Region> region = Region::Attach(bytes());
  ASSERT_TRUE(region.ok()) << region.status().ToString();
  EXPECT_EQ(region->geometry().version_minor, 9);
}

TEST_F(AttachTest, ARequiredFeatureThatIsUnknownIsRefused) {
  Put(offsetof(Header, features_required), 0x40000000U);
  testing::RepairHeaderCrc(bytes());
  ExpectRefusal(StatusCode::kFailedPrecondition, "0x40000000");
}

TEST_F(AttachTest, AnOptionalFeatureThatIsUnknownIsIgnored) {
  Put(offsetof(Header, features_optional), 0x40000000U);
  testing::RepairHeaderCrc(bytes());
  EXPECT_TRUE(Region::Attach(bytes()).ok());
}

TEST_F(AttachTest, ATruncatedRegionIsRefusedWithBothSizes) {
  for (const std::uint64_t size : {kMiB / 2, std::uint64_t{4096}, std::uint64_t{kMiB - 4096}}) {
    const Result<Region> region = Region::Attach(bytes().first(size));
    ASSERT_FALSE(region.ok()) << size;
    EXPECT_EQ(region.status().code(), StatusCode::kOutOfRange);
    EXPECT_THAT(region.status().message(), HasSubstr(std::to_string(size)));
    EXPECT_THAT(region.status().message(), HasSubstr(std::to_string(kMiB)));
  }
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{128}, std::uint64_t{4095}}) {
    const Result<Region> region = Region::Attach(bytes().first(size));
    ASSERT_FALSE(region.ok()) << size;
    EXPECT_EQ(region.status().code(), StatusCode::kOutOfRange);
    EXPECT_THAT(region.status().message(), HasSubstr(std::to_string(size)));
  }
}

TEST_F(AttachTest, MoreMemoryThanTheRegionIsFine) {
  SharedMemory larger(2 * kMiB);
  ASSERT_TRUE(Format(larger.bytes().first(kMiB), {}).ok());
  const Result<Region> region = Region::Attach(larger.bytes());
  ASSERT_TRUE(region.ok()) << region.status().ToString();
  EXPECT_EQ(region->geometry().region_size, kMiB);
}

TEST_F(AttachTest, EveryChangeOfEveryImmutableByteIsRefusedAndExplained) {
  for (std::size_t at = 0; at < layout::kHeaderImmutableBytes; ++at) {
    const std::byte good = bytes()[at];
    for (unsigned flip = 1; flip < 256; ++flip) {
      bytes()[at] = good ^ static_cast<std::byte>(flip);
      const Result<Region> region = Region::Attach(bytes());
      ASSERT_FALSE(region.ok()) << "byte " << at << " ^ " << flip;
      const bool is_another_format = at < 8 || at == 10 || at == 11;
      ASSERT_EQ(region.status().code(),
                is_another_format ? StatusCode::kFailedPrecondition : StatusCode::kDataLoss)
          << "byte " << at << " ^ " << flip;
    }
    bytes()[at] = good;
  }
  EXPECT_TRUE(Region::Attach(bytes()).ok());
}

// The server's epoch and the like change while others attach.
TEST_F(AttachTest, MutableHeaderBytesMayHoldAnything) {
  std::fill(bytes().begin() + layout::kHeaderImmutableBytes, bytes().begin() + layout::kPage,
            std::byte{0xff});
  EXPECT_TRUE(Region::Attach(bytes()).ok());
}

// Somebody who can write the region can also make the CRC fit.
TEST_F(AttachTest, AFieldOutOfBoundsIsRefusedEvenWithAFittingCrc) {
  struct Field {
    std::size_t offset;
    std::size_t size;
    const char* names;
  };
  const std::vector<Field> fields = {
      {offsetof(Header, region_size), 8, ""},
      {offsetof(Header, max_peers), 4, ""},
      {offsetof(Header, peer_stride), 4, "peer_stride"},
      {offsetof(Header, peer_table_offset), 8, "peer table"},
      {offsetof(Header, directory_offset), 8, ""},
      {offsetof(Header, owners_offset), 8, ""},
      {offsetof(Header, arena_offset), 8, "arena"},
      {offsetof(Header, unit_size), 4, ""},
      {offsetof(Header, unit_count), 4, ""},
      {offsetof(Header, small_unit_first), 4, "small_unit_first"},
      {offsetof(Header, ring_capacity), 4, "ring capacity"},
      {offsetof(Header, ring_capacity_small), 4, "ring capacity"},
  };
  for (const Field& field : fields) {
    std::uint64_t good = 0;
    std::memcpy(&good, bytes().data() + field.offset, field.size);
    const std::uint64_t all_ones = field.size == 4 ? 0xffffffff : ~std::uint64_t{0};
    for (const std::uint64_t bad :
         {all_ones, all_ones - 4095, all_ones / 2 + 1, good + 1, good | 1}) {
      if (bad == good) continue;
      std::memcpy(bytes().data() + field.offset, &bad, field.size);
      testing::RepairHeaderCrc(bytes());
      const Result<Region> region = Region::Attach(bytes());
      // One more or less of a count may still fit; everything then lies inside.
      if (region.ok()) {
        const Geometry& g = region->geometry();
        EXPECT_LE(g.arena_offset + std::uint64_t{g.unit_count} * g.unit_size, kMiB);
        EXPECT_EQ(bad, good + 1) << "offset " << field.offset;
        continue;
      }
      EXPECT_TRUE(region.status().code() == StatusCode::kDataLoss ||
                  region.status().code() == StatusCode::kOutOfRange)
          << region.status().ToString();
      EXPECT_THAT(region.status().message(), HasSubstr(field.names));
    }
    std::memcpy(bytes().data() + field.offset, &good, field.size);
  }
  testing::RepairHeaderCrc(bytes());
  EXPECT_TRUE(Region::Attach(bytes()).ok());
}

TEST_F(AttachTest, AnyGeometryThatIsAcceptedLiesInside) {
  testing::Random random(testing::TestSeed());
  const std::vector<std::byte> good(bytes().begin(),
                                    bytes().begin() + layout::kHeaderImmutableBytes);
  unsigned accepted = 0;
  for (int round = 0; round < 100000; ++round) {
    std::copy(good.begin(), good.end(), bytes().begin());
    for (std::uint64_t i = 1 + testing::Below(random, 4); i > 0; --i) {
      const std::size_t at = 16 + testing::Below(random, layout::kHeaderImmutableBytes - 16);
      bytes()[at] ^= static_cast<std::byte>(1U << testing::Below(random, 8));
    }
    testing::RepairHeaderCrc(bytes());
    const Result<Region> region = Region::Attach(bytes());
    if (!region.ok()) continue;
    ++accepted;
    const Geometry& g = region->geometry();
    ASSERT_LE(g.peer_table_offset + g.max_peers * sizeof(layout::PeerSlot), kMiB);
    ASSERT_LE(g.directory_offset + std::uint64_t{g.cells()} * 8, kMiB);
    ASSERT_LE(g.owners_offset + std::uint64_t{g.unit_count} * 8, kMiB);
    ASSERT_LE(g.arena_offset + std::uint64_t{g.unit_count} * g.unit_size, kMiB);
  }
  EXPECT_GT(accepted, 0U);
}

// ---- Region ----

TEST(RegionTest, RingOfRefusesEveryRunThatLeavesTheArena) {
  TestRegion sut(kMiB, {.max_peers = 4});
  const Geometry& g = sut.region.geometry();
  const std::byte* arena = sut.memory.bytes().data() + g.arena_offset;
  for (std::uint32_t log2 = 0; log2 < 64; ++log2) {
    for (const std::uint32_t first : {0U, 1U, g.unit_count - 5, g.unit_count - 4, g.unit_count - 1,
                                      g.unit_count, g.unit_count + 1, 0xffffffU}) {
      const layout::Cell cell{1, first, static_cast<std::uint8_t>(log2), layout::CellState::kLive};
      const std::optional<RingView> ring = sut.region.RingOf(cell);
      const std::uint64_t capacity = std::uint64_t{1} << log2;
      const bool fits = log2 >= 14 && log2 <= 28 && first < g.unit_count &&
                        first + (capacity + 4096 + 4095) / 4096 <= g.unit_count;
      ASSERT_EQ(ring.has_value(), fits) << log2 << ' ' << first;
      if (!ring) continue;
      EXPECT_EQ(reinterpret_cast<const std::byte*>(ring->header),
                arena + std::uint64_t{first} * g.unit_size);
      EXPECT_EQ(ring->data, reinterpret_cast<const std::byte*>(ring->header) + 4096);
      EXPECT_EQ(ring->capacity, capacity);
    }
  }
  EXPECT_FALSE(sut.region.RingOf({1, 0, 14, layout::CellState::kEmpty}));
}

TEST(RegionTest, AConsumersRowIsContiguous) {
  TestRegion sut(kMiB, {.max_peers = 5});
  EXPECT_EQ(sut.region.CellIndex(0, 4), 4U);
  EXPECT_EQ(sut.region.CellIndex(1, 0), 5U);
  EXPECT_EQ(sut.region.CellIndex(4, 4), 24U);
}

}  // namespace
}  // namespace ivmq
