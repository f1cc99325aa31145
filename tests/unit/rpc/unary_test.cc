// Calls with one request and one response.
#include <limits>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;

class UnaryTest : public ::testing::TestWithParam<rpc::Executor> {
 protected:
  EchoPair pair_{GetParam()};
  Request request_;
  Response response_;
};

INSTANTIATE_TEST_SUITE_P(Executors, UnaryTest,
                         ::testing::Values(rpc::Executor::kPool, rpc::Executor::kInline),
                         [](const auto& executor) {
                           return executor.param == rpc::Executor::kPool ? "Pool" : "Inline";
                         });

TEST_P(UnaryTest, AnswersComeWithTheResponseAndMetadataBothWays) {
  ClientContext context;
  context.set_deadline(Soon());
  context.AddMetadata("key", "value");
  context.AddMetadata("raw-bin", std::string("\0\377", 2));
  request_.set_text("hello");
  const rpc::Status status = pair_.stub->Say(&context, request_, &response_);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response_.text(), "hello for client");
  EXPECT_THAT(context.GetServerInitialMetadata(),
              ElementsAre(Pair("key", "value"), Pair("raw-bin", std::string("\0\377", 2))));
  EXPECT_EQ(context.peer(), "server");
}

TEST_P(UnaryTest, AStatusComesWithMessageDetailsAndTrailingMetadata) {
  ClientContext context;
  context.set_deadline(Soon());
  request_.set_fail(true);
  const rpc::Status status = pair_.stub->Say(&context, request_, &response_);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "nothing of that name");
  EXPECT_EQ(status.error_details(), std::string("\0details", 8));
  EXPECT_THAT(context.GetServerTrailingMetadata(),
              ElementsAre(Pair("why-bin", std::string("\0\1", 2))));
  EXPECT_THAT(context.GetServerInitialMetadata(), SizeIs(0));
}

TEST_P(UnaryTest, EveryStatusArrives) {
  for (int code = StatusCode::OK; code <= StatusCode::UNAUTHENTICATED; ++code) {
    ClientContext context;
    context.set_deadline(Soon());
    request_.set_fail(true);
    request_.set_count(code);
    const rpc::Status status = pair_.stub->Say(&context, request_, &response_);
    EXPECT_EQ(status.error_code(), code);
    EXPECT_EQ(status.error_message(), "as asked");
  }
}

TEST_P(UnaryTest, ACodeThatNobodyHasNamedArrivesAsUnknownWithItsMessage) {
  for (const int code : {17, 99, -1, std::numeric_limits<int>::min()}) {
    ClientContext context;
    context.set_deadline(Soon());
    request_.set_fail(true);
    request_.set_count(code);
    const rpc::Status status = pair_.stub->Say(&context, request_, &response_);
    EXPECT_EQ(status.error_code(), StatusCode::UNKNOWN) << code;
    EXPECT_EQ(status.error_message(), "as asked");
  }
}

TEST_P(UnaryTest, ACancelAfterTheEndChangesNothing) {
  ClientContext context;
  context.set_deadline(Soon());
  EXPECT_TRUE(pair_.stub->Say(&context, request_, &response_).ok());
  context.TryCancel();
  ClientContext another;
  another.set_deadline(Soon());
  EXPECT_TRUE(pair_.stub->Say(&another, request_, &response_).ok());
}

TEST_P(UnaryTest, AMethodThatIsNotOverriddenIsUnimplemented) {
  ClientContext context;
  context.set_deadline(Soon());
  EXPECT_EQ(pair_.stub->Forgotten(&context, request_, &response_).error_code(),
            StatusCode::UNIMPLEMENTED);
}

TEST_P(UnaryTest, LargeRequestsAndResponsesArriveWhole) {
  for (const std::size_t size : {1U << 10, 1U << 17, 32U << 20}) {
    ClientContext context;
    context.set_deadline(Soon());
    std::string data(size, '\0');
    for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<char>(i * 7 >> 3);
    request_.set_data(data);
    const rpc::Status status = pair_.stub->Say(&context, request_, &response_);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_TRUE(response_.data() == data);
  }
}

TEST_P(UnaryTest, ADeadlineThatHasPassedBeginsNothing) {
  ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() - std::chrono::seconds(1));
  EXPECT_EQ(pair_.stub->Say(&context, request_, &response_).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(pair_.service.calls, 0);
}

