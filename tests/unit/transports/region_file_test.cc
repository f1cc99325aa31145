#include "src/region_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"
#include "ivmq/internal/layout.h"
#include "ivmq/internal/peer_table.h"

#include "fake_ivshmem_server.h"
#include "src/file_lock.h"
#include "support/child.h"
#include "support/temp_folder.h"

namespace ivmq {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using testing::TempFolder;

constexpr std::uint64_t kFileSize = 1 << 20;
constexpr CreateOptions kFewPeers = {.format = {.max_peers = 4}};

class RegionFileTest : public ::testing::Test {
 protected:
  // Makes a region at address_.
  void Create() {
    const Status status = CreateRegionFile(address_, kFileSize, kFewPeers);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void Patch(off_t at, std::string_view bytes) const {
    const UniqueFd fd(open(path_.c_str(), O_WRONLY));
    ASSERT_EQ(pwrite(fd.get(), bytes.data(), bytes.size(), at), static_cast<ssize_t>(bytes.size()));
  }
  // The error of opening address_, after checking that it names the address.
  [[nodiscard]] Status OpenError() const {
    const auto transport = OpenTransport(address_);
    EXPECT_FALSE(transport.ok());
    EXPECT_THAT(transport.status().message(), StartsWith(address_ + ": "));
    return transport.status();
  }

  TempFolder folder_;
  std::string path_ = folder_ / "region";
  std::string address_ = "file:" + path_;
};

// ---- Opening ----

TEST_F(RegionFileTest, TransportPollsAndCannotRing) {
  Create();
  const auto transport = OpenTransport(address_);
  ASSERT_TRUE(transport.ok()) << transport.status().ToString();
  const TransportInfo& info = (*transport)->info();
  EXPECT_EQ(info.address, address_);
  EXPECT_EQ(info.ivposition, layout::kNoIvposition);
  EXPECT_FALSE(info.can_ring);
  EXPECT_FALSE(info.wakeable);
  EXPECT_NE((*transport)->lock_domain(), 0U);
  EXPECT_EQ((*transport)->wake_fd(), -1);
  EXPECT_EQ((*transport)->control_fd(), -1);
  (*transport)->Ring(1, 0);
}

TEST_F(RegionFileTest, OpenersShareTheBytes) {
  Create();
  const auto a = OpenTransport(address_);
  const auto b = OpenTransport(address_);
  ASSERT_TRUE(a.ok() && b.ok());
  (*a)->memory().back() = std::byte{42};
  EXPECT_EQ((*b)->memory().back(), std::byte{42});
}

TEST_F(RegionFileTest, MissingFileSaysHowToMakeOne) {
  const Status status = OpenError();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("ivmq format " + address_ + " --size 64M"));
  EXPECT_FALSE(std::filesystem::exists(path_)) << "opening never creates";
}

TEST_F(RegionFileTest, EmptyFileIsRefused) {
  folder_.Write("region", "");
  const Status status = OpenError();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
}

TEST_F(RegionFileTest, FileBelowAPageIsTooSmall) {
  folder_.Write("region", std::string(2048, 'x'));
  const Status status = OpenError();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
}

TEST_F(RegionFileTest, SizeThatIsNoPowerOfTwoIsRefusedWithTheSize) {
  folder_.Write("region", std::string(12288, 'x'));
  const Status status = OpenError();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("12 KiB"));
}

TEST_F(RegionFileTest, UnformattedFileIsRefused) {
  folder_.Write("region", std::string(65536, '\0'));
  EXPECT_EQ(OpenError().code(), StatusCode::kFailedPrecondition);
}

TEST_F(RegionFileTest, ForeignFileIsRefused) {
  folder_.Write("region", std::string(65536, 'x'));
  EXPECT_EQ(OpenError().code(), StatusCode::kFailedPrecondition);
}

