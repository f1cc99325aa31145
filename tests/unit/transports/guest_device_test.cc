// Which way to a guest's device is taken, and what is said when none works. Real devices are in
// tests/qemu.
#include "src/guest_device.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"
#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"

#include "src/pci_device.h"
#include "src/vfio_transport.h"
#include "support/temp_folder.h"

namespace ivmq {
namespace {

using ::testing::AllOf;
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
}

// ---- Device and server with different numbers of vectors

class VectorsTest : public ::testing::Test {
 protected:
  VectorsTest() {
    EXPECT_TRUE(Format(memory_, {.max_peers = 2}).ok());
    header_ = reinterpret_cast<layout::Header*>(memory_.data());
  }
  std::string Complaint(std::uint32_t device, std::uint32_t server) {
    header_->server_vectors.store(server);
    return CheckVectors(device, memory_).message();
  }
  bool ReachesAll(std::uint32_t device, std::uint32_t server) {
    header_->server_vectors.store(server);
    return ReachesAllVectors(device, memory_);
  }

  alignas(layout::kPage) std::array<std::byte, 256 << 10> memory_{};
  layout::Header* header_ = nullptr;
};

TEST_F(VectorsTest, EqualOrUnknownNumbersAreFine) {
  EXPECT_EQ(Complaint(8, 8), "");
  EXPECT_EQ(Complaint(0, 8), "");
  EXPECT_EQ(Complaint(8, 0), "");
  EXPECT_EQ(Complaint(8, 0xffffffff), "") << "no server makes so many";
  EXPECT_TRUE(ReachesAll(8, 8) && ReachesAll(0, 8) && ReachesAll(8, 0) && ReachesAll(8, 65));
}

TEST_F(VectorsTest, WhatNobodyCanRingIsNamedWithBothRemedies) {
  EXPECT_THAT(Complaint(16, 8), AllOf(HasSubstr("16 vectors"), HasSubstr("from 8 on"),
                                      HasSubstr("vectors=8"), HasSubstr("--vectors 16")));
  EXPECT_TRUE(ReachesAll(16, 8));
}

TEST_F(VectorsTest, WhatCannotBeRungFromHereIsNamedWithBothRemedies) {
  EXPECT_THAT(Complaint(1, 8), AllOf(HasSubstr("1 vector,"), HasSubstr("from 1 on"),
                                     HasSubstr("vectors=8"), HasSubstr("--vectors 1")));
  EXPECT_FALSE(ReachesAll(1, 8));
}

TEST_F(VectorsTest, MemoryThatIsNoRegionSaysNothing) {
  memory_.fill(std::byte{1});
  EXPECT_TRUE(CheckVectors(16, memory_).ok());
  EXPECT_TRUE(CheckVectors(16, {}).ok());
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
  EXPECT_THAT(status.message(), HasSubstr("driver_override"));
  EXPECT_THAT(status.message(), Not(HasSubstr("unbind")));
}

TEST_F(GuestDeviceTest, VfioOverADeviceOfAnotherDriverNamesIt) {
  const Status status = OpenVfioTransport(Device("ivmq"), "vfio:00:04.0").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("'ivmq'"));
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
