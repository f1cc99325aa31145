// Which way to a guest's device is taken, and what is said when none works. Real devices are in
// tests/qemu.
#include "src/guest_device.h"

#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"

#include "src/pci_device.h"
#include "src/vfio_transport.h"
#include "temp_folder.h"

namespace ivmq {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempFolder;

Status OpenError(const std::string& address) { return OpenTransport(address).status(); }

TEST(DriverTransportTest, WithoutTheDriverIsNotFoundWithTheRemedy) {
  const Status status = OpenError("ivmq:/dev/ivmq-none");
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("ivmq:/dev/ivmq-none: "));
  EXPECT_THAT(status.message(), HasSubstr("modprobe ivmq"));
}

TEST(DriverTransportTest, AnotherNodeIsToldFromTheDrivers) {
  const Status status = OpenError("ivmq:/dev/null");
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("no node of the driver"));
}

class GuestDeviceTest : public ::testing::Test {
 protected:
  // A device as far as who owns it matters.
  PciDevice Device(const std::string& owner) {
    PciDevice device{.bdf = "0000:00:04.0", .folder = folder_ / "0000:00:04.0", .doorbell = true};
    std::filesystem::create_directory(device.folder);
    if (!owner.empty()) {
      std::filesystem::create_directory_symlink("../drivers/" + owner, device.folder + "/driver");
    }
    return device;
  }
  TempFolder folder_;
};

TEST_F(GuestDeviceTest, TheOwnerIsReadFromSysfs) {
  EXPECT_EQ(DriverOf(Device("ivmq")), "ivmq");
  std::filesystem::remove_all(folder_ / "0000:00:04.0");
  EXPECT_EQ(DriverOf(Device("")), "");
}

TEST_F(GuestDeviceTest, VfioOverADeviceOfNobodySaysHowToBindIt) {
  const Status status = OpenVfioTransport(Device(""), "vfio:00:04.0").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("has no driver"));
  EXPECT_THAT(status.message(), HasSubstr("driver_override"));
  EXPECT_THAT(status.message(), Not(HasSubstr("unbind")));
}

TEST_F(GuestDeviceTest, VfioOverADeviceOfAnotherDriverNamesIt) {
  const Status status = OpenVfioTransport(Device("ivmq"), "vfio:00:04.0").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("belongs to the driver 'ivmq'"));
  // In the order in which they work: drivers_probe leaves a device that has a driver alone.
  const std::string folder = folder_ / "0000:00:04.0";
  EXPECT_THAT(status.message(),
              HasSubstr("modprobe vfio-pci; echo vfio-pci > " + folder +
                        "/driver_override; echo 0000:00:04.0 > " + folder +
                        "/driver/unbind; echo 0000:00:04.0 > /sys/bus/pci/drivers_probe"));
}

TEST_F(GuestDeviceTest, VfioWithoutAnIommuSaysWhatIsMissing) {
  const Status status = OpenVfioTransport(Device("vfio-pci"), "vfio:00:04.0").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("kernel-irqchip=split"));
  EXPECT_THAT(status.message(), HasSubstr("-device intel-iommu,intremap=on"));
  EXPECT_THAT(status.message(), HasSubstr("intel_iommu=on"));
}

TEST_F(GuestDeviceTest, AutoWithoutADeviceNamesTheOtherAddresses) {
  const Status status = OpenGuestTransport(folder_.path(), "auto").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("unix:"));
}

}  // namespace
}  // namespace ivmq
