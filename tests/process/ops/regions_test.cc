// One server, several regions that have nothing in common.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops_fixture.h"
#include "raw_client.h"
#include "support/program.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class RegionsTest : public OpsTest {
 protected:
  // What one client of the server at `socket` gets.
  static struct stat StatMemory(const RawClient& client) {
    struct stat found {};
    EXPECT_EQ(fstat(client.memory(), &found), 0);
    return found;
  }

  std::string acme_ = folder_ / "acme";
  std::string umbrella_ = folder_ / "umbrella";
};

TEST_F(RegionsTest, TwoTenantsNeverSeeEachOther) {
  Configure("size = 1M\nvectors = 2\n[acme]\nsocket = " + acme_ +
            "\n[umbrella]\nsocket = " + umbrella_ + "\nsize = 2M\n");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("[umbrella] serving");
  RawClient first(acme_);
  RawClient second(umbrella_);
  ASSERT_TRUE(first.Greet(2));
  ASSERT_TRUE(second.Greet(2));
  // Either is the first one of its region, in memory of its own.
  EXPECT_EQ(first.id(), second.id());
  EXPECT_NE(StatMemory(first).st_ino, StatMemory(second).st_ino);
  EXPECT_EQ(StatMemory(first).st_size, 1 << 20);
  EXPECT_EQ(StatMemory(second).st_size, 2 << 20);
  // A newcomer is announced in its own region, and rings nobody of the other one.
  RawClient third(umbrella_);
  ASSERT_TRUE(third.Greet(2));
  second.ReadUntilKnown({second.id(), third.id()});
  third.Ring(second.id(), 1);
  EXPECT_EQ(second.AwaitRing(1), 1U);
  EXPECT_FALSE(first.HasUnread());
  EXPECT_THAT(first.known(), ElementsAre(first.id()));
  EXPECT_EQ(first.TakeRings(0) + first.TakeRings(1), 0U);
  EXPECT_EQ(daemon.Terminate(), 0);
  EXPECT_FALSE(std::filesystem::exists(acme_));
  EXPECT_FALSE(std::filesystem::exists(umbrella_));
}

TEST_F(RegionsTest, EachHasItsOwnUsersQuotaAndGroup) {
  ASSERT_EQ(geteuid(), 0U) << "this test acts as several users: run it as root";
  Configure("size = 1M\nvectors = 1\nmode = 0666\n[acme]\nsocket = " + acme_ +
            "\nallow-uid = 54321\nids-per-uid = 1\ngroup = 54321\n[umbrella]\nsocket = " +
            umbrella_ + "\nallow-uid = 54322\ngroup = 54322\n");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("[umbrella] serving");
  EXPECT_TRUE(IsWelcome(54321, acme_));
  EXPECT_FALSE(IsWelcome(54321, umbrella_));
  EXPECT_FALSE(IsWelcome(54322, acme_));
  EXPECT_TRUE(IsWelcome(54322, umbrella_));
  struct stat socket {};
  ASSERT_EQ(stat(acme_.c_str(), &socket), 0);
  EXPECT_EQ(socket.st_gid, 54321U);
  RawClient first(acme_);
  ASSERT_TRUE(first.Greet(1));
  RawClient second(acme_);
  second.ExpectRefusal();
  RawClient other(umbrella_);
  ASSERT_TRUE(other.Greet(1));
  RawClient another(umbrella_);
  EXPECT_TRUE(another.Greet(1));
}

TEST_F(RegionsTest, ARegionThatCannotBeServedIsNamedAndTheOthersAreTakenBack) {
  Configure("size = 1M\n[acme]\nsocket = " + acme_ + "\n[umbrella]\nsocket = " + folder_ / "no/s" +
            "\n");
  DaemonProcess daemon(arguments());
  EXPECT_EQ(daemon.Wait(), 1);
  EXPECT_THAT(daemon.Log(), HasSubstr("error: [umbrella] --socket " + (folder_ / "no/s")));
  EXPECT_FALSE(std::filesystem::exists(acme_));
}

TEST_F(RegionsTest, DoctorFindsThemByTheFile) {
  Configure("size = 1M\n[acme]\nsocket = " + acme_ + "\n[umbrella]\nsocket = \"" + umbrella_ +
            "\" # another tenant\n");
  DaemonProcess daemon(arguments());
  daemon.AwaitLog("[umbrella] serving");
  Program doctor({IVMQ_PATH, "doctor"});
  (void)doctor.Wait();
  EXPECT_THAT(doctor.output(), AllOf(HasSubstr("unix:" + acme_ + ": the server answers"),
                                     HasSubstr("unix:" + umbrella_ + ": the server answers")));
}

TEST_F(RegionsTest, AMistakeInTheFileEndsItBeforeAnythingIsServed) {
  Configure("[acme]\nsocket = " + acme_ + "\nsise = 1M\n");
  DaemonProcess daemon(arguments());
  EXPECT_EQ(daemon.Wait(), 2);
  EXPECT_THAT(daemon.Log(), AllOf(HasSubstr("sise"), Not(HasSubstr("serving"))));
}

}  // namespace
}  // namespace ivmq::testing
