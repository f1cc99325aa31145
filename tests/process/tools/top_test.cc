// top: in terminals of several widths, and as text and JSON.
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <gmock/gmock.h>

#include "ivmq/address.h"
#include "ivmq/internal/layout.h"
#include "ivmq/node.h"

#include "fixture.h"
#include "terminal.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// alice has sent three messages to bob, who has not read them.
class TopTest : public ToolTest {
 protected:
  TopTest() {
    MakeRegion();
    bob_ = Open("bob");
    alice_ = Open("alice");
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(alice_->Send(bob_->id(), std::string(1000, 'x')), SendResult::kOk);
    }
  }

  [[nodiscard]] std::unique_ptr<Node> Open(const std::string& name) const {
    auto node = Node::Open(address_, {.name = name});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *std::move(node);
  }

  std::unique_ptr<Node> bob_;
  std::unique_ptr<Node> alice_;
};

const Json& Named(const Json& peers, const std::string& name) {
  static const Json kNone;
  for (const Json& peer : peers) {
    if (peer["name"] == name) return peer;
  }
  ADD_FAILURE() << "no peer " << name;
  return kNone;
}

// ---- In a terminal ----

class TopWidthTest : public TopTest, public ::testing::WithParamInterface<std::size_t> {};

TEST_P(TopWidthTest, FitsTheTerminal) {
  Terminal terminal({"top", address_, "--interval", "100ms"}, GetParam());
  // The first rates.
  ASSERT_TRUE(terminal.AwaitText("messages  100 ms"));
  const EmulatedScreen& screen = terminal.screen();
  EXPECT_FALSE(screen.overflowed()) << screen.text();
  EXPECT_FALSE(screen.has_cursor());
  EXPECT_THAT(screen.text(), AllOf(HasSubstr("alice"), HasSubstr("2 of 2 peers live"),
                                   HasSubstr("0 fallback finds")));
  for (const char* title : {"NAME", "STATE", "SENT/s", "RECV/s", "FILL", "BELLS/s", "FINDS"}) {
    EXPECT_THAT(screen.LineWith("NAME"), HasSubstr(title));
  }
  // What there is more room for.
  const bool is_wide = GetParam() >= 200;
  EXPECT_EQ(screen.LineWith("NAME").find("OUT B/s") != std::string::npos, GetParam() >= 80);
  EXPECT_EQ(screen.LineWith("NAME").find("PID") != std::string::npos, is_wide);
  // 3 * 1016 of 16384 bytes.
  EXPECT_THAT(screen.LineWith("bob"), HasSubstr("19%")) << screen.text();
  terminal.Type("q");
  EXPECT_EQ(terminal.Wait(), 0);
  EXPECT_FALSE(screen.is_other_screen());
  EXPECT_TRUE(screen.has_cursor());
}

INSTANTIATE_TEST_SUITE_P(Columns, TopWidthTest, ::testing::Values(60, 80, 200));

TEST_F(TopTest, KeysSortAndChangeTheTable) {
  Terminal terminal({"top", address_, "--interval", "100ms"}, 80);
  const auto is_before = [](std::string_view first, std::string_view second) {
    return [=](const EmulatedScreen& screen) {
      const std::string text = screen.text();
      const std::size_t table = text.find("NAME");
      return table != std::string::npos && text.find(first, table) < text.find(second, table);
    };
  };
  EXPECT_TRUE(terminal.Await(is_before("alice", "bob")));
  terminal.Type("f");  // bob's ring is the one that is filled
  EXPECT_TRUE(terminal.Await(is_before("bob", "alice")));
  terminal.Type("n");
  EXPECT_TRUE(terminal.Await(is_before("alice", "bob")));
  terminal.Type("n");
  EXPECT_TRUE(terminal.Await(is_before("bob", "alice")));
  EXPECT_TRUE(terminal.AwaitText("by name, reversed"));
  terminal.Type("p");
  ASSERT_TRUE(terminal.AwaitText("FROM"));
  EXPECT_THAT(terminal.screen().LineWith("alice"),
              AllOf(HasSubstr("bob"), HasSubstr("16 KiB"), HasSubstr("19%"), HasSubstr(" 3 ")));
  terminal.Type(" ");
  EXPECT_TRUE(terminal.AwaitText("paused"));
  terminal.Type(" p");
  EXPECT_TRUE(terminal.AwaitText("NAME"));
  terminal.Type("\x1b[15~");  // a key that it does not know
  terminal.Type("q");
  EXPECT_EQ(terminal.Wait(), 0);
}

