// The fixture itself: guests boot, run commands, and share memory with the host.
#include "guest.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

namespace ivmq::testing {
namespace {

using std::chrono::milliseconds;

// Memory of the test that a plain device can have as its file. It has no name that could stay
// behind.
class SharedFile {
 public:
  static constexpr std::size_t kSize = 1 << 20;

  SharedFile() : fd_(memfd_create("guest_test", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_, kSize), 0);
    base_ = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    EXPECT_NE(base_, MAP_FAILED);
  }
  ~SharedFile() {
    munmap(base_, kSize);
    close(fd_);
  }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  std::atomic_ref<std::uint64_t> Word(std::size_t offset) {
    return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(static_cast<char*>(base_) + offset));
  }
  IvshmemDevice Device() const {
    return IvshmemDevice::Plain("/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_),
                                kSize);
  }

 private:
  int fd_;
  void* base_ = nullptr;
};

void ExpectSharedWords(Guest& guest, SharedFile& memory) {
  memory.Word(4096 + 64) = 0x1122334455667788;
  EXPECT_EQ(guest.Run("guest_peek 4160").output, "0x1122334455667788\n");
  EXPECT_EQ(guest.Run("guest_peek 8 0xfeedf00d").status, 0);
  EXPECT_EQ(memory.Word(8), 0xfeedf00d);
}

TEST(GuestTest, BootedGuestSharesMemoryWithTheHost) {
  SharedFile memory;
  const auto guest = Guest::Boot({.name = "plain", .devices = {memory.Device()}});
  ASSERT_NE(guest, nullptr);
  EXPECT_EQ(guest->Run("hostname").output, "plain\n");
  EXPECT_EQ(guest->Run("cat /sys/bus/pci/devices/*/vendor | grep -c 0x1af4").output, "1\n");
  EXPECT_EQ(guest->Run("nproc").output, "1\n");
  ExpectSharedWords(*guest, memory);
}

TEST(GuestTest, RestoredGuestSharesMemoryWithTheHost) {
  SharedFile memory;
  const auto guest = Guest::Restore({.name = "restored", .devices = {memory.Device()}});
  ASSERT_NE(guest, nullptr);
  EXPECT_EQ(guest->Run("hostname").output, "restored\n");
  ExpectSharedWords(*guest, memory);
}

TEST(GuestTest, CommandsGiveOutputAndStatus) {
  const auto guest = Guest::Restore();
  ASSERT_NE(guest, nullptr);
  const Result hello = guest->Run("echo hello; echo to stderr >&2");
  EXPECT_EQ(hello.status, 0);
  EXPECT_EQ(hello.output, "hello\nto stderr\n");
  EXPECT_EQ(guest->Run("echo -n 'a  b\\n '; exit 7").output, "a  b\\n ");
  EXPECT_EQ(guest->Run("exit 7").status, 7);
  EXPECT_EQ(guest->Run("no-such-program").status, 127);
  EXPECT_EQ(guest->Run("kill -9 $$").status, 128 + SIGKILL);
  EXPECT_EQ(guest->Run("seq 1 500 | wc -l").output, "500\n");
}

TEST(GuestTest, CommandsRunSideBySide) {
  const auto guest = Guest::Restore();
  ASSERT_NE(guest, nullptr);
  const auto first =
      guest->Start("echo ready; while [ ! -e /tmp/go ]; do usleep 1000; done; echo went");
  EXPECT_TRUE(guest->WaitForOutput(first, "ready"));
  const auto second = guest->Start("seq 1 300");
  EXPECT_EQ(guest->Run("touch /tmp/go").status, 0);
  EXPECT_EQ(guest->Wait(first).output, "ready\nwent\n");
  EXPECT_EQ(guest->Wait(second).output.size(), 9U * 2 + 90U * 3 + 201U * 4);
}

TEST(GuestTest, SignalReachesAllProcessesOfACommand) {
  const auto guest = Guest::Restore();
  ASSERT_NE(guest, nullptr);
  const auto job = guest->Start("sleep 1000 & echo started; wait");
  guest->WaitForOutput(job, "started");
  guest->Signal(job, "TERM");
  EXPECT_EQ(guest->Wait(job).status, 128 + SIGTERM);
  EXPECT_EQ(guest->Run("pidof sleep").status, 1);
}

TEST(GuestTest, CommandThatHangsFailsTheTestAndShowsTheConsole) {
  static std::unique_ptr<Guest> guest;
  guest = Guest::Restore();
  ASSERT_NE(guest, nullptr);
  guest->Run("echo mark-on-the-console > /dev/console");
  EXPECT_NONFATAL_FAILURE(guest->Run("echo begun; sleep 1000", milliseconds(300)),
                          "mark-on-the-console");
  EXPECT_EQ(guest->Run("echo goes on").output, "goes on\n");
  guest.reset();
}

TEST(GuestTest, ResetGivesANewBootAndKeepsQemu) {
  SharedFile memory;
  const auto guest = Guest::Restore({.devices = {memory.Device()}});
  ASSERT_NE(guest, nullptr);
  const std::string boot_id = guest->BootId();
  EXPECT_EQ(guest->Run("cat /proc/sys/kernel/random/boot_id").output, boot_id + "\n");
  const pid_t pid = guest->Pid();
  ASSERT_TRUE(guest->SystemReset());
  EXPECT_EQ(guest->Pid(), pid);
  EXPECT_NE(guest->BootId(), boot_id);
  ExpectSharedWords(*guest, memory);
}

TEST(GuestTest, KilledGuestIsGone) {
  const auto guest = Guest::Restore();
  ASSERT_NE(guest, nullptr);
  const pid_t pid = guest->Pid();
  guest->Kill();
  EXPECT_EQ(guest->Pid(), -1);
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST(GuestTest, EndOfQemuFailsTheTestAtOnce) {
  static std::unique_ptr<Guest> guest;
  guest = Guest::Restore();
  ASSERT_NE(guest, nullptr);
  EXPECT_NONFATAL_FAILURE(guest->Run("poweroff -f"), "QEMU has ended with status 0");
  guest.reset();
}

}  // namespace
}  // namespace ivmq::testing
