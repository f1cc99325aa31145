// The names of the statically linked tool, which asks no name service: see user_names_static.cc.
#include "user_names.h"

#include <gtest/gtest.h>

namespace ivmq::tool {
namespace {

TEST(UserNamesTest, StandInTheFiles) {
  EXPECT_EQ(UserName(0), "root");
  EXPECT_EQ(GroupName(0), "root");
}

TEST(UserNamesTest, OfGroupsAreFoundAndNumbersAreTheirOwn) {
  EXPECT_EQ(FindGroup("root"), 0U);
  EXPECT_EQ(FindGroup("4000000002"), 4'000'000'002U);
  EXPECT_EQ(FindGroup("no-such-group-here"), std::nullopt);
  EXPECT_EQ(FindGroup(""), std::nullopt);
  EXPECT_FALSE(IsMember(4'000'000'001, 0));
}

TEST(UserNamesTest, AreNumbersWhereThereIsNone) {
  EXPECT_EQ(UserName(4'000'000'001), "4000000001");
  EXPECT_EQ(GroupName(4'000'000'002), "4000000002");
}

}  // namespace
}  // namespace ivmq::tool