TEST_P(UnaryTest, ACallThatIsCancelledBeforeItBeginsDoesNotBegin) {
  ClientContext context;
  context.TryCancel();
  EXPECT_EQ(pair_.stub->Say(&context, request_, &response_).error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(pair_.service.calls, 0);
}

TEST_P(UnaryTest, MetadataThatIsNotValidIsRefused) {
  for (const auto& [key, value] : {std::pair("Upper", "x"), std::pair("", "x"),
                                   std::pair("a b", "x"), std::pair("key", "new\nline")}) {
    ClientContext context;
    context.AddMetadata(key, value);
    EXPECT_EQ(pair_.stub->Say(&context, request_, &response_).error_code(),
              StatusCode::INVALID_ARGUMENT)
        << key;
  }
}

TEST_P(UnaryTest, CallbacksAndFuturesEndToo) {
  ClientContext context;
  context.set_deadline(Soon());
  request_.set_text("soon");
  std::promise<rpc::Status> done;
  pair_.stub->async()->Say(&context, &request_, &response_,
                           [&](rpc::Status status) { done.set_value(std::move(status)); });
  EXPECT_TRUE(done.get_future().get().ok());
  EXPECT_EQ(response_.text(), "soon for client");

  ClientContext again;
  again.set_deadline(Soon());
  request_.set_text("later");
  EXPECT_TRUE(pair_.stub->async()->Say(&again, &request_, &response_).get().ok());
  EXPECT_EQ(response_.text(), "later for client");
}

TEST_P(UnaryTest, ManyThreadsCallAtOnceAndEachGetsItsAnswer) {
  constexpr int kThreads = 16;
  constexpr int kCalls = 200;
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kCalls; ++i) {
        Request request;
        Response response;
        ClientContext context;
        context.set_deadline(Soon());
        request.set_text(std::to_string(t * kCalls + i));
        const rpc::Status status = pair_.stub->Say(&context, request, &response);
        if (status.ok() && response.text() == request.text() + " for client") ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, kThreads * kCalls);
}

TEST_P(UnaryTest, ASynchronousCallOnTheThreadThatPollsIsRefused) {
  std::promise<rpc::Status> inner;
  ClientContext context;
  context.set_deadline(Soon());
  pair_.stub->async()->Say(&context, &request_, &response_, [&](const rpc::Status& /*status*/) {
    ClientContext another;
    Response response;
    inner.set_value(pair_.stub->Say(&another, request_, &response));
  });
  const rpc::Status status = inner.get_future().get();
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("async()"));
}

// ---- With the pool ----

class PoolTest : public ::testing::Test {
 protected:
  Request request_;
  Response response_;
};

TEST_F(PoolTest, ACancelReachesTheHandler) {
  EchoPair pair;
  ClientContext context;
  request_.set_wait_cancel(true);
  std::thread canceller([&] {
    while (pair.service.calls == 0) std::this_thread::yield();
    context.TryCancel();
  });
  EXPECT_EQ(pair.stub->Say(&context, request_, &response_).error_code(), StatusCode::CANCELLED);
  canceller.join();
  EXPECT_EQ(pair.service.cancelled.get_future().wait_for(kPatience), std::future_status::ready);
}

TEST_F(PoolTest, ADeadlineEndsTheCallAndReachesTheHandler) {
  EchoPair pair;
  ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  request_.set_wait_cancel(true);
  EXPECT_EQ(pair.stub->Say(&context, request_, &response_).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  if (pair.service.calls != 0) {
    EXPECT_EQ(pair.service.cancelled.get_future().wait_for(kPatience), std::future_status::ready);
  }
}

TEST_F(PoolTest, AThousandCallsOfSixteenThreadsAreUnderWayAtOnce) {
  constexpr int kThreads = 16;
  constexpr int kCalls = 63;  // each; together less than a server takes
  EchoPair pair;
  struct Call {
    ClientContext context;
    Request request;
    Response response;
    std::future<rpc::Status> status;
  };
  std::vector<Call> calls(std::size_t{kThreads} * kCalls);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = t * kCalls; i < (t + 1) * kCalls; ++i) {
        Call& call = calls[i];
        call.context.set_deadline(Soon());
        call.request.set_text(std::to_string(i));
        call.request.set_wait_release(true);
        call.status = pair.stub->async()->Say(&call.context, &call.request, &call.response);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  pair.service.release.set_value();
  for (std::size_t i = 0; i < calls.size(); ++i) {
    EXPECT_TRUE(calls[i].status.get().ok());
    EXPECT_EQ(calls[i].response.text(), std::to_string(i) + " for client");
  }
}

TEST_F(PoolTest, MoreCallsThanTheServerTakesEndWithResourceExhausted) {
  EchoPair pair(rpc::Executor::kPool,
                [](rpc::ServerBuilder& builder) { builder.SetThreads(1).SetMaxCalls(2); });
  request_.set_wait_release(true);
  ClientContext first;
  ClientContext second;
  Response responses[2];
  auto running = pair.stub->async()->Say(&first, &request_, &responses[0]);
  pair.service.waiting.acquire();
  auto queued = pair.stub->async()->Say(&second, &request_, &responses[1]);
  ClientContext third;
  third.set_deadline(Soon());
  EXPECT_EQ(pair.stub->Say(&third, request_, &response_).error_code(),
            StatusCode::RESOURCE_EXHAUSTED);
  pair.service.release.set_value();
  EXPECT_TRUE(running.get().ok());
  EXPECT_TRUE(queued.get().ok());
}

TEST_F(PoolTest, ARequestWhoseDeadlinePassesInTheQueueIsNotBegun) {
  EchoPair pair(rpc::Executor::kPool,
                [](rpc::ServerBuilder& builder) { builder.SetThreads(1).SetMaxCalls(2); });
  request_.set_wait_release(true);
  ClientContext first;
  Response blocked;
  auto running = pair.stub->async()->Say(&first, &request_, &blocked);
  pair.service.waiting.acquire();
  const auto sent = [&] {
    return pair.client_endpoint->node().counter(layout::Counter::kMessagesSent);
  };
  // A deadline may pass before the request has gone.
  for (const std::uint64_t before = sent(); sent() == before;) {
    ClientContext second;
    second.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(20));
    EXPECT_EQ(pair.stub->Say(&second, Request(), &response_).error_code(),
              StatusCode::DEADLINE_EXCEEDED);
  }
  // Refused behind the second one's cancel, which the server has read then.
  ClientContext third;
  third.set_deadline(Soon());
  EXPECT_EQ(pair.stub->Say(&third, Request(), &response_).error_code(),
            StatusCode::RESOURCE_EXHAUSTED);
  pair.service.release.set_value();
  EXPECT_TRUE(running.get().ok());
  pair.server->Shutdown();
  EXPECT_EQ(pair.service.calls, 1);
}

