// send, recv and forget.
#include <csignal>
#include <string>

#include <gmock/gmock.h>

#include "fixture.h"
#include "server_process.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class MessagesTest : public ToolTest {
 protected:
  MessagesTest() { MakeRegion(); }

  // A durable peer that was here and has left.
  void LeaveDurable(const std::string& name) const {
    Tool receiver({"recv", address_, "--name", name, "--durable"});
    receiver.AwaitError("ready");
    receiver.Signal(SIGTERM);
    ASSERT_EQ(receiver.Wait().exit_code, 0);
  }
};

TEST_F(MessagesTest, AMessageArrivesWithSenderSizeTypeAndText) {
  Tool receiver({"recv", address_, "--name", "bob", "-n", "1"});
  receiver.AwaitError("ready as bob");
  EXPECT_EQ(
      RunTool({"send", address_, "bob", "hello there", "--type", "7", "--name", "alice"}).exit_code,
      0);
  const Outcome received = receiver.Wait();
  EXPECT_EQ(received.exit_code, 0);
  EXPECT_THAT(received.out,
              AllOf(HasSubstr("11 bytes"), HasSubstr("type 7"), EndsWith("  hello there\n")));
}

TEST_F(MessagesTest, ASenderThatStaysIsNamed) {
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  Tool sender({"send", address_, "bob", "--name", "alice"});
  sender.WriteInput("hello\n");
  EXPECT_THAT(receiver.AwaitOutput("hello"), StartsWith("alice  5 bytes"));
}

TEST_F(MessagesTest, BytesAreShownInHex) {
  Tool receiver({"recv", address_, "--name", "bob", "-n", "1"});
  receiver.AwaitError("ready");
  const std::string path = folder_.Write("bytes", std::string("\x00\x1b\xff", 3));
  EXPECT_EQ(RunTool({"send", address_, "bob", "-f", path}).exit_code, 0);
  EXPECT_THAT(receiver.Wait().out, EndsWith("hex 00 1b ff\n"));
}

TEST_F(MessagesTest, TextOfSeveralLinesIsShownInOne) {
  Tool receiver({"recv", address_, "--name", "bob", "-n", "1"});
  receiver.AwaitError("ready");
  EXPECT_EQ(RunTool({"send", address_, "bob", "one\n\ttwo"}).exit_code, 0);
  EXPECT_THAT(receiver.Wait().out, EndsWith("  one\\n\\ttwo\n"));
}

TEST_F(MessagesTest, JsonHasOneObjectALine) {
  Tool receiver({"recv", address_, "--name", "bob", "-n", "2", "--json"});
  receiver.AwaitError("ready");
  Tool sender({"send", address_, "bob", "--name", "alice", "--type", "9"});
  sender.WriteInput("say \"hi\"\n\xff\n");
  const auto first = nlohmann::json::parse(receiver.AwaitOutput("{"));
  EXPECT_EQ(first["from"], "alice");
  EXPECT_EQ(first["kind"], "bytes");
  EXPECT_EQ(first["type"], 9);
  EXPECT_EQ(first["size"], 8);
  EXPECT_EQ(first["text"], "say \"hi\"");
  EXPECT_EQ(first["redelivered"], false);
  EXPECT_EQ(nlohmann::json::parse(receiver.AwaitOutput("{"))["hex"], "ff");
  EXPECT_EQ(receiver.Wait().exit_code, 0);
}

TEST_F(MessagesTest, AFileLargerThanARingArrivesWhole) {
  std::string content(200'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * i >> 8);
  const std::string path = folder_.Write("photo", content);
  Tool receiver({"recv", address_, "--name", "bob", "-n", "1", "--raw"});
  receiver.AwaitError("ready");
  EXPECT_EQ(RunTool({"send", address_, "bob", "-f", path}).exit_code, 0);
  EXPECT_TRUE(receiver.Wait().out == content);
}

TEST_F(MessagesTest, EachLineOfTheInputIsAMessageAlsoAnEmptyAndAnUnfinishedOne) {
  Tool receiver({"recv", address_, "--name", "bob", "-n", "4", "--json"});
  receiver.AwaitError("ready");
  EXPECT_EQ(RunTool({"send", address_, "bob"}, "one\n\nthree\nfour").exit_code, 0);
  for (const char* expected : {"one", "", "three", "four"}) {
    EXPECT_EQ(nlohmann::json::parse(receiver.AwaitOutput("{"))["text"], expected);
  }
}

TEST_F(MessagesTest, AnEmptyMessageIsAMessage) {
  Tool receiver({"recv", address_, "--name", "bob", "-n", "1", "--json"});
  receiver.AwaitError("ready");
  EXPECT_EQ(RunTool({"send", address_, "bob", ""}).exit_code, 0);
  EXPECT_EQ(nlohmann::json::parse(receiver.Wait().out)["size"], 0);
}

TEST_F(MessagesTest, AMissingPeerIsNotFound) {
  const Outcome missing = RunTool({"send", address_, "bob", "hello"});
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.err, AllOf(HasSubstr("bob"), HasSubstr("ivmq ls")));
}

TEST_F(MessagesTest, APeerMayBeAwaited) {
  Tool sender({"send", address_, "bob", "early", "--await", "60"});
  Tool receiver({"recv", address_, "--name", "bob", "-n", "1"});
  EXPECT_EQ(sender.Wait().exit_code, 0);
  EXPECT_THAT(receiver.Wait().out, HasSubstr("early"));
  EXPECT_EQ(RunTool({"send", address_, "nobody", "x", "--await", "10ms"}).exit_code, 4);
}

