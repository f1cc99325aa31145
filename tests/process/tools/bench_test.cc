#include <csignal>
#include <map>
#include <string>

#include <gmock/gmock.h>

#include "fixture.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class BenchTest : public ToolTest {
 protected:
  BenchTest() { MakeRegion(); }

  // Waits until the peer `name` has counted messages that it received.
  void AwaitReceived(const std::string& name) const {
    for (;;) {
      const auto peers = RunTool({"ls", address_, "--json"}).Json()["peers"];
      for (const auto& peer : peers) {
        if (peer["name"] == name && peer["counters"]["messages_received"] != 0) return;
      }
    }
  }
};

// What must be true of the figures on any machine.
void ExpectFigures(const nlohmann::json& bench) {
  EXPECT_EQ(bench["complete"], true);
  std::map<std::string, int> rows;
  for (const auto& row : bench["figures"]) {
    ++rows[row["what"]];
    if (row.contains("messages_per_second")) {
      EXPECT_GT(row["messages_per_second"], 0);
      continue;
    }
    EXPECT_GT(row["round_trips"], 0);
    EXPECT_GT(row["min_ns"], 0);
    EXPECT_LE(row["min_ns"], row["p50_ns"]);
    EXPECT_LE(row["p50_ns"], row["p99_ns"]);
    EXPECT_LE(row["p99_ns"], row["p999_ns"]);
    EXPECT_LE(row["p999_ns"], row["max_ns"]);
  }
  for (const char* what : {"round trip, polling", "round trip, sleeping", "one way, polling"}) {
    EXPECT_EQ(rows[what], 4) << what;
  }
}

TEST_F(BenchTest, MeasuresWithAPeerThatServes) {
  Tool server({"bench", address_, "--serve", "--name", "bob"});
  server.AwaitError("ready as bob");
  for (int run = 0; run < 2; ++run) {
    ExpectFigures(RunTool({"bench", address_, "bob", "--time", "100ms", "--json"}).Json());
  }
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait().exit_code, 0);
}

TEST_F(BenchTest, BringsItsOwnPeerIfNoneIsNamed) {
  const Outcome bench = RunTool({"bench", address_, "--time", "100ms"});
  EXPECT_EQ(bench.exit_code, 0) << bench.err;
  EXPECT_THAT(bench.out, AllOf(HasSubstr("round trip, sleeping"), HasSubstr("16 KiB"),
                               HasSubstr("p99.9"), HasSubstr("GB/s")));
  EXPECT_TRUE(RunTool({"ls", address_, "--json"}).Json()["peers"].empty());
}

TEST_F(BenchTest, APeerThatEndsMidwayIsNamed) {
  Tool server({"bench", address_, "--serve", "--name", "bob"});
  server.AwaitError("ready as bob");
  Tool bench({"bench", address_, "bob", "--time", "100000s"});
  AwaitReceived("bob");
  server.Signal(SIGKILL);
  (void)server.Wait();
  const Outcome ended = bench.Wait();
  EXPECT_NE(ended.exit_code, 0);
  EXPECT_THAT(ended.err, HasSubstr("bob"));
}

TEST_F(BenchTest, ServeTakesNoPeer) {
  EXPECT_EQ(RunTool({"bench", address_, "bob", "--serve"}).exit_code, 2);
}

}  // namespace
}  // namespace ivmq::testing
