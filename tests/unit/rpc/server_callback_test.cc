// Handlers that give a reactor.
#include <atomic>
#include <future>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/rpc/reactor.h"

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

// What becomes of the reactors of a service.
struct Reactors {
  std::counting_semaphore<> done{0};
  std::counting_semaphore<> cancelled{0};
  std::counting_semaphore<> begun{0};
};

class Later final : public rpc::ServerUnaryReactor {
 public:
  Later(Reactors& reactors, rpc::CallbackServerContext* context, const Request* request,
        Response* response)
      : reactors_(reactors) {
    if (request->wait_cancel()) {
      reactors_.begun.release();
      return;
    }
    thread_ = std::thread([this, context, request, response] {
      context->AddInitialMetadata("initial", "1");
      context->AddTrailingMetadata("trailing", "2");
      response->set_text(request->text() + " for " + context->peer());
      if (request->fail()) return Finish({StatusCode::NOT_FOUND, "nothing of that name"});
      Finish(rpc::Status::OK);
    });
  }
  void OnCancel() override {
    reactors_.cancelled.release();
    Finish({StatusCode::CANCELLED, ""});
  }
  void OnDone() override {
    if (thread_.joinable()) thread_.join();
    Reactors& reactors = reactors_;
    delete this;
    reactors.done.release();
  }

 private:
  Reactors& reactors_;
  std::thread thread_;
};

class Summer final : public rpc::ServerReadReactor<Request> {
 public:
  Summer(Reactors& reactors, Response* response) : reactors_(reactors), response_(response) {
    StartRead(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) {
      response_->set_count(count_);
      return Finish(rpc::Status::OK);
    }
    if (request_.count() != count_++) return Finish({StatusCode::DATA_LOSS, "not in order"});
    StartRead(&request_);
  }
  void OnDone() override {
    Reactors& reactors = reactors_;
    delete this;
    reactors.done.release();
  }

 private:
  Reactors& reactors_;
  Response* response_;
  Request request_;
  std::int64_t count_ = 0;
};

class Counting final : public rpc::ServerWriteReactor<Response::Part> {
 public:
  Counting(Reactors& reactors, rpc::CallbackServerContext* context, const Request* request)
      : reactors_(reactors), count_(request->count()) {
    context->AddInitialMetadata("begins", "now");
    StartSendInitialMetadata();
    Next();
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish({StatusCode::CANCELLED, ""});
    Next();
  }
  void OnCancel() override { reactors_.cancelled.release(); }
  void OnDone() override {
    Reactors& reactors = reactors_;
    delete this;
    reactors.done.release();
  }

 private:
  void Next() {
    if (sent_ == count_) return Finish(rpc::Status::OK);
    part_.set_number(sent_++);
    if (sent_ == count_) return StartWriteAndFinish(&part_, rpc::Status::OK);
    StartWrite(&part_);
  }

  Reactors& reactors_;
  const std::int64_t count_;
  std::int64_t sent_ = 0;
  Response::Part part_;
};

class Chatting final : public rpc::ServerBidiReactor<Request, Response> {
 public:
  Chatting(Reactors& reactors, rpc::CallbackServerContext* context)
      : reactors_(reactors), context_(context) {
    StartRead(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(rpc::Status::OK);
    if (request_.fail()) {
      context_->AddInitialMetadata("begins", "late");
      StartSendInitialMetadata();
    }
    response_.set_text(request_.text() + "!");
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) StartRead(&request_);
  }
  void OnSendInitialMetadataDone(bool ok) override {
    if (ok) reactors_.begun.release();
  }
  void OnCancel() override { Finish({StatusCode::CANCELLED, ""}); }
  void OnDone() override {
    Reactors& reactors = reactors_;
    delete this;
    reactors.done.release();
  }

 private:
  Reactors& reactors_;
  rpc::CallbackServerContext* const context_;
  Request request_;
  Response response_;
};

class ReactingService final : public Echo::CallbackService {
 public:
  explicit ReactingService(Reactors& reactors) : reactors_(reactors) {}
  rpc::ServerUnaryReactor* Say(rpc::CallbackServerContext* context, const Request* request,
                               Response* response) override {
    return new Later(reactors_, context, request, response);
  }
  rpc::ServerReadReactor<Request>* Collect(rpc::CallbackServerContext* /*context*/,
                                           Response* response) override {
    return new Summer(reactors_, response);
  }
  rpc::ServerWriteReactor<Response::Part>* Count(rpc::CallbackServerContext* context,
                                                 const Request* request) override {
    return new Counting(reactors_, context, request);
  }
  rpc::ServerBidiReactor<Request, Response>* Chat(rpc::CallbackServerContext* context) override {
    return new Chatting(reactors_, context);
  }

 private:
  Reactors& reactors_;
};

class ServerCallbackTest : public ::testing::Test {
 protected:
  ServerCallbackTest() { context_.set_deadline(Soon()); }

  Reactors reactors_;
  ReactingService service_{reactors_};
  ServicePair pair_{service_};
  ClientContext context_;
  Request request_;
  Response response_;
};

