// Programs that were written for gRPC. Each here could be one: of ivmq it uses gRPC's names only.
#include "ivmq/rpc/grpc_compat.h"

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "echo.ivmq.pb.h"

namespace grpc = ivmq::grpc;

namespace {

using ivmq::test::Echo;
using ivmq::test::Request;
using ivmq::test::Response;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsNull;
using ::testing::NotNull;
using ::testing::Pair;
using ::testing::StartsWith;

std::chrono::system_clock::time_point Soon() {
  return std::chrono::system_clock::now() + std::chrono::seconds(30);
}

class EchoImpl final : public Echo::Service {
  grpc::Status Say(grpc::ServerContext* context, const Request* request,
                   Response* response) override {
    for (const auto& [key, value] : context->client_metadata()) {
      context->AddInitialMetadata(std::string(key), std::string(value));
    }
    response->set_text(request->text() + " for " + context->peer());
    return grpc::Status::OK;
  }
  grpc::Status Chat(grpc::ServerContext* /*context*/,
                    grpc::ServerReaderWriter<Response, Request>* stream) override {
    Request request;
    Response response;
    while (stream->Read(&request)) {
      response.set_text(request.text() + "!");
      if (!stream->Write(response, grpc::WriteOptions().set_buffer_hint())) break;
    }
    return grpc::Status::OK;
  }
};

// The region that `auto` finds is one of this process.
class GrpcCompatTest : public ::testing::Test {
 protected:
  GrpcCompatTest() { setenv("IVMQ_ADDRESS", "inproc:grpc-compat", 1); }
  ~GrpcCompatTest() override { unsetenv("IVMQ_ADDRESS"); }

  std::unique_ptr<grpc::Server> Serve(const std::string& address, int* port = nullptr) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), port);
    builder.RegisterService(&service_);
    return std::unique_ptr<grpc::Server>(builder.BuildAndStart());
  }
  static grpc::Status Say(const std::shared_ptr<grpc::Channel>& channel, Response* response) {
    const auto stub = Echo::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(Soon());
    Request request;
    request.set_text("hello");
    return stub->Say(&context, request, response);
  }
  static std::shared_ptr<grpc::Channel> ChannelTo(const std::string& target) {
    return grpc::CreateChannel(target, grpc::InsecureChannelCredentials());
  }

  EchoImpl service_;
  Response response_;
};

TEST_F(GrpcCompatTest, AServerAndAChannelMeetByNameAndByPort) {
  const std::pair<std::string, std::vector<std::string>> kCases[] = {
      {"ivmq:///vm1", {"ivmq:///vm1", "ivmq://inproc:grpc-compat/vm1", "ivmq:///vm%31"}},
      {"ivmq://inproc:elsewhere/vm1", {"ivmq://inproc:elsewhere/vm1"}},
      {"0.0.0.0:50051",
       {"localhost:50051", "dns:///localhost:50051", "ipv4:127.0.0.1:50051", "[::1]:50051",
        "ivmq:///port-50051"}}};
  for (const auto& [address, targets] : kCases) {
    const auto server = Serve(address);
    ASSERT_THAT(server, NotNull()) << address;
    for (const std::string& target : targets) {
      const grpc::Status status = Say(ChannelTo(target), &response_);
      EXPECT_TRUE(status.ok()) << target << ": " << status.error_message();
    }
  }
}

TEST_F(GrpcCompatTest, AServerThatAsksForAnyPortGetsOneOfItsOwn) {
  int port = -1;
  int another = -1;
  const auto server = Serve("0.0.0.0:0", &port);
  const auto second = Serve("0.0.0.0:0", &another);
  EXPECT_THAT(server, NotNull());
  EXPECT_THAT(second, NotNull());
  EXPECT_GT(port, 0);
  EXPECT_NE(port, another);
  EXPECT_TRUE(Say(ChannelTo("localhost:" + std::to_string(port)), &response_).ok());
}

TEST_F(GrpcCompatTest, ChannelsOfAProcessToARegionShareOnePeer) {
  const auto server = Serve("ivmq:///vm1");
  const auto first = ChannelTo("ivmq:///vm1");
  const auto second = ChannelTo("ivmq:///vm2");
  EXPECT_EQ(&first->endpoint(), &second->endpoint());
  EXPECT_TRUE(Say(first, &response_).ok());
  EXPECT_THAT(response_.text(), StartsWith("hello for anonymous-"));

  grpc::ChannelArguments arguments;
  arguments.SetString("ivmq.name", "visitor");
  arguments.SetMaxReceiveMessageSize(-1);
  EXPECT_TRUE(
      Say(grpc::CreateCustomChannel("ivmq:///vm1", grpc::InsecureChannelCredentials(), arguments),
          &response_)
          .ok());
  EXPECT_EQ(response_.text(), "hello for visitor");

  // That of the server, if it has the name.
  arguments.SetString("ivmq.name", "vm1");
  EXPECT_TRUE(
      Say(grpc::CreateCustomChannel("ivmq:///vm1", grpc::InsecureChannelCredentials(), arguments),
          &response_)
          .ok());
  EXPECT_EQ(response_.text(), "hello for vm1");
}

