// What is packaged fits the program.
#include <unistd.h>

#include <regex>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "config.h"
#include "metrics.h"
#include "support/program.h"
#include "support/temp_folder.h"

namespace ivmq::server {
namespace {

using ::testing::HasSubstr;
using testing::ReadWholeFile;

const std::string kPackaging = IVMQ_PACKAGING;

TEST(PackagingTest, TheConfigurationFileIsRight) {
  const auto config = ReadConfig({"--config", kPackaging + "/ivmqd.conf"});
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  ASSERT_EQ(config->regions.size(), 1U);
  // The socket unit's is the region's.
  EXPECT_THAT(ReadWholeFile(kPackaging + "/systemd/ivmqd.socket"),
              HasSubstr("\nListenStream=" + config->regions[0].options.socket + "\n"));
}

TEST(PackagingTest, SystemdKeepsAsManyDescriptorsAsTheServerIsTold) {
  const std::string unit = ReadWholeFile(kPackaging + "/systemd/ivmqd.service");
  std::smatch kept;
  std::smatch told;
  ASSERT_TRUE(std::regex_search(unit, kept, std::regex("\nFileDescriptorStoreMax=([0-9]+)\n")));
  ASSERT_TRUE(std::regex_search(unit, told, std::regex("\nEnvironment=FDSTORE=([0-9]+)\n")));
  EXPECT_EQ(kept[1], told[1]);
}

// Where there is no systemd, nobody can say more about its units.
TEST(PackagingTest, SystemdFindsNoMistakeInTheUnits) {
  const std::string verify = "/usr/bin/systemd-analyze";
  if (access(verify.c_str(), X_OK) != 0) return;
  const testing::TempFolder folder;
  // It wants the program to be there.
  const std::string unit = ReadWholeFile(kPackaging + "/systemd/ivmqd.service");
  const std::string service = folder.Write(
      "ivmqd.service", std::regex_replace(unit, std::regex("=/usr/bin/ivmqd "), "=/bin/true "));
  const std::string socket =
      folder.Write("ivmqd.socket", ReadWholeFile(kPackaging + "/systemd/ivmqd.socket"));
  testing::Program check({verify, "verify", "--man=no", service, socket});
  EXPECT_EQ(check.Wait(), 0);
  EXPECT_EQ(check.output(), "");
}

TEST(PackagingTest, TheDashboardAsksOnlyForMetricsThatThereAre) {
  const auto dashboard = nlohmann::json::parse(ReadWholeFile(kPackaging + "/grafana/ivmq.json"));
  RegionFigures figures;
  PeerInfo& peer = figures.sample.peers.emplace_back();
  peer.state = layout::PeerState::kLive;
  const std::string text = MetricsText({figures}, {});
  const std::regex name("\\bivmqd?_[a-z_]+");
  std::set<std::string> names;
  for (const auto& panel : dashboard.at("panels")) {
    for (const auto& target : panel.at("targets")) {
      const auto expression = target.at("expr").get<std::string>();
      for (std::sregex_iterator at(expression.begin(), expression.end(), name), end; at != end;
           ++at) {
        names.insert(at->str());
      }
    }
  }
  EXPECT_GT(names.size(), 10U);
  for (const std::string& metric : names) EXPECT_THAT(text, HasSubstr("\n" + metric + "{"));
}

}  // namespace
}  // namespace ivmq::server
