// Calls between guests and the host, asleep whenever nothing waits for them.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;

class RpcTest : public TransportsTest {
 protected:
  static void ExpectAllAnswered(Peer& peer) {
    EXPECT_THAT(peer.Finish(), HasSubstr("answered\ncounted\nsummed\n"));
  }
  static void ExpectAllStreamed(Peer& peer) {
    EXPECT_THAT(peer.Finish(), HasSubstr("counted\ncollected\nechoed\n"));
  }
};

TEST_F(RpcTest, HostAndGuestsOfBothKernelsCallEachOtherAlsoThroughAThird) {
  const auto vm1 = WithDriver("vm1", "6.1");
  const auto vm2 = WithDriver("vm2", "6.12");
  ASSERT_TRUE(vm1 != nullptr && vm2 != nullptr);
  Peer host = OnHost("host", "serve");
  Peer first(*vm1, "auto", "first", "serve");
  Peer second(*vm2, "auto", "second", "serve");
  ASSERT_TRUE(host.Await("serves") && first.Await("serves") && second.Await("serves"));

  Peer down = OnHost("down", "ask first 500");
  ExpectAllAnswered(down);
  Peer up(*vm1, "auto", "up", "ask host 500");
  ExpectAllAnswered(up);
  Peer across(*vm1, "auto", "across", "ask second 500");
  ExpectAllAnswered(across);
  // The handler in vm1 calls vm2, whose handler calls back.
  Peer nested = OnHost("nested", "ask first 100 second first host");
  ExpectAllAnswered(nested);
}

TEST_F(RpcTest, StreamsOfHostAndGuestsWaitForTheirReadersAndEndWithTheGuestThatIsKilled) {
  const auto vm1 = WithDriver("vm1", "6.1");
  const auto vm2 = WithDriver("vm2", "6.12");
  ASSERT_TRUE(vm1 != nullptr && vm2 != nullptr);
  Peer host = OnHost("host", "serve");
  Peer first(*vm1, "auto", "first", "serve");
  Peer second(*vm2, "auto", "second", "serve");
  ASSERT_TRUE(host.Await("serves") && first.Await("serves") && second.Await("serves"));

  Peer down = OnHost("down", "stream first");
  ExpectAllStreamed(down);
  Peer up(*vm1, "auto", "up", "stream host");
  ExpectAllStreamed(up);
  Peer across(*vm1, "auto", "across", "stream second");
  ExpectAllStreamed(across);

  Peer above = OnHost("above", "outlive-streams second");
  Peer beside(*vm1, "auto", "beside", "outlive-streams second");
  ASSERT_TRUE(above.Await("the streams stand still\n"));
  ASSERT_TRUE(beside.Await("the streams stand still\n"));
  vm2->Kill();
  EXPECT_THAT(above.Finish(), HasSubstr("the stream in both directions ends: "));
  EXPECT_THAT(beside.Finish(), HasSubstr("the stream in both directions ends: "));
}

TEST_F(RpcTest, AGuestKilledInACallAndInAStreamIsUnavailableAndFoundAgainWhenItIsBack) {
  auto vm = WithDriver("vm", "6.1");
  ASSERT_NE(vm, nullptr);
  Peer host = OnHost("host", "outlive peer");
  {
    Peer peer(*vm, "auto", "peer", "serve");
    ASSERT_TRUE(peer.Await("holding\n"));
    vm->Kill();
  }
  ASSERT_TRUE(host.Await("the call ends: "));
  vm = WithDriver("vm", "6.12");
  ASSERT_NE(vm, nullptr);
  {
    const Peer peer(*vm, "auto", "peer", "serve");
    ASSERT_TRUE(host.Await("second life\n") && host.Await("reading\n"));
    vm->Kill();
  }
  ASSERT_TRUE(host.Await("the stream ends: "));
  vm = WithDriver("vm", "6.1");
  ASSERT_NE(vm, nullptr);
  const Peer peer(*vm, "auto", "peer", "serve");
  EXPECT_THAT(host.Finish(), HasSubstr("third life\n"));
}

TEST_F(RpcTest, CallsEndAtBothEndsWhenTheDeviceOfAGuestIsUnplugged) {
  const auto vm = WithDriver("vm", "6.12");
  ASSERT_NE(vm, nullptr);
  Peer host = OnHost("host", "serve");
  Peer serving(*vm, "auto", "serving", "serve");
  ASSERT_TRUE(host.Await("serves") && serving.Await("serves"));
  Peer up(*vm, "auto", "up", "hold host");
  ASSERT_TRUE(host.Await("holding\n"));
  Peer down = OnHost("down", "hold serving");
  ASSERT_TRUE(serving.Await("holding\n"));
  ASSERT_TRUE(vm->RemoveLastDevice());
  EXPECT_THAT(down.Finish(), HasSubstr("the call ends with UNAVAILABLE\n"
                                       "the next call ends with UNAVAILABLE\n"));
  // The caller's own life has ended.
  EXPECT_THAT(up.Finish(), HasSubstr("the call ends with UNAVAILABLE\n"
                                     "the next call ends with FAILED_PRECONDITION\n"));
}

}  // namespace
}  // namespace ivmq::testing
