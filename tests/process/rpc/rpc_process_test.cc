// Calls whose server is another process, which dies or stands still.
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"
#include "ivmq/rpc/reactor.h"
#include "ivmq/rpc/server.h"

#include "echo.ivmq.pb.h"
#include "support/child.h"

namespace ivmq::test {
namespace {

using rpc::ClientContext;
using rpc::StatusCode;
using testing::Child;
using ::testing::HasSubstr;
using testing::SharedCounter;

constexpr std::chrono::seconds kLimit{60};

std::chrono::system_clock::time_point Soon() { return std::chrono::system_clock::now() + kLimit; }

// In the server's process.
class MortalService final : public Echo::Service {
 public:
  explicit MortalService(SharedCounter& begun) : begun_(begun) {}

  rpc::Status Say(rpc::ServerContext* context, const Request* request,
                  Response* response) override {
    if (request->fail()) kill(getpid(), SIGKILL);
    begun_.Add();
    while (request->wait_cancel() && !context->IsCancelled()) std::this_thread::yield();
    response->set_text(request->text());
    return rpc::Status::OK;
  }
  rpc::Status Count(rpc::ServerContext* context, const Request* request,
                    rpc::ServerWriter<Response::Part>* writer) override {
    Response::Part part;
    for (std::int64_t i = 0; i < request->count(); ++i) {
      part.set_number(i);
      if (!writer->Write(part)) break;
    }
    begun_.Add();
    while (!context->IsCancelled()) std::this_thread::yield();
    return rpc::Status::OK;
  }
  rpc::Status Collect(rpc::ServerContext* /*context*/, rpc::ServerReader<Request>* reader,
                      Response* /*response*/) override {
    Request request;
    while (reader->Read(&request)) begun_.Add();
    return rpc::Status::OK;
  }
  rpc::Status Chat(rpc::ServerContext* /*context*/,
                   rpc::ServerReaderWriter<Response, Request>* stream) override {
    Request request;
    Response response;
    while (stream->Read(&request)) {
      begun_.Add();
      response.set_text(request.text());
      if (!stream->Write(response)) break;
    }
    return rpc::Status::OK;
  }

 private:
  SharedCounter& begun_;
};

class RpcProcessTest : public ::testing::Test {
 protected:
  RpcProcessTest() {
    const Status made = CreateRegionFile(address_, 4 << 20, {.format = {.max_peers = 8}});
    EXPECT_TRUE(made.ok()) << made.ToString();
  }
  ~RpcProcessTest() override { EXPECT_EQ(unlink(path_.c_str()), 0); }

  // Before Connect(): a fork must have no other threads.
  [[nodiscard]] Child StartServer(rpc::Executor executor = rpc::Executor::kPool) {
    return Child::Fork([this, executor] {
      auto endpoint = rpc::Endpoint::Open(address_, {.node = {.name = "server"}});
      ASSERT_TRUE(endpoint.ok()) << endpoint.status().ToString();
      MortalService service(begun_);
      rpc::ServerBuilder builder(*endpoint);
      builder.RegisterService(&service).SetExecutor(executor);
      const auto server = builder.BuildAndStart();
      ASSERT_TRUE(server.ok()) << server.status().ToString();
      (*server)->Wait();
    });
  }