TEST_F(GrpcCompatTest, AChannelThatGoesNowhereSaysWhy) {
  for (const char* const target : {"ivmq://file:/no/such/region/vm1", "ivmq://nonsense", "ivmq:///",
                                   "ivmq:///vm%3", "unix:/tmp/socket", "nonsense", ""}) {
    const auto channel = ChannelTo(target);
    ASSERT_THAT(channel, NotNull()) << target;
    EXPECT_EQ(channel->GetState(true), GRPC_CHANNEL_TRANSIENT_FAILURE);
    const grpc::Status status = Say(channel, &response_);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << target;
    EXPECT_FALSE(status.error_message().empty()) << target;
  }
}

TEST_F(GrpcCompatTest, AServerThatCannotListenIsNone) {
  ::testing::internal::CaptureStderr();
  int port = -1;
  EXPECT_THAT(Serve("ivmq://file:/no/such/region/vm1", &port), IsNull());
  EXPECT_EQ(port, 0);
  EXPECT_THAT(Serve("nonsense"), IsNull());
  const auto server = Serve("ivmq:///vm1");
  EXPECT_THAT(Serve("ivmq:///vm1"), IsNull());
  grpc::ServerBuilder nowhere;
  EXPECT_THAT(nowhere.RegisterService(&service_).BuildAndStart(), IsNull());
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("/no/such/region"), HasSubstr("'nonsense'"),
                    HasSubstr("the endpoint has a server"), HasSubstr("on 0")));
}

// In a process of its own, which has not warned before.
TEST(GrpcCompatDeathTest, CredentialsAreIgnoredWithOneWarning) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        (void)grpc::SslCredentials({.pem_root_certs = "roots"});
        (void)grpc::SslServerCredentials({.force_client_auth = true});
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "^ivmq: credentials are ignored[^\n]*\n$");
}

TEST_F(GrpcCompatTest, CredentialsThatPromiseMoreServeAsWell) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("ivmq:///vm1", grpc::SslServerCredentials({}));
  builder.RegisterService(&service_);
  const auto server = builder.BuildAndStart();
  const auto channel = grpc::CreateChannel("ivmq:///vm1", grpc::SslCredentials({}));
  EXPECT_TRUE(Say(channel, &response_).ok());
}

TEST_F(GrpcCompatTest, AServerOffersHealthIfThatIsEnabled) {
  EXPECT_FALSE(grpc::DefaultHealthCheckServiceEnabled());
  EXPECT_THAT(Serve("ivmq:///vm1")->GetHealthCheckService(), IsNull());
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  const auto server = Serve("ivmq:///vm1");
  ASSERT_THAT(server->GetHealthCheckService(), NotNull());
  server->GetHealthCheckService()->SetServingStatus("ivmq.test.Echo", true);
  grpc::EnableDefaultHealthCheckService(false);
}

TEST_F(GrpcCompatTest, MessagesGoThroughAByteBuffer) {
  Request request;
  request.set_text("bytes");
  grpc::ByteBuffer buffer;
  bool own = false;
  EXPECT_FALSE(buffer.Valid());
  EXPECT_TRUE(grpc::SerializationTraits<Request>::Serialize(request, &buffer, &own).ok());
  EXPECT_EQ(buffer.Length(), request.ByteSizeLong());
  grpc::ByteBuffer copy = buffer;
  Request parsed;
  EXPECT_TRUE(grpc::SerializationTraits<Request>::Deserialize(&copy, &parsed).ok());
  EXPECT_EQ(parsed.text(), "bytes");
  EXPECT_FALSE(copy.Valid());
  EXPECT_FALSE(grpc::SerializationTraits<Request>::Deserialize(&copy, &parsed).ok());
}

// ---- Interceptors ----

using Points = grpc::experimental::InterceptionHookPoints;

