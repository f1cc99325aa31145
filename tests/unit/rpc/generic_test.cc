// Calls by path and bytes: they meet typed stubs and services, and each other.
#include "ivmq/rpc/generic.h"

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/wrappers.pb.h>
#include <gtest/gtest.h>

#include "ivmq/rpc/coroutine.h"
#include "ivmq/rpc/interceptor.h"

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using rpc::ClientReaderWriter;
using rpc::GenericService;
using rpc::GenericStub;
using rpc::ServerContext;
using rpc::ServerReader;
using rpc::ServerReaderWriter;
using rpc::ServerWriter;
using Bytes = std::string;

constexpr const char* kSay = "/ivmq.test.Echo/Say";
constexpr const char* kCollect = "/ivmq.test.Echo/Collect";
constexpr const char* kCount = "/ivmq.test.Echo/Count";
constexpr const char* kChat = "/ivmq.test.Echo/Chat";

Bytes RequestOf(const std::string& text) {
  Request request;
  request.set_text(text);
  return request.SerializeAsString();
}
Bytes RequestOf(std::int32_t count) {
  Request request;
  request.set_count(count);
  return request.SerializeAsString();
}
Response Parsed(const Bytes& bytes) {
  Response response;
  EXPECT_TRUE(response.ParseFromString(bytes));
  return response;
}

// ---- A generic client, and a typed service ----

class GenericStubTest : public ::testing::Test {
 protected:
  EchoPair pair_;
  GenericStub stub_{pair_.client_endpoint->CreateChannel("server")};
  ClientContext context_;
};

TEST_F(GenericStubTest, CallsATypedMethodByItsPath) {
  Bytes response = "from before";
  const Status status = stub_.Call(&context_, kSay, RequestOf("hello"), &response);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(Parsed(response).text(), "hello for client");
}

TEST_F(GenericStubTest, ThePathNeedNotOutliveTheBeginningOfACall) {
  const Bytes request = RequestOf("hello");
  Bytes response;
  std::future<Status> end =
      stub_.CallFuture(&context_, std::string("/ivmq.test.Echo/") + "Say", request, &response);
  EXPECT_TRUE(end.get().ok());
  EXPECT_EQ(Parsed(response).text(), "hello for client");
}

TEST_F(GenericStubTest, APathThatNobodyOffersEndsWithUnimplemented) {
  for (const char* const path : {"/ivmq.test.Echo/Sing", "Say", "", "/"}) {
    ClientContext context;
    Bytes response;
    EXPECT_EQ(stub_.Call(&context, path, "", &response).code(), StatusCode::kUnimplemented) << path;
  }
}

TEST_F(GenericStubTest, BytesThatAreNoRequestEndTheCallAsThoseOfATypedStub) {
  Bytes response;
  EXPECT_EQ(stub_.Call(&context_, kSay, "\xff\xff", &response).code(), StatusCode::kInternal);
}

TEST_F(GenericStubTest, SendsAStream) {
  Bytes response;
  const auto writer = stub_.ClientStream(&context_, kCollect, &response);
  for (std::int32_t i = 0; i < 100; ++i) ASSERT_TRUE(writer->Write(RequestOf(i)));
  ASSERT_TRUE(writer->WritesDone());
  const Status status = writer->Finish();
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(Parsed(response).count(), 100);
}

TEST_F(GenericStubTest, ReadsAStream) {
  const auto reader = stub_.ServerStream(&context_, kCount, RequestOf(std::int32_t{100}));
  Bytes bytes;
  std::int64_t count = 0;
  while (reader->Read(&bytes)) {
    Response::Part part;
    ASSERT_TRUE(part.ParseFromString(bytes));
    EXPECT_EQ(part.number(), count++);
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(count, 100);
}

TEST_F(GenericStubTest, ReadsAndWritesStreams) {
  const auto chat = stub_.BidiStream(&context_, kChat);
  Bytes bytes;
  for (const char* const word : {"one", "two"}) {
    ASSERT_TRUE(chat->Write(RequestOf(word)));
    ASSERT_TRUE(chat->Read(&bytes));
    EXPECT_EQ(Parsed(bytes).text(), std::string(word) + "!");
  }
  ASSERT_TRUE(chat->WritesDone());
  EXPECT_FALSE(chat->Read(&bytes));
  EXPECT_TRUE(chat->Finish().ok());
}

TEST_F(GenericStubTest, AMessageLargerThanARecordArrivesWhole) {
  Request request;
  request.set_data(Bytes(std::size_t{3} << 20, 'x'));
  Bytes response;
  const Status status = stub_.Call(&context_, kSay, request.SerializeAsString(), &response);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(Parsed(response).data(), request.data());
}

class BytesReactor final : public rpc::ClientBidiReactor<Bytes, Bytes> {
 public:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    read.push_back(bytes_);
    StartRead(&bytes_);
  }
  void OnDone(const Status& status) override { end.set_value(status); }
  void Begin(const Bytes* request) {
    StartRead(&bytes_);
    StartWriteLast(request, {});
    StartCall();
  }

  std::vector<Bytes> read;
  std::promise<Status> end;

 private:
  Bytes bytes_;
};

