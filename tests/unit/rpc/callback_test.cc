// Streams of a client that end their steps in callbacks.
#include <atomic>
#include <future>
#include <string>
#include <vector>

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

using ::testing::ElementsAre;
using ::testing::Pair;

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

// Notes the order in which its members are called.
template <typename Reactor>
class Noted : public Reactor {
 public:
  void OnReadInitialMetadataDone(bool ok) override { Note(ok ? "initial" : "no initial"); }
  void OnDone(const rpc::Status& status) override {
    Note("done");
    done_.set_value(status);
  }
  rpc::Status Await() { return done_.get_future().get(); }
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

 protected:
  void Note(const std::string& what) { notes_.push_back(what); }

 private:
  std::vector<std::string> notes_;  // the poller's; whoever has awaited it may look
  std::promise<rpc::Status> done_;
};

class NotedUnary final : public Noted<rpc::ClientUnaryReactor> {};

TEST_F(CallbackTest, AUnaryReactorHearsInitialMetadataAndTheEnd) {
  Request request;
  Response response;
  request.set_text("hello");
  context_.AddMetadata("key", "value");
  NotedUnary reactor;
  pair_.stub->async()->Say(&context_, &request, &response, &reactor);
  reactor.StartCall();
  EXPECT_TRUE(reactor.Await().ok());
  EXPECT_THAT(reactor.notes(), ElementsAre("initial", "done"));
  EXPECT_EQ(response.text(), "hello for client");
  EXPECT_THAT(context_.GetServerInitialMetadata(), ElementsAre(Pair("key", "value")));
}

TEST_F(CallbackTest, AUnaryReactorHearsThatNoInitialMetadataCame) {
  Request request;
  Response response;
  NotedUnary reactor;
  pair_.stub->async()->Forgotten(&context_, &request, &response, &reactor);
  reactor.StartCall();
  EXPECT_EQ(reactor.Await().error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(reactor.notes(), ElementsAre("no initial", "done"));
}

class NotedReader final : public Noted<rpc::ClientReadReactor<Response::Part>> {
 public:
  explicit NotedReader(const ClientContext& context) : context_(context) {}
  void Begin() {
    StartRead(&part_);
    StartCall();
  }
  void OnReadInitialMetadataDone(bool ok) override {
    Noted::OnReadInitialMetadataDone(ok);
    initial_ = context_.GetServerInitialMetadata().size();
  }
  void OnReadDone(bool ok) override {
    Note(ok ? "message" : "end");
    if (ok) StartRead(&part_);
  }
  [[nodiscard]] std::size_t initial() const { return initial_; }

 private:
  const ClientContext& context_;
  Response::Part part_;
  std::size_t initial_ = 0;
};

TEST_F(CallbackTest, AReactorHearsInitialMetadataBeforeTheFirstMessage) {
  Request request;
  request.set_count(1);
  NotedReader reader(context_);
  pair_.stub->async()->Count(&context_, &request, &reader);
  reader.Begin();
  EXPECT_TRUE(reader.Await().ok());
  EXPECT_THAT(reader.notes(), ElementsAre("initial", "message", "end", "done"));
  EXPECT_EQ(reader.initial(), 1U);
}

TEST_F(CallbackTest, AReactorOfACallThatFailsHearsThatNoInitialMetadataCame) {
  const auto stub = Echo::NewStub(pair_.client_endpoint->CreateChannel("nobody"));
  Request request;
  NotedReader reader(context_);
  stub->async()->Count(&context_, &request, &reader);
  reader.Begin();
  EXPECT_EQ(reader.Await().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(reader.notes(), ElementsAre("no initial", "end", "done"));
}

TEST_F(CallbackTest, AReactorIsNotDoneWhileItIsHeld) {
  class Held final : public rpc::ClientReadReactor<Response::Part> {
   public:
    void Begin() {
      AddMultipleHolds(2);
      StartRead(&part_);
      StartCall();
    }
    void OnReadDone(bool ok) override { read.set_value(ok); }
    void OnDone(const rpc::Status& /*status*/) override { done.set_value(holds); }
    std::atomic<int> holds{2};
    std::promise<bool> read;
    std::promise<int> done;

   private:
    Response::Part part_;
  };
  Held held;
  Request request;
  pair_.stub->async()->Count(&context_, &request, &held);
  held.Begin();
  EXPECT_FALSE(held.read.get_future().get());
  for (int i = 0; i < 2; ++i) {
    --held.holds;
    held.RemoveHold();
  }
  EXPECT_EQ(held.done.get_future().get(), 0);
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
