#include <csignal>

#include <gmock/gmock.h>

#include "scratch.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class PingTest : public ToolTest {
 protected:
  PingTest() { MakeRegion(); }
};

TEST_F(PingTest, PrintsPercentilesOfTheRoundTrips) {
  Tool echo({"recv", address_, "--name", "bob", "--echo"});
  echo.AwaitError("ready");
  const Outcome ping = RunTool({"ping", address_, "bob", "-c", "100"});
  EXPECT_EQ(ping.exit_code, 0) << ping.err;
  EXPECT_THAT(ping.out, AllOf(StartsWith("bob: 100 round trips of 64 bytes: min "),
                              HasSubstr("p50 "), HasSubstr("p99 "), HasSubstr("max ")));
}

TEST_F(PingTest, JsonHasOrderedNanoseconds) {
  Tool echo({"recv", address_, "--name", "bob", "--echo"});
  echo.AwaitError("ready");
  // Larger than a ring, so in fragments.
  const auto ping =
      RunTool({"ping", address_, "bob", "-c", "20", "--size", "20000", "--json"}).Json();
  EXPECT_EQ(ping["peer"], "bob");
  EXPECT_EQ(ping["size"], 20000);
  EXPECT_EQ(ping["round_trips"], 20);
  EXPECT_LE(ping["min_ns"], ping["p50_ns"]);
  EXPECT_LE(ping["p50_ns"], ping["p99_ns"]);
  EXPECT_LE(ping["p99_ns"], ping["max_ns"]);
  EXPECT_GT(ping["min_ns"], 0);
}

TEST_F(PingTest, AMissingPeerIsNotFound) {
  const Outcome missing = RunTool({"ping", address_, "bob"});
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.err, HasSubstr("bob"));
}

TEST_F(PingTest, APeerThatIsAwayCannotAnswer) {
  Tool receiver({"recv", address_, "--name", "bob", "--durable"});
  receiver.AwaitError("ready");
  receiver.Signal(SIGTERM);
  ASSERT_EQ(receiver.Wait().exit_code, 0);
  const Outcome away = RunTool({"ping", address_, "bob"});
  EXPECT_EQ(away.exit_code, 3);
  EXPECT_THAT(away.err, HasSubstr("away"));
}

TEST_F(PingTest, APeerThatDoesNotEchoIsATimeout) {
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  const Outcome silent = RunTool({"ping", address_, "bob", "--timeout", "50ms"});
  EXPECT_EQ(silent.exit_code, 4);
  EXPECT_THAT(silent.err, AllOf(HasSubstr("did not answer within 50 ms"), HasSubstr("--echo")));
  receiver.AwaitOutput("type 1735289200");
}

TEST_F(PingTest, APeerKilledMidwayEndsItWithStatistics) {
  Tool echo({"recv", address_, "--name", "bob", "--echo"});
  echo.AwaitError("ready");
  Tool ping({"ping", address_, "bob", "-c", "0", "--timeout", "100ms", "--name", "alice"});
  // The first answers are under way once it is a peer with counted messages.
  for (std::uint64_t received = 0; received == 0;) {
    const Outcome ls = RunTool({"ls", address_, "--json"});
    ASSERT_EQ(ls.exit_code, 0);
    for (const auto& peer : ls.Json()["peers"]) {
      if (peer["name"] == "alice") received = peer["counters"]["messages_received"];
    }
  }
  echo.Signal(SIGKILL);
  const Outcome ended = ping.Wait();
  EXPECT_THAT(ended.exit_code, ::testing::AnyOf(1, 4));
  EXPECT_THAT(ended.out, HasSubstr("p99"));
  EXPECT_THAT(ended.err, HasSubstr("bob"));
}

TEST_F(PingTest, InterruptedItPrintsStatistics) {
  Tool echo({"recv", address_, "--name", "bob", "--echo"});
  echo.AwaitError("ready");
  Tool ping({"ping", address_, "bob", "-c", "0", "--name", "alice"});
  for (std::uint64_t received = 0; received == 0;) {
    for (const auto& peer : RunTool({"ls", address_, "--json"}).Json()["peers"]) {
      if (peer["name"] == "alice") received = peer["counters"]["messages_received"];
    }
  }
  ping.Signal(SIGINT);
  const Outcome ended = ping.Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, HasSubstr("p50"));

  echo.Signal(SIGINT);
  const Outcome echoed = echo.Wait();
  EXPECT_EQ(echoed.exit_code, 0);
  EXPECT_EQ(echoed.out, "");
  EXPECT_THAT(echoed.err, HasSubstr("messages"));
}

}  // namespace
}  // namespace ivmq::testing
