// A batch of the application's to a peer that there are calls with: nothing of them is lost by it,
// and nobody else waits for it.
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

// Says what the test wants it to.
class AskingService final : public Echo::Service {
 public:
  rpc::Status Say(rpc::ServerContext* /*context*/, const Request* request,
                  Response* /*response*/) override {
    if (say) say(*request);
    return rpc::Status::OK;
  }
  rpc::Status Collect(rpc::ServerContext* /*context*/, rpc::ServerReader<Request>* reader,
                      Response* response) override {
    return collect(*reader, *response);
  }

  std::function<void(const Request&)> say;
  std::function<rpc::Status(rpc::ServerReader<Request>&, Response&)> collect;
};

class OpenBatchTest : public ::testing::Test {
 protected:
  OpenBatchTest() {
    context_.set_deadline(Soon());
    other_context_.set_deadline(Soon());
  }

  [[nodiscard]] Batch StartBatchToClient() {
    return pair_.server_endpoint->node().StartBatch(pair_.client_endpoint->node().id());
  }
  // A call of another client, behind which the server has handled what came before.
  void CallOfAnother() {
    const auto stub = Echo::NewStub(other_->CreateChannel("server"));
    Request request;
    request.set_text("other");
    Response response;
    const rpc::Status status = stub->Say(&other_context_, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }

  AskingService service_;
  ServicePair pair_{
      service_, [](rpc::ServerBuilder& builder) { builder.SetExecutor(rpc::Executor::kInline); }};
  std::shared_ptr<rpc::Endpoint> other_ = pair_.Open("other");
  ClientContext context_;
  ClientContext other_context_;
  Request request_;
  Response response_;
};

TEST_F(OpenBatchTest, AnEndFoundByTheBatchOfAnotherThreadArrivesBehindIt) {
  std::promise<void> said;
  service_.say = [&](const Request& request) {
    if (request.text().empty()) said.set_value();
  };
  std::future<rpc::Status> status;
  {
    const Batch batch = StartBatchToClient();
    status = pair_.stub->async()->Say(&context_, &request_, &response_);
    said.get_future().get();
    CallOfAnother();
  }
  const rpc::Status end = status.get();
  EXPECT_TRUE(end.ok()) << end.error_message();
}

TEST_F(OpenBatchTest, AnEndFoundByTheBatchOfItsHandlersThreadArrivesBehindIt) {
  std::optional<Batch> batch;
  std::promise<void> said;
  service_.say = [&](const Request& request) {
    if (!request.text().empty()) return batch.reset();
    batch.emplace(StartBatchToClient());
    said.set_value();
  };
  auto status = pair_.stub->async()->Say(&context_, &request_, &response_);
  said.get_future().get();
  CallOfAnother();
  const rpc::Status end = status.get();
  EXPECT_TRUE(end.ok()) << end.error_message();
}

TEST_F(OpenBatchTest, ACallThatACallbackBeginsGoesBehindIt) {
  std::promise<rpc::Status> status;
  pair_.stub->async()->Say(&context_, &request_, &response_, [&](const rpc::Status& first) {
    EXPECT_TRUE(first.ok()) << first.error_message();
    const Batch batch =
        pair_.client_endpoint->node().StartBatch(pair_.server_endpoint->node().id());
    pair_.stub->async()->Say(&other_context_, &request_, &response_,
                             [&](rpc::Status second) { status.set_value(std::move(second)); });
  });
  const rpc::Status end = status.get_future().get();
  EXPECT_TRUE(end.ok()) << end.error_message();
}

TEST_F(OpenBatchTest, ACancelGoesBehindIt) {
  std::promise<void> begun;
  std::promise<bool> last;
  service_.collect = [&](rpc::ServerReader<Request>& reader, Response& /*response*/) {
    begun.set_value();
    Request request;
    last.set_value(reader.Read(&request));
    return rpc::Status::OK;
  };
  // Has a thread that polls.
  EXPECT_TRUE(pair_.stub->async()->Say(&context_, &request_, &response_).get().ok());
  ClientContext cancelled;  // a deadline would end it at the server
  const auto writer = pair_.stub->Collect(&cancelled, &response_);
  begun.get_future().get();
  {
    const Batch batch =
        pair_.client_endpoint->node().StartBatch(pair_.server_endpoint->node().id());
    cancelled.TryCancel();
  }
  EXPECT_EQ(writer->Finish().error_code(), StatusCode::CANCELLED);
  std::future<bool> read = last.get_future();
  ASSERT_EQ(read.wait_for(kPatience), std::future_status::ready);
  EXPECT_FALSE(read.get());
}

TEST_F(OpenBatchTest, CreditThatCouldNotGoGoesBehindIt) {
  constexpr std::size_t kBytes = 16 << 10;
  constexpr std::int64_t kWindow = 16;  // messages: 256 KiB
  service_.collect = [&](rpc::ServerReader<Request>& reader, Response& response) {
    Request request;
    std::int64_t count = 0;
    {
      // All that the client may send.
      const Batch batch = StartBatchToClient();
      while (count < kWindow && reader.Read(&request)) ++count;
    }
    while (reader.Read(&request)) ++count;
    response.set_count(count);
    return rpc::Status::OK;
  };
  request_.set_data(std::string(kBytes, 'x'));
  const auto writer = pair_.stub->Collect(&context_, &response_);
  for (int i = 0; i < 3 * kWindow; ++i) {
    if (!writer->Write(request_)) break;
  }
  (void)writer->WritesDone();
  const rpc::Status end = writer->Finish();
  EXPECT_TRUE(end.ok()) << end.error_message();
  EXPECT_EQ(response_.count(), 3 * kWindow);
}

}  // namespace
}  // namespace ivmq::testing
