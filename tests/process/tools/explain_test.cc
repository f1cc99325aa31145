// ivmq explain, and the ids behind messages.
#include <string>

#include <gmock/gmock.h>

#include "fixture.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ExplainTest : public ToolTest {};

TEST_F(ExplainTest, AnIdShowsWhatItMeansWhyAndWhatToDo) {
  const Outcome shown = RunTool({"explain", "not-formatted"});
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_THAT(shown.out, AllOf(HasSubstr("not-formatted: "), HasSubstr("why"),
                               HasSubstr("remedy  `ivmq format FILE`")));
  EXPECT_EQ(RunTool({"explain", "not-formatted", "--json"}).Json()["id"], "not-formatted");
}

TEST_F(ExplainTest, TheErrorOfACommandCarriesTheIdThatExplainsIt) {
  const Outcome missing = RunTool({"ls", address_});
  EXPECT_THAT(missing.err, HasSubstr(" [no-region-file]\n"));
  std::string line = missing.err;
  line.pop_back();
  EXPECT_EQ(RunTool({"explain", line, "--json"}).Json()["id"], "no-region-file");
  EXPECT_EQ(RunTool({"explain", "[no-region-file]", "--json"}).Json()["id"], "no-region-file");
}

TEST_F(ExplainTest, AMessageNeedNotBeQuoted) {
  EXPECT_EQ(
      RunTool({"explain", "peer", "bob", "did", "not", "answer", "within", "1", "s", "--json"})
          .Json()["id"],
      "no-answer");
}

TEST_F(ExplainTest, ExitStatusesAreExplained) {
  EXPECT_EQ(RunTool({"explain", "4", "--json"}).Json()["id"], "exit-4");
  EXPECT_EQ(RunTool({"explain", "69", "--json"}).Json()["id"], "exit-65-80");
}

TEST_F(ExplainTest, WithoutAWordAllAreListed) {
  EXPECT_THAT(RunTool({"explain"}).out,
              AllOf(HasSubstr("A program cannot open its region\n"), HasSubstr("  name-taken  ")));
  EXPECT_GT(RunTool({"explain", "--json"}).Json()["entries"].size(), 50U);
}

TEST_F(ExplainTest, WhatIsNotKnownNamesWhatIsClose) {
  const Outcome unknown = RunTool({"explain", "firmware", "trouble"});
  EXPECT_EQ(unknown.exit_code, 3);
  EXPECT_THAT(unknown.err, HasSubstr("perhaps: "));
  EXPECT_EQ(RunTool({"explain", "zzz"}).exit_code, 3);
}

}  // namespace
}  // namespace ivmq::testing
