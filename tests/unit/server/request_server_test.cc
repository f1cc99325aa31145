#include "request_server.h"

#include <chrono>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/stream_client.h"
#include "support/temp_folder.h"

namespace ivmq::server {
namespace {

using testing::StreamClient;

// Answers each line with the line; "end" with the end.
std::optional<Answer> Echo(int /*socket*/, std::string* input) {
  const std::size_t end = input->find('\n');
  if (end == std::string::npos) return std::nullopt;
  Answer answer{.text = input->substr(0, end + 1)};
  input->erase(0, end + 1);
  answer.is_last = answer.text == "end\n";
  return answer;
}

class RequestServerTest : public ::testing::Test {
 protected:
  ~RequestServerTest() override {
    loop_->Stop();
    if (runner_.joinable()) runner_.join();
  }
  void Serve(std::chrono::milliseconds patience = RequestServer::kPatience) {
    auto server =
        RequestServer::Create(*loop_, *Listener::Open(path_, std::nullopt, 0600), Echo, patience);
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = *std::move(server);
    runner_ = std::thread([this] { EXPECT_TRUE(loop_->Run().ok()); });
  }

  testing::TempFolder folder_;
  std::string path_ = folder_ / "s";
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  std::unique_ptr<RequestServer> server_;
  std::thread runner_;
};

TEST_F(RequestServerTest, RequestsAreAnsweredInTheirOrder) {
  Serve();
  StreamClient client(path_);
  client.Send("one\ntwo\nthr");
  EXPECT_EQ(client.ReadLine(), "one");
  EXPECT_EQ(client.ReadLine(), "two");
  client.Send("ee\n");
  EXPECT_EQ(client.ReadLine(), "three");
}

TEST_F(RequestServerTest, TheLastAnswerEndsTheConnection) {
  Serve();
  StreamClient client(path_);
  client.Send("one\nend\ntwo\n");
  EXPECT_EQ(client.ReadAll(), "one\nend\n");
}

TEST_F(RequestServerTest, WhoEndsItsInputGetsWhatItAskedFor) {
  Serve();
  StreamClient client(path_);
  client.Send("one\nhalf");
  client.EndInput();
  EXPECT_EQ(client.ReadAll(), "one\n");
}

TEST_F(RequestServerTest, ARequestWithoutEndEndsTheConnection) {
  Serve();
  StreamClient client(path_);
  const std::string part(4096, 'x');
  std::size_t sent = 0;
  while (const std::size_t size = client.TrySend(part)) sent += size;
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_GE(sent, RequestServer::kMaxRequest);
}

// It would take memory for its answers without end.
TEST_F(RequestServerTest, WhoReadsNoAnswersIsReadNoMoreAndHoldsNobodyUp) {
  Serve();
  StreamClient silent(path_);
  const std::string request = std::string(1000, 'x') + "\n";
  std::size_t asked = 0;
  // Until the answers fill one socket and the requests the other.
  StreamClient other(path_);
  for (int quiet = 0; quiet < 3;) {
    const std::size_t size = silent.TrySend(request);
    asked += size;
    quiet = size == 0 ? quiet + 1 : 0;
    other.Send("ping\n");
    ASSERT_EQ(other.ReadLine(), "ping");
    ASSERT_LT(asked, std::size_t{64} << 20);
  }
  // When it reads, it gets all of them.
  silent.EndInput();
  EXPECT_EQ(silent.ReadAll().size(), asked / request.size() * request.size());
}

TEST_F(RequestServerTest, OfTooManyConnectionsTheOneThatIsSilentLongestGoes) {
  Serve();
  StreamClient idle(path_);
  std::deque<StreamClient> others;
  for (std::size_t i = 0; i < RequestServer::kMaxConnections; ++i) {
    StreamClient& client = others.emplace_back(path_);
    client.Send("hello\n");
    ASSERT_EQ(client.ReadLine(), "hello");
  }
  EXPECT_EQ(idle.ReadAll(), "");
  others.front().Send("again\n");
  EXPECT_EQ(others.front().ReadLine(), "again");
}

TEST_F(RequestServerTest, ASilentConnectionIsEnded) {
  Serve(std::chrono::milliseconds(1));
  StreamClient client(path_);
  EXPECT_EQ(client.ReadAll(), "");
}

TEST_F(RequestServerTest, ItsSocketGoesWithIt) {
  Serve();
  loop_->Stop();
  runner_.join();
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace ivmq::server
