#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include <gmock/gmock.h>

#include "fixture.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;

class FormatTest : public ToolTest {};

TEST_F(FormatTest, MakesARegionThatInfoReads) {
  const Outcome made =
      RunTool({"format", address_, "--size", "2M", "--max-peers", "16", "--ring-size", "32K"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("2 MiB, 16 peers, first rings of 32 KiB"));
  const auto info = RunTool({"info", address_, "--json"}).Json();
  EXPECT_EQ(info["region_size"], 2 << 20);
  EXPECT_EQ(info["max_peers"], 16);
  EXPECT_EQ(info["ring_capacity"], 32 << 10);
}

TEST_F(FormatTest, JsonDescribesTheNewRegion) {
  const auto made = RunTool({"format", address_, "--size", "1M", "--json"}).Json();
  EXPECT_EQ(made["address"], address_);
  EXPECT_EQ(made["region_id"], RunTool({"info", address_, "--json"}).Json()["region_id"]);
}

TEST_F(FormatTest, APlainPathIsAFile) {
  const std::string path = folder_ / "region";
  EXPECT_EQ(RunTool({"format", path, "--size", "1M"}).exit_code, 0);
  EXPECT_EQ(RunTool({"info", "file:" + path}).exit_code, 0);
}

TEST_F(FormatTest, AnExistingFileKeepsItsSize) {
  const std::string path = folder_.Write("region", "");
  std::filesystem::resize_file(path, 4 << 20);
  ASSERT_EQ(RunTool({"format", path}).exit_code, 0);
  EXPECT_EQ(std::filesystem::file_size(path), 4U << 20);
}

TEST_F(FormatTest, ANewFileHas64MiBByDefault) {
  const std::string path = folder_ / "region";
  ASSERT_EQ(RunTool({"format", path}).exit_code, 0);
  EXPECT_EQ(std::filesystem::file_size(path), 64U << 20);
}

TEST_F(FormatTest, ForeignContentIsLeftAlone) {
  const std::string content(1 << 20, 'x');
  const std::string path = folder_.Write("photo", content);
  const std::string notes = folder_.Write("notes", "buy milk");
  EXPECT_THAT(RunTool({"format", notes}).err,
              HasSubstr("8 bytes of something that is no ivmq region"));
  EXPECT_EQ(ReadWholeFile(notes), "buy milk");
  for (const std::string& option : {std::string("--json"), std::string("--force")}) {
    const Outcome refused = RunTool({"format", path, option});
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.err, HasSubstr("no ivmq region"));
    EXPECT_TRUE(ReadWholeFile(path) == content);
  }
}

TEST_F(FormatTest, TheFileGetsModeAndGroup) {
  const auto mode = [this] {
    struct stat file {};
    EXPECT_EQ(stat(("/dev/shm" + name_).c_str(), &file), 0);
    EXPECT_EQ(file.st_gid, getegid());
    return file.st_mode & 07777U;
  };
  const std::string group = std::to_string(getegid());
  ASSERT_EQ(RunTool({"format", address_, "--size", "1M", "--group", group}).exit_code, 0);
  EXPECT_EQ(mode(), 0660U);
  ASSERT_EQ(RunTool({"format", address_, "--force", "--mode", "0606"}).exit_code, 0);
  EXPECT_EQ(mode(), 0606U) << "whatever the umask";
  EXPECT_EQ(RunTool({"format", address_, "--force", "--mode", "9"}).exit_code, 2);
  const Outcome refused = RunTool({"format", address_, "--force", "--group", "no-such-group-here"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("groupadd no-such-group-here"));
}

TEST_F(FormatTest, AnotherFormatOfARegionHasToBeForced) {
  MakeRegion();
  const auto before = RunTool({"info", address_, "--json"}).Json();
  const Outcome refused = RunTool({"format", address_});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("--force"));
  EXPECT_EQ(RunTool({"info", address_, "--json"}).Json()["region_id"], before["region_id"]);
  EXPECT_EQ(RunTool({"format", address_, "--force"}).exit_code, 0);
  EXPECT_NE(RunTool({"info", address_, "--json"}).Json()["region_id"], before["region_id"]);
}

TEST_F(FormatTest, ARegionInUseIsRefusedEvenByForce) {
  MakeRegion();
  Tool receiver({"recv", address_, "--name", "bob"});
  receiver.AwaitError("ready");
  const Outcome refused = RunTool({"format", address_, "--force"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("attached"));
  EXPECT_EQ(RunTool({"send", address_, "bob", "still here"}).exit_code, 0);
  receiver.AwaitOutput("still here");
}

TEST_F(FormatTest, ASizeThatIsNoPowerOfTwoIsWrongUsage) {
  const Outcome refused = RunTool({"format", address_, "--size", "3M"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("power of two"));
  EXPECT_EQ(RunTool({"format", address_, "--size", "many"}).exit_code, 2);
  EXPECT_EQ(RunTool({"info", address_}).exit_code, 3) << "a file was made all the same";
}

TEST_F(FormatTest, AnAddressThatIsNoFileIsWrongUsage) {
  EXPECT_EQ(RunTool({"format", "unix:/nowhere"}).exit_code, 2);
}

}  // namespace
}  // namespace ivmq::testing
