// How a command finds its region.
#include <gmock/gmock.h>

#include "fixture.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class AddressTest : public ToolTest {};

TEST_F(AddressTest, TheEnvironmentIsTheDefault) {
  MakeRegion();
  const auto info = RunTool({"info", "--json"}, "", address_).Json();
  EXPECT_EQ(info["address"], address_);
  EXPECT_EQ(RunTool({"info", "auto", "--json"}, "", address_).Json()["address"], address_);
}

TEST_F(AddressTest, WordsAreThePeersIfNoAddressStandsFirst) {
  MakeRegion();
  Tool receiver({"recv", "--name", "bob", "-n", "1"}, address_);
  receiver.AwaitError("ready");
  EXPECT_EQ(RunTool({"send", "bob", "hello"}, "", address_).exit_code, 0);
  EXPECT_THAT(receiver.Wait().out, HasSubstr("hello"));
}

TEST_F(AddressTest, TheArgumentBeatsTheEnvironment) {
  MakeRegion();
  EXPECT_EQ(RunTool({"info", address_}, "", "shm:/ivmq-there-is-none").exit_code, 0);
  EXPECT_EQ(RunTool({"info", "--address", address_}, "", "shm:/ivmq-there-is-none").exit_code, 0);
}

TEST_F(AddressTest, TwoAddressesAreWrongUsage) {
  const Outcome refused = RunTool({"info", address_, "--address", address_});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("two addresses"));
}

TEST_F(AddressTest, APathInPlaceOfAnAddressIsExplained) {
  const Outcome refused = RunTool({"ls", "/run/ivmq.sock"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("no address"), HasSubstr("unix:/run/ivmq.sock")));
}

TEST_F(AddressTest, AMissingRegionIsNotFound) {
  for (const char* command : {"info", "ls", "dump"}) {
    const Outcome missing = RunTool({command, address_});
    EXPECT_EQ(missing.exit_code, 3) << command;
    EXPECT_THAT(missing.err, HasSubstr(address_)) << command;
    EXPECT_EQ(missing.out, "") << command;
  }
  EXPECT_EQ(RunTool({"recv", address_, "--name", "bob"}).exit_code, 3);
  EXPECT_EQ(RunTool({"send", address_, "bob", "x"}).exit_code, 3);
  EXPECT_EQ(RunTool({"ping", address_, "bob"}).exit_code, 3);
  EXPECT_EQ(RunTool({"forget", address_, "bob"}).exit_code, 3);
  EXPECT_EQ(RunTool({"wait", "unix:" + folder_ / "none"}).exit_code, 3);
}

TEST_F(AddressTest, AForeignFileIsNamedAsSuch) {
  const std::string path = folder_.Write("photo", std::string(1 << 16, 'x'));
  for (const char* command : {"info", "ls"}) {
    const Outcome foreign = RunTool({command, "file:" + path});
    EXPECT_EQ(foreign.exit_code, 1) << command;
    EXPECT_THAT(foreign.err, HasSubstr("ivmq region")) << command;
  }
}

TEST_F(AddressTest, WrongWordsAreWrongUsage) {
  EXPECT_EQ(RunTool({}).exit_code, 2);
  EXPECT_EQ(RunTool({"frobnicate"}).exit_code, 2);
  EXPECT_EQ(RunTool({"ping", address_}).exit_code, 2);
  EXPECT_EQ(RunTool({"send", address_, "bob", "two", "words"}).exit_code, 2);
  EXPECT_EQ(RunTool({"recv", address_}).exit_code, 2);
  EXPECT_EQ(RunTool({"ping", address_, "bob", "--timeout", "soon"}).exit_code, 2);
}

TEST_F(AddressTest, AMistypedCommandOrOptionIsNamed) {
  EXPECT_THAT(RunTool({"sned", address_}).err,
              HasSubstr("'sned' is no command of ivmq; did you mean send?"));
  EXPECT_THAT(RunTool({"topic", "pubb"}).err, HasSubstr("did you mean pub?"));
  EXPECT_THAT(RunTool({"recv", address_, "--nmae", "bob"}).err, HasSubstr("did you mean --name?"));
  EXPECT_EQ(RunTool({"sned"}).exit_code, 2);
}

TEST_F(AddressTest, AnAbstractSocketIsRefused) {
  for (const char* command : {"ls", "doctor"}) {
    const Outcome refused = RunTool({command, "unix:@ivmq"});
    EXPECT_NE(refused.exit_code, 0) << command;
    EXPECT_THAT(refused.out + refused.err, HasSubstr("[abstract-socket]")) << command;
  }
}

TEST_F(AddressTest, ANameThatNoPeerMayHaveIsWrongUsage) {
  MakeRegion();
  for (const char* name : {"", "two words"}) {
    EXPECT_EQ(RunTool({"recv", address_, "--name", name, "--timeout", "0"}).exit_code, 2) << name;
    EXPECT_EQ(RunTool({"send", address_, "bob", "x", "--name", name}).exit_code, 2) << name;
  }
}

TEST_F(AddressTest, EveryCommandHelpsWithAnExample) {
  EXPECT_THAT(RunTool({"--help"}).out, AllOf(HasSubstr("Exit status"), HasSubstr("Example")));
  for (const std::string command : {"format", "info", "ls", "dump", "ping", "send", "recv", "ring",
                                    "wait", "bench", "forget", "doctor", "explain"}) {
    const Outcome help = RunTool({command, "--help"});
    EXPECT_EQ(help.exit_code, 0) << command;
    EXPECT_THAT(help.out, AllOf(HasSubstr("Example:"), HasSubstr("  ivmq " + command))) << command;
  }
}

}  // namespace
}  // namespace ivmq::testing
