// record and replay.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include "ivmq/address.h"
#include "ivmq/node.h"

#include "fixture.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using Json = nlohmann::json;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class RecordTest : public ToolTest {
 protected:
  RecordTest() { MakeRegion(); }

  [[nodiscard]] std::unique_ptr<Node> Open(const std::string& name) const {
    auto node = Node::Open(address_, {.name = name});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *std::move(node);
  }

  static void Publish(Node& node, Topic& topic, const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + seconds(30);
    while (topic.subscribers() == 0 && std::chrono::steady_clock::now() < deadline) {
      (void)node.Poll([](const Message&) {});
      (void)node.Wait(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(topic.Publish(text), SendResult::kOk);
  }

  // What the file holds, its header first.
  std::vector<Json> Printed(const std::string& path) const {
    const Outcome printed = RunTool({"replay", path, "--print", "--json"});
    EXPECT_EQ(printed.exit_code, 0) << printed.err;
    std::vector<Json> lines;
    for (std::size_t at = 0; at < printed.out.size();) {
      const std::size_t end = printed.out.find('\n', at);
      lines.push_back(Json::parse(printed.out.substr(at, end - at), nullptr, false));
      at = end + 1;
    }
    return lines;
  }
  static std::vector<std::string> Texts(const std::vector<Json>& lines) {
    std::vector<std::string> texts;
    for (const Json& line : lines) {
      if (line.contains("text")) texts.push_back(line["text"]);
    }
    return texts;
  }

  std::string path_ = folder_ / "a.ivmq";
};

TEST_F(RecordTest, TopicsAreRecordedAndReplayed) {
  auto alice = Open("alice");
  auto topic = alice->Advertise("camera/front");
  ASSERT_TRUE(topic.ok());
  {
    Tool record({"record", address_, path_, "--topic", "camera/*", "--topic", "**", "-n", "3"});
    record.AwaitError("ready");
    for (const char* text : {"one", "two", "three"}) Publish(*alice, *topic, text);
    const Outcome end = record.Wait();
    EXPECT_EQ(end.exit_code, 0) << end.err;
    EXPECT_THAT(end.err, HasSubstr("3 messages"));
  }
  const auto lines = Printed(path_);
  ASSERT_EQ(lines.size(), 4U);  // each message once, though it fits two patterns
  EXPECT_THAT(Texts(lines), ElementsAre("one", "two", "three"));
  EXPECT_EQ(lines[0]["topics"], Json({"camera/*", "**"}));
  EXPECT_EQ(lines[1]["topic"], "camera/front");
  EXPECT_EQ(lines[1]["from"], "alice");
  EXPECT_EQ(lines[2]["sequence"], 2);
  EXPECT_LE(lines[1]["at"], lines[3]["at"]);

  Tool echo({"topic", "echo", address_, "**", "-n", "6", "--json"});
  echo.AwaitError("ready");
  const Outcome replay = RunTool(
      {"replay", address_, path_, "--wait-subscribers", "1", "--speed", "10", "--loop", "2"});
  EXPECT_EQ(replay.exit_code, 0) << replay.err;
  EXPECT_THAT(replay.err, HasSubstr("6 messages sent"));
  const Outcome echoed = echo.Wait();
  EXPECT_EQ(echoed.exit_code, 0);
  EXPECT_THAT(echoed.out, HasSubstr("three"));
  EXPECT_THAT(echoed.out, HasSubstr("camera/front"));
}

// At 1/1000 of the pace, the second message is far away.
TEST_F(RecordTest, ReplaysAtItsPace) {
  auto alice = Open("alice");
  auto topic = alice->Advertise("t");
  ASSERT_TRUE(topic.ok());
  Tool record({"record", address_, path_, "-n", "2"});
  record.AwaitError("ready");
  Publish(*alice, *topic, "one");
  (void)alice->Wait(std::chrono::milliseconds(50));
  Publish(*alice, *topic, "two");
  ASSERT_EQ(record.Wait().exit_code, 0);
  const auto lines = Printed(path_);
  EXPECT_GT(lines[2]["at"], lines[1]["at"]);

  Tool echo({"topic", "echo", address_, "t", "--json"});
  echo.AwaitError("ready");
  Tool replay({"replay", address_, path_, "--wait-subscribers", "1", "--speed", "0.001"});
  EXPECT_THAT(echo.AwaitOutput("one"), HasSubstr("one"));
  replay.Signal(SIGINT);
  EXPECT_EQ(replay.Wait().exit_code, 130);
  echo.Signal(SIGINT);
  EXPECT_THAT(echo.Wait().out, Not(HasSubstr("two")));
}

TEST_F(RecordTest, APairIsRecordedWithoutTakingPart) {
  auto alice = Open("alice");
  auto bob = Open("bob");
  ASSERT_EQ(alice->Send(bob->id(), "one"), SendResult::kOk);
  Tool record({"record", address_, path_, "--pair", "alice", "bob", "-n", "3"});
  record.AwaitError("ready");
  EXPECT_EQ(bob->Peers().peers.size(), 2U);  // it takes no slot
  ASSERT_EQ(alice->Send(bob->id(), {.kind = FrameKind::kTypedByName, .name = "pkg.T"},
                        std::as_bytes(std::span("two", 3))),
            SendResult::kOk);
  // A frame of a call, as far as a node cares.
  ASSERT_EQ(
      alice->Send(bob->id(), {.kind = FrameKind::kFirstRpc}, std::as_bytes(std::span("x", 1))),
      SendResult::kOk);
  EXPECT_EQ(record.Wait().exit_code, 0);
  // bob has them all the same.
  EXPECT_EQ(bob->Poll([](const Message&) {}), 3U);

  const auto lines = Printed(path_);
  EXPECT_THAT(Texts(lines), ElementsAre("one", "two", "x"));
  EXPECT_EQ(lines[0]["pairs"][0]["to"], "bob");
  EXPECT_EQ(lines[1]["to"], "bob");
  EXPECT_EQ(lines[2]["type_name"], "pkg.T");
  EXPECT_EQ(lines[3]["kind"], "rpc");

  // To whom it went, and to another one; calls are left out.
  const Outcome replay = RunTool({"replay", address_, path_, "--speed", "max"});
  EXPECT_EQ(replay.exit_code, 0) << replay.err;
  EXPECT_THAT(replay.err, HasSubstr("1 frames of calls left out"));
  EXPECT_EQ(bob->Poll([](const Message&) {}), 2U);
  EXPECT_EQ(RunTool({"replay", address_, path_, "--speed", "max", "--to", "alice"}).exit_code, 0);
  std::vector<std::string> got;
  (void)alice->Poll([&](const Message& message) { got.emplace_back(message.text()); });
  EXPECT_THAT(got, ElementsAre("one", "two"));
  EXPECT_EQ(RunTool({"replay", address_, path_, "--to", "carol"}).exit_code, 3);
}

TEST_F(RecordTest, WhatAPairOverwroteIsSaidToBeMissed) {
  auto alice = Open("alice");
  auto bob = Open("bob");
  ASSERT_EQ(alice->Send(bob->id(), "first"), SendResult::kOk);
  Tool record({"record", address_, path_, "--pair", "alice", "bob"});
  record.AwaitError("ready");
  const auto deadline = std::chrono::steady_clock::now() + seconds(30);
  while (ReadWholeFile(path_).find("first") == std::string::npos) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::yield();
  }
  record.Freeze();
  const std::string message(1000, 'x');
  for (int i = 0; i < 100; ++i) {  // six times the ring
    ASSERT_EQ(alice->Send(bob->id(), message), SendResult::kOk);
    while (bob->Poll([](const Message&) {}) != 0) {
    }
  }
  record.Signal(SIGCONT);
  alice.reset();
  EXPECT_THAT(record.AwaitError("left"), HasSubstr("alice"));
  const Outcome end = record.Wait();
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_THAT(end.err, HasSubstr("missed"));
  std::uint64_t missed = 0;
  for (const Json& line : Printed(path_)) missed += line.value("missed_bytes", std::uint64_t{0});
  EXPECT_GT(missed, 50'000U);
}

TEST_F(RecordTest, EndsAsItWasAskedTo) {
  EXPECT_EQ(RunTool({"record", address_, path_, "--duration", "50ms"}).exit_code, 0);
  EXPECT_EQ(RunTool({"record", address_, path_}).exit_code, 1);  // there is one
  EXPECT_EQ(RunTool({"record", address_, path_, "--timeout", "50ms", "--force"}).exit_code, 4);
  EXPECT_EQ(Printed(path_).size(), 1U);
  EXPECT_EQ(RunTool({"record", address_, path_, "--force", "--topic", "a b"}).exit_code, 2);
  EXPECT_EQ(RunTool({"record", address_, path_, "--force", "--pair", "a", "b"}).exit_code, 3);
  EXPECT_EQ(RunTool({"record", address_, path_, "--pair", "a", "b", "--topic", "t"}).exit_code, 2);
  EXPECT_EQ(RunTool({"record", address_, "/nonexistent/a.ivmq"}).exit_code, 3);
  Tool record({"record", address_, path_, "--force"});
  record.AwaitError("ready");
  record.Signal(SIGINT);
  EXPECT_EQ(record.Wait().exit_code, 0);
}

TEST_F(RecordTest, AFullDiskIsSaid) {
  const Outcome end = RunTool({"record", address_, "/dev/full", "--force"});
  EXPECT_EQ(end.exit_code, 1);
  EXPECT_THAT(end.err, HasSubstr("/dev/full"));
}

TEST_F(RecordTest, ARecordingThatWasCutOffIsReadAsFarAsItGoes) {
  auto alice = Open("alice");
  auto bob = Open("bob");
  for (int i = 0; i < 5; ++i) ASSERT_EQ(alice->Send(bob->id(), "message"), SendResult::kOk);
  ASSERT_EQ(RunTool({"record", address_, path_, "--pair", "alice", "bob", "-n", "5"}).exit_code, 0);
  std::string whole = ReadWholeFile(path_);
  const auto write = [this](const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  };
  write(whole.substr(0, whole.size() - 30));
  const Outcome cut = RunTool({"replay", path_, "--print"});
  EXPECT_EQ(cut.exit_code, 1);
  EXPECT_THAT(cut.err, HasSubstr("cut off"));
  EXPECT_THAT(cut.out, HasSubstr("message"));
  EXPECT_EQ(RunTool({"replay", address_, path_, "--speed", "max"}).exit_code, 0);
  EXPECT_EQ(bob->Poll([](const Message&) {}), 9U);

  // Any byte may be anything.
  for (std::size_t at = 0; at < whole.size(); at += 7) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xff);
    write(damaged);
    const int exit_code = RunTool({"replay", path_, "--print"}).exit_code;
    EXPECT_TRUE(exit_code == 0 || exit_code == 1) << "byte " << at << ": " << exit_code;
  }
  write("no recording");
  EXPECT_EQ(RunTool({"replay", path_, "--print"}).exit_code, 1);
  EXPECT_EQ(RunTool({"replay", folder_ / "none", "--print"}).exit_code, 3);
}

}  // namespace
}  // namespace ivmq::testing
