// Regions in files and shm: made, taken over, refused.
#include "ivmq/internal/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"
#include "ivmq/internal/peer_table.h"

#include "raw_client.h"
#include "server_process.h"
#include "slot_owner.h"
#include "src/file_lock.h"
#include "support/child.h"
#include "support/huge_pages.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::uint64_t kSize = std::uint64_t{1} << 20;

class RegionTest : public ::testing::Test {
 protected:
  std::vector<std::string> Arguments(std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"--size",      "1M", "--vectors", "1",
                                    "--max-peers", "16", "--region",  region_};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  void ExpectRefused(const std::vector<std::string>& arguments, const std::string& why,
                     int status = 1) {
    ServerProcess server(socket_, arguments);
    EXPECT_EQ(server.Wait(), status);
    EXPECT_THAT(server.Log(), AllOf(HasSubstr("--region " + region_), HasSubstr(why)));
    EXPECT_FALSE(std::filesystem::exists(socket_));
  }

  TempFolder folder_;
  std::string socket_ = folder_ / "s";
  std::string file_ = folder_ / "region";
  std::string region_ = "file:" + file_;
};

TEST_F(RegionTest, ANewFileIsPreallocatedFormattedAndNotWorldAccessible) {
  ServerProcess server(socket_, Arguments(), [] { umask(0); });
  server.AwaitReady();
  struct stat found {};
  ASSERT_EQ(stat(file_.c_str(), &found), 0);
  EXPECT_EQ(found.st_size, static_cast<off_t>(kSize));
  EXPECT_GE(found.st_blocks * 512, found.st_size);
  EXPECT_EQ(found.st_mode & 0777, 0660U);
  const MappedRegion mapped(file_);
  EXPECT_EQ(mapped.region().max_peers(), 16U);
  EXPECT_EQ(mapped.region().header().server_epoch.load(), 1U);
  EXPECT_EQ(mapped.region().header().server_pid.load(), static_cast<std::uint32_t>(server.pid()));
  EXPECT_EQ(mapped.region().header().server_vectors.load(), 1U);
  EXPECT_EQ(server.Terminate(), 0);
  EXPECT_EQ(mapped.region().header().server_pid.load(), 0U);
}

TEST_F(RegionTest, ClientsGetTheFile) {
  ServerProcess server(socket_, Arguments());
  server.AwaitReady();
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(1));
  struct stat sent {};
  struct stat file {};
  ASSERT_EQ(fstat(client.memory(), &sent), 0);
  ASSERT_EQ(stat(file_.c_str(), &file), 0);
  EXPECT_EQ(sent.st_ino, file.st_ino);
}

TEST_F(RegionTest, AFileOfZerosIsFormatted) {
  std::ofstream file(file_);
  file.close();
  std::filesystem::resize_file(file_, kSize);
  ServerProcess server(socket_, Arguments());
  server.AwaitReady();
  struct stat found {};
  ASSERT_EQ(stat(file_.c_str(), &found), 0);
  EXPECT_GE(found.st_blocks * 512, found.st_size) << "a sparse file was not preallocated";
}

TEST_F(RegionTest, ARegionThatIvmqFormattedIsTakenOver) {
  CreateOptions create;
  create.format.max_peers = 16;
  ASSERT_TRUE(CreateRegionFile(region_, kSize, create).ok());
  ServerProcess server(socket_, Arguments());
  server.AwaitReady();
  server.AwaitLog("took the region over");
}

TEST_F(RegionTest, ASecondServerOfAFileIsRefused) {
  ServerProcess server(socket_, Arguments());
  server.AwaitReady();
  socket_ = folder_ / "s2";
  ExpectRefused(Arguments(), "another server has it");
}

TEST_F(RegionTest, FormattingUnderALivingServerIsRefused) {
  ServerProcess server(socket_, Arguments());
  server.AwaitReady();
  CreateOptions create;
  create.replace = true;
  EXPECT_EQ(CreateRegionFile(region_, kSize, create).code(), StatusCode::kFailedPrecondition);
}