TEST_F(MessagesTest, AMissingFileIsNotFound) {
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  EXPECT_EQ(RunTool({"send", address_, "bob", "-f", folder_ / "none"}).exit_code, 3);
}

TEST_F(MessagesTest, ANameInUseIsRefusedWithItsHolder) {
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  const Outcome refused = RunTool({"recv", address_, "--name", "bob"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr(std::to_string(receiver.pid())));
}

TEST_F(MessagesTest, NothingInTimeIsATimeout) {
  const Outcome silent = RunTool({"recv", address_, "--name", "bob", "--timeout", "10ms"});
  EXPECT_EQ(silent.exit_code, 4);
  EXPECT_THAT(silent.err, HasSubstr("nothing came within 10 ms"));
}

TEST_F(MessagesTest, InterruptedRecvPrintsItsStatistics) {
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  ASSERT_EQ(RunTool({"send", address_, "bob", "hello"}).exit_code, 0);
  receiver.AwaitOutput("hello");
  receiver.Signal(SIGINT);
  const Outcome ended = receiver.Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.err, HasSubstr("1 message, 5 bytes"));
  EXPECT_TRUE(RunTool({"ls", address_, "--json"}).Json()["peers"].empty()) << "it did not leave";
}

TEST_F(MessagesTest, InterruptedBeforeItsCountIsToldApart) {
  Tool receiver({"recv", address_, "--name", "bob", "-n", "2"});
  receiver.AwaitError("ready");
  receiver.Signal(SIGINT);
  EXPECT_EQ(receiver.Wait().exit_code, 130);
}

TEST_F(MessagesTest, SendEndsAtASignalWhileItReadsItsInput) {
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  Tool sender({"send", address_, "bob"});
  sender.WriteInput("hello\n");
  receiver.AwaitOutput("hello");
  sender.Signal(SIGINT);
  // Its input stays open.
  sender.AwaitEnd();
  EXPECT_EQ(sender.Wait().exit_code, 130);
}

TEST_F(MessagesTest, ADurablePeerGetsWhatCameWhileItWasAway) {
  LeaveDurable("bob");
  ASSERT_EQ(RunTool({"send", address_, "bob"}, "one\ntwo\n").exit_code, 0);
  const Outcome received = RunTool({"recv", address_, "--name", "bob", "--durable", "-n", "2"});
  EXPECT_EQ(received.exit_code, 0);
  EXPECT_THAT(received.out, AllOf(HasSubstr("one\n"), HasSubstr("two\n")));
}

TEST_F(MessagesTest, WhatCouldNotBePrintedComesAgain) {
  Tool receiver({"recv", address_, "--name", "bob", "--durable"});
  receiver.AwaitError("ready");
  receiver.CloseOutput();
  ASSERT_EQ(RunTool({"send", address_, "bob", "precious"}).exit_code, 0);
  EXPECT_EQ(receiver.Wait().exit_code, 1);
  const Outcome again =
      RunTool({"recv", address_, "--name", "bob", "--durable", "-n", "1", "--json"});
  EXPECT_EQ(again.Json()["text"], "precious");
  EXPECT_EQ(again.Json()["redelivered"], true);
}

TEST_F(MessagesTest, ForgetDropsADurablePeer) {
  LeaveDurable("bob");
  const Outcome forgotten = RunTool({"forget", address_, "bob"});
  EXPECT_EQ(forgotten.exit_code, 0);
  EXPECT_EQ(forgotten.out, "forgot bob\n");
  EXPECT_TRUE(RunTool({"ls", address_, "--json"}).Json()["peers"].empty());
  EXPECT_EQ(RunTool({"forget", address_, "bob"}).exit_code, 3);
}

// Who only looks could not.
TEST_F(MessagesTest, ForgetWritesToTheRegionOfAServer) {
  ServerProcess server(folder_ / "socket", {"--size", "1M"});
  server.AwaitReady();
  const std::string address = "unix:" + server.socket();
  {
    Tool receiver({"recv", address, "--name", "bob", "--durable"});
    receiver.AwaitError("ready");
    receiver.Signal(SIGTERM);
    EXPECT_EQ(receiver.Wait().exit_code, 0);
  }
  EXPECT_EQ(RunTool({"forget", address, "bob"}).exit_code, 0);
  EXPECT_TRUE(RunTool({"ls", address, "--json"}).Json()["peers"].empty());
}

TEST_F(MessagesTest, ALivePeerIsNotForgotten) {
  Tool receiver({"recv", address_, "--name", "bob", "--durable"});
  receiver.AwaitError("ready");
  EXPECT_EQ(RunTool({"forget", address_, "bob"}).exit_code, 1);
}

TEST_F(MessagesTest, AFullRingIsATimeoutOrADrop) {
  LeaveDurable("bob");
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += std::string(99, 'x') + "\n";  // 100 KB into 16 KiB
  const Outcome waited = RunTool({"send", address_, "bob", "--wait", "10ms"}, lines);
  EXPECT_EQ(waited.exit_code, 4);
  EXPECT_THAT(waited.err, HasSubstr("full"));
  const Outcome dropped = RunTool({"send", address_, "bob", "--drop"}, lines);
  EXPECT_EQ(dropped.exit_code, 5);
  EXPECT_THAT(dropped.err, HasSubstr("of 1000 messages dropped"));
}

}  // namespace
}  // namespace ivmq::testing
