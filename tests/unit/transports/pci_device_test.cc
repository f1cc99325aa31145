#include "src/pci_device.h"

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/region.h"

#include "fake_pci_devices.h"

namespace ivmq {
namespace {

using ::testing::ElementsAre;
using testing::FakePciDevice;
using testing::FakePciDevices;
using ::testing::HasSubstr;

class PciDeviceTest : public ::testing::Test {
 protected:
  [[nodiscard]] Result<PciDevice> Find() const {
    return FindPciDevice(devices(), [](const PciDevice& device) {
      return OpenPciRegion(device, "", Access::kReadOnly);
    });
  }
  void Add(const std::string& bdf, const FakePciDevice& device) { folder_.Add(bdf, device); }
  [[nodiscard]] const std::string& devices() const { return folder_.path(); }
  [[nodiscard]] Status InspectError(std::string_view bdf) const {
    return InspectPciDevice(devices(), bdf).status();
  }
  [[nodiscard]] std::uint32_t ReadRegister(const std::string& bdf, std::size_t at) const {
    std::ifstream file(devices() + "/" + bdf + "/resource0", std::ios::binary);
    std::uint32_t value = 0;
    file.seekg(static_cast<std::streamoff>(at));
    file.read(reinterpret_cast<char*>(&value), sizeof(value));
    return value;
  }
  void WriteRegister(const std::string& bdf, std::streamoff at, std::uint32_t value) {
    std::fstream file(devices() + "/" + bdf + "/resource0",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));
  }

  FakePciDevices folder_;
};

TEST_F(PciDeviceTest, PlainDeviceHasNoIvpositionAndCannotRing) {
  Add("0000:00:04.0", {});
  const auto device = InspectPciDevice(devices(), "0000:00:04.0");
  ASSERT_TRUE(device.ok()) << device.status().ToString();
  EXPECT_FALSE(device->doorbell);
  const auto transport = OpenPciTransport(*device, "pci:auto");
  ASSERT_TRUE(transport.ok()) << transport.status().ToString();
  const TransportInfo& info = (*transport)->info();
  EXPECT_EQ(info.description, "ivshmem-plain 0000:00:04.0, polling");
  EXPECT_EQ(info.ivposition, layout::kNoIvposition);
  EXPECT_FALSE(info.can_ring);
  EXPECT_FALSE(info.wakeable);
  EXPECT_NE((*transport)->lock_domain(), 0U);
  EXPECT_TRUE(Region::Attach((*transport)->memory()).ok());
  (*transport)->Ring(1, 0);
}

TEST_F(PciDeviceTest, DoorbellDeviceRingsThroughBar0WhereverItLiesInItsPage) {
  Add("0000:00:11.0", {.msix = true, .bar0_start = 0xfebf1f00});
  const auto device = InspectPciDevice(devices(), "00:11.0");
  ASSERT_TRUE(device.ok()) << device.status().ToString();
  EXPECT_TRUE(device->doorbell);
  EXPECT_EQ(device->vectors, 8U);
  const auto transport = OpenPciTransport(*device, "pci:00:11.0");
  ASSERT_TRUE(transport.ok()) << transport.status().ToString();
  const TransportInfo& info = (*transport)->info();
  EXPECT_EQ(info.description, "ivshmem-doorbell 0000:00:11.0, 8 vectors, polling");
  EXPECT_EQ(info.ivposition, 7);
  EXPECT_TRUE(info.can_ring);
  EXPECT_FALSE(info.wakeable);
  (*transport)->Ring(0x1234, 5);
  EXPECT_EQ(ReadRegister("0000:00:11.0", 0xf00 + 12), 0x12340005U) << "peer << 16 | vector";
}

TEST_F(PciDeviceTest, IvpositionZeroOfADoorbellDeviceIsAnId) {
  Add("0000:00:11.0", {.msix = true, .ivposition = 0});
  const auto transport = OpenPciTransport(*InspectPciDevice(devices(), "0000:00:11.0"), "pci:auto");
  ASSERT_TRUE(transport.ok());
  EXPECT_EQ((*transport)->info().ivposition, 0);
  EXPECT_TRUE((*transport)->info().can_ring);
}

TEST_F(PciDeviceTest, AnotherIvpositionThanItWasOpenedWithIsAnotherPlace) {
  Add("0000:00:11.0", {.msix = true, .bar0_start = 0xfebf1f00, .ivposition = 3});
  const auto transport = OpenPciTransport(*InspectPciDevice(devices(), "0000:00:11.0"), "pci:auto");
  ASSERT_TRUE(transport.ok());
  EXPECT_TRUE((*transport)->CheckPlace().ok());
  WriteRegister("0000:00:11.0", 0xf00 + 8, 5);
  const Status moved = (*transport)->CheckPlace();
  EXPECT_EQ(moved.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(moved.message(), HasSubstr("from 3 to 5"));
  // As it reads when nothing answers.
  WriteRegister("0000:00:11.0", 0xf00 + 8, 0xffffffff);
  EXPECT_TRUE((*transport)->CheckPlace().ok());
}

TEST_F(PciDeviceTest, IvpositionOutOfRangeIsUnavailable) {
  Add("0000:00:11.0", {.msix = true, .ivposition = 0xffffffff});
  EXPECT_EQ(OpenPciTransport(*InspectPciDevice(devices(), "0000:00:11.0"), "").status().code(),
            StatusCode::kUnavailable);
}

TEST_F(PciDeviceTest, DoorbellIsSeenByBar1WithoutTheRightToReadCapabilities) {
  Add("0000:00:11.0", {.msix = true, .whole_config = false});
  const auto device = InspectPciDevice(devices(), "0000:00:11.0");
  ASSERT_TRUE(device.ok());
  EXPECT_TRUE(device->doorbell);
  EXPECT_EQ(Describe(*device), "ivshmem-doorbell 0000:00:11.0");
}

TEST_F(PciDeviceTest, CapabilityListThatGoesInACircleEnds) {
  Add("0000:00:11.0", {.msix = true});
  std::fstream config(devices() + "/0000:00:11.0/config", std::ios::in | std::ios::out);
  config.seekp(0x40);
  config.write("\x01\x40", 2);
  config.close();
  const auto device = InspectPciDevice(devices(), "0000:00:11.0");
  ASSERT_TRUE(device.ok());
  EXPECT_FALSE(device->doorbell);
}

TEST_F(PciDeviceTest, RevisionZeroIsRefusedWithTheReason) {
  Add("0000:00:04.0", {.revision = 0});
  const Status status = InspectError("0000:00:04.0");
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("revision 0"));
}

TEST_F(PciDeviceTest, OtherDeviceIsNamed) {
  Add("0000:00:03.0", {.vendor = 0x8086, .device = 0x100e});
  const Status status = InspectError("0000:00:03.0");
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("8086:100e"));
}