constexpr std::pair<Points, const char*> kPoints[] = {
    {Points::PRE_SEND_INITIAL_METADATA, "send metadata"},
    {Points::PRE_SEND_MESSAGE, "send message"},
    {Points::PRE_SEND_CLOSE, "close"},
    {Points::PRE_RECV_INITIAL_METADATA, "give metadata"},
    {Points::PRE_RECV_MESSAGE, "give message"},
    {Points::PRE_RECV_STATUS, "give status"},
    {Points::POST_RECV_INITIAL_METADATA, "metadata"},
    {Points::POST_RECV_MESSAGE, "message"},
    {Points::POST_RECV_STATUS, "status"}};

enum class Does { kWatches, kHijacks, kForgets };

class Watcher final : public grpc::experimental::Interceptor {
 public:
  Watcher(grpc::experimental::ClientRpcInfo* info, std::vector<std::string>& seen, Does does)
      : seen_(seen), does_(does) {
    seen_.emplace_back(info->method());
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    for (const auto& [point, name] : kPoints) {
      if (methods->QueryInterceptionHookPoint(point)) seen_.emplace_back(name);
    }
    if (methods->QueryInterceptionHookPoint(Points::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("added", "here");
      if (does_ == Does::kHijacks) return methods->Hijack();
    }
    if (const void* const sent = methods->GetSendMessage(); sent != nullptr) {
      text_ = static_cast<const Request*>(sent)->text();
      Request copy;
      EXPECT_TRUE(grpc::SerializationTraits<Request>::Deserialize(
                      methods->GetSerializedSendMessage(), &copy)
                      .ok());
      EXPECT_EQ(copy.text(), text_);
    }
    if (auto* const received = static_cast<Response*>(methods->GetRecvMessage())) {
      if (does_ == Does::kHijacks) received->set_text(text_ + " from nobody");
      received->mutable_text()->append("~");
    }
    if (methods->QueryInterceptionHookPoint(Points::POST_RECV_STATUS)) {
      EXPECT_THAT(methods->GetRecvStatus(), NotNull());
    }
    if (does_ != Does::kForgets) methods->Proceed();
  }

 private:
  std::vector<std::string>& seen_;
  const Does does_;
  std::string text_;
};

class WatcherFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  WatcherFactory(std::vector<std::string>& seen, Does does) : seen_(seen), does_(does) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo* info) override {
    return new Watcher(info, seen_, does_);
  }

 private:
  std::vector<std::string>& seen_;
  const Does does_;
};

class GrpcInterceptorTest : public GrpcCompatTest {
 protected:
  std::unique_ptr<Echo::Stub> StubWith(const std::vector<Does>& interceptors) {
    std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> creators;
    for (const Does does : interceptors) {
      creators.push_back(std::make_unique<WatcherFactory>(seen_, does));
    }
    return Echo::NewStub(grpc::experimental::CreateCustomChannelWithInterceptors(
        "ivmq:///vm1", grpc::InsecureChannelCredentials(), grpc::ChannelArguments(),
        std::move(creators)));
  }

  std::vector<std::string> seen_;
  std::unique_ptr<grpc::Server> server_ = Serve("ivmq:///vm1");
};

TEST_F(GrpcInterceptorTest, AUnaryCallPassesItsPoints) {
  const auto stub = StubWith({Does::kWatches});
  grpc::ClientContext context;
  context.AddMetadata("own", "too");
  Request request;
  request.set_text("hello");
  EXPECT_TRUE(stub->Say(&context, request, &response_).ok());
  EXPECT_THAT(response_.text(), AllOf(StartsWith("hello for"), HasSubstr("~")));
  EXPECT_THAT(seen_, ElementsAre("/ivmq.test.Echo/Say", "send metadata", "send message", "close",
                                 "metadata", "message", "status"));
  EXPECT_THAT(context.GetServerInitialMetadata(),
              ElementsAre(Pair("added", "here"), Pair("own", "too")));
}

TEST_F(GrpcInterceptorTest, AStreamPassesItsPoints) {
  const auto stub = StubWith({Does::kWatches});
  grpc::ClientContext context;
  const auto stream = stub->Chat(&context);
  Request request;
  request.set_text("a");
  EXPECT_TRUE(stream->Write(request));
  EXPECT_TRUE(stream->Read(&response_));
  EXPECT_EQ(response_.text(), "a!~");
  EXPECT_TRUE(stream->WritesDone());
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_THAT(seen_, ElementsAre("/ivmq.test.Echo/Chat", "send metadata", "send message",
                                 "metadata", "message", "close", "status"));
}

TEST_F(GrpcInterceptorTest, OneThatHijacksAnswersInTheServersPlace) {
  server_.reset();
  const auto stub = StubWith({Does::kHijacks, Does::kWatches});
  grpc::ClientContext context;
  const auto stream = stub->Chat(&context);
  Request request;
  request.set_text("a");
  EXPECT_TRUE(stream->Write(request));
  EXPECT_TRUE(stream->Read(&response_));
  EXPECT_EQ(response_.text(), "a from nobody~");
  EXPECT_TRUE(stream->WritesDone());
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_THAT(seen_, ElementsAre("/ivmq.test.Echo/Chat", "send metadata", "send message",
                                 "give metadata", "give message", "close", "give status"));
}