  // Connects and waits for the server.
  void Connect() {
    auto opened = rpc::Endpoint::Open(address_, {.node = {.name = "client"}});
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    endpoint_ = *std::move(opened);
    stub_ = Echo::NewStub(endpoint_->CreateChannel("server"));
    AwaitServer();
  }
  void AwaitServer() {
    ClientContext context;
    context.set_deadline(Soon());
    context.set_wait_for_ready(true);
    Response response;
    const rpc::Status status = stub_->Say(&context, Request(), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  const std::string path_ =
      ::testing::TempDir() + "ivmq-rpc-process-test-" + std::to_string(getpid());
  const std::string address_ = "file:" + path_;
  SharedCounter begun_;
  std::shared_ptr<rpc::Endpoint> endpoint_;
  std::unique_ptr<Echo::Stub> stub_;
  Request request_;
  Response response_;
};

TEST_F(RpcProcessTest, AServerKilledInItsHandlersEndsTheirCallsAndItsSuccessorIsFound) {
  Child first = StartServer();
  // Waits for its turn: a fork with threads would be none.
  SharedCounter go;
  Child second = Child::Fork([&] {
    go.AwaitAtLeast(1);
    auto endpoint = rpc::Endpoint::Open(address_, {.node = {.name = "server"}});
    ASSERT_TRUE(endpoint.ok()) << endpoint.status().ToString();
    MortalService service(begun_);
    rpc::ServerBuilder builder(*endpoint);
    const auto server = builder.RegisterService(&service).BuildAndStart();
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    (*server)->Wait();
  });
  Connect();
  request_.set_wait_cancel(true);
  // More than its pool runs at once: some are in its queue.
  constexpr unsigned kCalls = 20;
  std::vector<ClientContext> contexts(kCalls);
  std::vector<Response> responses(kCalls);
  std::vector<std::future<rpc::Status>> calls;
  for (unsigned i = 0; i < kCalls; ++i) {
    calls.push_back(stub_->async()->Say(&contexts[i], &request_, &responses[i]));
  }
  begun_.AwaitAtLeast(2);
  first.Kill();
  for (auto& call : calls) EXPECT_EQ(call.get().error_code(), StatusCode::UNAVAILABLE);
  {
    ClientContext context;
    context.set_deadline(Soon());
    EXPECT_EQ(stub_->Say(&context, Request(), &response_).error_code(), StatusCode::UNAVAILABLE);
  }
  go.Add();
  AwaitServer();
}

TEST_F(RpcProcessTest, AServerKilledInItsStreamEndsItAfterTheMessagesThatItSent) {
  Child server = StartServer();
  Connect();
  request_.set_count(1000);
  ClientContext context;
  const auto reader = stub_->Count(&context, request_);
  begun_.AwaitAtLeast(2);  // it has sent all
  server.Kill();
  Response::Part part;
  std::int64_t count = 0;
  while (reader->Read(&part)) ASSERT_EQ(part.number(), count++);
  EXPECT_EQ(count, 1000);
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(RpcProcessTest, AServerKilledWhileItReadsAStreamEndsIt) {
  Child server = StartServer();
  Connect();
  ClientContext context;
  const auto writer = stub_->Collect(&context, &response_);
  ASSERT_TRUE(writer->Write(request_));
  begun_.AwaitAtLeast(2);
  server.Kill();
  while (writer->Write(request_)) {
  }
  EXPECT_EQ(writer->Finish().error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(RpcProcessTest, AServerKilledInTheMidstOfATalkEndsIt) {
  Child server = StartServer();
  Connect();
  ClientContext context;
  const auto chat = stub_->Chat(&context);
  ASSERT_TRUE(chat->Write(request_));
  ASSERT_TRUE(chat->Read(&response_));
  server.Kill();
  EXPECT_FALSE(chat->Read(&response_));
  EXPECT_EQ(chat->Finish().error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(RpcProcessTest, AnswersThatADeadServerHasCommittedAreDelivered) {
  Child server = StartServer(rpc::Executor::kInline);
  Connect();
  // A second endpoint, which polls only after the server's death.
  auto opened = rpc::Endpoint::Open(address_, {.node = {.name = "late"}});
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  const std::shared_ptr<rpc::Endpoint> late = *std::move(opened);
  late->Drive();
  const auto stub = Echo::NewStub(late->CreateChannel("server"));
  constexpr unsigned kAnswered = 9;
  std::vector<ClientContext> contexts(kAnswered + 1);
  std::vector<Response> responses(kAnswered + 1);
  std::vector<std::future<rpc::Status>> calls;
  for (unsigned i = 0; i <= kAnswered; ++i) {
    Request request;
    request.set_text(std::to_string(i));
    if (i == kAnswered) request.set_fail(true);  // dies of it
    calls.push_back(stub->async()->Say(&contexts[i], &request, &responses[i]));
  }
  EXPECT_EQ(server.Wait(), 128 + SIGKILL);
  const auto poll_until_ended = [&](std::future<rpc::Status>& call) {
    while (call.wait_for(std::chrono::seconds(0)) != std::future_status::ready) late->Poll();
    return call.get();
  };
  for (unsigned i = 0; i < kAnswered; ++i) {
    EXPECT_TRUE(poll_until_ended(calls[i]).ok()) << i;
    EXPECT_EQ(responses[i].text(), std::to_string(i));
  }
  EXPECT_EQ(poll_until_ended(calls[kAnswered]).error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(RpcProcessTest, AServerThatStandsStillEndsItsCallsAndGoesOnLater) {
  Child server = StartServer();
  Connect();
  server.Stop();
  {
    ClientContext context;
    context.set_deadline(Soon());
    const rpc::Status status = stub_->Say(&context, request_, &response_);
    EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
    EXPECT_THAT(status.error_message(), HasSubstr("no sign of life"));
  }
  {
    ClientContext context;
    context.set_deadline(Soon());
    const rpc::Status status = stub_->Say(&context, request_, &response_);
    EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
    EXPECT_THAT(status.error_message(), HasSubstr("'server'"));
  }
  server.Continue();
  AwaitServer();
}

// Nobody polls for them but the threads that wait, and these wait for room.
TEST_F(RpcProcessTest, AServerThatStandsStillEndsCallsThatItHasNotGot) {
  Child server = StartServer();
  Connect();
  server.Stop();
  Node& node = endpoint_->node();
  const PeerId to = node.Lookup("server")->id;
  while (node.Send(to, "x") == SendResult::kOk) {
  }
  std::vector<std::future<rpc::Status>> statuses;
  for (const std::size_t bytes : {std::size_t{10}, std::size_t{1} << 20}) {
    statuses.push_back(std::async(std::launch::async, [this, bytes] {
      ClientContext context;
      Request request;
      request.set_data(std::string(bytes, 'x'));
      Response response;
      return stub_->Say(&context, request, &response);
    }));
  }
  for (std::future<rpc::Status>& status : statuses) {
    EXPECT_EQ(status.get().error_code(), StatusCode::UNAVAILABLE);
  }
  server.Continue();
  AwaitServer();
}

TEST_F(RpcProcessTest, AClientThatIsKilledCancelsItsCalls) {
  SharedCounter ended;
  Child client = Child::Fork([&] {
    auto endpoint = rpc::Endpoint::Open(address_, {.node = {.name = "client"}});
    ASSERT_TRUE(endpoint.ok()) << endpoint.status().ToString();
    const auto stub = Echo::NewStub((*endpoint)->CreateChannel("server"));
    ClientContext context;
    context.set_wait_for_ready(true);
    Request request;
    request.set_wait_cancel(true);
    Response response;
    (void)stub->Say(&context, request, &response);
    ADD_FAILURE() << "the call has ended";
  });
  auto endpoint = rpc::Endpoint::Open(address_, {.node = {.name = "server"}});
  ASSERT_TRUE(endpoint.ok()) << endpoint.status().ToString();
  MortalService service(begun_);
  rpc::ServerBuilder builder(*endpoint);
  const auto server = builder.RegisterService(&service).BuildAndStart();
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  begun_.AwaitAtLeast(1);
  client.Kill();
  // Its handler returns when it is cancelled.
  (*server)->Shutdown();
}

// Ends its call when it hears that nobody wants it.
class Patient final : public rpc::ServerUnaryReactor {
 public:
  void OnCancel() override { Finish(rpc::Status::OK); }
  void OnDone() override { delete this; }
};
class ReactingService final : public Echo::CallbackService {
 public:
  explicit ReactingService(SharedCounter& begun) : begun_(begun) {}
  rpc::ServerUnaryReactor* Say(rpc::CallbackServerContext* /*context*/, const Request* /*request*/,
                               Response* /*response*/) override {
    begun_.Add();
    return new Patient;
  }
  rpc::ServerReadReactor<Request>* Collect(rpc::CallbackServerContext* /*context*/,
                                           Response* /*response*/) override {
    class Reader final : public rpc::ServerReadReactor<Request> {
     public:
      explicit Reader(SharedCounter& begun) : begun_(begun) { StartRead(&request_); }
      void OnReadDone(bool ok) override {
        if (!ok) return Finish(rpc::Status::OK);
        begun_.Add();
        StartRead(&request_);
      }
      void OnDone() override { delete this; }

     private:
      SharedCounter& begun_;
      Request request_;
    };
    return new Reader(begun_);
  }

 private:
  SharedCounter& begun_;
};

TEST_F(RpcProcessTest, AClientThatStandsStillLosesItsCalls) {
  // Each server has its turn.
  SharedCounter gone;
  std::vector<Child> clients;
  for (unsigned i = 0; i < 2; ++i) {
    clients.push_back(Child::Fork([&, i] {
      gone.AwaitAtLeast(i);
      auto endpoint = rpc::Endpoint::Open(address_, {.node = {.name = "client"}});
      ASSERT_TRUE(endpoint.ok()) << endpoint.status().ToString();
      const auto stub = Echo::NewStub((*endpoint)->CreateChannel("server"));
      ClientContext contexts[2];
      for (ClientContext& context : contexts) context.set_wait_for_ready(true);
      Request request;
      request.set_wait_cancel(true);
      Response responses[2];
      auto call = stub->async()->Say(&contexts[0], &request, &responses[0]);
      const auto writer = stub->Collect(&contexts[1], &responses[1]);
      EXPECT_TRUE(writer->Write(request));
      EXPECT_EQ(call.get().error_code(), StatusCode::UNAVAILABLE);
      EXPECT_EQ(writer->Finish().error_code(), StatusCode::UNAVAILABLE);
    }));
  }
  MortalService waiting(begun_);
  ReactingService reacting(begun_);
  unsigned begun = 0;
  for (rpc::Service* const service :
       {static_cast<rpc::Service*>(&waiting), static_cast<rpc::Service*>(&reacting)}) {
    Child& client = clients[begun / 2];
    {
      auto endpoint = rpc::Endpoint::Open(address_, {.node = {.name = "server"}});
      ASSERT_TRUE(endpoint.ok()) << endpoint.status().ToString();
      rpc::ServerBuilder builder(*endpoint);
      const auto server = builder.RegisterService(service).BuildAndStart();
      ASSERT_TRUE(server.ok()) << server.status().ToString();
      begun += 2;
      begun_.AwaitAtLeast(begun);
      client.Stop();
      // Their handlers end when they are cancelled.
      (*server)->Shutdown();
      client.Continue();
      EXPECT_EQ(client.Wait(), 0);
    }
    // Only now: the next client must not meet a server that has shut down.
    gone.Add();
  }
}

}  // namespace
}  // namespace ivmq::test
