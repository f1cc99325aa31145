// Code of the application's that throws: where it ends, and that everything goes on.
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/rpc/coroutine.h"
#include "ivmq/rpc/interceptor.h"
#include "ivmq/rpc/reactor.h"

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

[[noreturn]] void Throw() { throw std::runtime_error("as thrown"); }

// Every kind of handler that returns a status.
class ThrowingService final : public Echo::Service {
 public:
  rpc::Status Say(rpc::ServerContext* /*context*/, const Request* request,
                  Response* response) override {
    if (request->fail()) Throw();
    response->set_text("said");
    return rpc::Status::OK;
  }
  rpc::Status Collect(rpc::ServerContext* /*context*/, rpc::ServerReader<Request>* reader,
                      Response* /*response*/) override {
    Request request;
    (void)reader->Read(&request);
    throw 7;  // NOLINT(hicpp-exception-baseclass): anything may be thrown
  }
  rpc::Status Count(rpc::ServerContext* /*context*/, const Request* /*request*/,
                    rpc::ServerWriter<Response::Part>* writer) override {
    (void)writer->Write(Response::Part());
    Throw();
  }
  rpc::Status Chat(rpc::ServerContext* /*context*/,
                   rpc::ServerReaderWriter<Response, Request>* /*stream*/) override {
    Throw();
  }
};

// Reactors that throw in each of their members, and coroutines.
class ThrowingReactors final : public Echo::CallbackService {
 public:
  rpc::ServerUnaryReactor* Say(rpc::CallbackServerContext* context, const Request* request,
                               Response* response) override {
    class Reactor final : public rpc::ServerUnaryReactor {
     public:
      explicit Reactor(bool waits) : waits_(waits) { StartSendInitialMetadata(); }
      void OnSendInitialMetadataDone(bool /*ok*/) override {
        if (!waits_) Throw();
      }
      void OnCancel() override { Throw(); }
      void OnDone() override {
        delete this;
        Throw();
      }

     private:
      const bool waits_;
    };
    if (request->fail()) Throw();
    if (request->has_count()) {
      response->set_text("said");
      class Prompt final : public rpc::ServerUnaryReactor {
       public:
        Prompt() { Finish(rpc::Status::OK); }
        void OnDone() override {
          delete this;
          Throw();
        }
      };
      return new Prompt;
    }
    context->AddInitialMetadata("key", "value");
    return new Reactor(request->wait_cancel());
  }
  rpc::ServerReadReactor<Request>* Collect(rpc::CallbackServerContext* /*context*/,
                                           Response* /*response*/) override {
    class Reactor final : public rpc::ServerReadReactor<Request> {
     public:
      Reactor() { StartRead(&request_); }
      void OnReadDone(bool /*ok*/) override { Throw(); }
      void OnDone() override { delete this; }

     private:
      Request request_;
    };
    return new Reactor;
  }
  rpc::ServerWriteReactor<Response::Part>* Count(rpc::CallbackServerContext* /*context*/,
                                                 const Request* /*request*/) override {
    class Reactor final : public rpc::ServerWriteReactor<Response::Part> {
     public:
      Reactor() { StartWrite(&part_); }
      void OnWriteDone(bool /*ok*/) override { Throw(); }
      void OnDone() override { delete this; }

     private:
      Response::Part part_;
    };
    return new Reactor;
  }
  rpc::ServerBidiReactor<Request, Response>* Chat(
      rpc::CallbackServerContext* /*context*/) override {
    Request request;
    (void)co_await rpc::ReadRequest(&request);
    Throw();
    co_return rpc::Status::OK;
  }
};

// What the node of the server or the client was told.
struct Reports {
  void operator()(const ivmq::Status& status) {
    const std::lock_guard lock(mutex);
    texts.push_back(status.message());
    changed.notify_all();
  }
  void Await(const std::string& part) {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, kPatience, [&] {
      for (const std::string& text : texts) {
        if (text.find(part) != std::string::npos) return true;
      }
      return false;
    })) << part;
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> texts;
};

