// Peers in guests and on the host whose doorbells are of different servers of one region.
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ServersTest : public TransportsTest {
 protected:
  // As a crash of it, after which nobody has anything of what it had.
  void ReplaceServer() {
    server_->Kill();
    StartServer();
  }
};

std::string Talk(int seed, const std::string& partners) {
  return "talk " + std::to_string(seed) + " 3000 " + partners;
}

// The device of the first guest knows nobody who came later, and they do not know it.
TEST_F(ServersTest, GuestsOfTwoServersAndTheHostTalkWithoutTheNet) {
  const auto former = WithDriver("former", "6.1");
  ASSERT_NE(former, nullptr);
  Peer host_former = OnHost("host-former", Talk(1, "former late host"));
  ASSERT_TRUE(host_former.Await("is peer"));
  ReplaceServer();
  const auto late = WithDriver("late", "6.12");
  ASSERT_NE(late, nullptr);
  Peer former_peer(*former, "auto", "former", Talk(2, "late host host-former"));
  Peer late_peer(*late, "auto", "late", Talk(3, "former host host-former"));
  Peer host = OnHost("host", Talk(4, "former late host-former"));
  for (Peer* const peer : {&former_peer, &late_peer, &host, &host_former}) {
    ExpectNoneLost(peer->Finish());
  }
}

TEST_F(ServersTest, DoctorNamesTheGuestWhoseDeviceKnowsNobodyNew) {
  const auto former = WithDriver("former", "6.12");
  ASSERT_NE(former, nullptr);
  ReplaceServer();
  Peer inside(*former, "auto", "inside", "sit");
  Peer host = OnHost("host", "sit");
  ASSERT_TRUE(host.Await("+inside\n"));
  const std::string words = "inside (ivposition 1";
  const std::string remedy = "poweroff   # in its guest; then start its QEMU again";
  EXPECT_THAT(former->Run("ivmq doctor").output, AllOf(HasSubstr(words), HasSubstr(remedy)));
  Program doctor({IVMQ_TOOL, "doctor", address_});
  EXPECT_EQ(doctor.Wait(), 0);
  EXPECT_THAT(doctor.output(),
              AllOf(HasSubstr(words + ", pid " + std::to_string(former->Pid()) + " (qemu"),
                    HasSubstr(remedy)));
  (void)OnHost("last", "say inside end").Finish();
  (void)OnHost("last", "say host end").Finish();
  ExpectNoneLost(inside.Finish());
  ExpectNoneLost(host.Finish());
}

// A memfd ends with its server, as far as newcomers are concerned. Only a process of the host sees
// that; it tells the guests.
TEST_F(ServersTest, AGuestInARegionThatNobodyCanJoinIsToldAndFound) {
  const std::vector<std::string> memfd{"--size", "8M", "--vectors", std::to_string(kVectors)};
  server_->Terminate();
  server_ = std::make_unique<ServerProcess>(socket_, memfd);
  server_->AwaitReady();
  const auto guest = WithDriver("guest", "6.12");
  ASSERT_NE(guest, nullptr);
  Peer inside(*guest, "auto", "inside", "sit");
  Peer host = OnHost("host", "sit");
  ASSERT_TRUE(host.Await("+inside\n"));
  server_->Kill();
  ASSERT_TRUE(host.Await("nobody can join this region any more"));
  ASSERT_TRUE(inside.Await("nobody can join this region any more"));
  EXPECT_THAT(guest->Run("ivmq doctor").output,
              AllOf(HasSubstr("nobody can join this region any more"),
                    HasSubstr("poweroff   # then start QEMU again on the host")));
  server_ = std::make_unique<ServerProcess>(socket_, memfd);
  server_->AwaitReady();
  Program doctor({IVMQ_TOOL, "doctor", address_});
  EXPECT_EQ(doctor.Wait(), 0);
  const std::string pid = std::to_string(guest->Pid());
  EXPECT_THAT(doctor.output(),
              AllOf(HasSubstr("in a region that nobody can join any more"),
                    HasSubstr("pid " + pid + " (qemu"),
                    HasSubstr("kill " + pid + "   # when its guest is shut down; then start it")));
  inside.Kill();
  host.Kill();
  inside.FinishKilled();
  host.FinishKilled();
}

}  // namespace
}  // namespace ivmq::testing
