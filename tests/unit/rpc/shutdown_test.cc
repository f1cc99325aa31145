// The end of a server: what runs is waited for, or cut.
#include <chrono>
#include <future>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/peer_table.h"
#include "ivmq/rpc/coroutine.h"
#include "ivmq/rpc/reactor.h"

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

std::chrono::steady_clock::time_point Now() { return std::chrono::steady_clock::now(); }

void ExpectCut(const rpc::Status& status) {
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << status.error_message();
}

// Handlers as people write them: none says that it was cut.
class LoopingService final : public Echo::Service {
 public:
  rpc::Status Say(rpc::ServerContext* context, const Request* request,
                  Response* /*response*/) override {
    begun.release();
    if (request->wait_release()) {
      go.wait();
    } else {
      while (!context->IsCancelled()) std::this_thread::yield();
    }
    return rpc::Status::OK;
  }
  rpc::Status Collect(rpc::ServerContext* /*context*/, rpc::ServerReader<Request>* reader,
                      Response* /*response*/) override {
    begun.release();
    Request request;
    while (reader->Read(&request)) {
    }
    return rpc::Status::OK;
  }
  rpc::Status Count(rpc::ServerContext* /*context*/, const Request* /*request*/,
                    rpc::ServerWriter<Response::Part>* writer) override {
    begun.release();
    Response::Part part;
    for (;;) {
      if (!writer->Write(part)) break;
    }
    return rpc::Status::OK;
  }
  rpc::Status Chat(rpc::ServerContext* /*context*/,
                   rpc::ServerReaderWriter<Response, Request>* stream) override {
    begun.release();
    Request request;
    while (stream->Read(&request)) {
      if (!stream->Write(Response())) break;
    }
    return rpc::Status::OK;
  }

  std::counting_semaphore<> begun{0};
  std::promise<void> release;
  std::shared_future<void> go{release.get_future()};
};

// The same with reactors and a coroutine.
class LoopingReactors final : public Echo::CallbackService {
 public:
  rpc::ServerUnaryReactor* Say(rpc::CallbackServerContext* /*context*/, const Request* /*request*/,
                               Response* /*response*/) override {
    class Waiting final : public rpc::ServerUnaryReactor {
      void OnCancel() override { Finish(rpc::Status::OK); }
      void OnDone() override { delete this; }
    };
    begun.release();
    return new Waiting;
  }
  rpc::ServerReadReactor<Request>* Collect(rpc::CallbackServerContext* /*context*/,
                                           Response* /*response*/) override {
    Request request;
    begun.release();
    while (co_await rpc::ReadRequest(&request)) {
    }
    co_return rpc::Status::OK;
  }
  rpc::ServerWriteReactor<Response::Part>* Count(rpc::CallbackServerContext* /*context*/,
                                                 const Request* /*request*/) override {
    class Writing final : public rpc::ServerWriteReactor<Response::Part> {
     public:
      Writing() { StartWrite(&part_); }
      void OnWriteDone(bool ok) override {
        if (ok) return StartWrite(&part_);
        Finish(rpc::Status::OK);
      }
      void OnDone() override { delete this; }

     private:
      Response::Part part_;
    };
    begun.release();
    return new Writing;
  }
  rpc::ServerBidiReactor<Request, Response>* Chat(
      rpc::CallbackServerContext* /*context*/) override {
    Request request;
    const Response response;
    begun.release();
    while (co_await rpc::ReadRequest(&request)) {
      if (!co_await rpc::WriteResponse(&response)) break;
    }
    co_return rpc::Status::OK;
  }

  std::counting_semaphore<> begun{0};
};

// Begins a call of each kind, lets the server shut down at once, and looks at their ends.
template <typename EchoService>
void CutOneOfEachKind() {
  EchoService service;
  ServicePair pair(service, [](rpc::ServerBuilder& builder) { builder.SetThreads(4); });
  ClientContext contexts[4];
  Request request;
  Response response;
  Response collected;
  auto say = pair.stub->async()->Say(&contexts[0], &request, &response);
  auto collect = pair.stub->Collect(&contexts[1], &collected);
  auto count = pair.stub->Count(&contexts[2], request);
  auto chat = pair.stub->Chat(&contexts[3]);
  EXPECT_TRUE(chat->Write(request));
  EXPECT_TRUE(chat->Read(&response));
  for (int i = 0; i < 4; ++i) service.begun.acquire();

  pair.server->Shutdown(Now());
  ExpectCut(say.get());
  ExpectCut(collect->Finish());
  Response::Part part;
  while (count->Read(&part)) {
  }
  ExpectCut(count->Finish());
  EXPECT_FALSE(chat->Read(&response));
  ExpectCut(chat->Finish());

  ClientContext another;
  another.set_deadline(Soon());
  ExpectCut(pair.stub->Say(&another, request, &response));
}

TEST(ShutdownTest, CallsThatAreCutEndWithUnavailableThoughTheirHandlersSayOk) {
  CutOneOfEachKind<LoopingService>();
}

TEST(ShutdownTest, CallsWithReactorsAndCoroutinesThatAreCutEndWithUnavailable) {
  CutOneOfEachKind<LoopingReactors>();
}

