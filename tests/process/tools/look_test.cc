// info, ls and dump: they only look.
#include <cctype>
#include <csignal>
#include <cstddef>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "ivmq/internal/layout.h"

#include "fixture.h"
#include "server_process.h"
#include "terminal.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LookTest : public ToolTest {
 protected:
  LookTest() { MakeRegion(); }
};

// All keys, at whatever depth.
void CollectKeys(const nlohmann::json& json, std::set<std::string>* keys) {
  for (const auto& [key, value] : json.items()) {
    if (json.is_object()) keys->insert(key);
    if (value.is_structured()) CollectKeys(value, keys);
  }
}

// The key that a title stands for.
std::string KeyOf(std::string title) {
  for (char& c : title) c = c == ' ' ? '_' : static_cast<char>(std::tolower(c));
  return title;
}

// The words of a line between which there are at least two blanks.
std::vector<std::string> Cells(const std::string& line) {
  const std::regex gap(" {2,}");
  return {std::sregex_token_iterator(line.begin(), line.end(), gap, -1),
          std::sregex_token_iterator()};
}

TEST_F(LookTest, TitlesAreTheKeysOfJson) {
  ServerProcess server(folder_ / "socket", {"--size", "1M"});
  server.AwaitReady();
  const std::string address = "unix:" + server.socket();
  Tool receiver({"recv", address, "--name", "bob"});
  receiver.AwaitError("ready");
  Tool subscriber({"topic", "echo", address, "x/*"});
  subscriber.AwaitError("ready");
  const std::vector<std::vector<std::string>> commands{{"ls", address},
                                                       {"ls", address, "--vectors"},
                                                       {"topic", "list", address},
                                                       {"server", "clients", address},
                                                       {"info", address}};
  for (std::vector<std::string> command : commands) {
    const std::string text = RunTool(command).out;
    const std::string name = command[0];
    command.emplace_back("--json");
    std::set<std::string> keys;
    CollectKeys(RunTool(command).Json(), &keys);
    std::istringstream lines(text);
    std::vector<std::string> titles;
    for (std::string line; std::getline(lines, line);) {
      const std::vector<std::string> cells = Cells(line);
      if (name == "info") {
        titles.push_back(cells.front());
      } else if (titles.empty()) {
        titles = cells;
      }
    }
    EXPECT_GT(titles.size(), 2U) << text;
    for (const std::string& title : titles) {
      EXPECT_THAT(keys, ::testing::Contains(KeyOf(title))) << text;
    }
  }
}

