// What a running server takes from its configuration file.
#include <unistd.h>

#include <csignal>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ops_fixture.h"
#include "raw_client.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class ReloadTest : public OpsTest {
 protected:
  // The file that all of these tests start with, and more lines.
  void Configure(const std::string& more) const {
    OpsTest::Configure("socket = " + socket_ + "\nsize = 1M\nvectors = 1\nmode = 0666\n" + more);
  }

  std::string socket_ = folder_ / "s";
};

TEST_F(ReloadTest, UsersAreAllowedAndNoLongerAllowed) {
  ASSERT_EQ(geteuid(), 0U) << "this test acts as several users: run it as root";
  Configure("allow-uid = 54321\n");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("serving");
  EXPECT_TRUE(IsWelcome(54321, socket_));
  EXPECT_FALSE(IsWelcome(54322, socket_));
  Configure("allow-uid = [54322, 54323]\n");
  daemon.Reload();
  EXPECT_FALSE(IsWelcome(54321, socket_));
  EXPECT_TRUE(IsWelcome(54322, socket_));
  EXPECT_TRUE(IsWelcome(54323, socket_));
}

TEST_F(ReloadTest, AQuotaHoldsForNewcomersAndNobodyIsSentAway) {
  Configure("");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("serving");
  RawClient first(socket_);
  RawClient second(socket_);
  ASSERT_TRUE(first.Greet(1));
  ASSERT_TRUE(second.Greet(1));
  Configure("ids-per-uid = 2\n");
  daemon.Reload();
  RawClient third(socket_);
  third.ExpectRefusal();
  first.ReadUntilKnown({first.id(), second.id()});
  EXPECT_FALSE(first.HasUnread());
}

TEST_F(ReloadTest, AGreetingThatNobodyReadsGetsALimitOfTime) {
  Configure("handshake-timeout = 0\n");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("serving");
  RawClient silent(socket_);
  daemon.AwaitLog("id 1 to");
  Configure("handshake-timeout = 1\n");
  daemon.Reload();
  daemon.AwaitLog("has read nothing of its greeting");
}

TEST_F(ReloadTest, LevelAndFormatOfTheLogChange) {
  Configure("log-level = warning\n");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("every user of this machine may connect");
  EXPECT_TRUE(RawClient(socket_).Read());
  Configure("log-level = debug\nlog-format = json\n");
  daemon.Reload();
  RawClient observer = ConnectObserver(socket_);
  const auto line = nlohmann::json::parse(daemon.AwaitLog("looks at the region"));
  EXPECT_EQ(line.at("level"), "debug");
  EXPECT_THAT(daemon.Log(), AllOf(Not(HasSubstr("serving")), Not(HasSubstr("id 1 to"))));
}

TEST_F(ReloadTest, WhatCannotChangeIsNamedAndStays) {
  Configure("");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("serving");
  Configure("first-id = 7\nid-policy = unique\nids-per-uid = 1\n");
  daemon.Reload();
  EXPECT_THAT(daemon.Log(), HasSubstr("stay as they were until a restart: id-policy, first-id"));
  RawClient first(socket_);
  ASSERT_TRUE(first.Greet(1));
  EXPECT_EQ(first.id(), 1);
  // What can change has.
  RawClient second(socket_);
  second.ExpectRefusal();
}

TEST_F(ReloadTest, AFileWithAMistakeChangesNothing) {
  Configure("");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("serving");
  Configure("ids-per-uid = 1\nlog-level = loud\n");
  daemon.Signal(SIGHUP);
  EXPECT_THAT(daemon.AwaitLog("the options stay as they were"),
              AllOf(HasSubstr("error"), HasSubstr("loud")));
  RawClient first(socket_);
  RawClient second(socket_);
  EXPECT_TRUE(first.Greet(1));
  EXPECT_TRUE(second.Greet(1));
}

TEST_F(ReloadTest, RegionsThatComeOrGoAreNamedAndServedAfterARestart) {
  const std::string a = "[a]\nsocket = " + (folder_ / "a") + "\n";
  const std::string b = "[b]\nsocket = " + (folder_ / "b") + "\n";
  const std::string c = "[c]\nsocket = " + (folder_ / "c") + "\n";
  OpsTest::Configure("size = 1M\nvectors = 1\n" + a + b);
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("[b] serving");
  OpsTest::Configure("size = 1M\nvectors = 1\n" + b + c);
  daemon.Reload();
  EXPECT_THAT(daemon.Log(), AllOf(HasSubstr("[c] is new"), HasSubstr("[a] is not there any more")));
  RawClient client(folder_ / "a");
  EXPECT_TRUE(client.Greet(1));
}

TEST_F(ReloadTest, WithoutAFileNothingChanges) {
  DaemonProcess daemon({"--socket", socket_, "--size", "1M", "--vectors", "1"});
  daemon.AwaitLog("serving");
  daemon.Reload();
  RawClient client(socket_);
  EXPECT_TRUE(client.Greet(1));
  EXPECT_EQ(daemon.Terminate(), 0);
}

}  // namespace
}  // namespace ivmq::testing