// The clients of a killed server have its file open, and must not keep its lock.
TEST_F(RegionTest, AKilledServersFileIsTakenOverWhileItsClientsGoOn) {
  std::optional<ServerProcess> server;
  server.emplace(socket_, Arguments());
  server->AwaitReady();
  const pid_t former = server->pid();
  RawClient survivor(socket_);
  RawClient anonymous(socket_);
  ASSERT_TRUE(survivor.Greet(1));
  ASSERT_TRUE(anonymous.Greet(1));
  const MappedRegion mapped(survivor.memory());
  SlotOwner peer(mapped.region(), "survivor", survivor.id());
  server->Kill();

  server.emplace(socket_, Arguments());
  EXPECT_THAT(server->AwaitLog("took the region over"),
              AllOf(HasSubstr("pid " + std::to_string(former) + ", did not leave in order"),
                    HasSubstr("living peers have these ids of former servers: 1")));
  EXPECT_EQ(mapped.region().header().server_epoch.load(), 2U);
  EXPECT_EQ(mapped.region().header().server_pid.load(), static_cast<std::uint32_t>(server->pid()));
  // The former epoch's id is not given to anybody.
  std::set<std::uint16_t> ids;
  for (int i = 0; i < 5; ++i) {
    RawClient client(socket_);
    ASSERT_TRUE(client.Greet(1));
    ids.insert(client.id());
  }
  EXPECT_FALSE(ids.contains(survivor.id()));
  EXPECT_TRUE(peer.IsLive());
  // Left in order, it says so.
  EXPECT_EQ(server->Terminate(), 0);
  server.emplace(socket_, Arguments());
  server->AwaitLog("its last server left in order");
  EXPECT_EQ(mapped.region().header().server_epoch.load(), 3U);
}

TEST_F(RegionTest, AFormerServersClientWithoutASlotKeepsItsIdAndTheRegion) {
  std::optional<ServerProcess> server;
  server.emplace(socket_, Arguments());
  server->AwaitReady();
  RawClient former(socket_);
  ASSERT_TRUE(former.Greet(1));
  EXPECT_EQ(former.id(), 1);
  const MappedRegion mapped(former.memory());
  server->Kill();
  CreateOptions create;
  create.replace = true;
  EXPECT_EQ(CreateRegionFile(region_, kSize, create).code(), StatusCode::kFailedPrecondition);
  server.emplace(socket_, Arguments());
  server->AwaitReady();
  RawClient next(socket_);
  ASSERT_TRUE(next.Greet(1));
  EXPECT_EQ(next.id(), 2);
  const SlotOwner late(mapped.region(), "late", former.id());
  next.Close();
  server->AwaitLog("id 2 has gone");
  EXPECT_TRUE(late.IsLive());
}

// A process that is a client of the server and has a slot.
Child StartPeer(const std::string& socket, const std::string& name) {
  std::array<int, 2> attached{};
  EXPECT_EQ(pipe(attached.data()), 0);
  Child child = Child::Fork([&] {
    RawClient client(socket);
    EXPECT_TRUE(client.Greet(1));
    const MappedRegion mapped(client.memory());
    const SlotOwner slot(mapped.region(), name, client.id());
    EXPECT_EQ(write(attached[1], "x", 1), 1);
    pause();
  });
  char byte = 0;
  EXPECT_EQ(read(attached[0], &byte, 1), 1);
  close(attached[0]);
  close(attached[1]);
  return child;
}

TEST_F(RegionTest, TheEndOfAFormerServersClientIsSeenByTheNextServerWheneverItComes) {
  std::optional<ServerProcess> server;
  server.emplace(socket_, Arguments());
  server->AwaitReady();
  RawClient survivor(socket_);
  ASSERT_TRUE(survivor.Greet(1));
  const MappedRegion mapped(survivor.memory());
  const SlotOwner peer(mapped.region(), "survivor", survivor.id());
  Child third = StartPeer(socket_, "third");
  Child between = StartPeer(socket_, "between");
  Child after = StartPeer(socket_, "after");
  server->Kill();
  const PeerTable table(mapped.region());
  between.Kill();
  EXPECT_TRUE(table.Find("between"));
  server.emplace(socket_, Arguments());
  server->AwaitLog("id 3 of a former server has gone; 1 peers that had not left are dead");
  EXPECT_FALSE(table.Find("between"));
  EXPECT_TRUE(table.Find("after"));
  after.Kill();
  server->AwaitLog("id 4 of a former server has gone; 1 peers that had not left are dead");
  EXPECT_FALSE(table.Find("after"));
  // The second server after its own knows it still.
  server->Kill();
  server.emplace(socket_, Arguments());
  server->AwaitReady();
  EXPECT_TRUE(table.Find("third"));
  third.Kill();
  server->AwaitLog("id 2 of a former server has gone; 1 peers that had not left are dead");
  EXPECT_FALSE(table.Find("third"));
  EXPECT_TRUE(peer.IsLive());
}

