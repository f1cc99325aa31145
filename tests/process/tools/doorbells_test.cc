// ring, wait and ls --vectors, with ivmqd and with a server that knows nothing of ivmq.
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <string>

#include <gmock/gmock.h>

#include "fake_ivshmem_server.h"
#include "fixture.h"
#include "server_process.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class DoorbellsTest : public ToolTest {
 protected:
  DoorbellsTest()
      : server_(folder_ / "sock", {"--size", "1M", "--vectors", "3"}),
        unix_("unix:" + server_.socket()) {
    server_.AwaitReady();
  }

  // The id in "ready as client 3, ...".
  static std::string IdOf(Tool& waiter) {
    const std::string line = waiter.AwaitError("ready as client ");
    const std::size_t start = line.find("client ") + 7;
    return line.substr(start, line.find(',', start) - start);
  }

  ServerProcess server_;
  std::string unix_;
};

TEST_F(DoorbellsTest, AWaiterHearsTheVectorThatWasRung) {
  Tool waiter({"wait", unix_});
  const std::string id = IdOf(waiter);
  const Outcome ring = RunTool({"ring", unix_, id, "2"});
  EXPECT_EQ(ring.exit_code, 0) << ring.err;
  EXPECT_EQ(ring.out, "rang vector 2 of client " + id + "\n");
  const Outcome rung = waiter.Wait();
  EXPECT_EQ(rung.exit_code, 0);
  EXPECT_EQ(rung.out, "vector 2 rung\n");
}

TEST_F(DoorbellsTest, OneVectorMayBeWaitedFor) {
  Tool waiter({"wait", unix_, "1", "--json"});
  const std::string id = IdOf(waiter);
  ASSERT_EQ(RunTool({"ring", unix_, id}).exit_code, 0);  // vector 0
  ASSERT_EQ(RunTool({"ring", unix_, id, "1"}).exit_code, 0);
  const auto rung = nlohmann::json::parse(waiter.AwaitOutput("{"));
  EXPECT_EQ(rung["vector"], 1);
  EXPECT_EQ(rung["id"].dump(), id);
  EXPECT_EQ(waiter.Wait().exit_code, 0);
}

TEST_F(DoorbellsTest, AllVectorsOfAllOthersCanBeRung) {
  Tool first({"wait", unix_, "-n", "3"});
  Tool second({"wait", unix_, "-n", "3"});
  (void)IdOf(first);
  (void)IdOf(second);
  const auto ring = RunTool({"ring", unix_, "all", "all", "--json"}).Json();
  EXPECT_EQ(ring["rung"].size(), 6U);
  for (Tool* waiter : {&first, &second}) {
    const Outcome rung = waiter->Wait();
    EXPECT_EQ(rung.exit_code, 0);
    EXPECT_THAT(rung.out,
                AllOf(HasSubstr("vector 0 "), HasSubstr("vector 1 "), HasSubstr("vector 2 ")));
  }
}

TEST_F(DoorbellsTest, APeerIsRungByItsName) {
  Tool receiver({"recv", unix_, "--name", "bob"});
  receiver.AwaitError("ready");
  const auto peers = RunTool({"ls", unix_, "--json"}).Json()["peers"];
  ASSERT_EQ(peers.size(), 1U);
  const auto ring = RunTool({"ring", unix_, "bob", "--json"}).Json();
  ASSERT_EQ(ring["rung"].size(), 1U);
  EXPECT_EQ(ring["rung"][0]["id"], peers[0]["ivposition"]);
  EXPECT_EQ(ring["rung"][0]["vector"], peers[0]["vector"]);
}

TEST_F(DoorbellsTest, UnknownClientsVectorsAndNamesAreNotFound) {
  Tool waiter({"wait", unix_});
  const std::string id = IdOf(waiter);
  EXPECT_EQ(RunTool({"ring", unix_, "4711"}).exit_code, 3);
  EXPECT_EQ(RunTool({"ring", unix_, id, "3"}).exit_code, 3);
  EXPECT_EQ(RunTool({"ring", unix_, "bob"}).exit_code, 3);
  EXPECT_EQ(RunTool({"ring", unix_, id, "first"}).exit_code, 2);
  EXPECT_EQ(RunTool({"wait", unix_, "3"}).exit_code, 2);
}

TEST_F(DoorbellsTest, VectorsOfEachClientAreListed) {
  Tool receiver({"recv", unix_, "--name", "bob"});
  receiver.AwaitError("ready");
  const auto list = RunTool({"ls", unix_, "--vectors", "--json"}).Json();
  ASSERT_EQ(list["clients"].size(), 2U);
  for (const auto& client : list["clients"]) {
    EXPECT_EQ(client["vectors"], 3);
    if (client["id"] != list["own_id"]) {
      EXPECT_EQ(client["peers"][0], "bob");
    }
  }
  EXPECT_THAT(RunTool({"ls", unix_, "--vectors"}).out, AllOf(HasSubstr("0-2"), HasSubstr("bob")));
}

