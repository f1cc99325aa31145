// What the shells' completion scripts ask ivmq and ivmqd.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"
#include "support/program.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

// The candidates for the last of `words`, without what is said about them.
std::vector<std::string> WordsIn(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos;
       at = end + 1) {
    const std::string line = text.substr(at, end - at);
    words.push_back(line.substr(0, line.find('\t')));
  }
  return words;
}

std::vector<std::string> Completed(std::vector<std::string> words, std::string_view address = {}) {
  words.insert(words.begin(), {"completion", "words", "--"});
  const Outcome outcome = RunTool(std::move(words), "", address);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return WordsIn(outcome.out);
}

class CompletionTest : public ToolTest {};

TEST_F(CompletionTest, CommandsAndTheirCommandsAreCompleted) {
  EXPECT_THAT(Completed({"re"}), UnorderedElementsAre("record", "recv", "replay"));
  EXPECT_THAT(Completed({"topic", "e"}), ElementsAre("echo"));
  EXPECT_THAT(Completed({"recv", "topic", "e"}), IsEmpty());
}

TEST_F(CompletionTest, EachCandidateSaysWhatItIs) {
  const Outcome outcome = RunTool({"completion", "words", "--", "send", "--dro"});
  EXPECT_EQ(outcome.out, "--drop\tDo not wait for room: drop what does not fit\n");
}

TEST_F(CompletionTest, OptionsAreThoseOfTheCommand) {
  EXPECT_THAT(Completed({"send", "shm:/demo", "--"}),
              AllOf(Contains("--drop"), Contains("--address"), Not(Contains("--count"))));
  EXPECT_THAT(Completed({"send", "--", "--"}), IsEmpty());
}

TEST_F(CompletionTest, PathsAreLeftToTheShell) {
  EXPECT_THAT(Completed({"send", "shm:/demo", "bob", "--file", ""}), ElementsAre(":files"));
  EXPECT_THAT(Completed({"fsck", ""}), ElementsAre(":files"));
}

TEST_F(CompletionTest, AddressesAreCompletedByTheirSchemeThenByWhatIsThere) {
  MakeRegion();
  EXPECT_THAT(Completed({"ls", "s"}), ElementsAre("shm:"));
  EXPECT_THAT(Completed({"ls", address_.substr(0, address_.size() - 1)}), Contains(address_));
  (void)folder_.Write("region", "");
  EXPECT_THAT(Completed({"ls", "file:" + (folder_ / "re")}),
              ElementsAre("file:" + (folder_ / "region")));
  EXPECT_THAT(Completed({"ls", "--address", "file:" + (folder_ / "re")}),
              ElementsAre("file:" + (folder_ / "region")));
}

TEST_F(CompletionTest, PeersAndTopicsOfTheRegionAreCompleted) {
  MakeRegion();
  Tool bob({"recv", address_, "--name", "bob"});
  bob.AwaitError("ready");
  Tool watcher({"topic", "echo", address_, "camera/front", "--name", "watcher"});
  watcher.AwaitError("ready");
  Tool camera({"topic", "pub", address_, "camera/front", "-", "--name", "camera"});
  camera.WriteInput("a frame\n");
  watcher.AwaitOutput("a frame");

  EXPECT_THAT(Completed({"send", address_, "b"}), ElementsAre("bob"));
  EXPECT_THAT(Completed({"send", "--address", address_, "b"}), Contains("bob"));
  EXPECT_THAT(Completed({"ring", ""}, address_), AllOf(Contains("bob"), Contains("all")));
  EXPECT_THAT(Completed({"topic", "hz", address_, ""}), ElementsAre("camera/front"));
}

// The shell would read it as if the user had typed it.
TEST_F(CompletionTest, NamesThatAShellWouldObeyAreNoCandidates) {
  MakeRegion();
  std::vector<std::unique_ptr<Tool>> peers;
  for (const char* const name : {"$(reboot)", "a;b", "it's", "--drop", "plain-1.x"}) {
    peers.push_back(std::make_unique<Tool>(
        std::vector<std::string>{"recv", address_, std::string("--name=") + name}));
    peers.back()->AwaitError("ready");
  }
  EXPECT_THAT(Completed({"ping", address_, ""}), ElementsAre("plain-1.x"));
}

TEST_F(CompletionTest, AServerThatDoesNotAnswerDelaysNobody) {
  const std::string path = folder_ / "silent.sock";
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  ASSERT_LT(path.copy(name.sun_path, sizeof(name.sun_path) - 1), sizeof(name.sun_path));
  ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  // Five seconds, if it were a command.
  const Outcome outcome = RunTool({"completion", "words", "--", "send", "unix:" + path, ""});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "");
  close(listener);
}

TEST_F(CompletionTest, ThereIsAScriptForEachShellAndForNoOther) {
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const Outcome outcome = RunTool({"completion", shell});
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("ivmq completion words --"));
  }
  EXPECT_EQ(RunTool({"completion", "tcsh"}).exit_code, 2);
}

TEST_F(CompletionTest, TheServerCompletesItsOptions) {
  const auto complete = [](std::vector<std::string> words) {
    words.insert(words.begin(), {IVMQD_PATH, "--completion", "words", "--"});
    Program server(std::move(words));
    EXPECT_EQ(server.Wait(), 0);
    return WordsIn(server.output());
  };
  EXPECT_THAT(complete({"--me"}), ElementsAre("--metrics"));
  EXPECT_THAT(complete({"--keep", ""}), ElementsAre("auto", "keeper", "systemd", "none"));
  EXPECT_THAT(complete({"--keep=s"}), ElementsAre("--keep=systemd"));
  EXPECT_THAT(complete({"--nothing"}), IsEmpty());
  Program script({IVMQD_PATH, "--completion", "fish"});
  EXPECT_EQ(script.Wait(), 0);
  EXPECT_THAT(script.output(), StartsWith("# Completion of ivmqd for fish"));
}

}  // namespace
}  // namespace ivmq::testing