TEST_F(TopTest, FollowsTheSizeOfTheTerminal) {
  Terminal terminal({"top", address_, "--interval", "1h"}, 60);
  ASSERT_TRUE(terminal.AwaitText("q quit"));
  EXPECT_THAT(terminal.screen().text(), Not(HasSubstr("OUT B/s")));
  terminal.Resize(120, 10);
  EXPECT_TRUE(terminal.AwaitText("OUT B/s"));
  terminal.Resize(60, 3);  // the table, and the keys
  EXPECT_TRUE(terminal.Await([](const EmulatedScreen& screen) {
    return screen.text().starts_with("NAME") && !screen.LineWith("q quit").empty();
  }));
}

TEST_F(TopTest, ScrollsWhatDoesNotFit) {
  Terminal terminal({"top", address_, "--interval", "1h"}, 80, 3);
  ASSERT_TRUE(terminal.AwaitText("1-1/2"));
  EXPECT_TRUE(terminal.AwaitText("alice"));
  terminal.Type("\x1b[B");
  EXPECT_TRUE(terminal.AwaitText("2-2/2"));
  EXPECT_TRUE(terminal.AwaitText("bob"));
  terminal.Type("k");
  EXPECT_TRUE(terminal.AwaitText("1-1/2"));
}

TEST_F(TopTest, ASignalRestoresTheTerminal) {
  Terminal terminal({"top", address_}, 80);
  ASSERT_TRUE(terminal.AwaitText("alice"));
  EXPECT_TRUE(terminal.screen().is_other_screen());
  EXPECT_FALSE(terminal.IsCooked());
  terminal.Type("\x03");  // Ctrl-C
  EXPECT_TRUE(
      terminal.Await([](const EmulatedScreen& screen) { return !screen.is_other_screen(); }));
  EXPECT_EQ(terminal.Wait(), 0);
}

TEST_F(TopTest, SuspendedItGivesTheTerminalBack) {
  Terminal terminal({"top", address_, "--interval", "100ms"}, 80);
  ASSERT_TRUE(terminal.AwaitText("alice"));
  terminal.Type("\x1a");  // Ctrl-Z
  EXPECT_TRUE(
      terminal.Await([](const EmulatedScreen& screen) { return !screen.is_other_screen(); }));
  int status = 0;
  ASSERT_EQ(waitpid(terminal.pid(), &status, WUNTRACED), terminal.pid());
  ASSERT_TRUE(WIFSTOPPED(status));
  EXPECT_TRUE(terminal.IsCooked());
  terminal.Signal(SIGCONT);
  EXPECT_TRUE(terminal.Await([](const EmulatedScreen& screen) {
    return screen.is_other_screen() && !screen.LineWith("alice").empty();
  }));
  EXPECT_FALSE(terminal.IsCooked());
  terminal.Type("q");
  EXPECT_EQ(terminal.Wait(), 0);
}

TEST_F(TopTest, EndsWhenTheRegionIsAnotherOne) {
  Terminal terminal({"top", address_, "--interval", "100ms"}, 80);
  ASSERT_TRUE(terminal.AwaitText("alice"));
  bob_.reset();
  alice_.reset();
  ASSERT_EQ(RunTool({"format", address_, "--force"}).exit_code, 0);
  EXPECT_EQ(terminal.Wait(), 1);
  EXPECT_FALSE(terminal.screen().is_other_screen());
}

// ---- Once ----

TEST_F(TopTest, OnceGivesBothTables) {
  const Outcome once = RunTool({"top", address_, "--once", "--interval", "100ms"});
  EXPECT_EQ(once.exit_code, 0) << once.err;
  EXPECT_THAT(once.out, AllOf(HasSubstr("NAME"), HasSubstr("FROM"), HasSubstr("alice")));
  EXPECT_THAT(once.out, Not(HasSubstr("\x1b")));
}