TEST_F(ServerCallbackTest, ACallEndsWhenItsReactorSaysSo) {
  request_.set_text("hello");
  const rpc::Status status = pair_.stub->Say(&context_, request_, &response_);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response_.text(), "hello for client");
  EXPECT_THAT(context_.GetServerInitialMetadata(), ElementsAre(Pair("initial", "1")));
  EXPECT_THAT(context_.GetServerTrailingMetadata(), ElementsAre(Pair("trailing", "2")));
  reactors_.done.acquire();
}

TEST_F(ServerCallbackTest, AReactorsStatusArrives) {
  request_.set_fail(true);
  EXPECT_EQ(pair_.stub->Say(&context_, request_, &response_).error_code(), StatusCode::NOT_FOUND);
  reactors_.done.acquire();
}

TEST_F(ServerCallbackTest, AMethodThatGivesNoReactorIsUnimplemented) {
  EXPECT_EQ(pair_.stub->Forgotten(&context_, request_, &response_).error_code(),
            StatusCode::UNIMPLEMENTED);
}

TEST_F(ServerCallbackTest, ACancelReachesTheReactor) {
  request_.set_wait_cancel(true);
  auto status = pair_.stub->async()->Say(&context_, &request_, &response_);
  reactors_.begun.acquire();
  context_.TryCancel();
  EXPECT_EQ(status.get().error_code(), StatusCode::CANCELLED);
  reactors_.cancelled.acquire();
  reactors_.done.acquire();
}

TEST_F(ServerCallbackTest, AClientThatDiesCancelsTheReactor) {
  auto client = pair_.Open("mortal");
  auto stub = Echo::NewStub(client->CreateChannel("server"));
  request_.set_wait_cancel(true);
  auto status = stub->async()->Say(&context_, &request_, &response_);
  reactors_.begun.acquire();
  stub.reset();
  client.reset();
  EXPECT_EQ(status.get().error_code(), StatusCode::CANCELLED);
  reactors_.cancelled.acquire();
  reactors_.done.acquire();
}

TEST_F(ServerCallbackTest, AReactorReadsTheStreamOfAClient) {
  constexpr std::int64_t kMessages = 50'000;
  auto writer = pair_.stub->Collect(&context_, &response_);
  for (std::int64_t i = 0; i < kMessages; ++i) {
    request_.set_count(static_cast<int>(i));
    ASSERT_TRUE(writer->Write(request_));
  }
  EXPECT_TRUE(writer->WritesDone());
  const rpc::Status status = writer->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response_.count(), kMessages);
  reactors_.done.acquire();
}

TEST_F(ServerCallbackTest, AReactorThatFinishesWhileItReadsIsDone) {
  auto writer = pair_.stub->Collect(&context_, &response_);
  request_.set_count(7);
  ASSERT_TRUE(writer->Write(request_));
  EXPECT_EQ(writer->Finish().error_code(), StatusCode::DATA_LOSS);
  reactors_.done.acquire();
}

TEST_F(ServerCallbackTest, AReactorWritesAStream) {
  constexpr std::int64_t kMessages = 50'000;
  request_.set_count(kMessages);
  auto reader = pair_.stub->Count(&context_, request_);
  reader->WaitForInitialMetadata();
  EXPECT_THAT(context_.GetServerInitialMetadata(), ElementsAre(Pair("begins", "now")));
  Response::Part part;
  std::int64_t count = 0;
  while (reader->Read(&part)) ASSERT_EQ(part.number(), count++);
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(count, kMessages);
  reactors_.done.acquire();
}

