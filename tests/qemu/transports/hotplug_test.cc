// Devices that come and go while the guest runs, as its users see it.
#include <chrono>
#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class HotplugTest : public TransportsTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(HotplugTest, APluggedDeviceIsFoundAndWhatIsGoneIsSaid) {
  const auto guest = Guest::Restore({.name = "vm", .kernel = GetParam()});
  ASSERT_NE(guest, nullptr);
  LoadDriver(*guest);
  Peer host = OnHost("host", "sit");
  const auto expect_none = [&] {
    const Result info = guest->Run("ivmq info auto");
    EXPECT_NE(info.status, 0);
    EXPECT_THAT(info.output, HasSubstr("auto: this machine has no ivshmem device"));
    EXPECT_THAT(guest->Run("ivmq ls ivmq:/dev/ivmq0").output, HasSubstr("there is no /dev/ivmq0"));
  };
  expect_none();
  for (const bool doorbell : {false, true}) {
    const std::string name = doorbell ? "doorbell" : "plain";
    // The plain device shows the memory that the server serves.
    ASSERT_TRUE(guest->AddDevice(doorbell ? IvshmemDevice::Doorbell(socket_, kVectors)
                                          : IvshmemDevice::Plain(folder_ / "region", 8 << 20)));
    EXPECT_THAT(guest->Run("ivmq info auto").output,
                HasSubstr(doorbell ? "driver /dev/ivmq0, 4 vectors (the driver"
                                   : "driver /dev/ivmq0, plain (the driver"));
    EXPECT_THAT(Peer(*guest, "auto", "asks", "ask host hello").Finish(), HasSubstr("answered"));
    Peer inside(*guest, "ivmq:/dev/ivmq0", name, "sit");
    ASSERT_TRUE(host.Await("+" + name + "\n"));
    ASSERT_TRUE(guest->RemoveLastDevice());
    ASSERT_TRUE(host.Await("-" + name + "\n"));
    // The memory has gone, and the process lives on.
    EXPECT_THAT(inside.Finish(), AllOf(HasSubstr("report: FAILED_PRECONDITION: "),
                                       HasSubstr("its life is over, and a send gives: peer gone")));
    expect_none();
  }
  (void)OnHost("last", "say host end").Finish();
  (void)host.Finish();
}

// QEMU 7.2 under TCG crashed at the second plug when peers had come in between: see ClientBacklog.
TEST_P(HotplugTest, ADeviceIsUnpluggedAndPluggedAgainWhilePeersTalkAndComeAndGo) {
  const char* wanted = std::getenv("IVMQ_PLUG_CYCLES");
  const int cycles = wanted != nullptr ? std::atoi(wanted) : 6;
  const auto guest = Guest::Restore({.name = "vm", .kernel = GetParam()});
  ASSERT_NE(guest, nullptr);
  LoadDriver(*guest);
  Peer host = OnHost("host", "sit");
  std::deque<Peer> more;  // as many as the cycle's number in three
  for (int cycle = 0; cycle < cycles; ++cycle) {
    SCOPED_TRACE("cycle " + std::to_string(cycle));
    ASSERT_TRUE(guest->AddDevice(IvshmemDevice::Doorbell(socket_, kVectors)));
    const std::string number = std::to_string(cycle);
    const std::string name = "inside" + number;
    Peer inside(*guest, "auto", name, "sit");
    ASSERT_TRUE(host.Await("+" + name + "\n"));
    const auto add = [&] {
      more.push_back(
          OnHost("more" + std::to_string(cycle) + "." + std::to_string(more.size()), "sit"));
      ASSERT_TRUE(more.back().Await("+" + name + "\n"));
    };
    for (int i = 0; i < cycle % 3; ++i) add();
    EXPECT_THAT(Peer(*guest, "auto", "asks", "ask host hello").Finish(), HasSubstr("answered"));
    Peer out(*guest, "auto", "out" + number, "talk 1 1000000 in" + number);
    Peer in = OnHost("in" + number, "talk 2 1000000 out" + number);
    ASSERT_TRUE(host.Await("+out" + number + "\n") && host.Await("+in" + number + "\n"));
    ASSERT_TRUE(guest->RemoveLastDevice());
    EXPECT_THAT(inside.Finish(), HasSubstr("its life is over"));
    // The talk has been cut at both ends.
    EXPECT_THAT(out.Wait().output, HasSubstr("FAILED: "));
    EXPECT_THAT(in.Wait().output, HasSubstr("FAILED: "));
    if (cycle % 3 == 2) {
      for (Peer& peer : more) {
        peer.Kill();
        peer.FinishKilled();
      }
      more.clear();
    }
  }
  (void)OnHost("last", "say host end").Finish();
  (void)host.Finish();
}

// The copy shares the region, the slot and the name with its original, and is told by the kernel
// that it is one.
TEST_F(TransportsTest, ThePeerInACopiedMachineEndsAndTheOriginalGoesOn) {
  const auto machine = [](const std::string& generation) -> std::vector<std::string> {
    return {"-device", "vmgenid,guid=" + generation};
  };
  const auto original =
      Guest::Boot({.name = "original",
                   .devices = {IvshmemDevice::Master(folder_ / "region", 8 << 20)},
                   .kernel = "6.12",
                   .arguments = machine("11111111-1111-1111-1111-111111111111")});
  ASSERT_NE(original, nullptr);
  LoadDriver(*original);
  Peer host = OnHost("host", "sit");
  const auto inside = original->Start("exec test_peer auto inside sit");
  ASSERT_TRUE(host.Await("+inside\n"));
  EXPECT_THAT(OnHost("first", "ask inside before").Finish(), HasSubstr("answered"));
  {
    const auto copy = original->Copy(machine("22222222-2222-2222-2222-222222222222"));
    ASSERT_NE(copy, nullptr);
    const Result ended = copy->Wait(inside, std::chrono::seconds(90));
    EXPECT_THAT(ended.output, AllOf(HasSubstr("report: FAILED_PRECONDITION: "),
                                    HasSubstr("its life is over, and a send gives: peer gone")));
    // It may attach anew.
    EXPECT_THAT(Peer(*copy, "auto", "again", "ask inside hello").Finish(), HasSubstr("answered"));
  }
  EXPECT_THAT(OnHost("second", "ask inside after").Finish(), HasSubstr("answered"));
  EXPECT_THAT(Peer(*original, "auto", "beside", "ask inside after").Finish(),
              HasSubstr("answered"));
  (void)OnHost("last", "say inside end").Finish();
  const Result left = original->Wait(inside, std::chrono::seconds(90));
  EXPECT_EQ(left.status, 0) << left.output;
  EXPECT_THAT(left.output, Not(HasSubstr("its life is over")));
  (void)OnHost("last", "say host end").Finish();
  (void)host.Finish();
}

INSTANTIATE_TEST_SUITE_P(Kernels, HotplugTest, ::testing::Values("6.1", "6.12"),
                         [](const auto& kernel) {
                           return std::string(kernel.param) == "6.1" ? "6_1" : "6_12";
                         });

}  // namespace
}  // namespace ivmq::testing