TEST_F(TopTest, OnceWithJsonHasEveryFigure) {
  const Json top = RunTool({"top", address_, "--once", "--json", "--interval", "300ms"}).Json();
  EXPECT_GE(top["interval"], 0.3);
  ASSERT_EQ(top["peers"].size(), 2U);
  const Json& bob = Named(top["peers"], "bob");
  EXPECT_EQ(bob["state"], "live");
  EXPECT_EQ(bob["unread"], 3);
  EXPECT_EQ(bob["per_second"]["messages_sent"], 0);
  EXPECT_EQ(bob["counters"]["net_finds"], 0);
  ASSERT_EQ(top["pairs"].size(), 1U);
  EXPECT_EQ(top["pairs"][0]["from"], "alice");
  EXPECT_EQ(top["pairs"][0]["to"], "bob");
  EXPECT_EQ(top["pairs"][0]["unread"], 3);
  EXPECT_EQ(top["pairs"][0]["capacity"], 16 << 10);
}

TEST_F(TopTest, JsonGoesOnUntilASignal) {
  Tool top({"top", address_, "--json", "--interval", "50ms"});
  for (int i = 0; i < 3; ++i) {
    const Json line = Json::parse(top.AwaitOutput("peers"), nullptr, false);
    EXPECT_EQ(line["peers"].size(), 2U);
  }
  top.Signal(SIGINT);
  EXPECT_EQ(top.Wait().exit_code, 0);
}

TEST_F(TopTest, APeerThatStandsStillIsSeen) {
  Tool frozen({"recv", address_, "--name", "frozen"});
  frozen.AwaitError("ready");
  frozen.Freeze();
  const Json top = RunTool({"top", address_, "--once", "--json", "--interval", "100ms"}).Json();
  EXPECT_EQ(Named(top["peers"], "frozen")["state"], "still");
  EXPECT_EQ(Named(top["peers"], "bob")["state"], "live");
}

TEST_F(TopTest, ProbesWhoEchoes) {
  Tool echo({"recv", address_, "--name", "echo", "--echo"});
  echo.AwaitError("ready");
  const Json top = RunTool({"top", address_, "--once", "--json", "--interval", "50ms", "--probe",
                            "echo", "--probe", "nobody"})
                       .Json();
  EXPECT_THAT(Named(top["peers"], "echo")["probe"].get<std::string>(), HasSubstr("s"));
  EXPECT_EQ(top["peers"].size(), 4U);  // itself, too
}

TEST_F(TopTest, TakesNoSlot) {
  const Json top = RunTool({"top", address_, "--once", "--json", "--interval", "50ms"}).Json();
  EXPECT_EQ(top["peers"].size(), 2U);
}

TEST_F(TopTest, WithoutATerminalItSaysWhatToDo) {
  EXPECT_EQ(RunTool({"top", address_}).exit_code, 2);
  EXPECT_EQ(RunTool({"top", "shm:/ivmq-none", "--once"}).exit_code, 3);
}

TEST_F(TopTest, AHostileNameStaysOnItsLine) {
  const auto info = RunTool({"info", address_, "--json"}).Json();
  Tool frozen({"recv", address_, "--name", "frozen"});
  frozen.AwaitError("ready");
  frozen.Freeze();  // its owner would mend the name
  Overwrite(info["peer_table_offset"].get<std::uint64_t>() + 2 * sizeof(layout::PeerSlot) +
                offsetof(layout::PeerSlot, name),
            "x\x1b[2J\n\xff\xe2\x80");
  Terminal terminal({"top", address_, "--interval", "100ms"}, 60);
  ASSERT_TRUE(terminal.AwaitText("3 of 3 peers live"));
  ASSERT_TRUE(terminal.AwaitText("x?[2J"));
  EXPECT_FALSE(terminal.screen().overflowed());
}

}  // namespace
}  // namespace ivmq::testing
