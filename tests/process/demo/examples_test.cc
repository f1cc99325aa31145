// The examples do what their README says.
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"

#include "support/program.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class ExamplesTest : public ::testing::Test {
 protected:
  ExamplesTest() {
    const Status made = CreateRegionFile(address_, 1 << 20);
    EXPECT_TRUE(made.ok()) << made.ToString();
  }

  const TempFolder folder_;
  const std::string address_ = "file:" + folder_ / "region";
};

TEST_F(ExamplesTest, HelloArrives) {
  Program receiver({EXAMPLE_HELLO_RECEIVER, address_});
  Program sender({EXAMPLE_HELLO_SENDER, address_});
  EXPECT_EQ(sender.Wait(), 0) << sender.output();
  EXPECT_EQ(receiver.Wait(), 0);
  EXPECT_EQ(receiver.output(), "hello, world\n");
}

TEST_F(ExamplesTest, HelloSaysWhatIsWrongWithAnAddress) {
  Program receiver({EXAMPLE_HELLO_RECEIVER, "file:" + folder_ / "none"});
  EXPECT_EQ(receiver.Wait(), 1);
  EXPECT_THAT(receiver.output(), HasSubstr("NOT_FOUND"));
  EXPECT_THAT(receiver.output(), HasSubstr("/none"));
}

TEST_F(ExamplesTest, TypedMessagesGoThereAndBack) {
  Program typed({EXAMPLE_TYPED_MESSAGES});
  EXPECT_EQ(typed.Wait(), 0);
  EXPECT_EQ(typed.output(), "office: 11.5 C in Bergen\nstation: take a coat\n");
}

TEST_F(ExamplesTest, ACallIsAnsweredByName) {
  Program client({EXAMPLE_RPC_CLIENT, address_});  // waits for the server
  Program server({EXAMPLE_RPC_SERVER, address_});
  EXPECT_EQ(client.Wait(), 0);
  EXPECT_EQ(client.output(), "hello, world\n");
  EXPECT_TRUE(server.AwaitOutput("client calls\n"));
}

TEST_F(ExamplesTest, StreamsGoInEachDirection) {
  Program streaming({EXAMPLE_STREAMING});
  EXPECT_EQ(streaming.Wait(), 0);
  EXPECT_EQ(streaming.output(),
            "watched 1000 readings\n"
            "the mean of 4 readings is 1.5\n"
            "0 smoothed is 0\n8 smoothed is 4\n16 smoothed is 10\n"
            "then: CANCELLED\n");
}

TEST_F(ExamplesTest, LinesOfAChatGoBothWays) {
  Program ann({EXAMPLE_EPOLL, address_, "ann", "bob"});
  // Nobody hears this; then somebody is there.
  ann.WriteInput("anybody?\n");
  ASSERT_TRUE(ann.AwaitOutput("not heard: peer 'bob'"));
  Program bob({EXAMPLE_EPOLL, address_, "bob", "ann"});
  bob.WriteInput("hello ann\nsecond line\n");
  ASSERT_TRUE(ann.AwaitOutput("bob: hello ann\nbob: second line\n"));
  ann.WriteInput("hello ");
  ann.WriteInput("bob\n");
  ASSERT_TRUE(bob.AwaitOutput("ann: hello bob\n"));
  ann.CloseInput();
  EXPECT_EQ(ann.Wait(), 0);
  bob.CloseInput();
  EXPECT_EQ(bob.Wait(), 0);
}

TEST_F(ExamplesTest, CoroutinesCallAndAnswer) {
  Program coroutine({EXAMPLE_COROUTINE});
  EXPECT_EQ(coroutine.Wait(), 0);
  EXPECT_EQ(coroutine.output(),
            "hat 300\ngloves 600\nboots 500\nthat is all\n"
            "hat 300\ngloves 600\nthere are no yetis\n");
}

TEST_F(ExamplesTest, ViewersOfACameraGetWhatTheyCanTake) {
  Program topics({EXAMPLE_TOPICS, address_, "2000", "40", "200"});
  EXPECT_EQ(topics.Wait(), 0);
  std::istringstream lines(topics.output());
  std::string line;
  std::getline(lines, line);
  EXPECT_THAT(line, StartsWith("40 frames of 2000 bytes"));
  std::getline(lines, line);  // titles
  for (const char* const expected : {"quick", "slow", "late"}) {
    std::string name;
    int frames = 0;
    int missed = 0;
    int damaged = -1;
    std::getline(lines, line);
    std::istringstream(line) >> name >> frames >> missed >> damaged;
    EXPECT_EQ(name, expected);
    EXPECT_GT(frames, 0) << line;
    EXPECT_EQ(damaged, 0) << line;
    // Each has got the last frame; one came late.
    EXPECT_TRUE(frames + missed == 40 || name == "late") << line;
  }
  std::getline(lines, line);
  EXPECT_THAT(line, HasSubstr(" of the history "));
}

constexpr const char* kPorted =
    "status 3: who is there?\nhello, world\n1: hello, world\n2: hello, world\n";

TEST_F(ExamplesTest, APortedServiceSaysTheSame) {
  Program server({EXAMPLE_PORTING_IVMQ_SERVER, address_});
  ASSERT_TRUE(server.AwaitOutput("serving"));
  Program client({EXAMPLE_PORTING_IVMQ_CLIENT, address_});
  EXPECT_EQ(client.Wait(), 0);
  EXPECT_EQ(client.output(), kPorted);
}

TEST_F(ExamplesTest, APortOfIncludesAndNamespaceSaysTheSame) {
  const std::string target = "ivmq://" + address_ + "/greeter";
  Program server({EXAMPLE_PORTING_COMPAT_SERVER, target});
  ASSERT_TRUE(server.AwaitOutput("serving"));
  Program client({EXAMPLE_PORTING_COMPAT_CLIENT, target});
  EXPECT_EQ(client.Wait(), 0);
  EXPECT_EQ(client.output(), kPorted);
}

// The lines of a source without comments, includes and the name of the library.
std::vector<std::string> Code(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.starts_with("//") || line.starts_with("#include ") ||
        line.starts_with("namespace rpc = ")) {
      continue;
    }
    lines.push_back(line);
  }
  return lines;
}

TEST_F(ExamplesTest, ThatPortChangesIncludesAndNamespaceOnly) {
  const std::string sources = PORTING_SOURCES;
  for (const char* const file : {"/client.cc", "/server.cc"}) {
    const std::vector<std::string> code = Code(sources + "/grpc" + file);
    EXPECT_GT(code.size(), 30U);
    EXPECT_EQ(code, Code(sources + "/compat" + file));
  }
}

#ifdef EXAMPLE_PORTING_GRPC_SERVER
TEST_F(ExamplesTest, TheServiceThatIsPortedSaysTheSame) {
  const std::string address = "unix:" + folder_ / "socket";
  Program server({EXAMPLE_PORTING_GRPC_SERVER, address});
  ASSERT_TRUE(server.AwaitOutput("serving"));
  Program client({EXAMPLE_PORTING_GRPC_CLIENT, address});
  EXPECT_EQ(client.Wait(), 0);
  EXPECT_EQ(client.output(), kPorted);
}
#endif

}  // namespace
}  // namespace ivmq::testing