TEST_F(GrpcInterceptorTest, OneThatNeitherProceedsNorHijacksCancelsTheCall) {
  ::testing::internal::CaptureStderr();
  const auto stub = StubWith({Does::kForgets});
  grpc::ClientContext context;
  EXPECT_EQ(stub->Say(&context, Request(), &response_).error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("Proceed()"));
}

// Of a server: notes its points, adds metadata, and refuses who has no password.
class Guard final : public grpc::experimental::Interceptor {
 public:
  Guard(grpc::experimental::ServerRpcInfo* info, std::vector<std::string>& seen) : seen_(seen) {
    seen_.emplace_back(info->method());
    EXPECT_THAT(info->server_context(), NotNull());
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    constexpr std::pair<Points, const char*> kServerPoints[] = {
        {Points::POST_RECV_INITIAL_METADATA, "metadata"},
        {Points::POST_RECV_MESSAGE, "message"},
        {Points::PRE_SEND_INITIAL_METADATA, "send metadata"},
        {Points::PRE_SEND_MESSAGE, "send message"},
        {Points::PRE_SEND_STATUS, "send status"},
        {Points::POST_RECV_CLOSE, "close"}};
    for (const auto& [point, name] : kServerPoints) {
      if (methods->QueryInterceptionHookPoint(point)) seen_.emplace_back(name);
    }
    if (methods->QueryInterceptionHookPoint(Points::POST_RECV_INITIAL_METADATA)) {
      knows_ = methods->GetRecvInitialMetadata()->count("password") != 0;
    }
    if (methods->QueryInterceptionHookPoint(Points::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("guarded", "yes");
    }
    if (methods->QueryInterceptionHookPoint(Points::PRE_SEND_STATUS)) {
      EXPECT_TRUE(methods->GetSendStatus().ok());
      methods->GetSendTrailingMetadata()->emplace("seen", "off");
      if (!knows_) methods->ModifySendStatus({grpc::StatusCode::UNAUTHENTICATED, "who is there?"});
    }
    methods->Proceed();
  }

 private:
  std::vector<std::string>& seen_;
  bool knows_ = false;
};

class GuardFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit GuardFactory(std::vector<std::string>& seen) : seen_(seen) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new Guard(info, seen_);
  }

 private:
  std::vector<std::string>& seen_;
};

class GrpcServerInterceptorTest : public GrpcCompatTest {
 protected:
  GrpcServerInterceptorTest() {
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> creators;
    creators.push_back(std::make_unique<GuardFactory>(seen_));
    grpc::ServerBuilder builder;
    builder.AddListeningPort("ivmq:///vm1", grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    builder.experimental().SetInterceptorCreators(std::move(creators));
    server_ = builder.BuildAndStart();
    stub_ = Echo::NewStub(ChannelTo("ivmq:///vm1"));
  }

  std::vector<std::string> seen_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Echo::Stub> stub_;
};

TEST_F(GrpcServerInterceptorTest, AUnaryCallPassesItsPoints) {
  for (const bool knows : {true, false}) {
    grpc::ClientContext context;
    if (knows) context.AddMetadata("password", "open");
    EXPECT_EQ(stub_->Say(&context, Request(), &response_).error_code(),
              knows ? grpc::StatusCode::OK : grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(context.GetServerInitialMetadata().count("guarded"), 1U);
    EXPECT_THAT(context.GetServerTrailingMetadata(), ElementsAre(Pair("seen", "off")));
    EXPECT_THAT(std::exchange(seen_, {}),
                ElementsAre("/ivmq.test.Echo/Say", "metadata", "message", "send metadata",
                            "send message", "send status", "close"));
  }
}

TEST_F(GrpcServerInterceptorTest, AStreamPassesItsPoints) {
  grpc::ClientContext context;
  context.AddMetadata("password", "open");
  const auto stream = stub_->Chat(&context);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(stream->Write(Request()));
    EXPECT_TRUE(stream->Read(&response_));
  }
  EXPECT_TRUE(stream->WritesDone());
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(context.GetServerInitialMetadata().count("guarded"), 1U);
  EXPECT_THAT(seen_,
              ElementsAre("/ivmq.test.Echo/Chat", "metadata", "message", "send metadata",
                          "send message", "message", "send message", "send status", "close"));
}

}  // namespace
