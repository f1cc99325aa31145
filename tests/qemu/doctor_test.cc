// What `ivmq doctor` says in a real guest.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"

#include "guest.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint64_t kSize = 1 << 20;

class GuestDoctorTest : public ::testing::Test {
 protected:
  ~GuestDoctorTest() override { (void)shm_unlink(name_.c_str()); }
  [[nodiscard]] IvshmemDevice Device() const {
    return IvshmemDevice::Plain("/dev/shm" + name_, kSize);
  }
  void Format() const {
    ASSERT_TRUE(CreateRegionFile("shm:" + name_, kSize, {.format = {.max_peers = 8}}).ok());
  }

  std::string name_ = "/ivmq-guest-doctor-" + std::to_string(getpid());
};

TEST_F(GuestDoctorTest, APlainDeviceIsUsableByPolling) {
  Format();
  const auto guest = Guest::Restore({.devices = {Device()}});
  ASSERT_NE(guest, nullptr);
  const Result found = guest->Run("ivmq doctor");
  EXPECT_EQ(found.status, 0) << found.output;
  EXPECT_THAT(found.output, AllOf(HasSubstr("ivshmem-plain, revision 1, BAR2 of 1 MiB"),
                                  HasSubstr("polling only"), HasSubstr("a region of 1 MiB"),
                                  HasSubstr("no peers; room for 8"), HasSubstr("mapping: "),
                                  Not(HasSubstr("problem"))));
}

TEST_F(GuestDoctorTest, AGuestWithoutADeviceIsToldWhatItNeeds) {
  const auto guest = Guest::Restore();
  ASSERT_NE(guest, nullptr);
  const Result found = guest->Run("ivmq doctor");
  EXPECT_EQ(found.status, 1) << found.output;
  EXPECT_THAT(found.output, AllOf(HasSubstr("problem  machine: neither an ivshmem device"),
                                  HasSubstr("-device ivshmem-doorbell,")));
}

}  // namespace
}  // namespace ivmq::testing
