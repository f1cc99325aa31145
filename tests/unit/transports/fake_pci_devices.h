// A folder of a test's own that stands for /sys/bus/pci/devices.
#ifndef IVMQ_TESTS_UNIT_TRANSPORTS_FAKE_PCI_DEVICES_H_
#define IVMQ_TESTS_UNIT_TRANSPORTS_FAKE_PCI_DEVICES_H_

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "ivmq/address.h"

#include "support/temp_folder.h"

namespace ivmq::testing {

// What a device looks like.
struct FakePciDevice {
  std::uint16_t vendor = 0x1af4;
  std::uint16_t device = 0x1110;
  std::uint8_t revision = 1;
  bool decodes = true;
  bool msix = false;
  bool whole_config = true;  // false: as a process without CAP_SYS_ADMIN sees it
  std::uint32_t bar0_start = 0xfebf1300;
  bool bar2 = true;
  std::uint64_t bar2_address = 0xfe000000;  // where the firmware has put it
  bool formatted = true;
  std::uint32_t ivposition = 7;
};

class FakePciDevices {
 public:
  static constexpr std::uint64_t kBarSize = 1 << 20;

  // Makes the folder of a device with its files.
  void Add(const std::string& bdf, const FakePciDevice& fake) {
    const std::string folder = path() + "/" + bdf;
    std::filesystem::create_directory(folder);
    std::array<char, 256> config{};
    const auto put = [&](std::size_t at, auto value) {
      std::memcpy(config.data() + at, &value, sizeof(value));
    };
    put(0, fake.vendor);
    put(2, fake.device);
    put(4, static_cast<std::uint16_t>(fake.decodes ? 2 : 0));
    put(8, fake.revision);
    put(0x18, fake.bar2_address | 0xc);  // of 64 bits, prefetchable
    if (fake.msix) {
      put(6, std::uint16_t{0x10});
      put(0x34, std::uint8_t{0x40});
      put(0x40, std::uint16_t{0x5001});  // power management; the next one is at 0x50
      put(0x50, std::uint16_t{0x0011});
      put(0x52, std::uint16_t{7});  // 8 vectors
    }
    folder_.Write(bdf + "/config", {config.data(), fake.whole_config ? 256U : 64U});
    std::array<char, 512> resource{};
    std::snprintf(resource.data(), resource.size(),
                  "0x%016x 0x%016x 0x0000000000040200\n0x%016x 0x%016x 0x0000000000040200\n"
                  "0x00000000fe000000 0x00000000fe0fffff 0x000000000014220c\n",
                  fake.bar0_start, fake.bar0_start + 255, fake.msix ? 0xfebf2000U : 0U,
                  fake.msix ? 0xfebf2fffU : 0U);
    folder_.Write(bdf + "/resource", resource.data());
    folder_.Write(bdf + "/enable", "0");
    std::string registers(4096, '\0');
    std::memcpy(registers.data() + fake.bar0_start % 4096 + 8, &fake.ivposition, 4);
    folder_.Write(bdf + "/resource0", registers);
    if (!fake.bar2) return;
    const std::string bar2 = "file:" + folder + "/resource2";
    if (fake.formatted) {
      ASSERT_TRUE(CreateRegionFile(bar2, kBarSize, {.format = {.max_peers = 4}}).ok());
    } else {
      folder_.Write(bdf + "/resource2", std::string(kBarSize, '\0'));
    }
  }
  [[nodiscard]] const std::string& path() const { return folder_.path(); }

 private:
  TempFolder folder_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_UNIT_TRANSPORTS_FAKE_PCI_DEVICES_H_
