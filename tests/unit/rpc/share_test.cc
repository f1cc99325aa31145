// What one client can take of a server, and what is left to the others.
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

// Calls of one client that run at once.
class Calls {
 public:
  explicit Calls(std::shared_ptr<rpc::Endpoint> endpoint)
      : endpoint_(std::move(endpoint)), stub_(Echo::NewStub(endpoint_->CreateChannel("server"))) {}

  // With so many pairs of metadata.
  void Begin(const Request& request, int pairs = 0) {
    calls_.push_back(std::make_unique<Call>());
    Call& call = *calls_.back();
    for (int i = 0; i < pairs; ++i) call.context.AddMetadata("k", "");
    call.request = request;
    call.status = stub_->async()->Say(&call.context, &call.request, &call.response);
  }
  // Of the n-th call. Polls for an endpoint that the test drives.
  rpc::Status Await(std::size_t n, bool polls = false) {
    std::future<rpc::Status>& status = calls_[n]->status;
    while (polls && status.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      endpoint_->Poll();
    }
    return status.get();
  }
  // They have to be awaited all the same.
  void Leave() {
    stub_.reset();
    endpoint_.reset();
  }
  [[nodiscard]] rpc::Endpoint& endpoint() const { return *endpoint_; }
  [[nodiscard]] std::size_t size() const { return calls_.size(); }
  [[nodiscard]] Echo::Stub& stub() { return *stub_; }

 private:
  struct Call {
    ClientContext context;
    Request request;
    Response response;
    std::future<rpc::Status> status;
  };
  std::shared_ptr<rpc::Endpoint> endpoint_;
  std::unique_ptr<Echo::Stub> stub_;
  std::vector<std::unique_ptr<Call>> calls_;
};

Request WithData(std::size_t bytes) {
  Request request;
  request.set_data(std::string(bytes, 'x'));
  return request;
}

// A server of one thread, which waits for the test.
struct BlockedPair : EchoPair {
  explicit BlockedPair(const std::function<void(rpc::ServerBuilder&)>& build)
      : EchoPair(rpc::Executor::kPool, [&](rpc::ServerBuilder& builder) {
          builder.SetThreads(1);
          build(builder);
        }) {
    Request request;
    request.set_wait_release(true);
    blocker.Begin(request);
    service.waiting.acquire();
  }
  void Release() {
    service.release.set_value();
    EXPECT_TRUE(blocker.Await(0).ok());
  }
  Calls blocker{Open("blocker")};
};

TEST(ShareTest, TheCallsOfOneClientLeaveTheOthersTheirs) {
  BlockedPair pair([](rpc::ServerBuilder& builder) { builder.SetMaxCalls(2); });
  Calls greedy(pair.client_endpoint);
  Calls other(pair.Open("other"));
  for (int i = 0; i < 3; ++i) greedy.Begin(Request());
  EXPECT_EQ(greedy.Await(2).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  for (int i = 0; i < 2; ++i) other.Begin(Request());
  pair.Release();
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(greedy.Await(i).ok());
    EXPECT_TRUE(other.Await(i).ok());
  }
}

TEST(ShareTest, TheRequestsOfOneClientAreBoundedAndLeaveTheOthersTheirs) {
  BlockedPair pair([](rpc::ServerBuilder& builder) { builder.SetMaxRequestBytes(1 << 20); });
  Calls greedy(pair.client_endpoint);
  Calls other(pair.Open("other"));
  // The last one that is taken may go beyond it.
  for (int i = 0; i < 3; ++i) greedy.Begin(WithData(600 << 10));
  const rpc::Status refused = greedy.Await(2);
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  other.Begin(WithData(600 << 10));
  pair.Release();
  EXPECT_TRUE(greedy.Await(0).ok());
  EXPECT_TRUE(greedy.Await(1).ok());
  EXPECT_TRUE(other.Await(0).ok());
  // What has ended counts no more.
  greedy.Begin(WithData(600 << 10));
  EXPECT_TRUE(greedy.Await(3).ok());
}