// Calls every method, whose handlers all throw.
void ExpectUnknown(ServicePair& pair, const Request& said) {
  Request request;
  Response response;
  {
    ClientContext context;
    context.set_deadline(Soon());
    EXPECT_EQ(pair.stub->Say(&context, said, &response).error_code(), StatusCode::UNKNOWN);
  }
  {
    ClientContext context;
    context.set_deadline(Soon());
    const auto writer = pair.stub->Collect(&context, &response);
    (void)writer->Write(request);
    EXPECT_EQ(writer->Finish().error_code(), StatusCode::UNKNOWN);
  }
  {
    ClientContext context;
    context.set_deadline(Soon());
    const auto reader = pair.stub->Count(&context, request);
    Response::Part part;
    EXPECT_TRUE(reader->Read(&part));
    EXPECT_FALSE(reader->Read(&part));
    EXPECT_EQ(reader->Finish().error_code(), StatusCode::UNKNOWN);
  }
  {
    ClientContext context;
    context.set_deadline(Soon());
    const auto stream = pair.stub->Chat(&context);
    (void)stream->Write(request);
    EXPECT_FALSE(stream->Read(&response));
    EXPECT_EQ(stream->Finish().error_code(), StatusCode::UNKNOWN);
  }
}

TEST(ThrowingTest, AHandlerThatThrowsEndsItsCallWithUnknown) {
  for (const rpc::Executor executor : {rpc::Executor::kPool, rpc::Executor::kInline}) {
    ThrowingService service;
    ServicePair pair(service, [&](rpc::ServerBuilder& builder) { builder.SetExecutor(executor); });
    Request request;
    request.set_fail(true);
    ExpectUnknown(pair, request);
    ClientContext context;
    Response response;
    EXPECT_TRUE(pair.stub->Say(&context, Request(), &response).ok());
  }
}

TEST(ThrowingTest, AReactorOrACoroutineThatThrowsEndsItsCallWithUnknown) {
  Reports reports;
  ThrowingReactors service;
  ServicePair pair(service, {}, {.max_peers = 8},
                   {.on_report = [&](const ivmq::Status& status) { reports(status); }});
  Request request;
  ExpectUnknown(pair, request);
  for (const char* const method : {"Say", "Collect", "Count", "Chat"}) {
    reports.Await(std::string("the handler of /ivmq.test.Echo/") + method +
                  " has thrown: as thrown");
  }
  request.set_fail(true);
  ExpectUnknown(pair, request);
  // Its call has ended before, by its client or by itself.
  request.set_wait_cancel(true);
  {
    ClientContext context;
    Response response;
    auto call = pair.stub->async()->Say(&context, &request, &response);
    context.TryCancel();
    EXPECT_EQ(call.get().error_code(), StatusCode::CANCELLED);
  }
  request.Clear();
  request.set_count(1);
  ClientContext context;
  Response response;
  EXPECT_TRUE(pair.stub->Say(&context, request, &response).ok());
  pair.server->Shutdown();
}

class ThrowingInterceptor final : public rpc::ClientInterceptor, public rpc::ServerInterceptor {
 public:
  explicit ThrowingInterceptor(bool before) : before_(before) {}
  rpc::Status Before(ClientContext& /*context*/,
                     const google::protobuf::Message& /*request*/) override {
    if (before_) Throw();
    return rpc::Status::OK;
  }
  void After(ClientContext& /*context*/, rpc::Status& /*status*/,
             google::protobuf::Message& /*response*/) override {
    Throw();
  }
  rpc::Status Before(rpc::ServerContext& /*context*/,
                     const google::protobuf::Message& /*request*/) override {
    if (before_) Throw();
    return rpc::Status::OK;
  }
  void After(rpc::ServerContext& /*context*/, rpc::Status& /*status*/,
             google::protobuf::Message& /*response*/) override {
    Throw();
  }

 private:
  const bool before_;
};

enum class Where { kFactory, kBefore, kAfter };

std::unique_ptr<ThrowingInterceptor> MakeThrowing(Where where) {
  if (where == Where::kFactory) Throw();
  return std::make_unique<ThrowingInterceptor>(where == Where::kBefore);
}

TEST(ThrowingTest, AnInterceptorThatThrowsEndsTheCallWithUnknown) {
  for (const rpc::Executor executor : {rpc::Executor::kPool, rpc::Executor::kInline}) {
    for (const Where where : {Where::kFactory, Where::kBefore, Where::kAfter}) {
      EchoPair of_server(executor, [&](rpc::ServerBuilder& builder) {
        builder.AddInterceptor([where](const rpc::CallInfo&) { return MakeThrowing(where); });
      });
      EchoPair of_client(executor);
      of_client.stub = Echo::NewStub(of_client.client_endpoint->CreateChannel(
          "server", {[where](const rpc::CallInfo&) { return MakeThrowing(where); }}));
      for (EchoPair* const pair : {&of_server, &of_client}) {
        ClientContext context;
        context.set_deadline(Soon());
        Request request;
        Response response;
        EXPECT_EQ(pair->stub->Say(&context, request, &response).error_code(), StatusCode::UNKNOWN);
        ClientContext another;
        another.set_deadline(Soon());
        EXPECT_EQ(pair->stub->async()->Say(&another, &request, &response).get().error_code(),
                  StatusCode::UNKNOWN);
      }
    }
  }
}