TEST_F(GenericStubTest, ReactorsMoveBytes) {
  BytesReactor reactor;
  const Bytes request = RequestOf("hello");
  stub_.BidiStream(&context_, kChat, &reactor);
  reactor.Begin(&request);
  EXPECT_TRUE(reactor.end.get_future().get().ok());
  ASSERT_EQ(reactor.read.size(), 1U);
  EXPECT_EQ(Parsed(reactor.read[0]).text(), "hello!");
}

// ---- A generic service ----

class Backwards final : public rpc::ServerBidiReactor<Bytes, Bytes> {
 public:
  Backwards() { StartRead(&bytes_); }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(Status::OK);
    bytes_ = Bytes(bytes_.rbegin(), bytes_.rend());
    StartWrite(&bytes_);
  }
  void OnWriteDone(bool /*ok*/) override { StartRead(&bytes_); }
  void OnDone() override { delete this; }

 private:
  Bytes bytes_;
};

class Twice final : public rpc::ServerWriteReactor<Bytes> {
 public:
  explicit Twice(const Bytes* request) : request_(request) { StartWrite(request_); }
  void OnWriteDone(bool /*ok*/) override { StartWriteAndFinish(request_, Status::OK); }
  void OnDone() override { delete this; }

 private:
  const Bytes* request_;
};

class Length final : public rpc::ServerReadReactor<Bytes> {
 public:
  explicit Length(Bytes* response) : response_(response) { StartRead(&bytes_); }
  void OnReadDone(bool ok) override {
    if (!ok) {
      *response_ = std::to_string(length_);
      return Finish(Status::OK);
    }
    length_ += bytes_.size();
    StartRead(&bytes_);
  }
  void OnDone() override { delete this; }

 private:
  Bytes* response_;
  Bytes bytes_;
  std::size_t length_ = 0;
};

// Every kind of method, with each kind of handler.
void AddAll(GenericService& service) {
  service.AddUnary("/any.Thing/Unary",
                   [](ServerContext* context, const Bytes* request, Bytes* response) {
                     context->AddTrailingMetadata("served", "yes");
                     *response = *request + " for " + context->peer();
                     return Status::OK;
                   });
  service.AddUnary("/any.Thing/UnaryReactor",
                   [](ServerContext* context, const Bytes* request, Bytes* response) {
                     *response = *request;
                     auto* const reactor = context->DefaultReactor();
                     reactor->Finish(Status::OK);
                     return reactor;
                   });
  service.AddClientStream("/any.Thing/ClientStream",
                          [](ServerContext*, ServerReader<Bytes>* reader, Bytes* response) {
                            Bytes bytes;
                            while (reader->Read(&bytes)) *response += bytes;
                            return Status::OK;
                          });
  service.AddClientStream("/any.Thing/ClientStreamReactor",
                          [](ServerContext*, Bytes* response) { return new Length(response); });
  service.AddServerStream(
      "/any.Thing/ServerStream",
      [](ServerContext*, const Bytes* request, ServerWriter<Bytes>* writer) -> Status {
        for (const char c : *request) writer->Write(Bytes(1, c));
        return {StatusCode::kDataLoss, "enough", "details"};
      });
  service.AddServerStream("/any.Thing/ServerStreamReactor",
                          [](ServerContext*, const Bytes* request) { return new Twice(request); });
  service.AddBidiStream("/any.Thing/BidiStream",
                        [](ServerContext*, ServerReaderWriter<Bytes, Bytes>* stream) {
                          Bytes bytes;
                          while (stream->Read(&bytes)) stream->Write(bytes + bytes);
                          return Status::OK;
                        });
  service.AddBidiStream("/any.Thing/BidiStreamReactor",
                        [](ServerContext*) { return new Backwards; });
}

