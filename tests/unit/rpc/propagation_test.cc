// Calls that a handler makes on behalf of the one that it handles.
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using std::chrono::system_clock;

// Its handlers are the tests'.
class Outer final : public Echo::Service {
 public:
  rpc::Status Say(rpc::ServerContext* context, const Request* /*request*/,
                  Response* /*response*/) override {
    return handle(*context);
  }
  std::function<rpc::Status(rpc::ServerContext&)> handle;
};

// client -> server, whose handlers are the tests', -> inner, which waits to be cancelled.
class PropagationTest : public ::testing::Test {
 protected:
  PropagationTest() {
    inner_endpoint_ = pair_.Open("inner");
    rpc::ServerBuilder builder(inner_endpoint_);
    builder.RegisterService(&inner_service_);
    auto built = builder.BuildAndStart();
    EXPECT_TRUE(built.ok()) << built.status().ToString();
    inner_server_ = *std::move(built);
    inner_ = Echo::NewStub(pair_.server_endpoint->CreateChannel("inner"));
    inner_request_.set_wait_cancel(true);
    context_.set_deadline(Soon());
  }
  ~PropagationTest() override { pair_.server->Shutdown(); }  // its handlers use what is below

  Outer outer_;
  EchoService inner_service_;
  ServicePair pair_{outer_};
  std::shared_ptr<rpc::Endpoint> inner_endpoint_;
  std::unique_ptr<rpc::Server> inner_server_;
  std::unique_ptr<Echo::Stub> inner_;
  ClientContext context_;
  Request request_;
  Request inner_request_;
  Response response_;
  Response inner_response_;
};

TEST_F(PropagationTest, ACancelOfTheOuterCallCancelsTheInnerOne) {
  outer_.handle = [&](rpc::ServerContext& context) {
    return inner_->Say(ClientContext::FromServerContext(context).get(), inner_request_,
                       &inner_response_);
  };
  auto call = pair_.stub->async()->Say(&context_, &request_, &response_);
  while (inner_service_.calls == 0) std::this_thread::yield();
  context_.TryCancel();
  EXPECT_EQ(call.get().error_code(), StatusCode::CANCELLED);
  inner_service_.cancelled.get_future().get();
}

TEST_F(PropagationTest, TheEndOfTheOuterCallCancelsTheInnerOne) {
  std::unique_ptr<ClientContext> child;
  std::future<rpc::Status> inner;
  outer_.handle = [&](rpc::ServerContext& context) {
    child = ClientContext::FromCallbackServerContext(context);
    inner = inner_->async()->Say(child.get(), &inner_request_, &inner_response_);
    return rpc::Status::OK;
  };
  EXPECT_TRUE(pair_.stub->Say(&context_, request_, &response_).ok());
  EXPECT_EQ(inner.get().error_code(), StatusCode::CANCELLED);
}

TEST_F(PropagationTest, AnOuterCallThatIsCancelledLetsNoneBegin) {
  std::promise<rpc::Status> inner;
  outer_.handle = [&](rpc::ServerContext& context) {
    context_.TryCancel();
    while (!context.IsCancelled()) std::this_thread::yield();
    inner.set_value(inner_->Say(ClientContext::FromServerContext(context).get(), inner_request_,
                                &inner_response_));
    return rpc::Status::OK;
  };
  EXPECT_EQ(pair_.stub->Say(&context_, request_, &response_).error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(inner.get_future().get().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(inner_service_.calls, 0);
}

TEST_F(PropagationTest, WhatIsToldNotToBeCancelledGoesOn) {
  std::unique_ptr<ClientContext> child;
  std::future<rpc::Status> inner;
  outer_.handle = [&](rpc::ServerContext& context) {
    child = ClientContext::FromServerContext(
        context, rpc::PropagationOptions().disable_cancellation_propagation());
    inner = inner_->async()->Say(child.get(), &inner_request_, &inner_response_);
    return rpc::Status::OK;
  };
  inner_request_.set_wait_release(true);
  EXPECT_TRUE(pair_.stub->Say(&context_, request_, &response_).ok());
  pair_.server->Shutdown();  // behind this the outer one has ended there, too
  inner_service_.release.set_value();
  EXPECT_TRUE(inner.get().ok());
}

TEST_F(PropagationTest, TheInnerCallEndsNoLaterThanTheOuterOne) {
  system_clock::time_point taken_over;
  system_clock::time_point after_a_later_one;
  system_clock::time_point after_an_earlier_one;
  system_clock::time_point not_taken_over;
  outer_.handle = [&](rpc::ServerContext& context) {
    const auto child = ClientContext::FromServerContext(context);
    taken_over = child->deadline();
    child->set_deadline(system_clock::now() + std::chrono::hours(1));
    after_a_later_one = child->deadline();
    child->set_deadline(system_clock::now());
    after_an_earlier_one = child->deadline();
    not_taken_over = ClientContext::FromServerContext(
                         context, rpc::PropagationOptions().disable_deadline_propagation())
                         ->deadline();
    return rpc::Status::OK;
  };
  const auto deadline = system_clock::now() + std::chrono::minutes(10);
  ClientContext context;
  context.set_deadline(deadline);
  EXPECT_TRUE(pair_.stub->Say(&context, request_, &response_).ok());
  constexpr std::chrono::minutes kAbout{5};
  EXPECT_LT(taken_over, deadline + kAbout);
  EXPECT_LT(after_a_later_one, deadline + kAbout);
  EXPECT_LT(after_an_earlier_one, deadline - kAbout);
  EXPECT_EQ(not_taken_over, system_clock::time_point::max());
}

TEST_F(PropagationTest, ADeadlineOfTheOuterCallEndsTheInnerOne) {
  outer_.handle = [&](rpc::ServerContext& context) {
    return inner_->Say(ClientContext::FromServerContext(context).get(), inner_request_,
                       &inner_response_);
  };
  ClientContext context;
  context.set_deadline(system_clock::now() + std::chrono::milliseconds(50));
  EXPECT_EQ(pair_.stub->Say(&context, request_, &response_).error_code(),
            StatusCode::DEADLINE_EXCEEDED);
  pair_.server->Shutdown();  // waits for it
}

}  // namespace
}  // namespace ivmq::testing