TEST(ShareTest, CallsOfAFormerLifeDoNotCountForItsSuccessor) {
  BlockedPair pair([](rpc::ServerBuilder& builder) { builder.SetMaxCalls(2); });
  const auto open = [&] { return Calls(pair.Open("durable", {.durable = true})); };
  Calls former = open();
  for (int i = 0; i < 3; ++i) former.Begin(Request());
  EXPECT_EQ(former.Await(2).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  const PeerId before = former.endpoint().node().id();
  former.Leave();
  for (std::size_t i = 0; i < 2; ++i) (void)former.Await(i);
  Calls successor = open();
  ASSERT_EQ(successor.endpoint().node().id().slot, before.slot);
  for (int i = 0; i < 3; ++i) successor.Begin(Request());
  EXPECT_EQ(successor.Await(2).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  pair.Release();
  for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(successor.Await(i).ok());
}

TEST(ShareTest, MetadataCountsWithTheRequestsAsWhatItTakes) {
  BlockedPair pair([](rpc::ServerBuilder& builder) { builder.SetMaxRequestBytes(1 << 20); });
  Calls greedy(pair.client_endpoint);
  Calls other(pair.Open("other"));
  // A small frame, and many entries of maps.
  constexpr int kPairs = 5000;
  for (int i = 0; i < 2; ++i) greedy.Begin(Request(), kPairs);
  EXPECT_EQ(greedy.Await(1).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  other.Begin(Request(), kPairs);
  pair.Release();
  EXPECT_TRUE(greedy.Await(0).ok());
  EXPECT_TRUE(other.Await(0).ok());
}

TEST(ShareTest, LargeMessagesOfStreamsCountWithTheRequests) {
  BlockedPair pair([](rpc::ServerBuilder& builder) { builder.SetMaxRequestBytes(1 << 20); });
  Calls greedy(pair.client_endpoint);
  struct Stream {
    ClientContext context;
    Response response;
    std::unique_ptr<rpc::ClientWriter<Request>> writer;
  } streams[3];
  Request request = WithData(600 << 10);
  request.set_count(0);
  for (Stream& stream : streams) {
    stream.writer = greedy.stub().Collect(&stream.context, &stream.response);
    EXPECT_TRUE(stream.writer->Write(request));
    (void)stream.writer->WritesDone();
  }
  EXPECT_EQ(streams[2].writer->Finish().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  pair.Release();
  EXPECT_TRUE(streams[0].writer->Finish().ok());
  EXPECT_TRUE(streams[1].writer->Finish().ok());
}

// A server that answers at once, and clients that take what it answers only when they await it.
class DeafClientTest : public ::testing::Test {
 protected:
  Calls Open(const char* name, bool durable = false) {
    auto endpoint = pair_.Open(name, {.durable = durable});
    endpoint->Drive();
    return Calls(std::move(endpoint));
  }
  // Returns when the server has handled all but the last one.
  void Begin(Calls& calls, int count) {
    const Request request = WithData(30'000);
    const int before = pair_.service.calls;
    for (int i = 0; i < count; ++i) {
      while (pair_.service.calls < before + i) std::this_thread::yield();
      calls.Begin(request);
    }
  }

  // Together more than is kept for one client.
  static constexpr int kMany = 1000;
  static constexpr int kFew = 50;
  EchoPair pair_{rpc::Executor::kInline};
};

TEST_F(DeafClientTest, EndsThatAClientDoesNotTakeCostNoOtherClientIts) {
  Calls deaf = Open("deaf");
  Calls slow = Open("slow");
  Begin(deaf, kMany);
  Begin(slow, kFew);
  for (std::size_t i = 0; i < kFew; ++i) EXPECT_TRUE(slow.Await(i, /*polls=*/true).ok()) << i;
  int refused = 0;
  for (std::size_t i = 0; i < kMany; ++i) {
    const rpc::Status status = deaf.Await(i, /*polls=*/true);
    if (status.ok()) continue;
    ++refused;
    ASSERT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  }
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, kMany / 2);
}

TEST_F(DeafClientTest, EndsThatADurableClientDidNotTakeCostItsSuccessorNothing) {
  Calls deaf = Open("deaf", /*durable=*/true);
  Begin(deaf, kMany);
  deaf.Leave();
  for (std::size_t i = 0; i < kMany; ++i) {
    EXPECT_EQ(deaf.Await(i).error_code(), StatusCode::CANCELLED);
  }
  Calls successor = Open("deaf", /*durable=*/true);
  Begin(successor, kFew);
  for (std::size_t i = 0; i < kFew; ++i) {
    const rpc::Status status = successor.Await(i, /*polls=*/true);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
}

}  // namespace
}  // namespace ivmq::testing
