// What a server does beside answering: interceptors, its pool, its end.
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/rpc/interceptor.h"

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using ::testing::ElementsAre;

// ---- Interceptors ----

struct Log {
  void Add(std::string line) {
    const std::lock_guard lock(mutex);
    lines.push_back(std::move(line));
  }
  std::mutex mutex;
  std::vector<std::string> lines;
};

class ClientNote final : public rpc::ClientInterceptor {
 public:
  ClientNote(Log& log, std::string name, bool refuses = false)
      : log_(log), name_(std::move(name)), refuses_(refuses) {}
  rpc::Status Before(ClientContext& context, const google::protobuf::Message& request) override {
    log_.Add(name_ + " before " + request.GetDescriptor()->name());
    context.AddMetadata("from", name_);
    if (refuses_) return {StatusCode::PERMISSION_DENIED, "not from here"};
    return rpc::Status::OK;
  }
  void After(ClientContext& /*context*/, rpc::Status& status,
             google::protobuf::Message& /*response*/) override {
    log_.Add(name_ + " after " + std::to_string(status.error_code()));
  }

 private:
  Log& log_;
  const std::string name_;
  const bool refuses_;
};

rpc::ClientInterceptorFactory Noting(Log& log, const std::string& name, bool refuses = false) {
  return [&log, name, refuses](const rpc::CallInfo& call) {
    log.Add(name + " for " + std::string(call.method) + " to " + std::string(call.peer));
    return std::make_unique<ClientNote>(log, name, refuses);
  };
}

