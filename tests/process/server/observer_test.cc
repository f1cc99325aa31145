// Processes that only look get nothing by which they could write.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "raw_client.h"
#include "server_process.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

class ObserverTest : public ::testing::TestWithParam<const char*> {
 protected:
  ObserverTest()
      : server_(folder_ / "s",
                {"--size", "1M", "--region",
                 GetParam() == std::string("memfd") ? "memfd" : "file:" + folder_ / "region"}) {
    server_.AwaitReady();
  }
  // What the server sends to who asks for the region.
  UniqueFd AskForMemory() {
    RawClient observer = ConnectObserver(server_.socket());
    EXPECT_TRUE(observer.Read());  // the version
    std::optional<RawClient::Message> message = observer.Read();
    return message ? std::move(message->fd) : UniqueFd();
  }

  TempFolder folder_;
  ServerProcess server_;
};

TEST_P(ObserverTest, ItMayReadAndNotWrite) {
  const UniqueFd memory = AskForMemory();
  ASSERT_TRUE(memory.valid());
  EXPECT_NE(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, memory.get(), 0), MAP_FAILED);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(pwrite(memory.get(), "x", 1, 0), -1);
}

TEST_P(ObserverTest, AMemfdIsNoOtherUsersToOpenAgain) {
  const UniqueFd memory = AskForMemory();
  struct stat file {};
  ASSERT_EQ(fstat(memory.get(), &file), 0);
  EXPECT_EQ(file.st_uid, geteuid());
  // A file has the mode that --mode says.
  EXPECT_EQ(file.st_mode & 0777U, GetParam() == std::string("memfd") ? 0600U : 0660U);
}

INSTANTIATE_TEST_SUITE_P(Regions, ObserverTest, ::testing::Values("memfd", "file"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace ivmq::testing