TEST_F(LookTest, TimesAreOfRfc3339) {
  const std::string time = RunTool({"info", address_, "--json"}).Json()["formatted_at"];
  EXPECT_TRUE(std::regex_match(time, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"))) << time;
  EXPECT_THAT(RunTool({"info", address_}).out, HasSubstr(time));
}

TEST_F(LookTest, ATableFitsTheTerminal) {
  Tool receiver({"recv", address_, "--name", std::string(63, 'b'), "--durable"});
  receiver.AwaitError("ready");
  for (const std::size_t columns : {60U, 80U, 200U}) {
    Terminal terminal({"ls", address_}, columns);
    EXPECT_EQ(terminal.Wait(), 0);
    EXPECT_FALSE(terminal.screen().overflowed()) << terminal.screen().text();
    EXPECT_THAT(terminal.screen().text(), ::testing::AllOf(HasSubstr("bbb"), HasSubstr("durable")));
  }
}

TEST_F(LookTest, LsShowsAPeerWithItsHeartbeat) {
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  const auto peers = RunTool({"ls", address_, "--json"}).Json()["peers"];
  ASSERT_EQ(peers.size(), 1U);
  EXPECT_EQ(peers[0]["name"], "bob");
  EXPECT_EQ(peers[0]["state"], "live");
  EXPECT_EQ(peers[0]["durable"], false);
  EXPECT_EQ(peers[0]["pid"], receiver.pid());
  EXPECT_EQ(peers[0]["heartbeat"], "moving");
  EXPECT_TRUE(peers[0]["ivposition"].is_null());
  EXPECT_EQ(peers[0]["counters"]["messages_received"], 0);
}

TEST_F(LookTest, LsShowsThatAStoppedPeerStandsStill) {
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  receiver.Freeze();
  const auto peers = RunTool({"ls", address_, "--json"}).Json()["peers"];
  EXPECT_EQ(peers[0]["heartbeat"], "still");
  EXPECT_THAT(RunTool({"ls", address_}).out, HasSubstr("still"));
}

TEST_F(LookTest, LsAlignsItsColumns) {
  Tool first({"recv", address_, "--name", "a-rather-long-name"});
  first.AwaitError("ready");
  Tool second({"recv", address_, "--name", "b"});
  second.AwaitError("ready");
  const std::string out = RunTool({"ls", address_}).out;
  const std::size_t column = out.find("STATE");
  ASSERT_NE(column, std::string::npos) << out;
  std::size_t lines = 0;
  for (std::size_t start = out.find('\n') + 1; start < out.size();
       start = out.find('\n', start) + 1) {
    EXPECT_EQ(out.substr(start + column, 4), "live") << out;
    ++lines;
  }
  EXPECT_EQ(lines, 2U);
}

TEST_F(LookTest, AnEmptyRegionHasNoPeers) {
  const Outcome empty = RunTool({"ls", address_});
  EXPECT_EQ(empty.exit_code, 0);
  EXPECT_EQ(empty.out, "");
  EXPECT_THAT(empty.err, HasSubstr("no peers"));
  EXPECT_TRUE(RunTool({"ls", address_, "--json"}).Json()["peers"].empty());
}

TEST_F(LookTest, LookingChangesNothing) {
  const std::string before = ReadWholeFile("/dev/shm" + name_);
  for (const char* command : {"info", "ls", "dump"}) {
    EXPECT_EQ(RunTool({command, address_}).exit_code, 0) << command;
  }
  EXPECT_TRUE(ReadWholeFile("/dev/shm" + name_) == before);
}

TEST_F(LookTest, AHostileNameDoesNotReachTheTerminal) {
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  const auto info = RunTool({"info", address_, "--json"}).Json();
  const std::uint64_t slot = info["peer_table_offset"].get<std::uint64_t>();
  // The owner would mend it.
  receiver.Freeze();
  // An escape sequence, a line end and a byte that is no UTF-8.
  Overwrite(slot + offsetof(layout::PeerSlot, name), "b\x1b[2J\n\xff");
  for (const char* command : {"ls", "dump"}) {
    const Outcome shown = RunTool({command, address_});
    EXPECT_THAT(shown.out, HasSubstr("[2J")) << command;
    EXPECT_THAT(shown.out, HasSubstr("\\xff")) << command;
    EXPECT_THAT(shown.out, Not(HasSubstr("[2J\n"))) << command;
    EXPECT_THAT(shown.out, Not(HasSubstr("\x1b"))) << command;
    const Outcome json = RunTool({command, address_, "--json"});
    EXPECT_FALSE(json.Json().is_null()) << command;
    EXPECT_THAT(json.out, Not(HasSubstr("\x1b"))) << command;
  }
}

TEST_F(LookTest, InfoCountsPeersAndRings) {
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  Tool sender({"send", address_, "bob"});
  sender.WriteInput("hello\n");
  receiver.AwaitOutput("hello");
  const auto info = RunTool({"info", address_, "--json"}).Json();
  EXPECT_EQ(info["peers"]["live"], 2);
  EXPECT_EQ(info["arena"]["rings"], 1);
  EXPECT_EQ(info["arena"]["smallest_capacity"], 16 << 10);
  EXPECT_LT(info["arena"]["units_free"], info["arena"]["units"]);
  EXPECT_EQ(info["server"]["epoch"], 0);
  const std::string text = RunTool({"info", address_}).out;
  EXPECT_THAT(text, HasSubstr("2 live"));
  EXPECT_THAT(text, HasSubstr("1, the smallest of 16 KiB"));
}

TEST_F(LookTest, DumpShowsWhatWaitsInARing) {
  {
    Tool receiver({"recv", address_, "--name", "bob", "--durable"});
    receiver.AwaitError("ready");
    receiver.Signal(SIGTERM);
    EXPECT_EQ(receiver.Wait().exit_code, 0);
  }
  Tool sender({"send", address_, "bob", "--name", "alice", "--type", "7"});
  sender.WriteInput("one\ntwo\nthree\n");
  sender.CloseInput();
  ASSERT_EQ(sender.Wait().exit_code, 0);

  const auto ring = RunTool({"dump", address_, "--ring", "1", "bob", "--json"}).Json();
  EXPECT_EQ(ring["waiting_messages"], 3);
  EXPECT_EQ(ring["acked"], 0);
  ASSERT_EQ(ring["records"].size(), 3U);
  EXPECT_EQ(ring["records"][0]["frame"], "bytes");
  EXPECT_EQ(ring["records"][0]["type"], 7);
  EXPECT_EQ(ring["records"][0]["payload"], "6f 6e 65");
  EXPECT_EQ(ring["records"][2]["payload"], "74 68 72 65 65");

  const auto all = RunTool({"dump", address_, "--json"}).Json();
  EXPECT_EQ(all["header"]["magic"], "0x4d48532d514d5649 (IVMQ-SHM)");
  ASSERT_EQ(all["rings"].size(), 1U);
  EXPECT_EQ(all["rings"][0]["to"], "bob");
  EXPECT_EQ(all["rings"][0]["waiting_messages"], 3);
  EXPECT_EQ(all["slots"][0]["state"], "away");
}

TEST_F(LookTest, DumpAndInfoShowHeaps) {
  const auto header = RunTool({"dump", address_, "--json"}).Json()["header"];
  const auto peers = header["max_peers"].get<std::uint64_t>();
  const layout::Cell cell{
      .generation = 3, .first_unit = 2, .capacity_log2 = 14, .state = layout::CellState::kLive};
  const std::uint64_t word = cell.ToWord();
  const std::uint64_t index = peers * peers + 2 * layout::kHeapExtents + 1;
  Overwrite(header["directory_offset"].get<std::uint64_t>() + index * sizeof(word),
            std::string(reinterpret_cast<const char*>(&word), sizeof(word)));
  const auto heaps = RunTool({"dump", address_, "--json"}).Json()["heaps"];
  ASSERT_EQ(heaps.size(), 1U);
  EXPECT_EQ(heaps[0]["slot"], 2);
  EXPECT_EQ(heaps[0]["extent"], 1);
  EXPECT_EQ(heaps[0]["generation"], 3);
  EXPECT_EQ(heaps[0]["capacity"], 16 << 10);
  EXPECT_EQ(heaps[0]["problems"][0], "the cell does not lead to an extent of this heap");
  EXPECT_EQ(RunTool({"info", address_, "--json"}).Json()["arena"]["extents"], 1);
  EXPECT_THAT(RunTool({"info", address_}).out, HasSubstr("1 of heaps, 16 KiB"));
}

TEST_F(LookTest, DumpOfAnUnknownRingIsNotFound) {
  EXPECT_EQ(RunTool({"dump", address_, "--ring", "alice", "bob"}).exit_code, 3);
  EXPECT_EQ(RunTool({"dump", address_, "--ring", "0", "8"}).exit_code, 3);
}

TEST_F(LookTest, DumpOfADamagedRegionStillShowsItsHeader) {
  Overwrite(offsetof(layout::Header, unit_size), "\x01");
  const Outcome dump = RunTool({"dump", address_});
  EXPECT_EQ(dump.exit_code, 1);
  EXPECT_THAT(dump.out, HasSubstr("max_peers"));
  EXPECT_THAT(dump.err, HasSubstr(address_));
}

}  // namespace
}  // namespace ivmq::testing