TEST_F(PciDeviceTest, MissingDeviceListsThoseThatAreThere) {
  Add("0000:00:04.0", {});
  const Status status = InspectError("0000:00:05.0");
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("0000:00:04.0"));
}

TEST_F(PciDeviceTest, DisabledDeviceIsEnabledOrTheErrorSaysWhyNot) {
  Add("0000:00:04.0", {.decodes = false});
  const Status status = InspectError("0000:00:04.0");
  std::string enable;
  std::ifstream(devices() + "/0000:00:04.0/enable") >> enable;
  EXPECT_EQ(enable, "1");
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("disabled"));
}

TEST_F(PciDeviceTest, MissingBar2SaysWhy) {
  Add("0000:00:04.0", {.bar2 = false});
  const auto device = InspectPciDevice(devices(), "0000:00:04.0");
  ASSERT_TRUE(device.ok());
  const Status status = OpenPciTransport(*device, "").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("BAR"));
}

TEST_F(PciDeviceTest, DriverThatOwnsTheDeviceIsNamed) {
  Add("0000:00:04.0", {});
  const auto device = InspectPciDevice(devices(), "0000:00:04.0");
  ASSERT_TRUE(device.ok());
  EXPECT_EQ(PciResourceError(*device, "resource2", EINVAL).code(), StatusCode::kInternal);
  std::filesystem::create_symlink("/sys/bus/pci/drivers/some_driver", device->folder + "/driver");
  const Status status = PciResourceError(*device, "resource2", EINVAL);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("'some_driver'"));
  EXPECT_THAT(status.message(), HasSubstr("echo 0000:00:04.0 > "));
}

TEST_F(PciDeviceTest, ListHasIvshmemDevicesOnlyInOrder) {
  Add("0000:00:11.0", {.msix = true});
  Add("0000:00:03.0", {.vendor = 0x8086});
  Add("0000:00:04.0", {.revision = 0});
  EXPECT_THAT(ListIvshmemDevices(devices()), ElementsAre("0000:00:04.0", "0000:00:11.0"));
  EXPECT_TRUE(ListIvshmemDevices(devices() + "/none").empty());
}

TEST_F(PciDeviceTest, AutoFindsTheOneFormattedDevice) {
  Add("0000:00:04.0", {.formatted = false});
  Add("0000:00:05.0", {});
  Add("0000:00:06.0", {.revision = 0});
  const auto device = Find();
  ASSERT_TRUE(device.ok()) << device.status().ToString();
  EXPECT_EQ(device->bdf, "0000:00:05.0");
}

TEST_F(PciDeviceTest, AutoWithoutAnyDeviceIsNotFound) {
  const Status status = Find().status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("ivshmem-doorbell"));
}

TEST_F(PciDeviceTest, AutoWithNoFormattedDeviceSaysWhatIsWrongWithEach) {
  Add("0000:00:04.0", {.formatted = false});
  Add("0000:00:06.0", {.revision = 0});
  const Status status = Find().status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("0000:00:04.0"));
  EXPECT_THAT(status.message(), HasSubstr("revision 0"));
}

TEST_F(PciDeviceTest, AutoWithSeveralFormattedDevicesListsThem) {
  Add("0000:00:04.0", {});
  Add("0000:00:05.0", {.msix = true});
  const Status status = Find().status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("0000:00:04.0"));
  EXPECT_THAT(status.message(), HasSubstr("0000:00:05.0"));
}

}  // namespace
}  // namespace ivmq