TEST_F(RegionTest, NoClientLocksOthersOut) {
  for (const std::string& region : {region_, std::string("memfd")}) {
    region_ = region;
    ServerProcess server(socket_, Arguments());
    server.AwaitReady();
    RawClient hostile(socket_);
    ASSERT_TRUE(hostile.Greet(1));
    std::uint16_t lendable = 0;
    {
      RawClient passing(socket_);
      ASSERT_TRUE(passing.Greet(1));
      lendable = passing.id();
    }
    server.AwaitLog("has gone");
    for (const std::uint64_t id : {lendable, std::uint16_t(lendable + 1), std::uint16_t(65534)}) {
      EXPECT_EQ(TryLockFile(hostile.memory(), kIdLocks + id, 1), LockResult::kHeld) << id;
    }
    EXPECT_EQ(TryLockFile(hostile.memory(), kIdLocks, 65536), LockResult::kHeld);
    RawClient next(socket_);
    ASSERT_TRUE(next.Greet(1));
    EXPECT_EQ(next.id(), lendable);
    RawClient another(socket_);
    ASSERT_TRUE(another.Greet(1));
    EXPECT_EQ(server.Terminate(), 0);
  }
}

TEST_F(RegionTest, AServerWhoseIdsSomebodyHasLockedSaysSo) {
  std::optional<ServerProcess> server;
  server.emplace(socket_, Arguments());
  server->AwaitReady();
  RawClient hostile(socket_);
  ASSERT_TRUE(hostile.Greet(1));
  EXPECT_EQ(server->Terminate(), 0);
  ASSERT_EQ(TryLockFile(hostile.memory(), kIdLocks + 7, 1), LockResult::kLocked);
  ExpectRefused(Arguments(), "has locked ids of clients");
  hostile.Close();
  server.emplace(socket_, Arguments());
  server->AwaitReady();
}

TEST_F(RegionTest, ALockOnTheIdOfPlainPeersEndsNone) {
  std::optional<ServerProcess> server;
  server.emplace(socket_, Arguments());
  server->AwaitReady();
  const MappedRegion mapped(file_);
  const SlotOwner plain(mapped.region(), "plain", layout::kNoIvposition);
  RawClient hostile(socket_);
  ASSERT_TRUE(hostile.Greet(1));
  ASSERT_EQ(TryShareFile(hostile.memory(), kIdLocks + layout::kNoIvposition, 1),
            LockResult::kLocked);
  server->Kill();
  server.emplace(socket_, Arguments());
  server->AwaitReady();
  hostile.Close();
  server->AwaitLog("of a former server has gone");
  EXPECT_EQ(server->Terminate(), 0);
  EXPECT_TRUE(plain.IsLive());
}

TEST_F(RegionTest, UniqueIdsStartAboveThoseInATakenOverRegion) {
  std::optional<ServerProcess> server;
  server.emplace(socket_, Arguments({"--id-policy", "unique"}));
  server->AwaitReady();
  for (int i = 0; i < 6; ++i) {
    RawClient passing(socket_);
    ASSERT_TRUE(passing.Greet(1));
  }
  RawClient survivor(socket_);
  ASSERT_TRUE(survivor.Greet(1));
  EXPECT_EQ(survivor.id(), 7);
  const MappedRegion mapped(survivor.memory());
  SlotOwner peer(mapped.region(), "survivor", survivor.id());
  server->Kill();
  server.emplace(socket_, Arguments({"--id-policy", "unique"}));
  server->AwaitReady();
  RawClient next(socket_);
  ASSERT_TRUE(next.Greet(1));
  EXPECT_EQ(next.id(), 8);
}

