#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/proto.h"

#include "test.pb.h"

namespace ivmq::test {
namespace {

using ::testing::HasSubstr;

TEST(TypeIdsTest, FindsWhatWasAdded) {
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Sample>(7).ok());
  ASSERT_TRUE(ids.Add<Empty>(0).ok());
  EXPECT_EQ(ids.IdOf(*Sample::descriptor()), 7U);
  EXPECT_EQ(ids.IdOf(*Empty::descriptor()), 0U);
  EXPECT_EQ(ids.IdOf(*Blob::descriptor()), std::nullopt);
  EXPECT_EQ(ids.TypeOf(7), Sample::descriptor());
  EXPECT_EQ(ids.TypeOf(0), Empty::descriptor());
  EXPECT_EQ(ids.TypeOf(8), nullptr);
}

TEST(TypeIdsTest, AnIdOfAnotherTypeIsRefused) {
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Sample>(7).ok());
  const Status status = ids.Add<Blob>(7);
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(status.message(), HasSubstr("ivmq.test.Sample"));
  EXPECT_THAT(status.message(), HasSubstr("ivmq.test.Blob"));
  EXPECT_EQ(ids.TypeOf(7), Sample::descriptor());
  EXPECT_EQ(ids.IdOf(*Blob::descriptor()), std::nullopt);
}

TEST(TypeIdsTest, ASecondIdOfATypeIsRefused) {
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Sample>(7).ok());
  const Status status = ids.Add<Sample>(8);
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(status.message(), HasSubstr("7"));
  EXPECT_EQ(ids.TypeOf(8), nullptr);
}

TEST(TypeIdsTest, TheSamePairAgainChangesNothing) {
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Sample>(7).ok());
  EXPECT_TRUE(ids.Add<Sample>(7).ok());
  EXPECT_EQ(ids.IdOf(*Sample::descriptor()), 7U);
}

}  // namespace
}  // namespace ivmq::test
