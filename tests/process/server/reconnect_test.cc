// Nodes that lose their connection to the server.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/peer_table.h"
#include "ivmq/node.h"

#include "raw_client.h"
#include "server_process.h"
#include "slot_owner.h"
#include "support/child.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr seconds kPatience{30};
const SendOptions kWait{.when_full = WhenFull::kWait, .timeout = kPatience};

std::unique_ptr<Node> OpenNode(const std::string& socket, const std::string& name,
                               std::function<void(const Status&)> on_report = {}) {
  NodeOptions options;
  options.name = name;
  options.on_report = std::move(on_report);
  auto node = Node::Open("unix:" + socket, std::move(options));
  if (!node.ok()) ADD_FAILURE() << node.status().ToString();
  return node.ok() ? *std::move(node) : nullptr;
}

// Sends a message to the echo and waits for the answer.
void ExpectEcho(Node& node, PeerId echo) {
  ASSERT_EQ(node.Send(echo, "hello", kWait), SendResult::kOk);
  bool answered = false;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!answered && std::chrono::steady_clock::now() < deadline) {
    (void)node.Poll([&](const Message& message) { answered = message.from == echo; });
    if (!answered) (void)node.Wait(seconds(1));
  }
  EXPECT_TRUE(answered);
}

// A child process whose node answers each message. It does what it is told by single characters.
class Echo {
 public:
  Echo(const std::string& socket, rlim_t descriptors) {
    if (pipe2(orders_.data(), O_CLOEXEC) != 0 || pipe2(news_.data(), O_CLOEXEC) != 0) std::abort();
    child_.emplace(Child::Fork([&] { Run(socket, descriptors); }));
    EXPECT_EQ(Hear(), 'l');
    EXPECT_EQ(Hear(), 'o');
  }
  ~Echo() {
    for (const int fd : orders_) close(fd);
    for (const int fd : news_) close(fd);
  }
  Echo(const Echo&) = delete;
  Echo& operator=(const Echo&) = delete;

  // Opens files until its limit is reached.
  void UseUpDescriptors() {
    Tell('u');
    EXPECT_EQ(Hear(), 'u');
  }
  void FreeDescriptors() { Tell('f'); }
  // Waits until its node has reported that the connection was lost.
  void AwaitLoss() { EXPECT_EQ(Hear(), 'l'); }
  Child& child() { return *child_; }

 private:
  void Tell(char order) { EXPECT_EQ(write(orders_[1], &order, 1), 1); }
  char Hear() {
    char news = 0;
    EXPECT_EQ(read(news_[0], &news, 1), 1);
    return news;
  }

  void Run(const std::string& socket, rlim_t descriptors) {
    rlimit limit{descriptors, descriptors};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    const auto say = [&](char news) { EXPECT_EQ(write(news_[1], &news, 1), 1); };
    std::atomic<bool> told = false;
    auto node = OpenNode(socket, "echo", [&](const Status& status) {
      EXPECT_THAT(status.message(), HasSubstr("connection to the server was lost"));
      say('l');
      told = true;
    });
    ASSERT_NE(node, nullptr);
    // Starts the thread of the reports, as long as there are descriptors: sanitizers look at it
    // through a pipe.
    node->Report({StatusCode::kUnavailable, "not yet: connection to the server was lost"});
    ASSERT_EQ(fcntl(orders_[0], F_SETFL, O_NONBLOCK), 0);
    std::vector<UniqueFd> files;
    while (!told) std::this_thread::yield();
    say('o');
    for (;;) {
      (void)node->Poll([&](const Message& message) {
        EXPECT_EQ(node->Send(message.from, message.payload, kWait), SendResult::kOk);
      });
      (void)node->Wait(std::chrono::milliseconds(20));
      char order = 0;
      if (read(orders_[0], &order, 1) != 1) continue;
      if (order == 'f') {
        files.clear();
        continue;
      }
      for (UniqueFd file(dup(0)); file.valid(); file.reset(dup(0))) {
        files.emplace_back(file.release());
      }
      EXPECT_EQ(errno, EMFILE);
      say('u');
    }
  }