// ---- Clients ----

TEST(ThrowingTest, WhatACallbackOrAWatcherThrowsIsReportedAndTheOthersGoOn) {
  EchoPair pair;
  Reports reports;
  auto node = Node::Open(
      *pair.region->Join(),
      {.name = "other", .on_report = [&](const ivmq::Status& status) { reports(status); }});
  ASSERT_TRUE(node.ok());
  auto endpoint = rpc::Endpoint::Make(*std::move(node),
                                      {.on_message = [](const Message& /*message*/) { Throw(); }});
  const auto stub = Echo::NewStub(endpoint->CreateChannel("server"));
  ClientContext contexts[2];
  Request request;
  Response responses[2];
  stub->async()->Say(&contexts[0], &request, &responses[0],
                     [](const rpc::Status& /*status*/) { Throw(); });
  reports.Await("callback of a call has thrown: as thrown");
  const auto watch =
      endpoint->WatchService("ivmq.test.Echo", [](const std::vector<PeerInfo>&) { Throw(); });
  reports.Await("watcher has thrown: as thrown");
  ASSERT_EQ(pair.client_endpoint->node().Send(endpoint->node().id(), "x"), SendResult::kOk);
  reports.Await("on_message has thrown: as thrown");
  EXPECT_TRUE(stub->async()->Say(&contexts[1], &request, &responses[1]).get().ok());
}

class ThrowingReader final : public rpc::ClientReadReactor<Response::Part> {
 public:
  void OnReadDone(bool /*ok*/) override { Throw(); }
  void OnDone(const rpc::Status& status) override {
    done.set_value(status);
    Throw();
  }
  Response::Part part;
  std::promise<rpc::Status> done;
};

TEST(ThrowingTest, AReactorOfAClientThatThrowsEndsItsCall) {
  EchoPair pair;
  ThrowingReader reader;
  ClientContext context;
  context.set_deadline(Soon());
  Request request;
  request.set_count(1'000'000'000);
  pair.stub->async()->Count(&context, &request, &reader);
  reader.StartRead(&reader.part);
  reader.StartCall();
  EXPECT_EQ(reader.done.get_future().get().error_code(), StatusCode::UNKNOWN);
  // The server hears of it.
  EXPECT_EQ(pair.service.written.get_future().wait_for(kPatience), std::future_status::ready);
}

// ---- No lock is held ----

TEST(ThrowingTest, AWatcherMayUseItsEndpointAndAnotherThreadMayEndTheWatchMeanwhile) {
  EchoPair pair;
  auto& endpoint = *pair.client_endpoint;
  std::promise<void> entered;
  std::promise<void> leave;
  std::unique_ptr<rpc::ServiceWatch> nested;
  auto watch = endpoint.WatchService("ivmq.test.Echo", [&](const std::vector<PeerInfo>&) {
    nested = endpoint.WatchService("pkg.Other", [](const std::vector<PeerInfo>&) {});
    entered.set_value();
    leave.get_future().wait();
  });
  entered.get_future().wait();
  // It waits for the watcher.
  auto ended = std::async(std::launch::async, [&] { watch.reset(); });
  EXPECT_EQ(ended.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  leave.set_value();
  ended.get();
}

TEST(ThrowingTest, AHandlerOnTheThreadThatPollsCannotPollAgain) {
  class Polling final : public Echo::Service {
   public:
    rpc::Status Say(rpc::ServerContext* /*context*/, const Request* /*request*/,
                    Response* response) override {
      response->set_count(static_cast<std::int64_t>(endpoint->Poll()));
      ClientContext context;
      Response another;
      return stub->Say(&context, Request(), &another);
    }
    rpc::Endpoint* endpoint = nullptr;
    std::unique_ptr<Echo::Stub> stub;
  } service;
  ServicePair pair(
      service, [](rpc::ServerBuilder& builder) { builder.SetExecutor(rpc::Executor::kInline); });
  service.endpoint = pair.server_endpoint.get();
  service.stub = Echo::NewStub(pair.server_endpoint->CreateChannel("server"));
  ClientContext context;
  context.set_deadline(Soon());
  Response response;
  EXPECT_EQ(pair.stub->Say(&context, Request(), &response).error_code(),
            StatusCode::FAILED_PRECONDITION);
  service.stub.reset();
}

}  // namespace
}  // namespace ivmq::testing