TEST_F(DoorbellsTest, LookingTakesNoId) {
  for (const char* command : {"info", "ls", "dump"}) {
    EXPECT_EQ(RunTool({command, unix_}).exit_code, 0) << command;
  }
  Tool waiter({"wait", unix_});
  EXPECT_EQ(IdOf(waiter), "1");
}

TEST_F(DoorbellsTest, InfoNamesTheServer) {
  const auto info = RunTool({"info", unix_, "--json"}).Json();
  EXPECT_EQ(info["server"]["pid"], server_.pid());
  EXPECT_EQ(info["server"]["vectors"], 3);
  EXPECT_EQ(info["server"]["epoch"], 1);
}

TEST_F(DoorbellsTest, NobodyRangInTime) {
  const Outcome silent = RunTool({"wait", unix_, "--timeout", "10ms"});
  EXPECT_EQ(silent.exit_code, 4);
  EXPECT_THAT(silent.err, HasSubstr("nobody rang"));
}

TEST_F(DoorbellsTest, AnInterruptedWaiterPrintsItsCount) {
  Tool waiter({"wait", unix_, "-n", "0"});
  const std::string id = IdOf(waiter);
  ASSERT_EQ(RunTool({"ring", unix_, id}).exit_code, 0);
  waiter.AwaitOutput("vector 0 rung");
  waiter.Signal(SIGINT);
  const Outcome ended = waiter.Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.err, HasSubstr("1 ring"));
}

TEST_F(DoorbellsTest, AWaiterOutlivesItsServer) {
  Tool waiter({"wait", unix_});
  (void)IdOf(waiter);
  server_.Kill();
  waiter.AwaitError("still waiting");
  waiter.Signal(SIGINT);
  EXPECT_EQ(waiter.Wait().exit_code, 130);
}

TEST_F(DoorbellsTest, MessagesWakeASleepingPeer) {
  Tool echo({"recv", unix_, "--name", "bob", "--echo", "--spin", "0"});
  echo.AwaitError("ready");
  const auto ping =
      RunTool({"ping", unix_, "bob", "-c", "50", "--spin", "0", "--timeout", "30", "--json"})
          .Json();
  EXPECT_EQ(ping["round_trips"], 50);
  // Counters appear with the next heartbeat.
  nlohmann::json counters;
  do {
    counters = RunTool({"ls", unix_, "--json"}).Json()["peers"][0]["counters"];
  } while (counters["messages_received"] != 50);
  EXPECT_GT(counters["wakeups"], 0);
  EXPECT_EQ(counters["net_finds"], 0);
}

// A server whose memory is no ivmq region.
class ForeignServerTest : public ToolTest {};

TEST_F(ForeignServerTest, ADoorbellIsRung) {
  const UniqueFd memory = MakeMemory(1 << 16);
  const UniqueFd own = MakeEventfd();
  const UniqueFd other = MakeEventfd();
  FakeIvshmemServer server([&](const Conversation& client) {
    client.Send(0);
    client.Send(7);
    client.Send(-1, memory.get());
    client.Send(2, other.get());
    client.Send(7, own.get());
  });
  EXPECT_EQ(RunTool({"ring", "unix:" + server.path(), "2"}).exit_code, 0);
  EXPECT_EQ(Drain(other.get()), 1U);
}

TEST_F(ForeignServerTest, AWaiterIsWoken) {
  const UniqueFd memory = MakeMemory(1 << 16);
  const UniqueFd first = MakeEventfd();
  const UniqueFd second = MakeEventfd();
  FakeIvshmemServer server([&](const Conversation& client) {
    client.Greet(7, memory.get(), {first.get(), second.get()});
  });
  Tool waiter({"wait", "unix:" + server.path()});
  waiter.AwaitError("ready as client 7, 2 vectors");
  const std::uint64_t twice = 2;
  ASSERT_EQ(write(second.get(), &twice, sizeof(twice)), 8);
  EXPECT_EQ(waiter.Wait().out, "vector 1 rung 2 times\n");
}

TEST_F(ForeignServerTest, ARefusalIsNamed) {
  FakeIvshmemServer server([](const Conversation& client) { client.Send(1); });
  const Outcome refused = RunTool({"wait", "unix:" + server.path()});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("version 1"));
}

TEST_F(ForeignServerTest, ARegionWithoutAServerHasNoDoorbells) {
  MakeRegion();
  for (const char* command : {"wait", "ring"}) {
    const Outcome refused = command == std::string("wait") ? RunTool({"wait", address_})
                                                           : RunTool({"ring", address_, "1"});
    EXPECT_EQ(refused.exit_code, 1) << command;
    EXPECT_THAT(refused.err, HasSubstr(address_)) << command;
  }
}

}  // namespace
}  // namespace ivmq::testing
