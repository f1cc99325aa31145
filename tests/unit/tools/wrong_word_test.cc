#include "cli/wrong_word.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ivmq::cli {
namespace {

TEST(ClosestToTest, ASlipFindsTheWord) {
  const std::vector<std::string> words{"send", "recv", "topic", "doctor", "server"};
  EXPECT_EQ(ClosestTo("sned", words), "send");
  EXPECT_EQ(ClosestTo("rec", words), "recv");
  EXPECT_EQ(ClosestTo("topics", words), "topic");
  EXPECT_EQ(ClosestTo("docktor", words), "doctor");
  EXPECT_EQ(ClosestTo("sevrer", words), "server");
}

TEST(ClosestToTest, AnotherWordFindsNone) {
  const std::vector<std::string> words{"send", "ls"};
  EXPECT_EQ(ClosestTo("frobnicate", words), "");
  EXPECT_EQ(ClosestTo("", words), "");
  EXPECT_EQ(ClosestTo("xy", words), "") << "both letters of ls are others";
}

class WrongWordTest : public ::testing::Test {
 protected:
  WrongWordTest() {
    app_.require_subcommand(1);
    topic_->require_subcommand(1);
    topic_->add_subcommand("pub")->add_option("--name", name_)->required();
  }
  std::string ErrorOf(const std::string& words) {
    try {
      app_.parse(words);
    } catch (const CLI::ParseError& error) {
      return UsageError(app_, error);
    }
    return "";
  }

  std::string name_;
  CLI::App app_{"", "tool"};
  CLI::App* topic_ = app_.add_subcommand("topic");
};

TEST_F(WrongWordTest, TheWordItsCommandAndWhatWasMeantAreNamed) {
  EXPECT_EQ(ErrorOf("tpic"), "'tpic' is no command of tool; did you mean topic? See `tool --help`");
  EXPECT_EQ(ErrorOf("topic pubb"),
            "'pubb' is no command of tool topic; did you mean pub? See `tool topic --help`");
  EXPECT_EQ(ErrorOf("topic pub --nmae=x"),
            "'--nmae' is no option of tool topic pub; did you mean --name? See `tool topic pub "
            "--help`");
  EXPECT_EQ(ErrorOf("--wrong"), "'--wrong' is no option of tool; see `tool --help`");
}

TEST_F(WrongWordTest, OtherErrorsNameTheirCommand) {
  EXPECT_EQ(ErrorOf("topic"), "no command given; see `tool topic --help`");
  EXPECT_EQ(ErrorOf("topic pub"), "topic pub: --name is required; see `tool topic pub --help`");
}

}  // namespace
}  // namespace ivmq::cli
