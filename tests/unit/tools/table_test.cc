#include "table.h"

#include <gtest/gtest.h>

namespace ivmq::tool {
namespace {

Table SomeTable() {
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"NAME"}, {"PID", kRight, 2}, {"LIFE", kRight, 1}, {"NOTES"}});
  table.AddRow({"bob", "1234567", "1", "durable, no connection to ivmqd"});
  return table;
}

TEST(TableTest, WithRoomEachRowIsALine) {
  EXPECT_EQ(SomeTable().Render(Table::kAnyWidth),
            "NAME      PID  LIFE  NOTES\n"
            "bob   1234567     1  durable, no connection to ivmqd\n");
}

TEST(TableTest, LongTextGoesOnInTheNextLine) {
  EXPECT_EQ(SomeTable().Render(40),
            "NAME      PID  LIFE  NOTES\n"
            "bob   1234567     1  durable, no\n"
            "                     connection to ivmqd\n");
}

TEST(TableTest, WhereThatIsNotEnoughTheColumnsOfTheHighestRanksAreLeftOut) {
  EXPECT_EQ(SomeTable().Render(26),
            "NAME  LIFE  NOTES\n"
            "bob      1  durable, no\n"
            "            connection to\n"
            "            ivmqd\n"
            "(no room for PID; --json\n"
            "has all)\n");
}

TEST(TableTest, TextWithoutBlanksIsCutBetweenCharacters) {
  Table table({{""}, {""}});
  table.AddRow({"a", "ééééééééééééééé"});
  EXPECT_EQ(table.Render(15), "a  éééééééééééé\n   ééé\n");
}

}  // namespace
}  // namespace ivmq::tool