TEST_F(RegionTest, AShmRegionIsMadeKeptAndTakenOver) {
  const std::string name = "ivmq-test-" + std::to_string(getpid());
  const std::string path = "/dev/shm/" + name;
  region_ = "shm:" + name;
  for (const char* const log : {"serving", "took the region over"}) {
    ServerProcess server(socket_, Arguments());
    server.AwaitLog(log);
    RawClient client(socket_);
    EXPECT_TRUE(client.Greet(1));
    EXPECT_EQ(server.Terminate(), 0);
    EXPECT_EQ(std::filesystem::file_size(path), kSize);
  }
  EXPECT_EQ(shm_unlink(("/" + name).c_str()), 0);
}

TEST_F(RegionTest, ForeignContentIsRefusedAndLeftAsItIs) {
  const std::string content(kSize, 'x');
  std::ofstream(file_) << content;
  ExpectRefused(Arguments(), "remove it if nobody needs what it holds");
  std::ifstream file(file_);
  std::string after(kSize, ' ');
  file.read(after.data(), static_cast<std::streamsize>(after.size()));
  EXPECT_EQ(after, content);
}

TEST_F(RegionTest, AnotherSizeOrNumberOfPeersOrRingSizeIsRefusedWithWhatWasFound) {
  CreateOptions create;
  create.format.max_peers = 16;
  ASSERT_TRUE(CreateRegionFile(region_, kSize, create).ok());
  ExpectRefused({"--size", "2M", "--max-peers", "16", "--region", region_}, "--size 1048576");
  ExpectRefused({"--size", "1M", "--max-peers", "17", "--region", region_}, "--max-peers 16");
  ExpectRefused(Arguments({"--ring-size", "64K"}), "--ring-size");
}

TEST_F(RegionTest, ATruncatedRegionIsRefused) {
  CreateOptions create;
  create.format.max_peers = 16;
  ASSERT_TRUE(CreateRegionFile(region_, 2 * kSize, create).ok());
  std::filesystem::resize_file(file_, kSize);
  ExpectRefused(Arguments(), "region");
}

TEST_F(RegionTest, AFolderOrADeviceIsRefused) {
  region_ = "file:" + folder_.path();
  ExpectRefused(Arguments(), "directory");
  region_ = "file:/dev/null";
  ExpectRefused(Arguments(), "no regular file");
}

// Needs no disk of that size: the limit of file sizes says no, and does not end the server.
TEST_F(RegionTest, WithoutRoomNothingIsLeftBehind) {
  const auto expect = [this](const std::string& region, std::uint64_t room,
                             const std::string& for_what) {
    ServerProcess server(socket_, {"--size", "1G", "--region", region}, [room] {
      const rlimit limit{room, room};
      if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(126);
    });
    EXPECT_EQ(server.Wait(), 1);
    EXPECT_THAT(server.Log(), AllOf(HasSubstr("no space for " + for_what), HasSubstr("ulimit -f")));
  };
  // More than the server needs for itself.
  expect("memfd", std::uint64_t{768} << 20, "1 GiB");
  expect(region_, std::uint64_t{768} << 20, "1 GiB");
  expect(region_, kSize, "");
  EXPECT_FALSE(std::filesystem::exists(file_));
  EXPECT_FALSE(std::filesystem::exists(socket_));
}

TEST_F(RegionTest, FormattingWithoutRoomIsAnErrorAndDoesNotEndTheProcess) {
  EXPECT_EQ(Child::Fork([&] {
              const rlimit limit{kSize / 2, kSize / 2};
              ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
              const Status status = CreateRegionFile(region_, kSize, {});
              EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
              EXPECT_THAT(status.message(), HasSubstr("ulimit -f"));
            }).Wait(),
            0);
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(RegionTest, ALargeRegionIsServedBeforeAllOfItIsAllocated) {
  ServerProcess server(socket_, {"--size", "512M"});
  server.AwaitReady();
  server.AwaitLog("256 MiB of 512 MiB are allocated, the rest while clients are served");
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(8));
  server.AwaitLog("384 MiB of 512 MiB are allocated");
  server.AwaitLog("512 MiB of 512 MiB are allocated");
  struct stat found {};
  ASSERT_EQ(fstat(client.memory(), &found), 0);
  EXPECT_GE(found.st_blocks * 512, found.st_size);
}

