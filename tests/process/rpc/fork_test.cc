// An endpoint belongs to the process that made it: what becomes of it in forked children.
#include <chrono>
#include <future>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/inproc.h"
#include "ivmq/rpc/reactor.h"
#include "ivmq/rpc/server.h"

#include "echo.ivmq.pb.h"
#include "support/child.h"

namespace ivmq::testing {
namespace {

using ivmq::test::Echo;
using ivmq::test::Request;
using ivmq::test::Response;
using rpc::StatusCode;
using ::testing::HasSubstr;

class EchoService final : public Echo::Service {
 public:
  rpc::Status Say(rpc::ServerContext* /*context*/, const Request* request,
                  Response* response) override {
    if (request->wait_release()) {
      begun.release();
      go.acquire();
    }
    response->set_text(request->text());
    return rpc::Status::OK;
  }
  rpc::Status Chat(rpc::ServerContext* /*context*/,
                   rpc::ServerReaderWriter<Response, Request>* stream) override {
    Request request;
    while (stream->Read(&request) && stream->Write(Response())) {
    }
    return rpc::Status::OK;
  }
  std::binary_semaphore begun{0};
  std::binary_semaphore go{0};
};

void ExpectForked(const rpc::Status& status) {
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("parent process"));
}

class RpcForkTest : public ::testing::Test {
 protected:
  RpcForkTest() {
    auto region = InprocRegion::Create(std::uint64_t{8} << 20, {.max_peers = 8});
    EXPECT_TRUE(region.ok()) << region.status().ToString();
    region_ = *std::move(region);
    server_endpoint_ = Open("server");
    client_endpoint_ = Open("client");
    auto server = rpc::ServerBuilder(server_endpoint_).RegisterService(&service_).BuildAndStart();
    EXPECT_TRUE(server.ok()) << server.status().ToString();
    server_ = *std::move(server);
    stub_ = Echo::NewStub(client_endpoint_->CreateChannel("server"));
    service_stub_ = Echo::NewStub(client_endpoint_->CreateServiceChannel("ivmq.test.Echo"));
  }

  std::shared_ptr<rpc::Endpoint> Open(const std::string& name) {
    auto node = Node::Open(*region_->Join(), {.name = name});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return rpc::Endpoint::Make(*std::move(node));
  }
  rpc::Status Say() {
    rpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    Response response;
    return stub_->Say(&context, Request(), &response);
  }

  std::shared_ptr<InprocRegion> region_;
  EchoService service_;
  std::shared_ptr<rpc::Endpoint> server_endpoint_;
  std::shared_ptr<rpc::Endpoint> client_endpoint_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<Echo::Stub> stub_;
  std::unique_ptr<Echo::Stub> service_stub_;
};

TEST_F(RpcForkTest, AChildsCopyDoesNothingAndSaysSo) {
  ASSERT_TRUE(Say().ok());
  // One is under way meanwhile, and a watch.
  rpc::ClientContext running;
  Request request;
  request.set_wait_release(true);
  Response response;
  auto call = stub_->async()->Say(&running, &request, &response);
  service_.begun.acquire();
  rpc::ClientContext talking;
  auto chat = stub_->Chat(&talking);
  auto watch = client_endpoint_->WatchService("ivmq.test.Echo", [](const auto& /*peers*/) {});
  EXPECT_EQ(RunInChild([&] {
              EXPECT_FALSE(chat->Write(request));
              EXPECT_FALSE(chat->Read(&response));
              EXPECT_FALSE(chat->WritesDone());
              chat->WaitForInitialMetadata();
              ExpectForked(chat->Finish());
              chat.reset();
              running.TryCancel();
              talking.TryCancel();

              ExpectForked(Say());
              Response another;
              Request empty;
              rpc::ClientContext contexts[4];
              ExpectForked(service_stub_->Say(&contexts[0], empty, &another));
              ExpectForked(stub_->async()->Say(&contexts[1], &empty, &another).get());
              const auto stream = stub_->Chat(&contexts[2]);
              EXPECT_FALSE(stream->Read(&another));
              ExpectForked(stream->Finish());
              struct Reader final : rpc::ClientReadReactor<Response::Part> {
                void OnDone(const rpc::Status& status) override { end = status; }
                rpc::Status end;
              } reader;
              stub_->async()->Count(&contexts[3], &empty, &reader);
              reader.StartCall();
              ExpectForked(reader.end);

              EXPECT_EQ(client_endpoint_->Poll(), 0U);
              EXPECT_TRUE(client_endpoint_->Arm());
              EchoService service;
              EXPECT_EQ(rpc::ServerBuilder(client_endpoint_)
                            .RegisterService(&service)
                            .BuildAndStart()
                            .status()
                            .code(),
                        ivmq::StatusCode::kFailedPrecondition);
              server_->Shutdown();
              server_->Wait();
            }),
            0);
  service_.go.release();
  EXPECT_TRUE(call.get().ok());
  EXPECT_TRUE(chat->Write(request));
  EXPECT_TRUE(chat->Read(&response));
  EXPECT_TRUE(chat->WritesDone());
  EXPECT_TRUE(chat->Finish().ok());
  EXPECT_TRUE(Say().ok());
}

TEST_F(RpcForkTest, AChildMayDestroyItsCopyAndItsParentHearsNothingOfIt) {
  ASSERT_TRUE(Say().ok());
  auto watch = client_endpoint_->WatchService("ivmq.test.Echo", [](const auto& /*peers*/) {});
  EXPECT_EQ(RunInChild([&] {
              watch.reset();
              server_.reset();
              stub_.reset();
              service_stub_.reset();
              client_endpoint_.reset();
              server_endpoint_.reset();
            }),
            0);
  EXPECT_TRUE(Say().ok());
}

TEST_F(RpcForkTest, AChildMayHaveAnEndpointOfItsOwn) {
  ASSERT_TRUE(Say().ok());
  EXPECT_EQ(RunInChild([&] {
              client_endpoint_ = nullptr;
              auto region = InprocRegion::Create(std::uint64_t{4} << 20, {.max_peers = 4});
              ASSERT_TRUE(region.ok());
              auto node = Node::Open(*(*region)->Join(), {.name = "server"});
              ASSERT_TRUE(node.ok());
              auto endpoint = rpc::Endpoint::Make(*std::move(node));
              EchoService service;
              auto server = rpc::ServerBuilder(endpoint).RegisterService(&service).BuildAndStart();
              ASSERT_TRUE(server.ok());
              stub_ = Echo::NewStub(endpoint->CreateChannel("server"));
              EXPECT_TRUE(Say().ok());
            }),
            0);
  EXPECT_TRUE(Say().ok());
}

}  // namespace
}  // namespace ivmq::testing
