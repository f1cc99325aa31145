#include "region_server.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

  void ExpectInvalid(const std::string& text) {
    const auto server = RegionServer::Create(options_);
    ASSERT_FALSE(server.ok());
    EXPECT_EQ(server.status().code(), StatusCode::kInvalidArgument) << server.status().ToString();
    EXPECT_THAT(server.status().message(), HasSubstr(text));
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  }

  testing::TempFolder folder_;
  Options options_;
};

TEST_F(ServerTest, StopEndsRunFromAnotherThreadAndTheSocketGoes) {
  auto server = RegionServer::Create(options_);
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  EXPECT_TRUE(std::filesystem::exists(options_.socket));
  std::thread stopper([&] { (*server)->Stop(); });
  EXPECT_TRUE((*server)->Run().ok());
  stopper.join();
  *server = nullptr;
  EXPECT_FALSE(std::filesystem::exists(options_.socket));
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

TEST_F(ServerTest, NamesAnUnknownGroup) {
  options_.group = "no-such-group-here";
  const auto server = RegionServer::Create(options_);
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(server.status().message(), HasSubstr("no-such-group-here"));
}

}  // namespace
}  // namespace ivmq::server
