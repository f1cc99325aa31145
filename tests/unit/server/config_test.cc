#include "config.h"

#include <sys/stat.h>

#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/temp_folder.h"

namespace ivmq::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

class ConfigTest : public ::testing::Test {
 protected:
  // With `text` as the file.
  Result<Config> Read(const std::string& text, std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.begin(), {"--config", folder_.Write("ivmqd.conf", text)});
    return ReadConfig(arguments);
  }

  void ExpectInvalid(const Result<Config>& config, const std::string& text) {
    ASSERT_FALSE(config.ok());
    EXPECT_EQ(config.status().code(), StatusCode::kInvalidArgument) << config.status().ToString();
    EXPECT_THAT(config.status().message(), HasSubstr(text));
  }

  testing::TempFolder folder_;
};

TEST_F(ConfigTest, TheCommandLineAloneServesOneRegionWithoutAName) {
  const auto config = ReadConfig({"--socket", "/s", "--size", "1M", "--allow-uid", "7",
                                  "--allow-uid", "8", "--log-level", "debug"});
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  ASSERT_EQ(config->regions.size(), 1U);
  const RegionConfig& region = config->regions.front();
  EXPECT_EQ(region.name, "");
  EXPECT_EQ(region.options.socket, "/s");
  EXPECT_EQ(region.options.size, 1U << 20);
  EXPECT_THAT(region.options.allow_uids, ElementsAre(7, 8));
  EXPECT_EQ(config->log_level, LogLevel::kDebug);
  EXPECT_FALSE(config->help);
}

TEST_F(ConfigTest, AMistypedOptionIsNamedWithWhatWasMeant) {
  ExpectInvalid(ReadConfig({"--sokcet", "/s"}),
                "'--sokcet' is no option of ivmqd; did you mean --socket?");
  ExpectInvalid(Read("sokcet = /s"), "there is no option 'sokcet'; did you mean socket?");
}

TEST_F(ConfigTest, AFileHasTheNamesOfTheOptions) {
  const auto config = Read(R"(
    # a comment
    socket = "/run/ivmq/my region.sock"
    size = 2M            # another one
    allow-uid = [1000, 1001]
    mode = "0600"
    handshake-timeout = 5
    log-format = "json"
  )");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  ASSERT_EQ(config->regions.size(), 1U);
  const Options& options = config->regions.front().options;
  EXPECT_EQ(options.socket, "/run/ivmq/my region.sock");
  EXPECT_EQ(options.size, 2U << 20);
  EXPECT_THAT(options.allow_uids, ElementsAre(1000, 1001));
  EXPECT_EQ(options.mode, 0600U);
  EXPECT_EQ(options.handshake_timeout, std::chrono::seconds(5));
  EXPECT_EQ(config->log_format, LogFormat::kJson);
}

TEST_F(ConfigTest, TheCommandLineGoesBeforeTheFile) {
  const auto config =
      Read("socket = /a\nsize = 2M\nallow-uid = [1, 2]\n", {"--size", "4M", "--allow-uid", "3"});
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->regions.front().options.socket, "/a");
  EXPECT_EQ(config->regions.front().options.size, 4U << 20);
  EXPECT_THAT(config->regions.front().options.allow_uids, ElementsAre(3));
}

TEST_F(ConfigTest, EachSectionIsARegionAndWhatStandsInFrontHoldsForAll) {
  const auto config = Read(R"(
    log-level = warning
    size = 1M
    allow-uid = [7]
    [acme]
    socket = /acme
    group = "acme"
    [umbrella]
    socket = /umbrella
    size = 2M
    allow-uid = [8, 9]
  )");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->log_level, LogLevel::kWarning);
  ASSERT_EQ(config->regions.size(), 2U);
  const RegionConfig& acme = config->regions[0];
  EXPECT_EQ(acme.name, "acme");
  EXPECT_EQ(acme.options.socket, "/acme");
  EXPECT_EQ(acme.options.group, "acme");
  EXPECT_EQ(acme.options.size, 1U << 20);
  EXPECT_THAT(acme.options.allow_uids, ElementsAre(7));
  const RegionConfig& umbrella = config->regions[1];
  EXPECT_EQ(umbrella.name, "umbrella");
  EXPECT_EQ(umbrella.options.size, 2U << 20);
  EXPECT_THAT(umbrella.options.allow_uids, ElementsAre(8, 9));
}

TEST_F(ConfigTest, TheCommandLineHoldsForAllRegions) {
  const auto config = Read("[a]\nsocket = /a\n[b]\nsocket = /b\n", {"--vectors", "3"});
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->regions[0].options.vectors, 3U);
  EXPECT_EQ(config->regions[1].options.vectors, 3U);
}