struct GenericServiceMember {
  GenericServiceMember() { AddAll(service); }
  GenericService service;
};
struct GenericPair : GenericServiceMember, ServicePair {
  explicit GenericPair(const std::function<void(rpc::ServerBuilder&)>& build = {})
      : ServicePair(service, build) {}
};

class GenericServiceTest : public ::testing::Test {
 protected:
  GenericPair pair_;
  GenericStub stub_{pair_.client_endpoint->CreateServiceChannel("any.Thing")};
  ClientContext context_;
};

TEST_F(GenericServiceTest, AnswersBytesWithBytesWhateverTheyAre) {
  const Bytes request("\0\xff", 2);
  Bytes response;
  const Status status = stub_.Call(&context_, "/any.Thing/Unary", request, &response);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(response, request + " for client");
  EXPECT_EQ(context_.GetServerTrailingMetadata().count("served"), 1U);
}

TEST_F(GenericServiceTest, AnEmptyMessageIsAMessage) {
  Bytes response = "from before";
  ASSERT_TRUE(stub_.Call(&context_, "/any.Thing/UnaryReactor", "", &response).ok());
  EXPECT_EQ(response, "");
}

TEST_F(GenericServiceTest, CollectsAStream) {
  for (const auto& [path, result] : {std::pair("/any.Thing/ClientStream", "abcd"),
                                     std::pair("/any.Thing/ClientStreamReactor", "4")}) {
    ClientContext context;
    Bytes response;
    const auto writer = stub_.ClientStream(&context, path, &response);
    for (const char* const word : {"ab", "", "cd"}) ASSERT_TRUE(writer->Write(word));
    ASSERT_TRUE(writer->WritesDone());
    EXPECT_TRUE(writer->Finish().ok());
    EXPECT_EQ(response, result) << path;
  }
}

TEST_F(GenericServiceTest, SendsAStreamAndAStatus) {
  const Bytes request = "abc";
  const auto reader = stub_.ServerStream(&context_, "/any.Thing/ServerStream", request);
  Bytes all;
  for (Bytes bytes; reader->Read(&bytes);) all += bytes;
  EXPECT_EQ(all, "abc");
  const Status status = reader->Finish();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_EQ(status.error_details(), "details");

  ClientContext context;
  const auto twice = stub_.ServerStream(&context, "/any.Thing/ServerStreamReactor", request);
  all.clear();
  for (Bytes bytes; twice->Read(&bytes);) all += bytes;
  EXPECT_EQ(all, "abcabc");
  EXPECT_TRUE(twice->Finish().ok());
}

TEST_F(GenericServiceTest, TalksBothWays) {
  for (const auto& [path, result] : {std::pair("/any.Thing/BidiStream", "abab"),
                                     std::pair("/any.Thing/BidiStreamReactor", "ba")}) {
    ClientContext context;
    const auto chat = stub_.BidiStream(&context, path);
    Bytes bytes;
    ASSERT_TRUE(chat->Write("ab"));
    ASSERT_TRUE(chat->Read(&bytes));
    EXPECT_EQ(bytes, result) << path;
    ASSERT_TRUE(chat->WritesDone());
    EXPECT_FALSE(chat->Read(&bytes));
    EXPECT_TRUE(chat->Finish().ok());
  }
}

TEST(GenericServicePathTest, ATypedStubCallsAGenericMethod) {
  GenericService service;
  service.AddUnary(kSay, [](ServerContext*, const Bytes* request, Bytes* response) -> Status {
    Request parsed;
    if (!parsed.ParseFromString(*request)) return {StatusCode::kInvalidArgument, "no request"};
    Response made;
    made.set_text(parsed.text() + "?");
    *response = made.SerializeAsString();
    return Status::OK;
  });
  const ServicePair pair(service);
  ClientContext context;
  Request request;
  request.set_text("hello");
  Response response;
  ASSERT_TRUE(pair.stub->Say(&context, request, &response).ok());
  EXPECT_EQ(response.text(), "hello?");
}

