// Peers in guests and on the host talk, asleep whenever nothing waits for them. Between them these
// tests exchange a million messages.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

std::string Talk(int seed, int count, const std::string& partners) {
  return "talk " + std::to_string(seed) + " " + std::to_string(count) + " " + partners;
}

TEST_F(TransportsTest, DriversOfBothKernelsAndTheHostLoseNoWakeUp) {
  const auto old_guest = WithDriver("old", "6.1");
  const auto new_guest = WithDriver("new", "6.12");
  ASSERT_TRUE(old_guest != nullptr && new_guest != nullptr);
  constexpr int kCount = 100'000;
  Peer old_peer(*old_guest, "ivmq:/dev/ivmq0", "old", Talk(1, kCount, "new host"));
  Peer new_peer(*new_guest, "auto", "new", Talk(2, kCount, "old host"));
  Peer host = OnHost("host", Talk(3, kCount, "old new"));
  const std::string said = old_peer.Finish();
  EXPECT_THAT(said, AllOf(HasSubstr("driver /dev/ivmq0, 4 vectors, interrupts of vector 0"),
                          ContainsRegex("rung [1-9]")));
  ExpectNoneLost(said);
  ExpectNoneLost(new_peer.Finish());
  ExpectNoneLost(host.Finish());
}

TEST_F(TransportsTest, VfioADriverAndTheHostLoseNoWakeUp) {
  const auto vfio_guest = WithIommu("vfio");
  const auto driver_guest = WithDriver("driver", "6.12");
  ASSERT_TRUE(vfio_guest != nullptr && driver_guest != nullptr);
  BindToVfio(*vfio_guest);
  constexpr int kCount = 50'000;
  Peer vfio(*vfio_guest, "auto", "vfio", Talk(4, kCount, "driver host"));
  Peer driver(*driver_guest, "auto", "driver", Talk(5, kCount, "vfio host"));
  Peer host = OnHost("host", Talk(6, kCount, "vfio driver"));
  const std::string said = vfio.Finish();
  EXPECT_THAT(said, AllOf(HasSubstr("vfio interrupts"), ContainsRegex("rung [1-9]")));
  ExpectNoneLost(said);
  ExpectNoneLost(driver.Finish());
  ExpectNoneLost(host.Finish());
}

TEST_F(TransportsTest,
       ProcessesOfOneGuestHaveVectorsOfTheirOwnAndTalkWithEachOtherAndAnotherGuest) {
  const auto guest = WithDriver("guest", "6.12");
  const auto other = WithDriver("other", "6.1");
  ASSERT_TRUE(guest != nullptr && other != nullptr);
  constexpr int kCount = 20'000;
  Peer first(*guest, "auto", "first", Talk(7, kCount, "second far"));
  ASSERT_TRUE(first.Await(": driver"));
  Peer second(*guest, "auto", "second", Talk(8, kCount, "first far"));
  Peer far(*other, "auto", "far", Talk(9, kCount, "first second"));
  const std::string first_said = first.Finish();
  const std::string second_said = second.Finish();
  EXPECT_THAT(first_said, HasSubstr("first is peer (1, 0)"));
  EXPECT_THAT(second_said, HasSubstr("second is peer (1, 1)"));
  ExpectNoneLost(first_said);
  ExpectNoneLost(second_said);
  ExpectNoneLost(far.Finish());
}

// The server makes four. Without a word, messages would wait for the look once a second.
TEST_F(TransportsTest, DevicesWithOtherVectorsThanTheServerAreNamedAndNoWakeUpIsLost) {
  const auto many = WithDriver("many", "6.12", 2 * kVectors);
  const auto few = WithDriver("few", "6.1", 1);
  ASSERT_TRUE(many != nullptr && few != nullptr);
  EXPECT_THAT(many->Run("ivmq doctor").output,
              AllOf(HasSubstr("the device has 8 vectors, and ivmqd makes 4"),
                    HasSubstr("ivposition 1, 4 vectors")));
  EXPECT_THAT(few->Run("ivmq doctor").output,
              HasSubstr("the device has 1 vector, and ivmqd makes 4"));
  constexpr int kCount = 1'000;
  Peer first(*many, "auto", "first", Talk(12, kCount, "second far"));
  ASSERT_TRUE(first.Await(": driver"));
  // It is woken by vector 1, which "far" cannot ring.
  Peer second(*many, "auto", "second", Talk(13, kCount, "first far"));
  Peer far(*few, "auto", "far", Talk(14, kCount, "first second"));
  ExpectNoneLost(first.Finish());
  const std::string said = second.Finish();
  EXPECT_THAT(said, HasSubstr("second is peer (1, 1)"));
  ExpectNoneLost(said);
  const std::string far_said = far.Finish();
  EXPECT_THAT(far_said, HasSubstr("report: "));
  ExpectNoneLost(far_said);
}

// One device in the hands of each in turn.
TEST_F(TransportsTest, AutoPicksTheDriverOrVfioOrPollingAndSaysWhy) {
  const auto guest = WithIommu("vm");
  ASSERT_NE(guest, nullptr);
  const auto expect = [&](const std::string& address, const std::string& how,
                          const std::string& why) {
    constexpr int kCount = 1'000;
    Peer host = OnHost("host", Talk(10, kCount, "guest"));
    Peer peer(*guest, address, "guest", Talk(11, kCount, "host"));
    const std::string said = peer.Finish();
    EXPECT_THAT(said, AllOf(HasSubstr(how + why + "\n"), ContainsRegex("rung [1-9]")));
    ExpectNoneLost(said);
    ExpectNoneLost(host.Finish());
  };
  const auto expect_auto = [&](const std::string& how, const std::string& why) {
    EXPECT_THAT(guest->Run("ivmq info auto").output, HasSubstr(why + "\n"));
    expect("auto", how, why);
  };
  expect_auto("4 vectors, polling", " (no driver has the device)");
  LoadDriver(*guest);
  expect_auto("driver /dev/ivmq0, 4 vectors, interrupts of vector 0",
              " (the driver ivmq has the device)");
  BindToVfio(*guest);
  expect_auto("vfio interrupts", " (vfio-pci has the device)");
  expect("vfio:$(basename $(dirname $(grep -lx 0x1110 /sys/bus/pci/devices/*/device)))",
         "vfio interrupts", "");
}

}  // namespace
}  // namespace ivmq::testing
