// Interceptors of calls with streams, and those that answer in the server's place.
#include "ivmq/rpc/interceptor.h"

#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/rpc/coroutine.h"

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Lines {
 public:
  void Add(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
  }
  std::vector<std::string> Take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(lines_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;  // guarded by mutex_
};

struct Behaviour {
  rpc::Status begin{};
  rpc::Status end{};           // takes the place of the call's, if it is not OK
  std::string throws_at{};     // the name of a member
  bool marks_messages = true;  // those that were received
};

// Notes what it sees, on either side.
class StreamNote final : public rpc::ClientInterceptor, public rpc::ServerInterceptor {
 public:
  StreamNote(Lines& lines, std::string name, Behaviour behaviour)
      : lines_(lines), name_(std::move(name)), behaviour_(std::move(behaviour)) {}

  rpc::Status BeforeStream(ClientContext& context) override {
    context.AddMetadata("seen-by", name_);
    return Begin();
  }
  rpc::Status BeforeStream(rpc::ServerContext& /*context*/) override { return Begin(); }
  void BeforeWrite(ClientContext& /*context*/, const google::protobuf::Message& message) override {
    Note("writes " + message.GetDescriptor()->name());
  }
  void BeforeWrite(rpc::ServerContext& /*context*/,
                   const google::protobuf::Message& message) override {
    Note("writes " + message.GetDescriptor()->name());
  }
  void BeforeWritesDone(ClientContext& /*context*/) override { Note("has said all"); }
  void AfterRead(ClientContext& /*context*/, google::protobuf::Message& message) override {
    Read(message);
  }
  void AfterRead(rpc::ServerContext& /*context*/, google::protobuf::Message& message) override {
    Read(message);
  }
  void AfterStream(ClientContext& /*context*/, rpc::Status& status) override { End(status); }
  void AfterStream(rpc::ServerContext& /*context*/, rpc::Status& status) override { End(status); }

 private:
  rpc::Status Begin() {
    Note("begins");
    return behaviour_.begin;
  }
  void Read(google::protobuf::Message& message) {
    Note("reads " + message.GetDescriptor()->name());
    if (auto* const response = dynamic_cast<Response*>(&message))
      response->mutable_text()->append("~");
  }
  void End(rpc::Status& status) {
    Note("ends " + std::to_string(status.error_code()));
    if (!behaviour_.end.ok()) status = behaviour_.end;
  }
  void Note(const std::string& what) {
    lines_.Add(name_ + " " + what);
    if (what == behaviour_.throws_at) throw std::runtime_error("as the test wants");
  }

  Lines& lines_;
  const std::string name_;
  const Behaviour behaviour_;
};

auto Note(Lines& lines, const std::string& name, const Behaviour& behaviour = {}) {
  return [&lines, name, behaviour](const rpc::CallInfo& /*call*/) {
    return std::make_unique<StreamNote>(lines, name, behaviour);
  };
}

// How a client's call with streams is made: by threads that wait, or by a reactor.
enum class Style { kWaiting, kReactor };

struct ChatResult {
  rpc::Status status;
  std::vector<std::string> answers;
};

// Says "a" and "b" and reads the answers.
class TwoWords final : public rpc::ClientBidiReactor<Request, Response> {
 public:
  void Begin() {
    request_.set_text("a");
    StartWrite(&request_);
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    result_.answers.push_back(response_.text());
    if (result_.answers.size() == 1) {
      request_.set_text("b");
      StartWrite(&request_);
    } else {
      StartWritesDone();
    }
    StartRead(&response_);
  }
  void OnDone(const rpc::Status& status) override {
    result_.status = status;
    done_.set_value(result_);
  }
  ChatResult Await() { return done_.get_future().get(); }

 private:
  Request request_;
  Response response_;
  ChatResult result_;
  std::promise<ChatResult> done_;
};

ChatResult Chat(Echo::Stub& stub, Style style) {
  ClientContext context;
  context.set_deadline(Soon());
  if (style == Style::kReactor) {
    TwoWords chatter;
    stub.async()->Chat(&context, &chatter);
    chatter.Begin();
    return chatter.Await();
  }
  ChatResult result;
  const auto stream = stub.Chat(&context);
  Request request;
  Response response;
  for (const char* const text : {"a", "b"}) {
    request.set_text(text);
    if (!stream->Write(request) || !stream->Read(&response)) break;
    result.answers.push_back(response.text());
  }
  stream->WritesDone();
  if (stream->Read(&response)) result.answers.push_back(response.text());
  result.status = stream->Finish();
  return result;
}

class InterceptedCall {
 protected:
  std::unique_ptr<Echo::Stub> StubWith(std::vector<rpc::ClientInterceptorFactory> interceptors) {
    return Echo::NewStub(pair_.client_endpoint->CreateChannel("server", std::move(interceptors)));
  }

  Lines lines_;
  EchoPair pair_;
};

class StreamInterceptorTest : public InterceptedCall, public ::testing::TestWithParam<Style> {};
class CallInterceptorTest : public InterceptedCall, public ::testing::Test {};

INSTANTIATE_TEST_SUITE_P(Styles, StreamInterceptorTest,
                         ::testing::Values(Style::kWaiting, Style::kReactor),
                         [](const auto& style) {
                           return style.param == Style::kWaiting ? "Waiting" : "Reactor";
                         });

TEST_P(StreamInterceptorTest, ThoseOfAClientSeeEachMessageAndTheEnd) {
  const auto stub = StubWith({Note(lines_, "a"), Note(lines_, "b")});
  const ChatResult chat = Chat(*stub, GetParam());
  EXPECT_TRUE(chat.status.ok()) << chat.status.error_message();
  EXPECT_THAT(chat.answers, ElementsAre("a!~~", "b!~~"));
  EXPECT_THAT(lines_.Take(), ElementsAre("a begins", "b begins",                  //
                                         "a writes Request", "b writes Request",  //
                                         "b reads Response", "a reads Response",  //
                                         "a writes Request", "b writes Request",  //
                                         "b reads Response", "a reads Response",  //
                                         "a has said all", "b has said all",      //
                                         "b ends 0", "a ends 0"));
}

TEST_P(StreamInterceptorTest, OneThatRefusesEndsTheCallBeforeItIsSent) {
  const auto stub = StubWith({Note(lines_, "a"),
                              Note(lines_, "b", {.begin = {StatusCode::PERMISSION_DENIED, "no"}}),
                              Note(lines_, "c")});
  const ChatResult chat = Chat(*stub, GetParam());
  EXPECT_EQ(chat.status.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(chat.answers, IsEmpty());
  EXPECT_THAT(lines_.Take(), ElementsAre("a begins", "b begins", "b ends 7", "a ends 7"));
}

TEST_P(StreamInterceptorTest, OneMayChangeTheEnd) {
  const auto stub = StubWith({Note(lines_, "a", {.end = {StatusCode::ABORTED, "changed"}})});
  EXPECT_EQ(Chat(*stub, GetParam()).status.error_code(), StatusCode::ABORTED);
}

TEST_P(StreamInterceptorTest, OneThatThrowsEndsTheCallWithUnknown) {
  for (const char* const where :
       {"begins", "writes Request", "reads Response", "has said all", "ends 0"}) {
    const auto stub = StubWith({Note(lines_, "a", {.throws_at = where})});
    EXPECT_EQ(Chat(*stub, GetParam()).status.error_code(), StatusCode::UNKNOWN) << where;
  }
}

TEST_P(StreamInterceptorTest, ThoseOfAServerSeeEachMessageAndTheEnd) {
  EchoPair pair(rpc::Executor::kPool, [&](rpc::ServerBuilder& builder) {
    builder.AddInterceptor(Note(lines_, "a")).AddInterceptor(Note(lines_, "b"));
  });
  const ChatResult chat = Chat(*pair.stub, GetParam());
  EXPECT_TRUE(chat.status.ok());
  EXPECT_THAT(chat.answers, ElementsAre("a!", "b!"));
  EXPECT_THAT(lines_.Take(), ElementsAre("a begins", "b begins",                    //
                                         "a reads Request", "b reads Request",      //
                                         "b writes Response", "a writes Response",  //
                                         "a reads Request", "b reads Request",      //
                                         "b writes Response", "a writes Response",  //
                                         "b ends 0", "a ends 0"));
}

TEST_P(StreamInterceptorTest, OneOfAServerMayRefuseChangeOrThrow) {
  const std::pair<Behaviour, StatusCode> kCases[] = {
      {{.begin = {StatusCode::UNAUTHENTICATED, "who?"}}, StatusCode::UNAUTHENTICATED},
      {{.end = {StatusCode::ABORTED, "changed"}}, StatusCode::ABORTED},
      {{.throws_at = "begins"}, StatusCode::UNKNOWN},
      {{.throws_at = "reads Request"}, StatusCode::UNKNOWN},
      {{.throws_at = "writes Response"}, StatusCode::UNKNOWN},
      {{.throws_at = "ends 0"}, StatusCode::UNKNOWN}};
  for (const auto& [behaviour, code] : kCases) {
    EchoPair pair(rpc::Executor::kPool, [&, &behaviour = behaviour](rpc::ServerBuilder& builder) {
      builder.AddInterceptor(Note(lines_, "a", behaviour));
    });
    EXPECT_EQ(Chat(*pair.stub, GetParam()).status.error_code(), code);
  }
}

// The request of a server's stream and the response of a client's are messages, too.
TEST_F(CallInterceptorTest, MethodsWithOneStreamShowTheirOneMessage) {
  EchoPair pair(rpc::Executor::kPool, [&](rpc::ServerBuilder& builder) {
    builder.AddInterceptor(Note(lines_, "server"));
  });
  const auto stub =
      Echo::NewStub(pair.client_endpoint->CreateChannel("server", {Note(lines_, "client")}));
  {
    ClientContext context;
    Request request;
    request.set_count(1);
    const auto reader = stub->Count(&context, request);
    Response::Part part;
    while (reader->Read(&part)) continue;
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_THAT(lines_.Take(), ::testing::UnorderedElementsAre(
                                   "client begins", "client writes Request", "client has said all",
                                   "server begins", "server reads Request", "server writes Part",
                                   "client reads Part", "server ends 0", "client ends 0"));
  }
  {
    ClientContext context;
    Response response;
    const auto writer = stub->Collect(&context, &response);
    EXPECT_TRUE(writer->Write(Request()));
    EXPECT_TRUE(writer->WritesDone());
    EXPECT_TRUE(writer->Finish().ok());
    EXPECT_EQ(response.text(), "~");
    EXPECT_THAT(lines_.Take(),
                ::testing::UnorderedElementsAre(
                    "client begins", "client writes Request", "client has said all",
                    "server begins", "server reads Request", "server writes Response",
                    "client reads Response", "server ends 0", "client ends 0"));
  }
}

TEST_F(CallInterceptorTest, AStreamThatIsDroppedEndsForItsInterceptors) {
  const auto stub = StubWith({Note(lines_, "a")});
  ClientContext context;
  (void)stub->Chat(&context);
  EXPECT_THAT(lines_.Take(), ElementsAre("a begins", "a ends 1"));
}

class CoroutineEcho final : public Echo::CallbackService {
 public:
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
};

TEST_F(CallInterceptorTest, TheReactorsOfAServerAreIntercepted) {
  CoroutineEcho service;
  ServicePair pair(service,
                   [&](rpc::ServerBuilder& builder) { builder.AddInterceptor(Note(lines_, "a")); });
  const ChatResult chat = Chat(*pair.stub, Style::kWaiting);
  EXPECT_TRUE(chat.status.ok());
  EXPECT_THAT(lines_.Take(), ElementsAre("a begins", "a reads Request", "a writes Response",
                                         "a reads Request", "a writes Response", "a ends 0"));
}

// ---- Answering in the server's place ----

// Gives each request back, with a question mark.
class Answering final : public rpc::ClientInterceptor {
 public:
  rpc::Status Before(ClientContext& /*context*/,
                     const google::protobuf::Message& request) override {
    Take(request);
    return rpc::Status::OK;
  }
  void BeforeWrite(ClientContext& /*context*/, const google::protobuf::Message& message) override {
    Take(message);
  }
  void BeforeWritesDone(ClientContext& /*context*/) override { said_all_ = true; }
  bool Answers(ClientContext& /*context*/) override { return true; }
  bool Answer(ClientContext& /*context*/, google::protobuf::Message& message) override {
    if (said_all_) return false;
    static_cast<Response&>(message).set_text(text_ + "?");
    return true;
  }
  rpc::Status AnswerEnd(ClientContext& /*context*/) override {
    return text_ == "fail" ? rpc::Status(StatusCode::ABORTED, "as asked") : rpc::Status::OK;
  }

 private:
  void Take(const google::protobuf::Message& message) {
    text_ = static_cast<const Request&>(message).text();
  }

  std::string text_;
  bool said_all_ = false;
};

std::unique_ptr<rpc::ClientInterceptor> Answer(const rpc::CallInfo& /*call*/) {
  return std::make_unique<Answering>();
}

TEST_P(StreamInterceptorTest, OneThatAnswersTakesTheServersPlace) {
  const auto stub = StubWith({Note(lines_, "a"), Answer, Note(lines_, "behind")});
  const ChatResult chat = Chat(*stub, GetParam());
  EXPECT_TRUE(chat.status.ok()) << chat.status.error_message();
  EXPECT_THAT(chat.answers, ElementsAre("a?~", "b?~"));
  EXPECT_THAT(lines_.Take(),
              ElementsAre("a begins", "a writes Request", "a reads Response", "a writes Request",
                          "a reads Response", "a has said all", "a ends 0"));
}

TEST_F(CallInterceptorTest, OneThatAnswersAnswersUnaryCalls) {
  const auto stub = StubWith({Answer});
  Request request;
  Response response;
  request.set_text("who");
  {
    ClientContext context;
    EXPECT_TRUE(stub->Say(&context, request, &response).ok());
    EXPECT_EQ(response.text(), "who?");
  }
  response.Clear();
  {
    ClientContext context;
    EXPECT_TRUE(stub->async()->Say(&context, &request, &response).get().ok());
    EXPECT_EQ(response.text(), "who?");
  }
  request.set_text("fail");
  ClientContext context;
  EXPECT_EQ(stub->Say(&context, request, &response).error_code(), StatusCode::ABORTED);
  EXPECT_EQ(pair_.service.calls, 0);
}

TEST_F(CallInterceptorTest, ACancelEndsACallThatIsAnsweredHere) {
  const auto stub = StubWith({Answer});
  ClientContext context;
  const auto stream = stub->Chat(&context);
  Response response;
  EXPECT_TRUE(stream->Write(Request()));
  EXPECT_TRUE(stream->Read(&response));
  context.TryCancel();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
}

TEST_F(CallInterceptorTest, OneThatGivesNoResponseEndsItsCallWithInternal) {
  class Silent final : public rpc::ClientInterceptor {
    bool Answers(ClientContext& /*context*/) override { return true; }
  };
  const auto stub =
      StubWith({[](const rpc::CallInfo& /*call*/) { return std::make_unique<Silent>(); }});
  ClientContext context;
  Response response;
  EXPECT_EQ(stub->Say(&context, Request(), &response).error_code(), StatusCode::INTERNAL);
}

}  // namespace
}  // namespace ivmq::testing