TEST_F(ConfigTest, HugePagesAndANodeAreForOneRegionOrForAll) {
  const auto config = Read(R"(
    hugepages = "2M"
    numa-node = 1
    [acme]
    socket = /acme
    [umbrella]
    socket = /umbrella
    hugepages = "none"
    numa-node = 0
    [hal]
    socket = /hal
    hugepages = 1G
  )");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->regions[0].options.huge_page, 2U << 20);
  EXPECT_EQ(config->regions[0].options.numa_node, 1U);
  EXPECT_EQ(config->regions[1].options.huge_page, 0U);
  EXPECT_EQ(config->regions[1].options.numa_node, 0U);
  EXPECT_EQ(config->regions[2].options.huge_page, 1U << 30);
  EXPECT_THAT(FixedDifferences(config->regions[0], config->regions[1]),
              IsSupersetOf({"hugepages", "numa-node"}));

  EXPECT_FALSE(ReadConfig({"--socket", "/s"})->regions[0].options.numa_node);
  ExpectInvalid(ReadConfig({"--socket", "/s", "--hugepages", "4K"}), "none of none, 2M, 1G");
  ExpectInvalid(ReadConfig({"--socket", "/s", "--numa-node", "x"}), "--numa-node");
}

TEST_F(ConfigTest, AnUnknownNameIsRefusedWithItsPlace) {
  ExpectInvalid(Read("socket = /a\nsise = 2M\n"), "sise");
  ExpectInvalid(Read("[acme]\nsocket = /a\nsise = 2M\n"), "[acme]");
  for (const char* const name : {"help", "version", "config"}) {
    ExpectInvalid(Read(std::string("socket = /a\n") + name + " = true\n"), name);
  }
}

TEST_F(ConfigTest, ABadValueIsRefusedWithItsPlace) {
  const std::string path = folder_ / "ivmqd.conf";
  ExpectInvalid(Read("socket = /a\nsize = lots\n"), path);
  ExpectInvalid(Read("[acme]\nsocket = /a\nsize = lots\n"), path + " [acme]: --size");
  ExpectInvalid(Read("socket = /a\nlog-level = loud\n"), "loud");
}

TEST_F(ConfigTest, WhatIsThereTwiceIsRefused) {
  ExpectInvalid(Read("socket = /a\nsize = 1M\nvectors = 3\nsize = 2M\n"), "size is there twice");
  ExpectInvalid(Read("socket = /a\nsize = 1M\nsize = 2M\n"), "--size");
  ExpectInvalid(Read("[a]\nsocket = /a\n[b]\nsocket = /b\n[a]\nsize = 1M\n"), "[a] is there twice");
  ExpectInvalid(Read("[a]\nsocket = /a\n[a]\nvectors = 2\n"), "[a] is there twice");
}

TEST_F(ConfigTest, TwoRegionsNeverHaveOneSocket) {
  ExpectInvalid(Read("[a]\nsocket = /s\n[b]\nsocket = /s\n"), "/s");
}

TEST_F(ConfigTest, SomeOptionsHaveOnePlaceOnly) {
  ExpectInvalid(Read("socket = /a\n[a]\nsize = 1M\n"), "socket");
  ExpectInvalid(Read("[a]\nsocket = /a\n", {"--socket", "/b"}), "--socket");
  ExpectInvalid(Read("[a]\nsocket = /a\nlog-level = info\n"), "log-level");
  ExpectInvalid(Read("[a]\nsize = 1M\n"), "socket = PATH is missing");
}

TEST_F(ConfigTest, ASocketIsRequired) { ExpectInvalid(ReadConfig({"--size", "1M"}), "--socket"); }

TEST_F(ConfigTest, NamesOfRegionsAreShortAndPlain) {
  for (const std::string& name :
       {std::string("a.b"), std::string("a b"), std::string("a/b"), std::string(64, 'a')}) {
    ExpectInvalid(Read("[" + name + "]\nsocket = /a\n"), "name of a region");
  }
  EXPECT_TRUE(Read("[" + std::string(63, 'a') + "]\nsocket = /a\n").ok());
}

TEST_F(ConfigTest, AQuoteThatIsNotClosedIsRefused) {
  ExpectInvalid(Read("socket = \"/a#b\"\n"), "quote");
  ExpectInvalid(Read("socket = \"/a\n"), "quote");
}

TEST_F(ConfigTest, AFileThatCannotBeReadIsNamed) {
  const std::string none = folder_ / "none";
  const auto missing = ReadConfig({"--config", none});
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr(none));
  ExpectInvalid(ReadConfig({"--config", folder_.path()}), folder_.path());
  const std::string fifo = folder_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  ExpectInvalid(ReadConfig({"--config", fifo}), fifo);
  ExpectInvalid(Read(std::string((1 << 20) + 1, '\n')), "more than");
}

TEST_F(ConfigTest, HelpAndVersionAreToBePrinted) {
  for (const char* const option : {"--help", "--version"}) {
    const auto config = ReadConfig({option});
    ASSERT_TRUE(config.ok()) << config.status().ToString();
    ASSERT_TRUE(config->help);
    EXPECT_THAT(*config->help, AllOf(HasSubstr("ivmqd"), HasSubstr("\n")));
  }
}

TEST_F(ConfigTest, WhatAReloadCannotChangeIsNamed) {
  const auto before = Read("socket = /a\nsize = 1M\n");
  const auto after = Read(
      "socket = /a\nsize = 2M\nfirst-id = 0\nallow-uid = [1]\n"
      "ids-per-uid = 4\nhandshake-timeout = 1\nlog-limit = 2\n");
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_THAT(FixedDifferences(before->regions[0], after->regions[0]),
              ElementsAre("size", "first-id"));
  EXPECT_THAT(FixedDifferences(before->regions[0], before->regions[0]), IsEmpty());
}

}  // namespace
}  // namespace ivmq::server
