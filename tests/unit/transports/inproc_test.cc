#include "ivmq/inproc.h"

#include <memory>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"

#include "fake_ivshmem_server.h"

namespace ivmq {
namespace {

using testing::CountDescriptors;
using testing::Drain;
using ::testing::HasSubstr;

TEST(InprocTest, OpenersOfOneNameShareMemoryAndRingEachOther) {
  const auto first = OpenTransport("inproc:pair?size=1M");
  const auto second = OpenTransport("inproc:pair");
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_EQ((*first)->memory().data(), (*second)->memory().data());
  EXPECT_EQ((*first)->memory().size(), std::size_t{1} << 20);
  EXPECT_EQ((*first)->info().ivposition, 1);
  EXPECT_EQ((*second)->info().ivposition, 2);

  (*first)->Ring(2, 0);
  (*first)->Ring(2, 1);
  EXPECT_EQ(Drain((*first)->wake_fd()), 0U);
  EXPECT_EQ(Drain((*second)->wake_fd()), 1U) << "it has vector 0 only";
}

TEST(InprocTest, OtherNamesAreOtherRegions) {
  const auto a = OpenTransport("inproc:a");
  const auto b = OpenTransport("inproc:b");
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE((*a)->memory().data(), (*b)->memory().data());
  EXPECT_EQ((*a)->memory().size(), std::size_t{16} << 20) << "the default";
}

TEST(InprocTest, RegionGoesWithItsLastMember) {
  const std::size_t before = CountDescriptors();
  {
    const auto first = OpenTransport("inproc:short?size=1M");
    ASSERT_TRUE(first.ok());
    (*first)->memory().back() = std::byte{1};
  }
  const auto second = OpenTransport("inproc:short?size=2M");
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_EQ((*second)->info().ivposition, 1);
  EXPECT_EQ(CountDescriptors(), before + 1);
}

TEST(InprocTest, RingForSomeoneWhoLeftDoesNothing) {
  const auto first = OpenTransport("inproc:left?size=1M");
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(OpenTransport("inproc:left").ok());
  const auto third = OpenTransport("inproc:left");
  ASSERT_TRUE(third.ok());
  (*first)->Ring(2, 0);
  EXPECT_EQ((*third)->info().ivposition, 3) << "an ivposition is never used twice";
  EXPECT_EQ(Drain((*third)->wake_fd()), 0U);
}

TEST(InprocTest, AnotherSizeOfAnOpenNameIsRefused) {
  const auto first = OpenTransport("inproc:sized?size=1M");
  ASSERT_TRUE(first.ok());
  const auto second = OpenTransport("inproc:sized?size=2M");
  EXPECT_EQ(second.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(second.status().message(), ::testing::AllOf(HasSubstr("1 MiB"), HasSubstr("2 MiB")));
  EXPECT_TRUE(OpenTransport("inproc:sized?size=1M").ok());
}

TEST(InprocTest, BadNamesAndOptionsAreInvalid) {
  for (const char* address : {"inproc:", "inproc:?size=1M", "inproc:x?size=", "inproc:x?size=1000",
                              "inproc:x?speed=9", "inproc:x?size=4K"}) {
    EXPECT_EQ(OpenTransport(address).status().code(), StatusCode::kInvalidArgument) << address;
  }
}

TEST(InprocRegionTest, MembersOverGivenMemoryShareIt) {
  std::vector<std::byte> memory(4096);
  const auto region = InprocRegion::Over(memory);
  const auto a = region->Join();
  const auto b = region->Join();
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ((*a)->memory().data(), memory.data());
  EXPECT_EQ((*b)->memory().size(), memory.size());
  (*b)->Ring(1, 0);
  EXPECT_EQ(Drain((*a)->wake_fd()), 1U);
}

TEST(InprocRegionTest, MemberKeepsTheMemory) {
  auto region = InprocRegion::Create(1 << 20, {.max_peers = 4});
  ASSERT_TRUE(region.ok()) << region.status().ToString();
  const auto member = (*region)->Join();
  ASSERT_TRUE(member.ok());
  region->reset();
  EXPECT_TRUE(Region::Attach((*member)->memory()).ok());
}

}  // namespace
}  // namespace ivmq
