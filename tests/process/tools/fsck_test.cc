// dump --records and fsck: what a region holds, damaged or not.
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "ivmq/address.h"
#include "ivmq/internal/layout.h"
#include "ivmq/node.h"

#include "fixture.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// bob is durable and away; alice has sent to him and left.
class FsckTest : public ToolTest {
 protected:
  FsckTest() {
    MakeRegion();
    Bob();
    const auto alice = Open({.name = "alice"});
    const auto bob = alice->Lookup("bob");
    EXPECT_TRUE(bob.ok());
    for (const char* text : {"one", "two", "three"}) {
      EXPECT_EQ(alice->Send(bob->id, text), SendResult::kOk);
    }
    EXPECT_EQ(alice->Send(bob->id, {.kind = FrameKind::kTypedByName, .name = "pkg.T"},
                          std::as_bytes(std::span("four", 4))),
              SendResult::kOk);
    // More than a record.
    EXPECT_EQ(alice->Send(bob->id, std::string(9000, 'x')), SendResult::kOk);
  }

  [[nodiscard]] std::unique_ptr<Node> Open(NodeOptions options) const {
    auto node = Node::Open(address_, std::move(options));
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *std::move(node);
  }
  void Bob() const { (void)Open({.name = "bob", .durable = true}); }

  // The ring from alice to bob.
  [[nodiscard]] Json Ring() const {
    return RunTool({"dump", address_, "--ring", "1", "bob", "--json"}).Json();
  }
  // Where the ring's data begin in the file.
  [[nodiscard]] std::uint64_t DataOffset() const {
    const Json header = RunTool({"dump", address_, "--json"}).Json()["header"];
    return header["arena_offset"].get<std::uint64_t>() +
           Ring()["first_unit"].get<std::uint64_t>() * header["unit_size"].get<std::uint64_t>() +
           sizeof(layout::RingHeader);
  }

  std::string out_ = folder_ / "left.ivmq";
};

// ---- dump ----

TEST_F(FsckTest, DumpGoesDownToTheLastRecord) {
  const Outcome dump = RunTool({"dump", address_, "--records", "--json"});
  EXPECT_EQ(dump.exit_code, 0) << dump.err;
  const Json all = dump.Json();
  EXPECT_EQ(all["problems"], 0);
  ASSERT_EQ(all["rings"].size(), 1U);
  const Json& records = all["rings"][0]["records"];
  ASSERT_GE(records.size(), 6U);
  EXPECT_EQ(records[3]["frame"], "typed by name");
  EXPECT_EQ(records[3]["type_name"], "pkg.T");
  EXPECT_EQ(records[3]["payload"], "66 6f 75 72");
  EXPECT_EQ(records[4]["frame"], "fragment");
  EXPECT_EQ(records[4]["offset"], 0);
  // A file is an address, too.
  EXPECT_EQ(RunTool({"dump", "/dev/shm" + name_}).exit_code, 0);
}

TEST_F(FsckTest, DumpShowsTheLastFiguresOfWhoLeft) {
  const auto carol = Open({.name = "carol"});
  const auto bob = carol->Lookup("bob");
  ASSERT_TRUE(bob.ok());
  const std::uint32_t slot = carol->id().slot;
  {
    const auto dave = Open({.name = "dave"});
    ASSERT_EQ(dave->Send(carol->id(), "x"), SendResult::kOk);
    ASSERT_EQ(carol->Poll([](const Message&) {}), 1U);
  }
  Json slots;
  // Until carol has let go of dave's ring.
  for (Json last; last.is_null();) {
    (void)carol->Poll([](const Message&) {});
    slots = RunTool({"dump", address_, "--json"}).Json()["slots"];
    for (const Json& entry : slots) {
      if (entry["slot"] != slot && entry["state"] == "free") last = entry["last_owner"];
    }
    if (!last.is_null()) {
      EXPECT_EQ(last["counters"]["messages_sent"], 1);
    }
  }
}

TEST_F(FsckTest, DumpMarksADamagedRecord) {
  const std::uint64_t second = Ring()["records"][1]["position"];
  Overwrite(DataOffset() + second + sizeof(std::uint64_t), "\xc8");  // a frame of kind 200
  const Outcome dump = RunTool({"dump", address_, "--ring", "1", "bob", "--json"});
  EXPECT_EQ(dump.exit_code, 6);
  const Json ring = dump.Json();
  EXPECT_FALSE(ring["problems"].empty());
  EXPECT_TRUE(ring["records"][1].contains("problems"));
  EXPECT_FALSE(ring["records"][0].contains("problems"));
}

TEST_F(FsckTest, DumpMarksADamagedCommitWordAndGoesOnElsewhere) {
  Overwrite(DataOffset(), "\x01\x02\x03\x04");
  const Outcome dump = RunTool({"dump", address_, "--json"});
  EXPECT_EQ(dump.exit_code, 6);
  const Json all = dump.Json();
  EXPECT_EQ(all["problems"], 1);
  EXPECT_THAT(all["rings"][0]["problems"][0].get<std::string>(), HasSubstr("commit word"));
  EXPECT_FALSE(all["slots"][0].contains("problems"));
}

