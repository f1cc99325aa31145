// Devices whose vectors are not those of the server, or that have none, and older drivers.
#include <deque>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class VectorsTest : public TransportsTest {
 protected:
  std::unique_ptr<Guest> WithVectors(int vectors) {
    auto guest =
        Guest::Restore({.devices = {IvshmemDevice::Doorbell(socket_, vectors)}, .kernel = "6.12"});
    if (guest != nullptr) LoadDriver(*guest);
    return guest;
  }

  // The host reaches the peer, and its answer comes back.
  void ExpectHeard(const std::string& name) const {
    EXPECT_THAT(OnHost("asks-" + name, "ask " + name + " hello").Finish(),
                HasSubstr("net finds 0\n"));
  }
};

TEST_F(VectorsTest, ProcessesGetOnlyVectorsThatTheServerHasToo) {
  const auto guest = WithVectors(4 * kVectors);
  ASSERT_NE(guest, nullptr);
  std::deque<Peer> peers;
  for (int i = 0; i <= kVectors; ++i) {
    const std::string name = "p" + std::to_string(i);
    peers.emplace_back(*guest, "auto", name, "sit");
    const std::string vector = std::to_string(i % kVectors);
    ASSERT_TRUE(
        peers.back().Await("driver /dev/ivmq0, 16 vectors (4 of the server), interrupts of "
                           "vector " +
                           vector + (i < kVectors ? " (" : ", which is shared")));
    ExpectHeard(name);
  }
}

TEST_F(VectorsTest, ProcessesShareTheOnlyVectorOfADevice) {
  const auto guest = WithVectors(1);
  ASSERT_NE(guest, nullptr);
  std::deque<Peer> peers;
  for (const std::string name : {"p0", "p1"}) {
    peers.emplace_back(*guest, "auto", name, "sit");
    ASSERT_TRUE(peers.back().Await("driver /dev/ivmq0, 1 vector, interrupts of vector 0"));
    ExpectHeard(name);
  }
}

// Version 1 of the driver's interface, which knows nothing of the server's vectors.
TEST_F(VectorsTest, AnOlderDriverServesANewerLibrary) {
  const auto guest = WithVectors(4 * kVectors);
  ASSERT_NE(guest, nullptr);
  for (const std::string name : {"p0", "p1"}) {
    const auto peer =
        guest->Start("LD_PRELOAD=/bin/libold_driver.so test_peer auto " + name + " sit");
    ASSERT_TRUE(guest->WaitForOutput(peer, "16 vectors (4 of the server), interrupts of vector 0"));
    ExpectHeard(name);
  }
}

TEST_F(VectorsTest, WithoutMsiXAProcessPollsAndRings) {
  const auto guest = Guest::Boot({.devices = {IvshmemDevice::Doorbell(socket_, kVectors)},
                                  .kernel = "6.12",
                                  .append = "pci=nomsi"});
  ASSERT_NE(guest, nullptr);
  LoadDriver(*guest);
  Peer host = OnHost("host", "sit");
  EXPECT_THAT(Peer(*guest, "auto", "asks", "ask host hello").Finish(),
              AllOf(HasSubstr("driver /dev/ivmq0, no interrupts, polling"), HasSubstr("answered")));
  Peer inside(*guest, "auto", "inside", "sit");
  ASSERT_TRUE(host.Await("+inside\n"));
  EXPECT_THAT(OnHost("asks", "ask inside hello").Finish(), HasSubstr("answered"));
}

}  // namespace
}  // namespace ivmq::testing