TEST(InterceptorTest, ThoseOfAClientSeeEachCallFromOutsideIn) {
  EchoPair pair;
  for (const bool async : {false, true}) {
    Log log;
    const auto stub = Echo::NewStub(
        pair.client_endpoint->CreateChannel("server", {Noting(log, "a"), Noting(log, "b")}));
    ClientContext context;
    context.set_deadline(Soon());
    Request request;
    Response response;
    const rpc::Status status = async ? stub->async()->Say(&context, &request, &response).get()
                                     : stub->Say(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_THAT(log.lines, ElementsAre("a for /ivmq.test.Echo/Say to server", "a before Request",
                                       "b for /ivmq.test.Echo/Say to server", "b before Request",
                                       "b after 0", "a after 0"));
    // The service gives back what it got.
    EXPECT_EQ(context.GetServerInitialMetadata().count("from"), 2U);
  }
}

TEST(InterceptorTest, OneThatRefusesEndsTheCallBeforeItIsSent) {
  EchoPair pair;
  for (const bool async : {false, true}) {
    Log log;
    const auto stub = Echo::NewStub(pair.client_endpoint->CreateChannel(
        "server", {Noting(log, "a"), Noting(log, "b", /*refuses=*/true), Noting(log, "c")}));
    ClientContext context;
    Request request;
    Response response;
    const rpc::Status status = async ? stub->async()->Say(&context, &request, &response).get()
                                     : stub->Say(&context, request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED);
    EXPECT_THAT(log.lines, ElementsAre("a for /ivmq.test.Echo/Say to server", "a before Request",
                                       "b for /ivmq.test.Echo/Say to server", "b before Request",
                                       "b after 7", "a after 7"));
  }
  EXPECT_EQ(pair.service.calls, 0);
}

class ServerNote final : public rpc::ServerInterceptor {
 public:
  explicit ServerNote(Log& log) : log_(log) {}
  rpc::Status Before(rpc::ServerContext& context,
                     const google::protobuf::Message& /*request*/) override {
    log_.Add("before");
    if (context.client_metadata().count("password") == 0) {
      return {StatusCode::UNAUTHENTICATED, "no password"};
    }
    return rpc::Status::OK;
  }
  void After(rpc::ServerContext& /*context*/, rpc::Status& status,
             google::protobuf::Message& response) override {
    log_.Add("after " + std::to_string(status.error_code()));
    if (status.ok()) static_cast<Response&>(response).set_count(7);
  }

 private:
  Log& log_;
};

TEST(InterceptorTest, ThoseOfAServerSeeEachCallAndMayRefuseIt) {
  for (const rpc::Executor executor : {rpc::Executor::kPool, rpc::Executor::kInline}) {
    Log log;
    EchoPair pair(executor, [&](rpc::ServerBuilder& builder) {
      builder.AddInterceptor(
          [&](const rpc::CallInfo& /*call*/) { return std::make_unique<ServerNote>(log); });
    });
    Request request;
    Response response;
    ClientContext without;
    without.set_deadline(Soon());
    EXPECT_EQ(pair.stub->Say(&without, request, &response).error_code(),
              StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(pair.service.calls, 0);
    ClientContext with;
    with.set_deadline(Soon());
    with.AddMetadata("password", "open");
    EXPECT_TRUE(pair.stub->Say(&with, request, &response).ok());
    EXPECT_EQ(response.count(), 7);
    EXPECT_THAT(log.lines, ElementsAre("before", "after 16", "before", "after 0"));
  }
}

// ---- The pool ----

// Calls the other side from each handler, until something refuses.
class RecursiveService final : public Echo::Service {
 public:
  rpc::Status Say(rpc::ServerContext* /*context*/, const Request* /*request*/,
                  Response* response) override {
    ++depth;
    ClientContext context;
    return onward->Say(&context, Request(), response);
  }

  std::unique_ptr<Echo::Stub> onward;
  std::atomic<int> depth{0};
};

TEST(ServerPoolTest, MutualCallsThatUseUpBothPoolsEndWithResourceExhausted) {
  RecursiveService here;
  RecursiveService there;
  const auto few = [](rpc::ServerBuilder& builder) { builder.SetThreads(2).SetMaxThreads(4); };
  ServicePair pair(here, few);
  rpc::ServerBuilder builder(pair.client_endpoint);
  few(builder.RegisterService(&there));
  const auto other = builder.BuildAndStart();
  ASSERT_TRUE(other.ok());
  here.onward = Echo::NewStub(pair.server_endpoint->CreateChannel("client"));
  there.onward = Echo::NewStub(pair.client_endpoint->CreateChannel("server"));
  ClientContext context;
  Response response;
  const rpc::Status status = pair.stub->Say(&context, Request(), &response);
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(here.depth + there.depth, 8);
}

TEST(ServerPoolTest, HandlersThatWaitForTheirStreamsHoldUpNoOtherCall) {
  EchoPair pair(rpc::Executor::kPool, [](rpc::ServerBuilder& builder) { builder.SetThreads(2); });
  ClientContext contexts[8];
  std::vector<std::unique_ptr<rpc::ClientReaderWriter<Request, Response>>> chats;
  Request request;
  Response response;
  for (ClientContext& context : contexts) {
    chats.push_back(pair.stub->Chat(&context));
    ASSERT_TRUE(chats.back()->Write(request));
    ASSERT_TRUE(chats.back()->Read(&response));
  }
  ClientContext context;
  context.set_deadline(Soon());
  EXPECT_TRUE(pair.stub->Say(&context, request, &response).ok());
  for (const auto& chat : chats) {
    EXPECT_TRUE(chat->WritesDone());
    EXPECT_TRUE(chat->Finish().ok());
  }
}

// ---- Its end ----

TEST(ServerTest, AShutdownWaitsForTheHandlersAndTheirAnswersArrive) {
  EchoPair pair;
  ClientContext context;
  context.set_deadline(Soon());
  Request request;
  request.set_wait_release(true);
  Response response;
  auto status = pair.stub->async()->Say(&context, &request, &response);
  pair.service.waiting.acquire();
  std::thread shutdown([&] { pair.server->Shutdown(); });
  // Until it takes no more.
  for (;;) {
    ClientContext another;
    another.set_deadline(Soon());
    Response refused;
    if (pair.stub->Say(&another, Request(), &refused).error_code() == StatusCode::UNAVAILABLE)
      break;
  }
  pair.service.release.set_value();
  shutdown.join();
  EXPECT_TRUE(status.get().ok());
  pair.server->Wait();
}

TEST(ServerTest, LargeAnswersOfInlineHandlersReachAClientThatIsSlowToRead) {
  EchoPair pair(rpc::Executor::kInline);
  auto idle = pair.Open("slow");
  idle->Drive();
  const auto stub = Echo::NewStub(idle->CreateChannel("server"));
  Request request;
  request.set_data(std::string(8 << 20, 'x'));
  ClientContext context;
  Response response;
  auto status = stub->async()->Say(&context, &request, &response);
  // Its answer does not fit the ring of a client that does not poll; another's does.
  ClientContext another;
  another.set_deadline(Soon());
  Response quick;
  while (pair.service.calls == 0) std::this_thread::yield();
  EXPECT_TRUE(pair.stub->Say(&another, Request(), &quick).ok());
  while (status.wait_for(std::chrono::seconds(0)) != std::future_status::ready) idle->Poll();
  EXPECT_TRUE(status.get().ok());
  EXPECT_EQ(response.data().size(), request.data().size());
}

}  // namespace
}  // namespace ivmq::testing
