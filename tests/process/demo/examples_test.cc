// The examples do what their README says.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"

#include "program.h"
#include "scratch.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;

class ExamplesTest : public ::testing::Test {
 protected:
  ExamplesTest() {
    const Status made = CreateRegionFile(address_, 1 << 20);
    EXPECT_TRUE(made.ok()) << made.ToString();
  }

  Scratch scratch_;
  const std::string address_ = "file:" + scratch_.path() + "/region";
};

TEST_F(ExamplesTest, HelloArrives) {
  Program receiver({EXAMPLE_HELLO_RECEIVER, address_});
  Program sender({EXAMPLE_HELLO_SENDER, address_});
  EXPECT_EQ(sender.Wait(), 0) << sender.output();
  EXPECT_EQ(receiver.Wait(), 0);
  EXPECT_EQ(receiver.output(), "hello, world\n");
}

TEST_F(ExamplesTest, HelloSaysWhatIsWrongWithAnAddress) {
  Program receiver({EXAMPLE_HELLO_RECEIVER, "file:" + scratch_.path() + "/none"});
  EXPECT_EQ(receiver.Wait(), 1);
  EXPECT_THAT(receiver.output(), HasSubstr("NOT_FOUND"));
  EXPECT_THAT(receiver.output(), HasSubstr("/none"));
}

TEST_F(ExamplesTest, TypedMessagesGoThereAndBack) {
  Program typed({EXAMPLE_TYPED_MESSAGES});
  EXPECT_EQ(typed.Wait(), 0);
  EXPECT_EQ(typed.output(), "office: 11.5 C in Bergen\nstation: take a coat\n");
}

TEST_F(ExamplesTest, LinesOfAChatGoBothWays) {
  Program ann({EXAMPLE_EVENT_LOOP, address_, "ann", "bob"});
  // Nobody hears this; then somebody is there.
  ann.Write("anybody?\n");
  ASSERT_TRUE(ann.AwaitOutput("no peer is named 'bob'"));
  Program bob({EXAMPLE_EVENT_LOOP, address_, "bob", "ann"});
  bob.Write("hello ann\nsecond line\n");
  ASSERT_TRUE(ann.AwaitOutput("hello ann\nsecond line\n"));
  ann.Write("hello ");
  ann.Write("bob\n");
  ASSERT_TRUE(bob.AwaitOutput("hello bob\n"));
  ann.CloseInput();
  EXPECT_EQ(ann.Wait(), 0);
  bob.CloseInput();
  EXPECT_EQ(bob.Wait(), 0);
}

}  // namespace
}  // namespace ivmq::testing
