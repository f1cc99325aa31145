#include "region_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "estate.h"
#include "event_loop.h"
#include "src/ivshmem_protocol.h"
#include "src/ivshmem_socket.h"
#include "src/unique_fd.h"
#include "support/temp_folder.h"

namespace ivmq::server {
namespace {

using ::testing::HasSubstr;

class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    options_.socket = folder_ / "socket";
    options_.size = std::uint64_t{1} << 20;
  }

  Result<std::unique_ptr<RegionServer>> Create(UniqueFd listening = {}) {
    return RegionServer::Create(options_, *loop_, *estate_, std::move(listening));
  }

  void ExpectInvalid(const std::string& text) {
    const auto server = Create();
    ASSERT_FALSE(server.ok());
    EXPECT_EQ(server.status().code(), StatusCode::kInvalidArgument) << server.status().ToString();
    EXPECT_THAT(server.status().message(), HasSubstr(text));
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  }

  testing::TempFolder folder_;
  Options options_;
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  std::unique_ptr<Estate> estate_ = *Estate::Open(
      {.keep = Keep::kNone, .sockets = {folder_ / "socket", folder_ / "other"}}, *loop_, {});
};

TEST_F(ServerTest, StopEndsTheLoopFromAnotherThreadAndTheSocketGoesWithTheServer) {
  auto server = Create();
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  EXPECT_TRUE(std::filesystem::exists(options_.socket));
  std::thread stopper([&] { loop_->Stop(); });
  EXPECT_TRUE(loop_->Run().ok());
  stopper.join();
  *server = nullptr;
  EXPECT_FALSE(std::filesystem::exists(options_.socket));
}

TEST_F(ServerTest, ServersOfSeveralRegionsShareALoopAndEndApart) {
  const std::string first_socket = options_.socket;
  auto first = Create();
  options_.socket = folder_ / "other";
  auto second = Create();
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  std::thread runner([&] { EXPECT_TRUE(loop_->Run().ok()); });
  const auto deadline = ivshmem::Clock::now() + std::chrono::seconds(30);
  const auto first_memory = ivshmem::FetchSharedMemory(first_socket, deadline);
  const auto second_memory = ivshmem::FetchSharedMemory(options_.socket, deadline);
  loop_->Stop();
  runner.join();
  ASSERT_TRUE(first_memory.ok()) << first_memory.status().ToString();
  ASSERT_TRUE(second_memory.ok()) << second_memory.status().ToString();
  struct stat a {};
  struct stat b {};
  ASSERT_EQ(fstat(first_memory->get(), &a), 0);
  ASSERT_EQ(fstat(second_memory->get(), &b), 0);
  EXPECT_NE(a.st_ino, b.st_ino);
  *first = nullptr;
  EXPECT_FALSE(std::filesystem::exists(first_socket));
  EXPECT_TRUE(std::filesystem::exists(options_.socket));
}

TEST_F(ServerTest, AListeningSocketOfSomebodyElseIsServedAndLeftAtTheEnd) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  options_.socket.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(socket.get(), 5), 0);
  auto server = Create(std::move(socket));
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  std::thread runner([&] { EXPECT_TRUE(loop_->Run().ok()); });
  const auto memory = ivshmem::FetchSharedMemory(static_cast<const char*>(address.sun_path),
                                                 ivshmem::Clock::now() + std::chrono::seconds(30));
  loop_->Stop();
  runner.join();
  EXPECT_TRUE(memory.ok()) << memory.status().ToString();
  *server = nullptr;
  EXPECT_TRUE(std::filesystem::exists(static_cast<const char*>(address.sun_path)));
}

TEST_F(ServerTest, ADescriptorThatDoesNotListenIsRefusedByWhatItIs) {
  const auto server = Create(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)));
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(server.status().message(), HasSubstr("listen"));
}

TEST_F(ServerTest, WhileItDrainsNewcomersAreRefusedAndWhoOnlyLooksIsServed) {
  auto server = Create();
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  (*server)->SetDraining(true, "a test");
  std::thread runner([&] { EXPECT_TRUE(loop_->Run().ok()); });
  const auto deadline = ivshmem::Clock::now() + std::chrono::seconds(30);
  EXPECT_TRUE(ivshmem::FetchSharedMemory(options_.socket, deadline).ok());
  const auto newcomer = ivshmem::ConnectSocket(options_.socket, /*observer=*/false, deadline);
  ASSERT_TRUE(newcomer.ok()) << newcomer.status().ToString();
  ivshmem::MessageReader reader;
  ivshmem::Message message;
  const Status status = ivshmem::ReadMessage(reader, newcomer->get(), deadline, &message);
  loop_->Stop();
  runner.join();
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(message.value, ivshmem::kRefusal);
  const ServerState state = (*server)->state();
  EXPECT_TRUE(state.is_draining);
  EXPECT_EQ(state.admitted, 0U);
  EXPECT_EQ(state.refused[static_cast<std::size_t>(Refusal::kDraining)], 1U);
  EXPECT_EQ((*server)->Evict(1, "a test").code(), StatusCode::kNotFound);
}

TEST_F(ServerTest, RefusesASizeThatIsNoPowerOfTwo) {
  options_.size = 3 << 20;
  ExpectInvalid("power of two");
}

TEST_F(ServerTest, RefusesARegionThatIsTooSmallForItsPeers) {
  options_.size = 64 << 10;
  ExpectInvalid("too small");
}

TEST_F(ServerTest, RefusesNoVectors) {
  options_.vectors = 0;
  ExpectInvalid("--vectors 0");
}

TEST_F(ServerTest, RefusesMoreVectorsThanTheProtocolAllows) {
  options_.vectors = 65;
  ExpectInvalid("--vectors 65");
}

TEST_F(ServerTest, RefusesANumberOfPeersThatIsOutOfRange) {
  options_.max_peers = 1;
  ExpectInvalid("max_peers 1");
  options_.max_peers = 1025;
  ExpectInvalid("max_peers 1025");
}

TEST_F(ServerTest, RefusesARegionOfUnknownKind) {
  options_.region = "disk:/x";
  ExpectInvalid("disk:/x");
  options_.region = "shm:a/b";
  ExpectInvalid("shm:a/b");
  options_.region = "file:";
  ExpectInvalid("file:");
}

TEST_F(ServerTest, RefusesASocketPathThatIsTooLong) {
  options_.socket = folder_ / std::string(108, 'x');
  ExpectInvalid("107");
}

TEST_F(ServerTest, RefusesAnAbstractSocket) {
  options_.socket = "@ivmq";
  ExpectInvalid("abstract");
}

TEST_F(ServerTest, NamesAnUnknownGroup) {
  options_.group = "no-such-group-here";
  const auto server = Create();
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(server.status().message(), HasSubstr("no-such-group-here"));
}

}  // namespace
}  // namespace ivmq::server
