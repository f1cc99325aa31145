// Calls and handlers that are coroutines.
#include "ivmq/rpc/coroutine.h"

#include <future>
#include <stdexcept>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;

class CoroutineService final : public Echo::CallbackService {
 public:
  // The coroutines' arguments live as long as their calls. `onward`: a stub of an Echo to ask
  // first.
  rpc::ServerUnaryReactor* Say(rpc::CallbackServerContext* /*context*/, const Request* request,
                               Response* response) override {
    if (request->fail()) throw std::runtime_error("no");
    if (request->call_back()) {
      ClientContext context;
      context.set_deadline(Soon());
      Request inner;
      inner.set_text("onward");
      const rpc::Status status = co_await rpc::Start(
          [&](auto done) { onward->async()->Say(&context, &inner, response, std::move(done)); });
      if (!status.ok()) co_return status;
    }
    response->set_text(response->text() + request->text());
    co_return rpc::Status::OK;
  }

  rpc::ServerReadReactor<Request>* Collect(rpc::CallbackServerContext* /*context*/,
                                           Response* response) override {
    Request request;
    std::int64_t count = 0;
    while (co_await rpc::ReadRequest(&request)) {
      if (request.count() != count++) co_return rpc::Status(StatusCode::DATA_LOSS, "not in order");
    }
    response->set_count(count);
    co_return rpc::Status::OK;
  }

  rpc::ServerWriteReactor<Response::Part>* Count(rpc::CallbackServerContext* /*context*/,
                                                 const Request* request) override {
    Response::Part part;
    for (std::int64_t i = 0; i < request->count(); ++i) {
      part.set_number(i);
      if (!co_await rpc::WriteResponse(&part)) {
        cancelled.set_value();
        co_return rpc::Status(StatusCode::CANCELLED, "");
      }
    }
    co_return rpc::Status::OK;
  }

  rpc::ServerBidiReactor<Request, Response>* Chat(
      rpc::CallbackServerContext* /*context*/) override {
    Request request;
    Response response;
    while (co_await rpc::ReadRequest(&request)) {
      response.set_text(request.text() + "!");
      if (!co_await rpc::WriteResponse(&response)) break;
    }
    co_return rpc::Status::OK;
  }

  Echo::Stub* onward = nullptr;
  std::promise<void> cancelled;
};

class CoroutineTest : public ::testing::Test {
 protected:
  CoroutineTest() {
    context_.set_deadline(Soon());
    service_.onward = pair_.stub.get();
  }

  std::promise<std::string> report_;  // the first one of the server's node
  CoroutineService service_;
  ServicePair pair_{
      service_, {}, {.max_peers = 8}, {.on_report = [this](const ivmq::Status& status) {
        report_.set_value(status.message());
      }}};
  ClientContext context_;
  Request request_;
  Response response_;
};

TEST_F(CoroutineTest, AHandlerAnswers) {
  request_.set_text("hello");
  const rpc::Status status = pair_.stub->Say(&context_, request_, &response_);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response_.text(), "hello");
}

TEST_F(CoroutineTest, AHandlerThatAwaitsACallHoldsUpNoThread) {
  request_.set_call_back(true);
  request_.set_text(" and on");
  const rpc::Status status = pair_.stub->Say(&context_, request_, &response_);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response_.text(), "onward and on");
}

TEST_F(CoroutineTest, AHandlerThatThrowsAtOnceEndsTheCallWithUnknownAndIsReported) {
  request_.set_fail(true);
  EXPECT_EQ(pair_.stub->Say(&context_, request_, &response_).error_code(), StatusCode::UNKNOWN);
  EXPECT_THAT(report_.get_future().get(), HasSubstr("Say"));
}

