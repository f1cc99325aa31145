// What a channel says of itself, and a context of how its call ended.
#include <chrono>
#include <memory>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ChannelStateTest : public ::testing::Test {
 protected:
  EchoPair pair_;
};

TEST_F(ChannelStateTest, ALivePeerIsReadyAndNobodyIsAFailure) {
  const auto channel = pair_.client_endpoint->CreateChannel("server");
  EXPECT_EQ(channel->GetState(true), rpc::GRPC_CHANNEL_READY);
  EXPECT_TRUE(channel->WaitForConnected(Soon()));
  const auto nobody = pair_.client_endpoint->CreateChannel("nobody");
  EXPECT_EQ(nobody->GetState(false), rpc::GRPC_CHANNEL_TRANSIENT_FAILURE);
  EXPECT_FALSE(nobody->WaitForConnected(std::chrono::system_clock::now()));
  EXPECT_FALSE(nobody->WaitForStateChange(rpc::GRPC_CHANNEL_TRANSIENT_FAILURE,
                                          std::chrono::steady_clock::now()));
}

TEST_F(ChannelStateTest, AProviderOfTheServiceMakesItsChannelReady) {
  EXPECT_EQ(pair_.client_endpoint->CreateServiceChannel("ivmq.test.Echo")->GetState(true),
            rpc::GRPC_CHANNEL_READY);
  EXPECT_EQ(pair_.client_endpoint->CreateServiceChannel("no.such.Service")->GetState(true),
            rpc::GRPC_CHANNEL_TRANSIENT_FAILURE);
}

TEST_F(ChannelStateTest, WhoWaitsHearsOfAPeerThatComesAndGoes) {
  const auto channel = pair_.client_endpoint->CreateChannel("late");
  std::shared_ptr<rpc::Endpoint> late;
  std::thread comes([&] { late = pair_.Open("late"); });
  EXPECT_TRUE(channel->WaitForConnected(Soon()));
  comes.join();
  std::thread goes([&] { late.reset(); });
  EXPECT_TRUE(channel->WaitForStateChange(rpc::GRPC_CHANNEL_READY, Soon()));
  goes.join();
  EXPECT_EQ(channel->GetState(true), rpc::GRPC_CHANNEL_TRANSIENT_FAILURE);
}

TEST_F(ChannelStateTest, AContextTellsWhatEndedItsCall) {
  ClientContext failed;
  Request request;
  Response response;
  request.set_fail(true);
  EXPECT_FALSE(pair_.stub->Say(&failed, request, &response).ok());
  EXPECT_THAT(failed.debug_error_string(), AllOf(HasSubstr("NOT_FOUND"), HasSubstr("server"),
                                                 HasSubstr("nothing of that name")));
  ClientContext answered;
  EXPECT_TRUE(pair_.stub->Say(&answered, Request(), &response).ok());
  EXPECT_THAT(answered.debug_error_string(), IsEmpty());
}

// Programs written for gRPC compare these.
TEST_F(ChannelStateTest, StatusesThatNeitherSideGaveHaveTheWordsOfGrpc) {
  Request request;
  Response response;
  {
    ClientContext context;
    const rpc::Status status = pair_.stub->Forgotten(&context, request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::UNIMPLEMENTED);
    EXPECT_EQ(status.error_message(), "");
  }
  {
    const auto silent = pair_.Open("silent");
    const auto stub = Echo::NewStub(pair_.client_endpoint->CreateChannel("silent"));
    ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(20));
    const rpc::Status status = stub->Say(&context, request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED);
    EXPECT_EQ(status.error_message(), "Deadline Exceeded");
  }
  request.set_wait_cancel(true);
  {
    ClientContext context;
    auto call = pair_.stub->async()->Say(&context, &request, &response);
    context.TryCancel();
    const rpc::Status status = call.get();
    EXPECT_EQ(status.error_code(), StatusCode::CANCELLED);
    EXPECT_EQ(status.error_message(), "CANCELLED");
  }
}

}  // namespace
}  // namespace ivmq::testing
