#include <algorithm>
#include <csignal>
#include <string>

#include <gmock/gmock.h>

#include "fixture.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class PingTest : public ToolTest {
 protected:
  PingTest() { MakeRegion(); }

  // Waits until the peer `name` has counted messages that it received.
  void AwaitReceived(const std::string& name) const {
    for (;;) {
      const auto peers = RunTool({"ls", address_, "--json"}).Json()["peers"];
      const auto peer = std::find_if(peers.begin(), peers.end(),
                                     [&](const auto& entry) { return entry["name"] == name; });
      ASSERT_NE(peer, peers.end()) << name << " has left";
      if ((*peer)["counters"]["messages_received"] != 0) return;
    }
  }
};

TEST_F(PingTest, PrintsPercentilesOfTheRoundTrips) {
  Tool echo({"recv", address_, "--name", "bob", "--echo"});
  echo.AwaitError("ready");
  const Outcome ping = RunTool({"ping", address_, "bob", "-c", "100", "--timeout", "30"});
  EXPECT_EQ(ping.exit_code, 0) << ping.err;
  EXPECT_THAT(ping.out, AllOf(StartsWith("bob: 100 round trips of 64 bytes: min "),
                              HasSubstr("p50 "), HasSubstr("p99 "), HasSubstr("max ")));
}

TEST_F(PingTest, JsonHasOrderedNanoseconds) {
  Tool echo({"recv", address_, "--name", "bob", "--echo"});
  echo.AwaitError("ready");
  // Larger than a ring, so in fragments.
  const auto ping =
      RunTool({"ping", address_, "bob", "-c", "20", "--size", "20000", "--timeout", "30", "--json"})
          .Json();
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
  Tool ping({"ping", address_, "bob", "-c", "0", "--timeout", "30"});
  AwaitReceived("bob");
  echo.Signal(SIGKILL);
  const Outcome ended = ping.Wait();
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_THAT(ended.out, HasSubstr("p99"));
  EXPECT_THAT(ended.err, AllOf(HasSubstr("bob"), HasSubstr("left the region")));
}

TEST_F(PingTest, InterruptedItPrintsStatistics) {
  Tool echo({"recv", address_, "--name", "bob", "--echo"});
  echo.AwaitError("ready");
  Tool ping({"ping", address_, "bob", "-c", "0", "--timeout", "30"});
  AwaitReceived("bob");
  ping.Signal(SIGINT);
  const Outcome ended = ping.Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, HasSubstr("p50"));

  echo.Signal(SIGINT);
  const Outcome echoed = echo.Wait();
  EXPECT_EQ(echoed.exit_code, 0);
  EXPECT_EQ(echoed.out, "");
  EXPECT_THAT(echoed.err, HasSubstr("message"));
}

}  // namespace
}  // namespace ivmq::testing
