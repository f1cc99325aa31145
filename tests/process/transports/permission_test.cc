// What a process without rights is told. Files have mode 0, which stops their owner as well unless
// that is root; root becomes nobody first.
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"
#include "ivmq/ivshmem_client.h"

#include "fake_ivshmem_server.h"
#include "src/pci_device.h"
#include "support/child.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;

constexpr unsigned kNobody = 65534;
constexpr CreateOptions kFewPeers = {.format = {.max_peers = 4}};

int RunWithoutRights(const std::function<void()>& body) {
  Child child = Child::Fork([&] {
    if (geteuid() == 0) {
      ASSERT_EQ(setgroups(0, nullptr), 0);
      ASSERT_EQ(setresgid(kNobody, kNobody, kNobody), 0);
      ASSERT_EQ(setresuid(kNobody, kNobody, kNobody), 0);
      ASSERT_EQ(prctl(PR_SET_PDEATHSIG, SIGKILL), 0);  // a change of user had cleared it
    }
    body();
  });
  return child.Wait();
}

void ExpectDenied(const Status& status, std::string_view words) {
  EXPECT_EQ(status.code(), StatusCode::kPermissionDenied) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(std::string(words)));
}

class PermissionTest : public ::testing::Test {
 protected:
  PermissionTest() { EXPECT_EQ(chmod(folder_.path().c_str(), 0755), 0); }
  ~PermissionTest() override { (void)chmod(folder_.path().c_str(), 0755); }

  TempFolder folder_;
  std::string path_ = folder_ / "region";
  std::string address_ = "file:" + path_;
};

TEST_F(PermissionTest, ClosedFileSaysWhoMayAndWhoTried) {
  ASSERT_TRUE(CreateRegionFile(address_, 1 << 20, kFewPeers).ok());
  ASSERT_EQ(chmod(path_.c_str(), 0), 0);
  EXPECT_EQ(RunWithoutRights([&] {
              const std::string who = std::to_string(geteuid());
              ExpectDenied(OpenTransport(address_).status(), who);
              ExpectDenied(OpenTransport(address_).status(), "0000");
              ExpectDenied(OpenRegion(address_).status(), who);
              ExpectDenied(CreateRegionFile(address_, 1 << 20, kFewPeers), who);
            }),
            0);
}

TEST_F(PermissionTest, ReaderMayLookButNotAttach) {
  ASSERT_TRUE(CreateRegionFile(address_, 1 << 20, kFewPeers).ok());
  ASSERT_EQ(chmod(path_.c_str(), 0444), 0);
  EXPECT_EQ(RunWithoutRights([&] {
              const auto region = OpenRegion(address_);
              EXPECT_TRUE(region.ok() && Region::Attach(region->memory).ok());
              ExpectDenied(OpenTransport(address_).status(), "0444");
            }),
            0);
}

TEST_F(PermissionTest, ClosedFolderIsNamedAsTheReason) {
  ASSERT_TRUE(CreateRegionFile(address_, 1 << 20, kFewPeers).ok());
  ASSERT_EQ(chmod(folder_.path().c_str(), 0), 0);
  EXPECT_EQ(RunWithoutRights(
                [&] { ExpectDenied(OpenTransport(address_).status(), "a folder above it"); }),
            0);
}

TEST_F(PermissionTest, FileIsNotMadeInAFolderOfOthers) {
  ASSERT_EQ(chmod(folder_.path().c_str(), 0555), 0);
  EXPECT_EQ(RunWithoutRights([&] {
              EXPECT_EQ(CreateRegionFile(address_, 1 << 20, kFewPeers).code(),
                        StatusCode::kPermissionDenied);
            }),
            0);
}

TEST_F(PermissionTest, ClosedSocketNamesTheServersGroup) {
  const Listener listener;
  ASSERT_EQ(chmod(std::string(listener.path(), 0, listener.path().rfind('/')).c_str(), 0755), 0);
  ASSERT_EQ(chmod(listener.path().c_str(), 0), 0);
  EXPECT_EQ(RunWithoutRights([&] {
              ExpectDenied(IvshmemClient::Connect(listener.path()).status(), "--group");
              ExpectDenied(OpenTransport("unix:" + listener.path()).status(), "0000");
              ExpectDenied(OpenRegion("unix:" + listener.path()).status(),
                           std::to_string(geteuid()));
            }),
            0);
}

TEST_F(PermissionTest, ClosedResourceOfADeviceSaysWhatToDo) {
  const PciDevice device = {.bdf = "0000:00:04.0", .folder = folder_.path(), .doorbell = true};
  ASSERT_TRUE(CreateRegionFile("file:" + folder_ / "resource2", 1 << 20, kFewPeers).ok());
  folder_.Write("resource0", std::string(4096, '\0'));
  ASSERT_EQ(chmod((folder_ / "resource0").c_str(), 0), 0);
  ASSERT_EQ(chmod((folder_ / "resource2").c_str(), 0666), 0);
  EXPECT_EQ(RunWithoutRights([&] {
              ExpectDenied(OpenPciTransport(device, "").status(), "resource0");
              ExpectDenied(OpenPciTransport(device, "").status(), "udev");
            }),
            0);
  ASSERT_EQ(chmod((folder_ / "resource2").c_str(), 0), 0);
  EXPECT_EQ(
      RunWithoutRights([&] { ExpectDenied(OpenPciTransport(device, "").status(), "resource2"); }),
      0);
}

}  // namespace
}  // namespace ivmq::testing
