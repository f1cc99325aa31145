// Guests with the user space of other distributions, in which the installer for guests has put what
// there is of ivmq. The programs that run in them are the static tool and what they came with.
#include <chrono>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guest.h"
#include "server_process.h"
#include "support/program.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kInstall = "sh /root/ivmq-guest.sh";
constexpr seconds kBuildLimit = minutes(10);  // an emulated compiler

class DistroTest : public ::testing::Test {
 protected:
  DistroTest() {
    server_.AwaitReady();
    host_ = std::make_unique<Program>(
        std::vector<std::string>{IVMQ_PATH, "recv", "unix:" + server_.socket(), "--name", "host",
                                 "--echo"},
        ProgramOptions{.errors_apart = true});
    host_->AwaitLine(Stream::kErrors, "ready");
  }

  // With a device at the host's server.
  std::unique_ptr<Guest> Boot(const std::string& name, const std::string& kernel, int memory_mib) {
    return Guest::Boot({.name = name,
                        .devices = {IvshmemDevice::Doorbell(server_.socket())},
                        .kernel = kernel,
                        .initrd = IVMQ_DISTRO_IMAGES "/" + name + ".cpio",
                        .memory_mib = memory_mib,
                        .boot_limit = minutes(2)});
  }

  static void ExpectPing(Guest& guest, const std::string& address) {
    const Result ping =
        guest.Run("ivmq ping " + address + " host -c 20 --timeout 30s", seconds(60));
    EXPECT_EQ(ping.status, 0) << ping.output;
    EXPECT_THAT(ping.output, HasSubstr("host: 20 round trips"));
  }
  static void ExpectInterrupts(Guest& guest) {
    ExpectPing(guest, "auto");
    const Result found = guest.Run("ivmq doctor", seconds(60));
    EXPECT_EQ(found.status, 0) << found.output;
    EXPECT_THAT(found.output, HasSubstr("ivmq:/dev/ivmq0: woken by interrupts"));
  }
  // What is left of it beside the test's own files.
  static void ExpectNothingLeft(Guest& guest) {
    EXPECT_THAT(guest
                    .Run("find / -xdev \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o "
                         "-name '*ivmq*' ! -name ivmq-agent ! -name ivmq-guest.sh -print")
                    .output,
                IsEmpty());
    EXPECT_THAT(guest.Run("grep -w ivmq /etc/group /proc/modules").output, IsEmpty());
  }

  TempFolder folder_;
  ServerProcess server_{folder_ / "s", {"--size", "4M"}};
  std::unique_ptr<Program> host_;
};

TEST_F(DistroTest, TheToolPollsAndTheDriverIsBuiltByDkmsOnDebian11) {
  const auto guest = Boot("debian11", "5.10", 1600);
  ASSERT_NE(guest, nullptr);
  // As over ssh: the shell reads it from its input.
  const Result tool = guest->Run("sh -s -- --no-driver < /root/ivmq-guest.sh");
  EXPECT_EQ(tool.status, 0) << tool.output;
  ExpectPing(*guest, "pci:auto");

  const Result driver = guest->Run(kInstall, kBuildLimit);
  EXPECT_EQ(driver.status, 0) << driver.output;
  EXPECT_THAT(guest->Run("dkms status ivmq").output, HasSubstr(": installed"));
  ExpectInterrupts(*guest);

  const Result removed = guest->Run(std::string(kInstall) + " --uninstall", minutes(2));
  EXPECT_EQ(removed.status, 0) << removed.output;
  ExpectNothingLeft(*guest);
}

TEST_F(DistroTest, TheInstallerSaysWhatIsMissingOnDebian12AndThenBuildsTheDriver) {
  const auto guest = Boot("debian12", "6.1", 1600);
  ASSERT_NE(guest, nullptr);
  const std::string headers = "/lib/modules/$(uname -r)/build";
  ASSERT_EQ(guest->Run("mv " + headers + " /root/build").status, 0);
  const Result without = guest->Run(kInstall, minutes(2));
  EXPECT_EQ(without.status, 3) << without.output;
  EXPECT_THAT(without.output,
              AllOf(HasSubstr("NO DRIVER, so processes here poll: the headers of the kernel 6.1."),
                    HasSubstr("apt-get install dkms linux-headers-6.1."),
                    HasSubstr("then run this again")));
  ExpectPing(*guest, "auto");

  ASSERT_EQ(
      guest->Run("mv /root/build " + headers + " && /lib/systemd/systemd-udevd --daemon").status,
      0);
  const Result with = guest->Run(kInstall, kBuildLimit);
  EXPECT_EQ(with.status, 0) << with.output;
  ExpectInterrupts(*guest);

  // Members of the group may use the device, and the module comes by itself.
  EXPECT_EQ(guest
                ->Run("useradd -G ivmq alice && modprobe -r ivmq && "
                      "udevadm trigger --action=add && udevadm settle",
                      seconds(60))
                .status,
            0);
  const Result ping =
      guest->Run("su alice -c 'ivmq ping auto host -c 20 --timeout 30s'", seconds(60));
  EXPECT_EQ(ping.status, 0) << ping.output;

  const Result removed = guest->Run(std::string(kInstall) + " --uninstall", minutes(2));
  EXPECT_EQ(removed.status, 0) << removed.output;
  ExpectNothingLeft(*guest);
}

TEST_F(DistroTest, TheToolPollsAndIsWokenOnMuslAndBusyBox) {
  const auto guest = Boot("musl", "6.1", 256);
  ASSERT_NE(guest, nullptr);
  EXPECT_THAT(guest->Run("ls /lib").output, HasSubstr("ld-musl-x86_64.so.1"));
  const Result tool = guest->Run(kInstall);
  EXPECT_EQ(tool.status, 3) << tool.output;
  EXPECT_THAT(tool.output, AllOf(HasSubstr("NO DRIVER, so processes here poll: the headers of "),
                                 HasSubstr("missing: get make, gcc"), HasSubstr("run this again")));
  ExpectPing(*guest, "pci:auto");

  ASSERT_EQ(guest->Run("insmod /root/ivmq.ko").status, 0);
  ExpectInterrupts(*guest);
  ASSERT_EQ(guest->Run("rmmod ivmq && rm /root/ivmq.ko").status, 0);

  const Result removed = guest->Run(std::string(kInstall) + " --uninstall");
  EXPECT_EQ(removed.status, 0) << removed.output;
  ExpectNothingLeft(*guest);
}

}  // namespace
}  // namespace ivmq::testing