TEST_F(RegionFileTest, RegionOfAnotherMajorVersionIsRefused) {
  Create();
  Patch(10, std::string_view("\x07\x00", 2));
  const Status status = OpenError();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("7"));
}

TEST_F(RegionFileTest, DamagedHeaderIsDataLoss) {
  Create();
  Patch(40, "damage");
  EXPECT_EQ(OpenError().code(), StatusCode::kDataLoss);
}

TEST_F(RegionFileTest, TruncatedRegionIsRefused) {
  Create();
  ASSERT_EQ(truncate(path_.c_str(), kFileSize / 2), 0);
  EXPECT_EQ(OpenError().code(), StatusCode::kOutOfRange);
  ASSERT_EQ(truncate(path_.c_str(), kFileSize - 4096), 0);
  EXPECT_EQ(OpenError().code(), StatusCode::kFailedPrecondition);
}

TEST_F(RegionFileTest, FolderPipeAndDeviceHoldNoRegion) {
  EXPECT_EQ(mkdir(path_.c_str(), 0700), 0);
  EXPECT_EQ(OpenError().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(rmdir(path_.c_str()), 0);
  EXPECT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(OpenError().code(), StatusCode::kInvalidArgument);
  address_ = "file:/dev/zero";
  EXPECT_EQ(OpenError().code(), StatusCode::kInvalidArgument);
}

TEST_F(RegionFileTest, SocketIsToldFromAFile) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path_.data(), path_.size());
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  EXPECT_THAT(OpenError().message(), HasSubstr("unix:" + path_));
}

TEST_F(RegionFileTest, ToolReadsWithoutWriting) {
  Create();
  const auto region = OpenRegion(address_);
  ASSERT_TRUE(region.ok()) << region.status().ToString();
  const auto attached = Region::Attach(region->memory);
  ASSERT_TRUE(attached.ok()) << attached.status().ToString();
  EXPECT_TRUE(PeerTable(*attached).Snapshot().peers.empty());
  testing::Child writer = testing::Child::Fork([&] { region->memory[0] = std::byte{0}; });
  EXPECT_NE(writer.Wait(), 0) << "a store should have ended the process";
}

TEST_F(RegionFileTest, ToolSeesAFileThatIsNotFormatted) {
  folder_.Write("region", std::string(65536, 'x'));
  EXPECT_TRUE(OpenRegion(address_).ok());
}

// ---- Making ----

TEST_F(RegionFileTest, NewFileIsAllocatedWhole) {
  Create();
  struct stat file {};
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(file.st_size), kFileSize);
  EXPECT_GE(static_cast<std::uint64_t>(file.st_blocks) * 512, kFileSize);
  EXPECT_EQ(file.st_mode & 0007, 0U) << "never for the world";
}

TEST_F(RegionFileTest, EmptyOrZeroFileIsFormatted) {
  folder_.Write("region", "");
  EXPECT_TRUE(CreateRegionFile(address_, kFileSize, kFewPeers).ok());
  folder_.Write("region", std::string(kFileSize, '\0'));
  EXPECT_TRUE(CreateRegionFile(address_, 0, kFewPeers).ok());
  EXPECT_TRUE(OpenTransport(address_).ok());
}

TEST_F(RegionFileTest, SharedMemoryIsMadeByItsName) {
  const std::string name = "/ivmq-test-" + std::to_string(getpid());
  const Status status = CreateRegionFile("shm:" + name, kFileSize, kFewPeers);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(OpenTransport("shm:" + name).ok());
  EXPECT_EQ(shm_unlink(name.c_str()), 0);
  EXPECT_EQ(OpenTransport("shm:" + name).status().code(), StatusCode::kNotFound);
}

