// Devices that come and go while the guest runs, as its users see it.
#include <csignal>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

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
                                          : IvshmemDevice::Plain(folder_.Path("region"), 8 << 20)));
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

INSTANTIATE_TEST_SUITE_P(Kernels, HotplugTest, ::testing::Values("6.1", "6.12"),
                         [](const auto& kernel) {
                           return std::string(kernel.param) == "6.1" ? "6_1" : "6_12";
                         });

}  // namespace
}  // namespace ivmq::testing
