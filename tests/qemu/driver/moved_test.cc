// A device that gets another ivposition while it is used. No QEMU does that to a running machine,
// but a migration leads to another QEMU, and another server. Here the guest's own PCI setup puts
// the registers of a pci-testdev where the driver expects those of its device: what they show can
// be chosen through a port.
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/layout.h"

#include "fixture.h"

namespace ivmq::testing {
namespace {

using layout::PeerState;
using ::testing::HasSubstr;

class MovedTest : public DriverGuestTest, public ::testing::WithParamInterface<std::string> {
 protected:
  // A guest whose device has the ivposition 0 now; null with a failure.
  std::unique_ptr<Guest> Start() {
    auto guest = Guest::Boot({.devices = {host_.Device()},
                              .kernel = GetParam(),
                              .arguments = {"-device", "pci-testdev"}});
    // BAR 0 of each is written to the other's.
    if (guest == nullptr ||
        guest->Run("cd /sys/bus/pci/devices && iv=$(dirname $(grep -l 0x1110 */device)) && "
                   "test=$(dirname $(grep -l 0x1b36 */vendor)) && "
                   "bar() { dd if=$1/config of=$2 bs=4 skip=4 count=1; } && "
                   "put() { dd if=$1 of=$2/config bs=4 seek=4 count=1 conv=notrunc; } && "
                   "bar $iv /tmp/iv && bar $test /tmp/test && put /tmp/test $iv && "
                   "put /tmp/iv $test && sed -n 2p $test/resource | cut -d' ' -f1 > /tmp/port")
                .status != 0) {
      ADD_FAILURE() << "no device of that kind";
      return nullptr;
    }
    return Load(std::move(guest));
  }

  // From now on the register shows 0, or something else.
  static void ShowZero(Guest& guest, bool zero) {
    EXPECT_EQ(
        guest.Run(std::string("driver_guest out $(cat /tmp/port) ") + (zero ? "255" : "0")).status,
        0);
  }
  // A process that has the device open until it is over.
  static Guest::JobId StartUser(Guest& guest) {
    const auto user = guest.Start("exec driver_guest unplug /dev/ivmq0");
    EXPECT_TRUE(guest.WaitForOutput(user, "ready\n"));
    return user;
  }

  Host host_{folder_};
};

TEST_P(MovedTest, ADeviceWithAnotherIvpositionIsOverForWhoeverHadItOpen) {
  const auto guest = Start();
  ASSERT_NE(guest, nullptr);
  const auto owner = guest->Start("exec driver_guest live /dev/ivmq0 4 7");
  ASSERT_TRUE(guest->WaitForOutput(owner, "live\n"));

  // Calls that do not ask for it look at the device only when another server has the region: those
  // that ring, and all others.
  bool zero = true;
  for (const std::string call :
       {"driver_guest ring /dev/ivmq0 1 0", "driver_guest free /dev/ivmq0 0"}) {
    SCOPED_TRACE(call);
    const auto user = StartUser(*guest);
    ShowZero(*guest, zero = !zero);
    EXPECT_EQ(guest->Run(call).status, 0);
    host_.memory.header().server_epoch += 1;
    EXPECT_THAT(guest->Run(call).output, HasSubstr("No such device"));
    EXPECT_THAT(guest->Wait(user).output, HasSubstr("ok\n"));
    EXPECT_EQ(guest->Run(call).status, 0);
  }
  // Those that ask for it do so at once.
  for (const std::string call :
       {"driver_guest info /dev/ivmq0", "ivpci_ioctl /dev/ivmq0 ivposition"}) {
    SCOPED_TRACE(call);
    const auto user = StartUser(*guest);
    ShowZero(*guest, zero = !zero);
    EXPECT_THAT(guest->Run(call).output, HasSubstr("No such device"));
    EXPECT_THAT(guest->Wait(user).output, HasSubstr("ok\n"));
    EXPECT_EQ(guest->Run(call).status, 0);
  }

  // Who was cut off has lost the memory. Whose slot it is by now is not for this guest to say.
  EXPECT_THAT(guest->Wait(owner).output, HasSubstr("No such device"));
  EXPECT_EQ(host_.memory.state(4), PeerState::kLive);
  // It may begin anew, under the new ivposition.
  ShowZero(*guest, false);
  (void)guest->Run("driver_guest info /dev/ivmq0");
  const auto next = guest->Start("exec driver_guest live /dev/ivmq0 5 1");
  EXPECT_TRUE(guest->WaitForOutput(next, "live\n"));
  EXPECT_NE(host_.memory.life(5).ivposition, 0);
  guest->Signal(next, "KILL");
  EXPECT_TRUE(host_.memory.AwaitState(5, PeerState::kDead));

  // A node asks with its heartbeat.
  const auto node = guest->Start("exec test_peer auto inside sit");
  EXPECT_TRUE(guest->WaitForOutput(node, "inside is peer ("));
  ShowZero(*guest, true);
  EXPECT_THAT(guest->Wait(node).output, HasSubstr("its life is over"));
  ExpectQuiet(*guest);
}

INSTANTIATE_TEST_SUITE_P(Linux, MovedTest, ::testing::Values("6.1", "6.12"), KernelName);

}  // namespace
}  // namespace ivmq::testing