TEST(GenericServicePathTest, AServerWithAPathThatIsNoneDoesNotStart) {
  const EchoPair pair;
  for (const char* const path : {"", "/", "Say", "any.Thing/Say", "//Say", "/any.Thing/"}) {
    GenericService service;
    service.AddUnary(path, [](ServerContext*, const Bytes*, Bytes*) { return Status(Status::OK); });
    rpc::ServerBuilder builder(pair.client_endpoint);
    builder.RegisterService(&service);
    EXPECT_EQ(builder.BuildAndStart().status().code(), StatusCode::kInvalidArgument) << path;
  }
}

// ---- Interceptors ----

const Bytes& BytesOf(const google::protobuf::Message& message) {
  return dynamic_cast<const google::protobuf::BytesValue&>(message).value();
}

class Louder final : public rpc::ServerInterceptor {
 public:
  Status Before(ServerContext& /*context*/, const google::protobuf::Message& request) override {
    if (BytesOf(request) == "secret") return {StatusCode::kPermissionDenied, "not for you"};
    return Status::OK;
  }
  void After(ServerContext& /*context*/, Status& /*status*/,
             google::protobuf::Message& response) override {
    *dynamic_cast<google::protobuf::BytesValue&>(response).mutable_value() += "!";
  }
  void AfterRead(ServerContext& /*context*/, google::protobuf::Message& message) override {
    *dynamic_cast<google::protobuf::BytesValue&>(message).mutable_value() += "?";
  }
};

TEST(GenericInterceptorTest, ThoseOfAServerSeeBytesAndMayChangeThem) {
  const GenericPair pair([](rpc::ServerBuilder& builder) {
    builder.AddInterceptor([](const rpc::CallInfo&) { return std::make_unique<Louder>(); });
  });
  GenericStub stub(pair.client_endpoint->CreateChannel("server"));
  {
    ClientContext context;
    Bytes response;
    EXPECT_EQ(stub.Call(&context, "/any.Thing/Unary", "secret", &response).code(),
              StatusCode::kPermissionDenied);
  }
  {
    ClientContext context;
    Bytes response;
    EXPECT_TRUE(stub.Call(&context, "/any.Thing/Unary", "hello", &response).ok());
    EXPECT_EQ(response, "hello for client!");
  }
  ClientContext context;
  const auto chat = stub.BidiStream(&context, "/any.Thing/BidiStream");
  Bytes bytes;
  ASSERT_TRUE(chat->Write("a"));
  ASSERT_TRUE(chat->Read(&bytes));
  EXPECT_EQ(bytes, "a?a?");
  ASSERT_TRUE(chat->WritesDone());
  EXPECT_TRUE(chat->Finish().ok());
}

class Recorder final : public rpc::ClientInterceptor {
 public:
  Recorder(std::string_view method, std::vector<std::string>& seen)
      : method_(method), seen_(seen) {}
  Status Before(ClientContext& /*context*/, const google::protobuf::Message& request) override {
    seen_.push_back(BytesOf(request));
    return Status::OK;
  }
  void After(ClientContext& /*context*/, Status& /*status*/,
             google::protobuf::Message& response) override {
    seen_.push_back(BytesOf(response));
    seen_.emplace_back(method_);
  }

 private:
  const std::string_view method_;  // valid as long as the interceptor
  std::vector<std::string>& seen_;
};

TEST(GenericInterceptorTest, ThoseOfAClientSeeBytesAndThePathUntilTheEnd) {
  const GenericPair pair;
  std::vector<std::string> seen;
  GenericStub stub(pair.client_endpoint->CreateChannel(
      "server",
      {[&](const rpc::CallInfo& call) { return std::make_unique<Recorder>(call.method, seen); }}));
  ClientContext context;
  const Bytes request = "hello";
  Bytes response;
  std::future<Status> end;
  {
    const std::string path = std::string("/any.Thing/") + "UnaryReactor";
    end = stub.CallFuture(&context, path, request, &response);
  }
  EXPECT_TRUE(end.get().ok());
  EXPECT_EQ(response, "hello");
  EXPECT_EQ(seen, (std::vector<std::string>{"hello", "hello", "/any.Thing/UnaryReactor"}));
}

}  // namespace
}  // namespace ivmq::testing