// Nobody tells the handlers but the server itself: their clients live.
template <typename EchoService>
void EndTheServersLifeUnderOneOfEachKind() {
  EchoService service;
  auto pair = std::make_unique<ServicePair>(
      service, [](rpc::ServerBuilder& builder) { builder.SetThreads(4); });
  ClientContext contexts[4];
  Request request;
  Response response;
  Response collected;
  auto say = pair->stub->async()->Say(&contexts[0], &request, &response);
  auto collect = pair->stub->Collect(&contexts[1], &collected);
  auto count = pair->stub->Count(&contexts[2], request);
  auto chat = pair->stub->Chat(&contexts[3]);
  for (int i = 0; i < 4; ++i) service.begun.acquire();
  const Node& node = pair->server_endpoint->node();
  ASSERT_EQ(PeerTable(node.region()).MarkIvpositionDead(node.transport().info().ivposition), 1U);
  // They return, so that it can be destroyed.
  pair->server.reset();
  EXPECT_EQ(say.get().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(collect->Finish().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(count->Finish().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(chat->Finish().error_code(), StatusCode::UNAVAILABLE);
}

TEST(ServerLifeTest, TheEndOfTheServersOwnLifeCancelsItsHandlers) {
  EndTheServersLifeUnderOneOfEachKind<LoopingService>();
}

TEST(ServerLifeTest, TheEndOfTheServersOwnLifeCancelsItsReactorsAndCoroutines) {
  EndTheServersLifeUnderOneOfEachKind<LoopingReactors>();
}

TEST(ShutdownTest, CallsThatWaitForAThreadAreCutToo) {
  LoopingService service;
  ServicePair pair(service, [](rpc::ServerBuilder& builder) { builder.SetThreads(1); });
  ClientContext contexts[3];
  Request request;
  Response responses[3];
  std::vector<std::future<rpc::Status>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(pair.stub->async()->Say(&contexts[i], &request, &responses[i]));
  }
  service.begun.acquire();
  pair.server->Shutdown(Now());
  for (auto& call : calls) ExpectCut(call.get());
  EXPECT_FALSE(service.begun.try_acquire());
}

TEST(ShutdownTest, AHandlerThatDoesNotNoticeIsCutForItsClientAndWaitedFor) {
  LoopingService service;
  ServicePair pair(service);
  ClientContext context;
  Request request;
  request.set_wait_release(true);
  Response response;
  auto call = pair.stub->async()->Say(&context, &request, &response);
  service.begun.acquire();
  auto shutdown = std::async(std::launch::async, [&] { pair.server->Shutdown(Now()); });
  ExpectCut(call.get());
  EXPECT_EQ(shutdown.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  service.release.set_value();
  shutdown.get();
}

TEST(ShutdownTest, AnAnswerThatWaitsForRoomEndsItsCallThoughItIsCut) {
  EchoPair pair;
  auto idle = pair.Open("idle");
  idle->Drive();
  const auto stub = Echo::NewStub(idle->CreateChannel("server"));
  constexpr int kCalls = 64;
  ClientContext contexts[kCalls];
  Request request;
  // Together more than a ring holds.
  request.set_data(std::string(30'000, 'x'));
  Response responses[kCalls];
  std::vector<std::future<rpc::Status>> calls;
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(stub->async()->Say(&contexts[i], &request, &responses[i]));
    while (pair.service.calls <= i && pair.service.calls < 16) std::this_thread::yield();
  }
  pair.server->Shutdown(Now());
  int cut = 0;
  for (auto& call : calls) {
    while (call.wait_for(std::chrono::seconds(0)) != std::future_status::ready) idle->Poll();
    const rpc::Status status = call.get();
    if (status.ok()) continue;
    ++cut;
    EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << status.error_message();
  }
  EXPECT_GT(cut, 0);
}

TEST(ShutdownTest, AHandlerMayBeginItAndDoesNotWait) {
  class Quitting final : public Echo::Service {
   public:
    rpc::Status Say(rpc::ServerContext* /*context*/, const Request* /*request*/,
                    Response* /*response*/) override {
      server->Shutdown();
      server->Shutdown(Now());
      return rpc::Status::OK;
    }
    rpc::Server* server = nullptr;
  };
  for (const rpc::Executor executor : {rpc::Executor::kPool, rpc::Executor::kInline}) {
    Quitting service;
    ServicePair pair(service, [&](rpc::ServerBuilder& builder) { builder.SetExecutor(executor); });
    service.server = pair.server.get();
    ClientContext context;
    Response response;
    EXPECT_TRUE(pair.stub->Say(&context, Request(), &response).ok());
    ClientContext another;
    ExpectCut(pair.stub->Say(&another, Request(), &response));
    pair.server->Wait();
  }
}

TEST(ServerDeathTest, AServerThatItsOwnHandlerDestroysEndsTheProgramWithTheReason) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  class Suicidal final : public Echo::Service {
   public:
    rpc::Status Say(rpc::ServerContext* /*context*/, const Request* /*request*/,
                    Response* /*response*/) override {
      server->reset();
      return rpc::Status::OK;
    }
    std::unique_ptr<rpc::Server>* server = nullptr;
  };
  EXPECT_DEATH(
      {
        Suicidal service;
        ServicePair pair(service);
        service.server = &pair.server;
        ClientContext context;
        Response response;
        (void)pair.stub->Say(&context, Request(), &response);
      },
      "destroyed by one of its handlers");
}

}  // namespace
}  // namespace ivmq::testing