TEST_F(CoroutineTest, AHandlerWhoseStreamIsCancelledEnds) {
  request_.set_count(1'000'000'000);
  {
    auto reader = pair_.stub->Count(&context_, request_);
    Response::Part part;
    ASSERT_TRUE(reader->Read(&part));
  }
  service_.cancelled.get_future().get();
}

rpc::Task Drive(Echo::Stub& stub, std::promise<std::string>& result) {
  Request request;
  Response response;
  {
    ClientContext context;
    context.set_deadline(Soon());
    request.set_text("a");
    const rpc::Status status = co_await rpc::Start(
        [&](auto done) { stub.async()->Say(&context, &request, &response, std::move(done)); });
    if (!status.ok()) co_return result.set_value("Say: " + status.error_message());
  }
  {
    ClientContext context;
    context.set_deadline(Soon());
    rpc::AwaitableReader<Response::Part> reader;
    request.set_count(10'000);
    stub.async()->Count(&context, &request, &reader);
    reader.Begin();
    Response::Part part;
    std::int64_t count = 0;
    while (co_await reader.Read(&part)) {
      if (part.number() != count++) co_return result.set_value("Count: not in order");
    }
    const rpc::Status status = co_await reader.Finish();
    if (!status.ok() || count != 10'000) co_return result.set_value("Count: incomplete");
  }
  {
    ClientContext context;
    context.set_deadline(Soon());
    rpc::AwaitableWriter<Request> writer;
    stub.async()->Collect(&context, &response, &writer);
    writer.Begin();
    for (int i = 0; i < 10'000; ++i) {
      request.set_count(i);
      if (!co_await writer.Write(&request)) co_return result.set_value("Collect: ended");
    }
    if (!co_await writer.WritesDone()) co_return result.set_value("Collect: ended");
    const rpc::Status status = co_await writer.Finish();
    if (!status.ok() || response.count() != 10'000) {
      co_return result.set_value("Collect: " + status.error_message());
    }
  }
  {
    ClientContext context;
    context.set_deadline(Soon());
    rpc::AwaitableReaderWriter<Request, Response> chat;
    stub.async()->Chat(&context, &chat);
    chat.Begin();
    for (int i = 0; i < 1000; ++i) {
      request.set_text(std::to_string(i));
      if (!co_await chat.Write(&request) || !co_await chat.Read(&response) ||
          response.text() != request.text() + "!") {
        co_return result.set_value("Chat: " + response.text());
      }
    }
    (void)co_await chat.WritesDone();
    if (co_await chat.Read(&response)) co_return result.set_value("Chat: more");
    const rpc::Status status = co_await chat.Finish();
    if (!status.ok()) co_return result.set_value("Chat: " + status.error_message());
  }
  result.set_value("done");
}

TEST_F(CoroutineTest, AClientAwaitsCallsOfAllKinds) {
  std::promise<std::string> result;
  Drive(*pair_.stub, result);
  EXPECT_EQ(result.get_future().get(), "done");
}

rpc::Task CallAndKeep(std::shared_ptr<rpc::Channel> channel, std::promise<StatusCode>& result) {
  const auto stub = Echo::NewStub(std::move(channel));
  ClientContext context;
  context.set_deadline(Soon());
  Request request;
  Response response;
  const rpc::Status status = co_await rpc::Start(
      [&](auto done) { stub->async()->Say(&context, &request, &response, std::move(done)); });
  result.set_value(status.error_code());
}

TEST_F(CoroutineTest, ACallbackMayHoldTheLastReferenceToItsEndpoint) {
  for (int i = 0; i < 3; ++i) {
    std::promise<StatusCode> result;
    auto endpoint = pair_.Open("passing");
    auto channel = endpoint->CreateChannel("server");
    endpoint.reset();
    CallAndKeep(std::move(channel), result);
    EXPECT_EQ(result.get_future().get(), StatusCode::OK);
    // Its name is free again when it has gone.
    while (pair_.client_endpoint->node().Lookup("passing").ok()) std::this_thread::yield();
  }
}

}  // namespace
}  // namespace ivmq::testing