  std::array<int, 2> orders_{};
  std::array<int, 2> news_{};
  std::optional<Child> child_;
};

class ReconnectTest : public ::testing::Test {
 protected:
  void StartServer(const std::string& region) {
    server_.emplace(socket_, std::vector<std::string>{"--size", "4M", "--region", region});
    server_->AwaitReady();
  }
  // Waits until the peer's slot has another ivposition.
  static void AwaitMove(const Node& node, std::uint16_t from) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
      const auto info = node.Lookup("echo");
      ASSERT_TRUE(info.ok()) << info.status().ToString();
      ASSERT_EQ(info->state, layout::PeerState::kLive);
      if (info->ivposition != from) return;
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "it did not come back";
      usleep(1000);
    }
  }
  // Newcomers reach it, and its death is seen.
  void ExpectReachableUntilKilled(Echo& echo, PeerId id) {
    auto late = OpenNode(socket_, "late");
    ASSERT_NE(late, nullptr);
    ExpectEcho(*late, id);
    echo.child().Kill();
    server_->AwaitLog("1 peers that had not left are dead");
  }

  TempFolder folder_;
  std::string socket_ = folder_ / "s";
  std::string file_ = "file:" + folder_ / "region";
  std::optional<ServerProcess> server_;
};

TEST_F(ReconnectTest, ANodeThatLostADescriptorGoesOnAndComesBackWhenItCan) {
  StartServer("memfd");
  // Enough for the server to send what cannot be received.
  Echo echo(socket_, 400);
  auto node = OpenNode(socket_, "other");
  ASSERT_NE(node, nullptr);
  const auto before = node->Await("echo", kPatience);
  ASSERT_TRUE(before.ok());
  ExpectEcho(*node, before->id);
  echo.UseUpDescriptors();
  RawClient newcomer(socket_);
  ASSERT_TRUE(newcomer.Greet(8));
  echo.AwaitLoss();
  // Nobody was told that it is dead, and what it says arrives.
  EXPECT_TRUE(node->IsLive(before->id));
  ExpectEcho(*node, before->id);
  echo.FreeDescriptors();
  AwaitMove(*node, before->ivposition);
  EXPECT_TRUE(node->IsLive(before->id));
  EXPECT_FALSE(node->Lookup("echo")->disconnected);
  ExpectEcho(*node, before->id);
  // The lock of its first connection has gone with the mapping, and hit nobody.
  EXPECT_THAT(server_->AwaitLog("id " + std::to_string(before->ivposition) + " has gone"),
              ::testing::Not(HasSubstr("dead")));
  ExpectReachableUntilKilled(echo, before->id);
}

TEST_F(ReconnectTest, ANodeOfAFileGoesOverToTheNextServer) {
  StartServer(file_);
  Echo echo(socket_, 1024);
  auto node = OpenNode(socket_, "other");
  ASSERT_NE(node, nullptr);
  const auto before = node->Await("echo", kPatience);
  ASSERT_TRUE(before.ok());
  ExpectEcho(*node, before->id);
  server_->Kill();
  echo.AwaitLoss();
  ExpectEcho(*node, before->id);
  StartServer(file_);
  AwaitMove(*node, before->ivposition);
  ExpectEcho(*node, before->id);
  server_->AwaitLog("id " + std::to_string(before->ivposition) + " of a former server has gone");
  EXPECT_TRUE(node->IsLive(before->id));
  ExpectReachableUntilKilled(echo, before->id);
}

TEST_F(ReconnectTest, AnotherRegionBehindTheSocketIsNotTakenForTheNodes) {
  StartServer(file_);
  std::atomic<int> reports = 0;
  auto node = OpenNode(socket_, "node", [&](const Status&) { ++reports; });
  ASSERT_NE(node, nullptr);
  server_->Kill();
  StartServer("memfd");
  // It looked, and went away again.
  server_->AwaitLog("id 1 to pid " + std::to_string(getpid()));
  server_->AwaitLog("id 1 has gone");
  EXPECT_TRUE(node->status().ok());
  const auto info = node->Lookup("node");
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->ivposition, 1);
  EXPECT_EQ(reports, 1);
}

}  // namespace
}  // namespace ivmq::testing
