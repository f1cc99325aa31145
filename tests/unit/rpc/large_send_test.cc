// Messages larger than a record that callbacks send, to a peer that does not take them now.
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/rpc/reactor.h"

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr int kBehind = 100;  // small messages behind a large one

std::string LargeText() {
  std::string text(std::size_t{1} << 20, '\0');
  for (std::size_t i = 0; i < text.size(); ++i)
    text[i] = static_cast<char>('a' + (i * 7 >> 3) % 26);
  return text;
}

template <typename T>
bool IsReady(const std::future<T>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

class LargeChatter;

// A server that takes messages only when it is told to, beside one that always does.
class LargeSendTest : public ::testing::Test {
 protected:
  explicit LargeSendTest(const FormatOptions& format = {.max_peers = 8})
      : pair_(rpc::Executor::kPool, {}, format) {
    idle_ = pair_.Open("idle");
    idle_->Drive();
    rpc::ServerBuilder builder(idle_);
    builder.RegisterService(&idle_service_);
    auto built = builder.BuildAndStart();
    EXPECT_TRUE(built.ok()) << built.status().ToString();
    idle_server_ = *std::move(built);
    to_idle_ = Echo::NewStub(pair_.client_endpoint->CreateChannel("idle"));
    large_.set_text(LargeText());
    context_.set_deadline(Soon());
  }
  // Has the thread that polls the client do it, and make a call to the other server behind it.
  // Returns when that call has ended: the thread was not held.
  void OnThePoller(const std::function<void()>& something) {
    ClientContext first;
    ClientContext second;
    Response response;
    std::promise<rpc::Status> done;
    pair_.stub->async()->Say(&first, &small_, &response, [&](const rpc::Status& status) {
      EXPECT_TRUE(status.ok()) << status.error_message();
      something();
      pair_.stub->async()->Say(&second, &small_, &response,
                               [&](rpc::Status last) { done.set_value(std::move(last)); });
    });
    const rpc::Status status = done.get_future().get();
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  template <typename Until>
  void PollIdle(Until until) {
    while (!until()) {
      if (idle_->Poll() == 0) std::this_thread::yield();
    }
  }
  // Begins the chat in a callback; see OnThePoller().
  void ChatOnThePoller(LargeChatter& chatter);
  // Nothing was read before the server took it; then everything was, in order.
  void ExpectAllRead(const LargeChatter& chatter, std::future<rpc::Status>& done);
  // What came before has broken nothing.
  void ExpectAnswerOfIdle() {
    auto status = std::async(std::launch::async, [&] {
      ClientContext context;
      context.set_deadline(Soon());
      Response response;
      return to_idle_->Say(&context, small_, &response);
    });
    PollIdle([&] { return IsReady(status); });
    EXPECT_EQ(status.get().error_code(), StatusCode::OK);
  }

  EchoPair pair_;
  EchoService idle_service_;
  std::shared_ptr<rpc::Endpoint> idle_;
  std::unique_ptr<rpc::Server> idle_server_;
  std::unique_ptr<Echo::Stub> to_idle_;
  Request large_;
  Request small_;
  Response response_;
  ClientContext context_;
  std::promise<rpc::Status> promise_;
  std::future<rpc::Status> status_ = promise_.get_future();

  void SayLarge() {
    to_idle_->async()->Say(&context_, &large_, &response_,
                           [&](rpc::Status status) { promise_.set_value(std::move(status)); });
  }
};

TEST_F(LargeSendTest, ALargeRequestOfACallbackHoldsUpNobodyAndArrives) {
  OnThePoller([&] { SayLarge(); });
  EXPECT_FALSE(IsReady(status_));
  PollIdle([&] { return IsReady(status_); });
  const rpc::Status status = status_.get();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(response_.text() == large_.text() + " for client");
}

TEST_F(LargeSendTest, ManyLargeRequestsOfCallbacksArriveEach) {
  constexpr std::size_t kCalls = 8;
  ClientContext contexts[kCalls];
  Response responses[kCalls];
  std::vector<std::future<rpc::Status>> statuses;
  OnThePoller([&] {
    for (std::size_t i = 0; i < kCalls; ++i) {
      statuses.push_back(to_idle_->async()->Say(&contexts[i], &large_, &responses[i]));
    }
  });
  for (std::size_t i = 0; i < kCalls; ++i) {
    PollIdle([&] { return IsReady(statuses[i]); });
    const rpc::Status status = statuses[i].get();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(responses[i].text() == large_.text() + " for client");
  }
}

TEST_F(LargeSendTest, ACancelEndsACallWhoseLargeRequestWaits) {
  OnThePoller([&] { SayLarge(); });
  EXPECT_FALSE(IsReady(status_));
  context_.TryCancel();
  EXPECT_EQ(status_.get().error_code(), StatusCode::CANCELLED);
  ExpectAnswerOfIdle();
}

TEST_F(LargeSendTest, ADeadlineEndsACallWhoseLargeRequestWaits) {
  context_.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  OnThePoller([&] { SayLarge(); });
  EXPECT_EQ(status_.get().error_code(), StatusCode::DEADLINE_EXCEEDED);
  ExpectAnswerOfIdle();
}

TEST_F(LargeSendTest, ACallWhoseLargeRequestHasArrivedCanBeCancelled) {
  large_.set_wait_cancel(true);
  OnThePoller([&] { SayLarge(); });
  PollIdle([&] { return idle_service_.calls != 0; });
  context_.TryCancel();
  EXPECT_EQ(status_.get().error_code(), StatusCode::CANCELLED);
  auto cancelled = idle_service_.cancelled.get_future();
  PollIdle([&] { return IsReady(cancelled); });
}

TEST_F(LargeSendTest, ALargeRequestToAPeerThatDiesEndsWithUnavailable) {
  auto mortal = pair_.Open("mortal");
  mortal->Drive();
  const auto stub = Echo::NewStub(pair_.client_endpoint->CreateChannel("mortal"));
  OnThePoller([&] {
    stub->async()->Say(&context_, &large_, &response_,
                       [&](rpc::Status status) { promise_.set_value(std::move(status)); });
  });
  mortal.reset();
  EXPECT_EQ(status_.get().error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(LargeSendTest, ALargerRequestThanTheNodeSendsIsRefused) {
  large_.set_data(std::string(std::size_t{64} << 20, 'x'));
  OnThePoller([&] { SayLarge(); });
  EXPECT_EQ(status_.get().error_code(), StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(LargeSendTest, AnEndpointThatIsDestroyedGivesUpALargeRequest) {
  auto client = pair_.Open("mortal");
  auto to_live = Echo::NewStub(client->CreateChannel("server"));
  auto to_idle = Echo::NewStub(client->CreateChannel("idle"));
  ClientContext first;
  std::promise<void> begun;
  to_live->async()->Say(&first, &small_, &response_, [&](const rpc::Status& /*status*/) {
    to_idle->async()->Say(&context_, &large_, &response_,
                          [&](rpc::Status status) { promise_.set_value(std::move(status)); });
    begun.set_value();
  });
  begun.get_future().get();
  to_live.reset();
  to_idle.reset();
  client.reset();
  EXPECT_EQ(status_.get().error_code(), StatusCode::CANCELLED);
  ExpectAnswerOfIdle();
}

// Says something large, and small things behind it.
class LargeChatter final : public rpc::ClientBidiReactor<Request, Response> {
 public:
  explicit LargeChatter(std::string first) : first_(std::move(first)) {}
  void Begin() {
    request_.set_text(first_);
    StartWrite(&request_);
    StartRead(&response_);
    StartCall();
  }
  void OnWriteDone(bool ok) override {
    if (!ok) {
      ++failed_;
      return;
    }
    if (written_ == kBehind) return StartWritesDone();
    request_.set_text(std::to_string(written_++));
    StartWrite(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    right_ = right_ && response_.text() == (read_ == 0 ? first_ : std::to_string(read_ - 1)) + "!";
    ++read_;
    StartRead(&response_);
  }
  void OnDone(const rpc::Status& status) override { done_.set_value(status); }

  [[nodiscard]] std::future<rpc::Status> done() { return done_.get_future(); }
  [[nodiscard]] bool right() const { return right_; }
  [[nodiscard]] int read() const { return read_; }
  [[nodiscard]] int failed() const { return failed_; }

 private:
  const std::string first_;
  Request request_;
  Response response_;
  int written_ = 0;
  int read_ = 0;
  int failed_ = 0;
  bool right_ = true;
  std::promise<rpc::Status> done_;
};

void LargeSendTest::ChatOnThePoller(LargeChatter& chatter) {
  OnThePoller([&] {
    to_idle_->async()->Chat(&context_, &chatter);
    chatter.Begin();
  });
}

void LargeSendTest::ExpectAllRead(const LargeChatter& chatter, std::future<rpc::Status>& done) {
  EXPECT_FALSE(IsReady(done));
  PollIdle([&] { return IsReady(done); });
  const rpc::Status status = done.get();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(chatter.right());
  EXPECT_EQ(chatter.read(), kBehind + 1);
}

TEST_F(LargeSendTest, ALargeMessageOfAReactorHoldsUpNobodyAndIsNotOvertaken) {
  LargeChatter chatter(LargeText());
  auto done = chatter.done();
  ChatOnThePoller(chatter);
  ExpectAllRead(chatter, done);
}

TEST_F(LargeSendTest, ACancelEndsTheLargeWriteOfAReactor) {
  LargeChatter chatter(LargeText());
  auto done = chatter.done();
  ChatOnThePoller(chatter);
  context_.TryCancel();
  EXPECT_EQ(done.get().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(chatter.failed(), 1);
  ExpectAnswerOfIdle();
}

// ---- Servers ----

// What becomes of the reactors of a service.
struct Progress {
  std::counting_semaphore<> writes{0};  // begins to write something large
  std::counting_semaphore<> done{0};
  std::string initial;  // metadata
};

// Says something large when it is asked, and small things behind it.
class LargeAnswers final : public rpc::ServerBidiReactor<Request, Response> {
 public:
  LargeAnswers(Progress& progress, rpc::CallbackServerContext* context) : progress_(progress) {
    if (!progress.initial.empty()) {
      context->AddInitialMetadata("large", progress.initial);
      StartSendInitialMetadata();
    }
    StartRead(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(rpc::Status::OK);
    response_.set_text(request_.text() + LargeText());
    StartWrite(&response_);
    progress_.writes.release();
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish({StatusCode::ABORTED, ""});
    if (written_ == kBehind) return Finish(rpc::Status::OK);
    response_.set_text(std::to_string(written_++));
    StartWrite(&response_);
  }
  void OnDone() override {
    Progress& progress = progress_;
    delete this;
    progress.done.release();
  }

 private:
  Progress& progress_;
  Request request_;
  Response response_;
  int written_ = 0;
};

class AtOnce final : public rpc::ServerUnaryReactor {
 public:
  AtOnce() { Finish(rpc::Status::OK); }
  void OnDone() override { delete this; }
};

class LargeService final : public Echo::CallbackService {
 public:
  explicit LargeService(Progress& progress) : progress_(progress) {}
  rpc::ServerUnaryReactor* Say(rpc::CallbackServerContext* /*context*/, const Request* /*request*/,
                               Response* /*response*/) override {
    return new AtOnce();
  }
  rpc::ServerBidiReactor<Request, Response>* Chat(rpc::CallbackServerContext* context) override {
    return new LargeAnswers(progress_, context);
  }

 private:
  Progress& progress_;
};

class LargeServerTest : public ::testing::Test {
 protected:
  explicit LargeServerTest(const FormatOptions& format = {.max_peers = 8})
      : pair_(service_, {}, format) {
    idle_ = pair_.Open("idle");
    idle_->Drive();
    from_idle_ = Echo::NewStub(idle_->CreateChannel("server"));
    context_.set_deadline(Soon());
  }
  // The server's thread is not held.
  void ExpectAnswerToAnother() {
    ClientContext context;
    context.set_deadline(Soon());
    Response response;
    EXPECT_TRUE(pair_.stub->Say(&context, Request(), &response).ok());
  }

  Progress progress_;
  LargeService service_{progress_};
  ServicePair pair_;
  std::shared_ptr<rpc::Endpoint> idle_;
  std::unique_ptr<Echo::Stub> from_idle_;
  ClientContext context_;
};

TEST_F(LargeServerTest, ALargeMessageOfAReactorHoldsUpNobodyAndIsNotOvertaken) {
  auto stream = from_idle_->Chat(&context_);
  Request request;
  request.set_text("from here: ");
  ASSERT_TRUE(stream->Write(request));
  progress_.writes.acquire();
  ExpectAnswerToAnother();
  Response response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.text() == "from here: " + LargeText());
  for (int i = 0; i < kBehind; ++i) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.text(), std::to_string(i));
  }
  EXPECT_FALSE(stream->Read(&response));
  const rpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  progress_.done.acquire();
}

TEST_F(LargeServerTest, AShutdownWithADeadlineEndsALargeWrite) {
  auto stream = from_idle_->Chat(&context_);
  ASSERT_TRUE(stream->Write(Request()));
  progress_.writes.acquire();
  pair_.server->Shutdown(std::chrono::system_clock::now());
  progress_.done.acquire();
}

TEST_F(LargeServerTest, AClientThatDiesEndsALargeWrite) {
  auto stream = from_idle_->Chat(&context_);
  ASSERT_TRUE(stream->Write(Request()));
  progress_.writes.acquire();
  stream.reset();
  from_idle_.reset();
  idle_.reset();
  progress_.done.acquire();
}

// ---- Metadata larger than a record ----

constexpr FormatOptions kSmallRings{.max_peers = 8, .ring_capacity = 16U << 10};
constexpr std::size_t kMuchMetadata = 60'000;

class LargeMetadataTest : public LargeSendTest {
 protected:
  LargeMetadataTest() : LargeSendTest(kSmallRings) {}
};

TEST_F(LargeMetadataTest, NothingOvertakesTheRequestOfAReactor) {
  context_.AddMetadata("much", std::string(kMuchMetadata, 'x'));
  LargeChatter chatter("small");
  auto done = chatter.done();
  ChatOnThePoller(chatter);
  ExpectAllRead(chatter, done);
}

TEST_F(LargeMetadataTest, ACancelEndsAReactorWhoseRequestWaits) {
  context_.AddMetadata("much", std::string(kMuchMetadata, 'x'));
  LargeChatter chatter("small");
  auto done = chatter.done();
  ChatOnThePoller(chatter);
  context_.TryCancel();
  EXPECT_EQ(done.get().error_code(), StatusCode::CANCELLED);
  ExpectAnswerOfIdle();
}

class LargeInitialTest : public LargeServerTest {
 protected:
  LargeInitialTest() : LargeServerTest(kSmallRings) {
    progress_.initial = std::string(kMuchMetadata, 'x');
  }
};

TEST_F(LargeInitialTest, NothingOvertakesTheInitialMetadata) {
  auto stream = from_idle_->Chat(&context_);
  ASSERT_TRUE(stream->Write(Request()));
  progress_.writes.acquire();
  ExpectAnswerToAnother();
  Response response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_THAT(context_.GetServerInitialMetadata(), ElementsAre(Pair("large", progress_.initial)));
  EXPECT_TRUE(response.text() == LargeText());
  while (stream->Read(&response)) {
  }
  EXPECT_TRUE(stream->Finish().ok());
  progress_.done.acquire();
}

}  // namespace
}  // namespace ivmq::testing