// ---- Peers that come and go ----

TEST(PeersTest, ACallToNobodyIsUnavailableOrWaitsIfItIsSaid) {
  EchoPair pair;
  auto stub = Echo::NewStub(pair.client_endpoint->CreateChannel("nobody"));
  Response response;
  {
    ClientContext context;
    const rpc::Status status = stub->Say(&context, Request(), &response);
    EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
    EXPECT_THAT(status.error_message(), HasSubstr("'nobody'"));
  }
  {
    ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(20));
    EXPECT_EQ(stub->Say(&context, Request(), &response).error_code(),
              StatusCode::DEADLINE_EXCEEDED);
  }
}

TEST(PeersTest, APeerWithoutServicesAnswersUnimplemented) {
  EchoPair pair;
  auto idle = pair.Open("idle");
  idle->Drive();
  std::atomic<bool> stop{false};
  std::thread loop([&] {
    while (!stop) idle->Poll();
  });
  auto stub = Echo::NewStub(pair.client_endpoint->CreateChannel("idle"));
  ClientContext context;
  context.set_deadline(Soon());
  Response response;
  EXPECT_EQ(stub->Say(&context, Request(), &response).error_code(), StatusCode::UNIMPLEMENTED);
  stop = true;
  loop.join();
}

TEST(PeersTest, AServerThatLeavesEndsItsCallsAndIsFoundAgain) {
  EchoPair pair;
  auto stub = Echo::NewStub(pair.client_endpoint->CreateChannel("guest"));
  for (int life = 0; life < 3; ++life) {
    // It takes a request and never polls for it.
    auto transport = pair.region->Join();
    ASSERT_TRUE(transport.ok());
    auto silent = Node::Open(*std::move(transport), {.name = "guest"});
    ASSERT_TRUE(silent.ok()) << silent.status().ToString();
    ClientContext context;
    Request request;
    Response response;
    auto call = stub->async()->Say(&context, &request, &response);
    silent->reset();
    EXPECT_EQ(call.get().error_code(), StatusCode::UNAVAILABLE);
  }
  auto endpoint = pair.Open("guest");
  EchoService service;
  rpc::ServerBuilder builder(endpoint);
  builder.RegisterService(&service);
  auto server = builder.BuildAndStart();
  ASSERT_TRUE(server.ok());
  ClientContext context;
  context.set_deadline(Soon());
  Response response;
  const rpc::Status status = stub->Say(&context, Request(), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST(PeersTest, TwoServersOfOneEndpointOrTwoMethodsOfOnePathAreRefused) {
  EchoPair pair;
  EchoService another;
  rpc::ServerBuilder builder(pair.server_endpoint);
  builder.RegisterService(&another);
  EXPECT_EQ(builder.BuildAndStart().status().code(), ivmq::StatusCode::kAlreadyExists);
  rpc::ServerBuilder twice(pair.client_endpoint);
  twice.RegisterService(&another).RegisterService(&another);
  const auto refused = twice.BuildAndStart();
  EXPECT_EQ(refused.status().code(), ivmq::StatusCode::kAlreadyExists);
  EXPECT_THAT(refused.status().message(), HasSubstr("/ivmq.test.Echo/Say"));
}

}  // namespace
}  // namespace ivmq::testing