TEST_F(ServerCallbackTest, ACancelledStreamEndsItsReactorsWrites) {
  request_.set_count(1'000'000'000);
  {
    auto reader = pair_.stub->Count(&context_, request_);
    Response::Part part;
    ASSERT_TRUE(reader->Read(&part));
  }
  reactors_.cancelled.acquire();
  reactors_.done.acquire();
}

TEST_F(ServerCallbackTest, BothSidesTalkToAReactor) {
  auto stream = pair_.stub->Chat(&context_);
  for (int i = 0; i < 1000; ++i) {
    request_.set_text(std::to_string(i));
    ASSERT_TRUE(stream->Write(request_));
    ASSERT_TRUE(stream->Read(&response_));
    ASSERT_EQ(response_.text(), std::to_string(i) + "!");
  }
  EXPECT_TRUE(stream->WritesDone());
  EXPECT_FALSE(stream->Read(&response_));
  EXPECT_TRUE(stream->Finish().ok());
  reactors_.done.acquire();
}

TEST_F(ServerCallbackTest, NoMessageOvertakesInitialMetadataThatWasStartedBefore) {
  auto stream = pair_.stub->Chat(&context_);
  request_.set_fail(true);
  ASSERT_TRUE(stream->Write(request_));
  ASSERT_TRUE(stream->Read(&response_));
  EXPECT_THAT(context_.GetServerInitialMetadata(), ElementsAre(Pair("begins", "late")));
  reactors_.begun.acquire();
  EXPECT_TRUE(stream->WritesDone());
  EXPECT_TRUE(stream->Finish().ok());
  reactors_.done.acquire();
}

// ---- TryCancel ----

// Handlers that cancel their call and call it a success.
class Cancelling final : public Echo::Service {
 public:
  rpc::Status Say(rpc::ServerContext* context, const Request* /*request*/,
                  Response* /*response*/) override {
    context->TryCancel();
    EXPECT_TRUE(context->IsCancelled());
    return rpc::Status::OK;
  }
  rpc::Status Chat(rpc::ServerContext* context,
                   rpc::ServerReaderWriter<Response, Request>* stream) override {
    context->TryCancel();
    // Waits for the client, which waits for the end.
    Request request;
    EXPECT_FALSE(stream->Read(&request));
    EXPECT_FALSE(stream->Write(Response()));
    return rpc::Status::OK;
  }
};

class CancellingReactors final : public Echo::CallbackService {
 public:
  rpc::ServerUnaryReactor* Say(rpc::CallbackServerContext* context, const Request* /*request*/,
                               Response* /*response*/) override {
    context->TryCancel();
    context->DefaultReactor()->Finish(rpc::Status::OK);
    return context->DefaultReactor();
  }
  rpc::ServerBidiReactor<Request, Response>* Chat(rpc::CallbackServerContext* context) override {
    class Reactor final : public rpc::ServerBidiReactor<Request, Response> {
     public:
      Reactor() { StartRead(&request_); }
      void OnReadDone(bool ok) override { EXPECT_FALSE(ok); }
      void OnCancel() override { Finish(rpc::Status::OK); }
      void OnDone() override { delete this; }

     private:
      Request request_;
    };
    context->TryCancel();
    return new Reactor;
  }
};

TEST(ServerCancelTest, AHandlerThatCancelsItsCallEndsItWhateverItSays) {
  Cancelling waiting;
  CancellingReactors reacting;
  for (rpc::Service* const service :
       {static_cast<rpc::Service*>(&waiting), static_cast<rpc::Service*>(&reacting)}) {
    for (const rpc::Executor executor : {rpc::Executor::kPool, rpc::Executor::kInline}) {
      ServicePair pair(*service,
                       [&](rpc::ServerBuilder& builder) { builder.SetExecutor(executor); });
      for (int i = 0; i < 20; ++i) {
        ClientContext context;
        context.set_deadline(Soon());
        Response response;
        EXPECT_EQ(pair.stub->Say(&context, Request(), &response).error_code(),
                  StatusCode::CANCELLED);
        ClientContext another;
        another.set_deadline(Soon());
        const auto stream = pair.stub->Chat(&another);
        EXPECT_FALSE(stream->Read(&response));
        EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
      }
      pair.server->Shutdown();
    }
  }
}

// ---- DefaultReactor ----

// Handlers with the reactor of their context.
class DefaultService final : public Echo::CallbackService {
 public:
  ~DefaultService() override {
    if (thread_.joinable()) thread_.join();
  }
  DefaultService() = default;
  DefaultService(const DefaultService&) = delete;
  DefaultService& operator=(const DefaultService&) = delete;

  rpc::ServerUnaryReactor* Say(rpc::CallbackServerContext* context, const Request* request,
                               Response* response) override {
    rpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    EXPECT_EQ(context->DefaultReactor(), reactor);
    if (request->fail()) {
      reactor->Finish({StatusCode::NOT_FOUND, "nothing of that name"});
      return reactor;
    }
    response->set_text(request->text() + "!");
    if (request->wait_release()) {
      thread_ = std::thread([reactor] { reactor->Finish(rpc::Status::OK); });
    } else {
      reactor->Finish(rpc::Status::OK);
    }
    return reactor;
  }
  // Has no use for it after all.
  rpc::ServerUnaryReactor* Forgotten(rpc::CallbackServerContext* context,
                                     const Request* /*request*/, Response* /*response*/) override {
    context->DefaultReactor()->Finish(rpc::Status::OK);
    return nullptr;
  }

 private:
  std::thread thread_;
};

TEST(DefaultReactorTest, EachCallHasOneThatEndsItOnce) {
  DefaultService service;
  ServicePair pair(service);
  Request request;
  Response response;
  for (int i = 0; i < 100; ++i) {
    ClientContext context;
    request.set_text(std::to_string(i));
    EXPECT_TRUE(pair.stub->Say(&context, request, &response).ok());
    EXPECT_EQ(response.text(), request.text() + "!");
    ClientContext another;
    request.set_fail(true);
    EXPECT_EQ(pair.stub->Say(&another, request, &response).error_code(), StatusCode::NOT_FOUND);
    request.clear_fail();
  }
  ClientContext elsewhere;
  request.set_wait_release(true);
  EXPECT_TRUE(pair.stub->Say(&elsewhere, request, &response).ok());
  ClientContext none;
  EXPECT_EQ(pair.stub->Forgotten(&none, request, &response).error_code(),
            StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace ivmq::testing
