// Who learns of a death, and how fast: printed, not asserted.
#include <chrono>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"

namespace ivmq::testing {
namespace {

using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

class DeathTest : public TransportsTest {
 protected:
  struct Named {
    const char* where;
    Peer* peer;
  };

  // Does it, then waits until each of them has printed `text`, and prints how long all that took
  // at most.
  static void AwaitAll(const std::function<void()>& deed, const std::string& text,
                       std::initializer_list<Named> peers) {
    const auto begin = steady_clock::now();
    deed();
    for (const Named& named : peers) {
      ASSERT_TRUE(named.peer->Await(text + "\n"));
      std::printf("%s: '%s' after %.1f ms\n", named.where, text.c_str(),
                  std::chrono::duration<double, std::milli>(steady_clock::now() - begin).count());
    }
  }
  static void AwaitAll(const std::string& text, std::initializer_list<Named> peers) {
    AwaitAll([] {}, text, peers);
  }
};

TEST_F(DeathTest, AKilledProcessOfAGuestAndAKilledGuestAreDeadForAllWhoSleep) {
  const auto guest = WithDriver("guest", "6.1");
  const auto other = WithDriver("other", "6.12");
  ASSERT_TRUE(guest != nullptr && other != nullptr);
  Peer host = OnHost("host", "sit");
  Peer beside(*guest, "auto", "beside", "sit");
  Peer far(*other, "auto", "far", "sit");
  for (const std::string name : {"first", "second"}) {
    Peer victim(*guest, "auto", name, "sit");
    AwaitAll("+" + name, {{"beside", &beside}, {"the other guest", &far}, {"the host", &host}});
    AwaitAll([&] { victim.Kill(); }, "-" + name,
             {{"the host", &host}, {"the other guest", &far}, {"beside", &beside}});
    victim.FinishKilled();
  }
  // The guest with the process beside it.
  AwaitAll([&] { guest->Kill(); }, "-beside", {{"the host", &host}, {"the other guest", &far}});
}

// No kernel marks its slot: the device itself says who was there before.
TEST_F(DeathTest, AProcessKilledOverVfioIsDeadWhenTheNextOneOpensTheDevice) {
  const auto guest = WithIommu("vfio");
  ASSERT_NE(guest, nullptr);
  BindToVfio(*guest);
  Peer host = OnHost("host", "sit");
  Peer victim(*guest, "auto", "victim", "sit");
  AwaitAll("+victim", {{"the host", &host}});
  victim.Kill();
  victim.FinishKilled();
  Program ls({IVMQ_TOOL, "ls", address_});
  EXPECT_EQ(ls.Wait(), 0);
  EXPECT_THAT(ls.output(), ContainsRegex("victim +live +still"));
  Peer next(*guest, "auto", "next", "sit");
  AwaitAll("-victim", {{"the host", &host}});
  AwaitAll("+next", {{"the host", &host}});
  AwaitAll([&] { guest->Kill(); }, "-next", {{"the host", &host}});
}

// Unbinding is what an unplug begins with, too. The kernel asks who has the device and waits.
TEST_F(DeathTest, WhoIsAskedForADeviceOverVfioGivesItBackAndIsDeadForTheOthers) {
  const auto guest = WithIommu("vfio");
  ASSERT_NE(guest, nullptr);
  BindToVfio(*guest);
  Peer host = OnHost("host", "sit");
  Peer inside(*guest, "auto", "inside", "sit");
  AwaitAll("+inside", {{"the host", &host}});
  AwaitAll(
      [&] {
        EXPECT_EQ(guest
                      ->Run("cd /sys/bus/pci/drivers/vfio-pci && d=$(ls -d 0000:*) && "
                            "echo > $d/driver_override && echo $d > unbind")
                      .status,
                  0);
      },
      "-inside", {{"the host", &host}});
  EXPECT_THAT(inside.Finish(), AllOf(HasSubstr("report: UNAVAILABLE: "),
                                     HasSubstr("its life is over, and a send gives: peer gone")));
  LoadDriver(*guest);
  Peer next(*guest, "auto", "next", "ask host hello");
  EXPECT_THAT(next.Finish(), AllOf(HasSubstr("driver /dev/ivmq0"), HasSubstr("answered")));
  (void)OnHost("last", "say host end").Finish();
  (void)host.Finish();
}

// Nobody is told of a server's death. Peers of two servers cannot ring each other: what they send
// is found by looks of their own.
TEST_F(DeathTest, WithoutItsServerThePeersGoOnAndTheNextOneLetsOthersJoin) {
  const auto guest = WithDriver("guest", "6.1");
  const auto other = WithDriver("other", "6.12");
  ASSERT_TRUE(guest != nullptr && other != nullptr);
  Peer host = OnHost("host", "sit");
  Peer far(*other, "auto", "far", "sit");
  AwaitAll("+far", {{"the host", &host}});
  server_->Kill();
  // A process of a guest joins without a server, and can die.
  for (const std::string whom : {"host", "far"}) {
    Peer asks(*guest, "auto", "asks", "ask " + whom + " without");
    EXPECT_THAT(asks.Finish(), HasSubstr("net finds 0\n"));
  }
  Peer victim(*guest, "auto", "victim", "sit");
  AwaitAll("+victim", {{"the host", &host}, {"the other guest", &far}});
  AwaitAll([&] { victim.Kill(); }, "-victim", {{"the host", &host}, {"the other guest", &far}});
  victim.FinishKilled();

  StartServer();
  Peer late = OnHost("late", "sit");
  AwaitAll("+late", {{"the host", &host}, {"the other guest", &far}});
  for (const std::string whom : {"host", "far", "late"}) {
    Peer asks(*guest, "auto", "asks", "ask " + whom + " again");
    ExpectNoneLost(asks.Finish());
  }
  for (const std::string whom : {"host", "far", "late"}) {
    Peer asks = OnHost("asks", "ask " + whom + " again");
    ExpectNoneLost(asks.Finish());
  }
  // The next server confirms the deaths of the former one's clients, too.
  Peer stays(*guest, "auto", "stays", "sit");
  AwaitAll("+stays", {{"late", &late}, {"the host", &host}, {"the other guest", &far}});
  AwaitAll([&] { guest->Kill(); }, "-stays",
           {{"late", &late}, {"the host", &host}, {"the other guest", &far}});
  AwaitAll([&] { late.Kill(); }, "-late", {{"the host", &host}, {"the other guest", &far}});
  late.FinishKilled();
  (void)OnHost("last", "say far end").Finish();
  (void)OnHost("last", "say host end").Finish();
  ExpectNoneLost(far.Finish());
  ExpectNoneLost(host.Finish());
}

}  // namespace
}  // namespace ivmq::testing
