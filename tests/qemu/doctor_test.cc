// What `ivmq doctor` says in a real guest.
#include <fcntl.h>
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

// A single emulated processor, and memory that QEMU was told not to write, below 4 GiB.
TEST_F(GuestDoctorTest, WhatIsWrongWithTheMachineIsNamedWithQemusOption) {
  Format();
  const auto guest = Guest::Boot(
      {.arguments = {
           "-smp", "1,maxcpus=1", "-object",
           "memory-backend-file,id=fixed,share=on,readonly=on,size=1M,mem-path=/dev/shm" + name_,
           "-device", "ivshmem-plain,memdev=fixed"}});
  ASSERT_NE(guest, nullptr);
  const Result found = guest->Run("ivmq doctor");
  EXPECT_EQ(found.status, 1) << found.output;
  EXPECT_THAT(found.output,
              AllOf(HasSubstr("[one-emulated-processor]\n           -smp 1,maxcpus=2   # of QEMU"),
                    HasSubstr("[memory-read-only]"), HasSubstr("without readonly=on"),
                    HasSubstr("marks BAR2 uncached (MTRR)"), HasSubstr("-machine q35 -device")));
  // A peer says so as well, in place of a claim that nobody contests.
  const Result joined = guest->Run("ivmq recv pci:auto --name bob --timeout 1");
  EXPECT_EQ(joined.status, 1) << joined.output;
  EXPECT_THAT(joined.output, HasSubstr("[memory-read-only]"));
}

// QEMU aligns BAR2 to its size, and so puts it behind the last address of its processor.
TEST_F(GuestDoctorTest, ADeviceBeyondTheAddressesOfTheMachineIsNamedAsSuch) {
  const int file = shm_open(name_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(file, 0);
  EXPECT_EQ(ftruncate(file, off_t{1} << 40), 0);  // nothing of it is ever there
  (void)close(file);
  const auto guest = Guest::Boot(
      {.arguments = {"-object",
                     "memory-backend-file,id=large,share=on,size=1T,mem-path=/dev/shm" + name_,
                     "-device", "ivshmem-plain,memdev=large"}});
  ASSERT_NE(guest, nullptr);
  const Result found = guest->Run("ivmq doctor");
  EXPECT_EQ(found.status, 1) << found.output;
  EXPECT_THAT(found.output, AllOf(HasSubstr("beyond the 40 bits"), HasSubstr("[address-width]"),
                                  HasSubstr("host-phys-bits=on")));
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