TEST_F(RegionFileTest, BadSizesMakeNoFile) {
  for (const std::uint64_t size :
       {std::uint64_t{1}, std::uint64_t{4096}, kFileSize - 1, kFileSize * 3}) {
    EXPECT_EQ(CreateRegionFile(address_, size).code(), StatusCode::kInvalidArgument) << size;
  }
  EXPECT_EQ(CreateRegionFile(address_, 0).code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(RegionFileTest, TooLittleSpaceIsResourceExhaustedAndLeavesNoFile) {
  const Status status = CreateRegionFile(address_, std::uint64_t{1} << 45);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status.ToString();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(RegionFileTest, RegionIsReplacedOnlyOnRequest) {
  Create();
  const Status status = CreateRegionFile(address_, kFileSize, kFewPeers);
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists) << status.ToString();
  CreateOptions options = kFewPeers;
  options.replace = true;
  options.format.max_peers = 8;
  EXPECT_TRUE(CreateRegionFile(address_, 0, options).ok());
  const auto region = OpenRegion(address_);
  ASSERT_TRUE(region.ok());
  const auto attached = Region::Attach(region->memory);
  ASSERT_TRUE(attached.ok()) << attached.status().ToString();
  EXPECT_EQ(attached->max_peers(), 8U);
}

TEST_F(RegionFileTest, DamagedRegionCanBeReplaced) {
  Create();
  Patch(40, "damage");
  CreateOptions options = kFewPeers;
  options.replace = true;
  EXPECT_TRUE(CreateRegionFile(address_, kFileSize, options).ok());
  EXPECT_TRUE(OpenTransport(address_).ok());
}

TEST_F(RegionFileTest, ForeignContentIsNeverOverwritten) {
  CreateOptions options = kFewPeers;
  options.replace = true;
  folder_.Write("region", std::string(kFileSize, 'p'));
  EXPECT_EQ(CreateRegionFile(address_, 0, options).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(CreateRegionFile(address_, kFileSize * 2, options).code(),
            StatusCode::kFailedPrecondition);
  const auto region = OpenRegion(address_);
  ASSERT_TRUE(region.ok());
  EXPECT_EQ(region->memory.size(), kFileSize);
  EXPECT_EQ(region->memory.front(), std::byte{'p'});
  EXPECT_EQ(region->memory.back(), std::byte{'p'});
}

TEST_F(RegionFileTest, LockedSlotKeepsFormatAway) {
  Create();
  const auto peer = OpenTransport(address_);
  ASSERT_TRUE(peer.ok());
  ASSERT_TRUE((*peer)->LockSlot(3).ok());
  CreateOptions options = kFewPeers;
  options.replace = true;
  const Status status = CreateRegionFile(address_, kFileSize, options);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  (*peer)->UnlockSlot(3);
  EXPECT_TRUE(CreateRegionFile(address_, kFileSize, options).ok());
}

TEST_F(RegionFileTest, ServersLockKeepsFormatAway) {
  Create();
  const UniqueFd server(open(path_.c_str(), O_RDWR));
  ASSERT_EQ(TryLockFile(server.get(), kServerLock, 1), LockResult::kLocked);
  CreateOptions options = kFewPeers;
  options.replace = true;
  EXPECT_EQ(CreateRegionFile(address_, kFileSize, options).code(), StatusCode::kFailedPrecondition);
}

TEST_F(RegionFileTest, LivePeerWhoseLockIsNotSeenKeepsFormatAway) {
  Create();
  {
    // As a guest would appear that maps the file through its device.
    const auto region = OpenRegion(address_, Access::kReadWrite);
    ASSERT_TRUE(region.ok());
    const auto attached = Region::Attach(region->memory);
    ASSERT_TRUE(attached.ok());
    layout::PeerSlot& slot = attached->slot(2);
    slot.lock_domain.store(12345);
    slot.name[0].store(0x316d76);  // "vm1"
    slot.name_incarnation.store(1);
    slot.life.store(layout::Life{.incarnation = 1, .state = layout::PeerState::kLive}.ToWord());
  }
  CreateOptions options = kFewPeers;
  options.replace = true;
  const Status status = CreateRegionFile(address_, kFileSize, options);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("'vm1'"));
}

TEST_F(RegionFileTest, OnlyFilesCanBeMade) {
  for (const char* address : {"unix:/x", "pci:auto", "inproc:x", "auto", "", "/tmp/x"}) {
    EXPECT_EQ(CreateRegionFile(address, kFileSize).code(), StatusCode::kInvalidArgument) << address;
  }
  EXPECT_EQ(CreateRegionFile("file:/nonexistent/x", kFileSize).code(), StatusCode::kNotFound);
}

TEST_F(RegionFileTest, SymbolicLinkIsNotFollowedWhenMaking) {
  ASSERT_EQ(symlink(folder_.Write("target", "").c_str(), path_.c_str()), 0);
  EXPECT_EQ(CreateRegionFile(address_, kFileSize).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(std::filesystem::file_size(folder_ / "target"), 0U);
}

// ---- Locks ----

TEST_F(RegionFileTest, SlotLockExcludesOtherTransportsOfTheProcess) {
  Create();
  const auto a = OpenTransport(address_);
  const auto b = OpenTransport(address_);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_FALSE((*b)->IsSlotLocked(1));
  ASSERT_TRUE((*a)->LockSlot(1).ok());
  EXPECT_FALSE((*a)->IsSlotLocked(1)) << "its own lock is not another's";
  EXPECT_TRUE((*b)->IsSlotLocked(1));
  EXPECT_FALSE((*b)->IsSlotLocked(0));
  EXPECT_FALSE((*b)->IsSlotLocked(2));
  EXPECT_EQ((*b)->LockSlot(1).code(), StatusCode::kAborted);
  (*a)->UnlockSlot(1);
  EXPECT_TRUE((*b)->LockSlot(1).ok());
}

TEST_F(RegionFileTest, SignalsDoNotEndAnAllocation) {
  constexpr std::uint64_t kLarge = std::uint64_t{128} << 20;
  const UniqueFd fd(memfd_create("signals", MFD_CLOEXEC));
  struct sigaction handler {};
  struct sigaction before {};
  handler.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGALRM, &handler, &before), 0);
  itimerval timer{};
  timer.it_value.tv_usec = timer.it_interval.tv_usec = 10'000;
  ASSERT_EQ(setitimer(ITIMER_REAL, &timer, nullptr), 0);
  const Status status = Allocate(fd.get(), kLarge);
  timer = {};
  ASSERT_EQ(setitimer(ITIMER_REAL, &timer, nullptr), 0);
  ASSERT_EQ(sigaction(SIGALRM, &before, nullptr), 0);
  EXPECT_TRUE(status.ok()) << status.ToString();
  struct stat file {};
  ASSERT_EQ(fstat(fd.get(), &file), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(file.st_blocks) * 512, kLarge);
}

TEST_F(RegionFileTest, SlotLockGoesWithItsTransport) {
  Create();
  auto a = OpenTransport(address_);
  const auto b = OpenTransport(address_);
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_TRUE((*a)->LockSlot(1).ok());
  (*a).reset();
  EXPECT_FALSE((*b)->IsSlotLocked(1));
}

TEST_F(RegionFileTest, LockDomainIsThatOfTheFile) {
  Create();
  const auto a = OpenTransport(address_);
  ASSERT_EQ(link(path_.c_str(), (folder_ / "same").c_str()), 0);
  const auto same = OpenTransport("file:" + folder_ / "same");
  ASSERT_TRUE(CreateRegionFile("file:" + folder_ / "other", kFileSize, kFewPeers).ok());
  const auto other = OpenTransport("file:" + folder_ / "other");
  ASSERT_TRUE(a.ok() && same.ok() && other.ok());
  EXPECT_EQ((*a)->lock_domain(), (*same)->lock_domain());
  EXPECT_NE((*a)->lock_domain(), (*other)->lock_domain());
}

}  // namespace
}  // namespace ivmq