// ---- huge pages

constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20;

class HugePageTest : public RegionTest {
 protected:
  HugePages pages_{4};
};

TEST_F(HugePageTest, AFileInHugetlbfsIsMadeServedAndTakenOver) {
  const HugePageFolder huge;
  file_ = huge / "region";
  region_ = "file:" + file_;
  for (const char* const log : {"serving", "took the region over"}) {
    ServerProcess server(
        socket_, {"--size", "4M", "--vectors", "1", "--region", region_, "--hugepages", "2M"});
    server.AwaitLog(log);
    RawClient client(socket_);
    ASSERT_TRUE(client.Greet(1));
    const MappedRegion mapped(client.memory());
    EXPECT_EQ(mapped.region().geometry().region_size, std::uint64_t{4} << 20);
    EXPECT_EQ(server.Terminate(), 0);
  }
  // No multiple of the page size, another page size, and more pages than there are.
  std::filesystem::remove(file_);
  ExpectRefused(Arguments(), "huge pages of 2 MiB", 2);
  EXPECT_FALSE(std::filesystem::exists(file_));
  ExpectRefused({"--size", "1G", "--region", region_, "--hugepages", "1G"}, "pagesize=1G", 2);
  EXPECT_FALSE(std::filesystem::exists(file_));
  ExpectRefused({"--size", "1G", "--region", region_}, "hugepages-2048kB/nr_hugepages");
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(HugePageTest, AMemfdOfHugePagesIsPreallocatedSealedAndServed) {
  ServerProcess server(socket_, {"--size", "4M", "--vectors", "1", "--hugepages", "2M"});
  server.AwaitReady();
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(1));
  struct stat found {};
  ASSERT_EQ(fstat(client.memory(), &found), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(found.st_blksize), kHugePage);
  EXPECT_GE(found.st_blocks * 512, found.st_size);
  EXPECT_EQ(found.st_mode & 0777, 0600U);
  EXPECT_NE(ftruncate(client.memory(), static_cast<off_t>(kHugePage)), 0);
  // The end of a client is noticed as with ordinary pages, by the lock that hangs on its memory.
  RawClient other(socket_);
  ASSERT_TRUE(other.Greet(1));
  other.Close();
  server.AwaitLog("has gone");
  EXPECT_EQ(server.Terminate(), 0);
}

TEST_F(HugePageTest, TooFewHugePagesAreNamedWithWhereToReserveMore) {
  region_ = "memfd";
  ExpectRefused({"--size", "1G", "--hugepages", "2M"}, "hugepages-2048kB/nr_hugepages");
  ExpectRefused({"--size", "1G", "--hugepages", "2M", "--numa-node", "0"},
                "/sys/devices/system/node/node0/hugepages");
}

// ---- NUMA

TEST_F(RegionTest, MemoryComesFromTheNodeThatIsAskedFor) {
  for (const std::string& region : {std::string("memfd"), std::string("shm:ivmq-numa-test")}) {
    ServerProcess server(socket_, {"--size", "1M", "--region", region, "--numa-node", "0"});
    server.AwaitReady();
    RawClient client(socket_);
    ASSERT_TRUE(client.Greet(8));
    const MappedRegion mapped(client.memory());
    void* page = &mapped.region().header();
    int node = -1;
    ASSERT_EQ(syscall(SYS_move_pages, 0, 1, &page, nullptr, &node, 0), 0);
    EXPECT_EQ(node, 0);
    EXPECT_EQ(server.Terminate(), 0);
  }
  shm_unlink("/ivmq-numa-test");
}

TEST_F(RegionTest, ANodeThatIsNotThereAndAFileThatHasNoneAreRefused) {
  ExpectRefused(Arguments({"--numa-node", "0"}), "on a disk", 2);
  EXPECT_FALSE(std::filesystem::exists(file_));
  region_ = "memfd";
  ExpectRefused(Arguments({"--numa-node", "1023"}), "those that have: ", 2);
  ExpectRefused(Arguments({"--numa-node", "70000"}), "those that have: ", 2);
}

}  // namespace
}  // namespace ivmq::testing
