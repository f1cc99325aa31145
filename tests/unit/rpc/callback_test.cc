// Streams of a client that end their steps in callbacks.
#include <future>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

#ifdef IVMQ_SANITIZE_THREAD  // it looks at each access, and learns nothing new from more of them
constexpr int kManySteps = 20'000;
#else
constexpr int kManySteps = 1'000'000;
#endif

class CallbackTest : public ::testing::Test {
 protected:
  EchoPair pair_;
  ClientContext context_;
};

class Counter final : public rpc::ClientReadReactor<Response::Part> {
 public:
  // Stops asking after `limit` messages.
  explicit Counter(std::int64_t limit) : limit_(limit) {}
  void Begin() {
    StartRead(&part_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    in_order_ = in_order_ && part_.number() == count_;
    if (++count_ < limit_) StartRead(&part_);
  }
  void OnDone(const rpc::Status& status) override { done_.set_value(status); }

  rpc::Status Await() { return done_.get_future().get(); }
  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] bool in_order() const { return in_order_; }

 private:
  const std::int64_t limit_;
  Response::Part part_;
  std::int64_t count_ = 0;
  bool in_order_ = true;
  std::promise<rpc::Status> done_;
};

TEST_F(CallbackTest, ManyMessagesOfTheServerAreReadWithoutAThreadThatWaits) {
  Request request;
  request.set_count(kManySteps);
  Counter counter(kManySteps + 1);
  pair_.stub->async()->Count(&context_, &request, &counter);
  counter.Begin();
  EXPECT_TRUE(counter.Await().ok());
  EXPECT_EQ(counter.count(), kManySteps);
  EXPECT_TRUE(counter.in_order());
}

TEST_F(CallbackTest, AReactorThatIsCancelledIsDone) {
  Request request;
  request.set_count(kManySteps);
  Counter counter(1);
  pair_.stub->async()->Count(&context_, &request, &counter);
  counter.Begin();
  context_.TryCancel();
  EXPECT_EQ(counter.Await().error_code(), StatusCode::CANCELLED);
}

TEST_F(CallbackTest, AReactorsDeadlineEndsIt) {
  Request request;
  request.set_count(kManySteps);
  context_.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  Counter counter(1);
  pair_.stub->async()->Count(&context_, &request, &counter);
  counter.Begin();
  EXPECT_EQ(counter.Await().error_code(), StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(CallbackTest, AnAsynchronousCallsDeadlineEndsIt) {
  Request request;
  Response response;
  request.set_wait_cancel(true);
  context_.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  EXPECT_EQ(pair_.stub->async()->Say(&context_, &request, &response).get().error_code(),
            StatusCode::DEADLINE_EXCEEDED);
}

class Sender final : public rpc::ClientWriteReactor<Request> {
 public:
  explicit Sender(int count) : count_(count) {}
  void Begin() {
    Next();
    StartCall();
  }
  void OnWriteDone(bool ok) override {
    if (ok) Next();
  }
  void OnWritesDoneDone(bool ok) override { said_all_ = ok; }
  void OnDone(const rpc::Status& status) override { done_.set_value(status); }

  rpc::Status Await() { return done_.get_future().get(); }
  [[nodiscard]] bool said_all() const { return said_all_; }

 private:
  void Next() {
    if (sent_ == count_) return StartWritesDone();
    request_.set_count(sent_++);
    StartWrite(&request_);
  }

  const int count_;
  Request request_;
  int sent_ = 0;
  bool said_all_ = false;
  std::promise<rpc::Status> done_;
};

TEST_F(CallbackTest, ManyMessagesAreWrittenWithoutAThreadThatWaits) {
  Response response;
  Sender sender(kManySteps);
  pair_.stub->async()->Collect(&context_, &response, &sender);
  sender.Begin();
  const rpc::Status status = sender.Await();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(sender.said_all());
  EXPECT_EQ(response.count(), kManySteps);
}

class Chatter final : public rpc::ClientBidiReactor<Request, Response> {
 public:
  void Begin() {
    Say();
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    right_ = right_ && response_.text() == request_.text() + "!";
    if (++said_ == 1000) {
      StartWritesDone();
    } else {
      Say();
    }
    StartRead(&response_);
  }
  void OnDone(const rpc::Status& status) override { done_.set_value(status); }

  rpc::Status Await() { return done_.get_future().get(); }
  [[nodiscard]] bool right() const { return right_; }
  [[nodiscard]] int said() const { return said_; }

 private:
  void Say() {
    request_.set_text(std::to_string(said_));
    StartWrite(&request_);
  }

  Request request_;
  Response response_;
  int said_ = 0;
  bool right_ = true;
  std::promise<rpc::Status> done_;
};

TEST_F(CallbackTest, BothSidesTalkThroughAReactor) {
  Chatter chatter;
  pair_.stub->async()->Chat(&context_, &chatter);
  chatter.Begin();
  EXPECT_TRUE(chatter.Await().ok());
  EXPECT_TRUE(chatter.right());
  EXPECT_EQ(chatter.said(), 1000);
}

TEST_F(CallbackTest, AReactorToNobodyIsDoneWithUnavailable) {
  const auto stub = Echo::NewStub(pair_.client_endpoint->CreateChannel("nobody"));
  Chatter chatter;
  stub->async()->Chat(&context_, &chatter);
  chatter.Begin();
  EXPECT_EQ(chatter.Await().error_code(), StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace ivmq::testing