// ---- fsck ----

TEST_F(FsckTest, SaysWhatIsUnread) {
  const Outcome fsck = RunTool({"fsck", address_});
  EXPECT_EQ(fsck.exit_code, 0) << fsck.err;
  EXPECT_THAT(fsck.out, AllOf(HasSubstr("to bob: 5 messages"), HasSubstr("no damage"),
                              HasSubstr("1 durable and away")));
  const Json json = RunTool({"fsck", "/dev/shm" + name_, "--json"}).Json();
  EXPECT_EQ(json["unread"][0]["messages"], 5);
  EXPECT_EQ(json["unread"][0]["to"], "bob");
  EXPECT_TRUE(json["problems"].empty());
}

TEST_F(FsckTest, LooksOnly) {
  const std::string before = ReadWholeFile("/dev/shm" + name_);
  EXPECT_EQ(RunTool({"fsck", address_, "--salvage", out_}).exit_code, 0);
  EXPECT_TRUE(ReadWholeFile("/dev/shm" + name_) == before);
}

TEST_F(FsckTest, SalvagesWhatCanBeReplayed) {
  ASSERT_EQ(RunTool({"fsck", address_, "--salvage", out_}).exit_code, 0);
  EXPECT_EQ(RunTool({"fsck", address_, "--salvage", out_}).exit_code, 1);  // there is one
  const Outcome printed = RunTool({"replay", out_, "--print"});
  EXPECT_THAT(printed.out, AllOf(HasSubstr("salvaged"), HasSubstr("three"), HasSubstr("pkg.T")));

  ASSERT_EQ(RunTool({"fsck", address_, "--format", "--yes"}).exit_code, 0);
  const auto bob = Open({.name = "bob"});
  const Outcome replay = RunTool({"replay", address_, out_, "--speed", "max"});
  EXPECT_EQ(replay.exit_code, 0) << replay.err;
  std::vector<std::string> texts;
  while (bob->Poll([&](const Message& message) { texts.emplace_back(message.text()); }) != 0) {
  }
  EXPECT_THAT(texts, ::testing::ElementsAre("one", "two", "three", "four", std::string(9000, 'x')));
}

TEST_F(FsckTest, SalvagesWhatIsBehindDamage) {
  Overwrite(DataOffset(), "\x01\x02\x03\x04");
  const Outcome fsck = RunTool({"fsck", address_, "--salvage", out_});
  EXPECT_EQ(fsck.exit_code, 6);
  EXPECT_THAT(fsck.out, HasSubstr("damage"));
  EXPECT_THAT(fsck.err, HasSubstr("4 messages"));
  const Outcome printed = RunTool({"replay", out_, "--print"});
  EXPECT_THAT(printed.out, AllOf(HasSubstr("two"), Not(HasSubstr("one")), HasSubstr("missed")));
}

TEST_F(FsckTest, RefusesWhatIsInUse) {
  {
    const auto carol = Open({.name = "carol"});
    EXPECT_EQ(RunTool({"fsck", address_}).exit_code, 1);
    EXPECT_EQ(RunTool({"fsck", address_, "--format", "--yes"}).exit_code, 1);
    EXPECT_TRUE(carol->status().ok());
  }
  EXPECT_EQ(RunTool({"fsck", address_}).exit_code, 0);
  EXPECT_EQ(RunTool({"fsck", "unix:/nonexistent"}).exit_code, 2);
  EXPECT_EQ(RunTool({"fsck", "/nonexistent"}).exit_code, 3);
}

TEST_F(FsckTest, FormatsOnlyWhenToldTo) {
  EXPECT_EQ(RunTool({"fsck", address_, "--format"}, "y\n").exit_code, 1);  // no terminal
  EXPECT_EQ(Ring()["waiting_messages"].is_null(), false);
  EXPECT_EQ(RunTool({"fsck", address_, "--format", "--yes"}).exit_code, 0);
  const Json info = RunTool({"info", address_, "--json"}).Json();
  EXPECT_EQ(info["max_peers"], 8);  // as before
  EXPECT_EQ(info["ring_capacity"], 16 << 10);
  EXPECT_EQ(info["peers"]["away"], 0);
}

TEST_F(FsckTest, ADamagedHeaderIsSaidAndCanBeFormatted) {
  Overwrite(offsetof(layout::Header, max_peers), "\x07");
  const Outcome fsck = RunTool({"fsck", address_});
  EXPECT_EQ(fsck.exit_code, 6);
  EXPECT_THAT(fsck.err, HasSubstr("CRC"));
  EXPECT_EQ(RunTool({"fsck", address_, "--format", "--yes"}).exit_code, 0);
  EXPECT_EQ(RunTool({"fsck", address_}).exit_code, 0);
}

}  // namespace
}  // namespace ivmq::testing
