#include "ivmq/address.h"

#include <cstdlib>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ivmq {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(AddressTest, UnknownSchemeListsTheKnownOnes) {
  for (const char* address :
       {"tcp:host", "/dev/shm/ivmq", "UNIX:/x", "virtio:0000:00:04.0", "unix"}) {
    const Status status = OpenTransport(address).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), StartsWith(std::string(address) + ": "));
    for (const char* known :
         {"unix:PATH", "shm:/NAME", "file:PATH", "pci:", "inproc:NAME", "auto"}) {
      EXPECT_THAT(status.message(), HasSubstr(known));
    }
    EXPECT_EQ(OpenRegion(address).status().code(), StatusCode::kInvalidArgument);
  }
}

TEST(AddressTest, EmptyRestsAreInvalid) {
  for (const char* address : {"unix:", "file:", "shm:", "shm:/", "shm:name", "shm:/a/b", "shm:/..",
                              "pci:", "pci:4", "pci:0000:00:04.0/../x", "inproc:"}) {
    EXPECT_EQ(OpenTransport(address).status().code(), StatusCode::kInvalidArgument) << address;
    EXPECT_EQ(OpenRegion(address).status().code(), StatusCode::kInvalidArgument) << address;
  }
}

class AutoAddressTest : public ::testing::Test {
 protected:
  void TearDown() override { unsetenv("IVMQ_ADDRESS"); }
};

TEST_F(AutoAddressTest, TakesTheEnvironmentFirst) {
  ASSERT_EQ(setenv("IVMQ_ADDRESS", "inproc:from-environment?size=1M", 1), 0);
  for (const char* address : {"auto", ""}) {
    const auto transport = OpenTransport(address);
    ASSERT_TRUE(transport.ok()) << transport.status().ToString();
    EXPECT_EQ((*transport)->info().address, "inproc:from-environment?size=1M");
    EXPECT_TRUE(OpenRegion(address).ok());
  }
}

TEST_F(AutoAddressTest, ErrorNamesTheAddressThatTheEnvironmentGave) {
  ASSERT_EQ(setenv("IVMQ_ADDRESS", "unix:/nonexistent", 1), 0);
  EXPECT_THAT(OpenTransport("auto").status().message(), StartsWith("unix:/nonexistent: "));
}

TEST_F(AutoAddressTest, LooksForADeviceWithoutAnEnvironment) {
  for (const char* value : {"", "auto"}) {
    ASSERT_EQ(setenv("IVMQ_ADDRESS", value, 1), 0);
    const Status by_name = OpenTransport("pci:auto").status();
    const Status status = OpenTransport("auto").status();
    EXPECT_EQ(status.code(), by_name.code());
    EXPECT_EQ("pci:" + status.message(), by_name.message());
  }
}

TEST(ParseSizeTest, TakesBytesAndBinaryUnits) {
  const std::pair<const char*, std::uint64_t> cases[] = {
      {"0", 0},           {"65536", 65536},     {"64K", 65536},
      {"64k", 65536},     {"64KiB", 65536},     {"16M", 16ULL << 20},
      {"1G", 1ULL << 30}, {"2TiB", 2ULL << 40}, {"18446744073709551615", UINT64_MAX},
  };
  for (const auto& [text, bytes] : cases) {
    const auto size = ParseSize(text);
    ASSERT_TRUE(size.ok()) << text;
    EXPECT_EQ(*size, bytes) << text;
  }
}

TEST(ParseSizeTest, RefusesEverythingElse) {
  for (const char* text : {"", "M", "-1", "+1", " 1", "1 M", "64MB", "64 ", "1.5M", "64X", "64iB",
                           "0x10", "18446744073709551616", "16777216T", "1@"}) {
    EXPECT_EQ(ParseSize(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace ivmq
