// call, and ls --services.
#include <atomic>
#include <csignal>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "ivmq/address.h"
#include "ivmq/rpc/server.h"

#include "echo.ivmq.pb.h"
#include "fixture.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using ivmq::test::Echo;
using ivmq::test::Request;
using ivmq::test::Response;
using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class CalledEcho final : public Echo::Service {
 public:
  explicit CalledEcho(std::string name) : name_(std::move(name)) {}

  rpc::Status Say(rpc::ServerContext* context, const Request* request,
                  Response* response) override {
    if (request->fail()) return {rpc::StatusCode::NOT_FOUND, "nothing\x1b[31m", "\x01\x02"};
    if (request->wait_cancel()) {
      begun.set_value();
      while (!context->IsCancelled()) std::this_thread::yield();
      return {rpc::StatusCode::CANCELLED, ""};
    }
    for (const auto& [key, value] : context->client_metadata()) {
      context->AddInitialMetadata(std::string(key), std::string(value));
    }
    context->AddTrailingMetadata("served-by", name_);
    response->set_text(request->text() + " from " + name_);
    response->set_count(request->count());
    response->set_data(request->data());
    if (request->has_detail()) *response->mutable_detail() = request->detail();
    return rpc::Status::OK;
  }
  rpc::Status Collect(rpc::ServerContext* /*context*/, rpc::ServerReader<Request>* reader,
                      Response* response) override {
    Request request;
    while (reader->Read(&request)) {
      response->set_text(response->text() + request.text());
      response->set_count(response->count() + 1);
    }
    return rpc::Status::OK;
  }
  rpc::Status Count(rpc::ServerContext* /*context*/, const Request* request,
                    rpc::ServerWriter<Response::Part>* writer) override {
    Response::Part part;
    for (std::int64_t i = 0; i < request->count(); ++i) {
      part.set_number(i);
      if (!writer->Write(part)) return {rpc::StatusCode::CANCELLED, ""};
    }
    if (request->fail()) return {rpc::StatusCode::ABORTED, "after some"};
    return rpc::Status::OK;
  }
  rpc::Status Chat(rpc::ServerContext* /*context*/,
                   rpc::ServerReaderWriter<Response, Request>* stream) override {
    Request request;
    Response response;
    while (stream->Read(&request)) {
      if (request.fail()) return {rpc::StatusCode::OUT_OF_RANGE, "enough"};
      response.set_text(request.text() + "!");
      if (!stream->Write(response)) return {rpc::StatusCode::CANCELLED, ""};
    }
    return rpc::Status::OK;
  }

  std::promise<void> begun;

 private:
  const std::string name_;
};

// A peer that offers Echo.
struct EchoPeer {
  EchoPeer(const std::string& address, const std::string& name,
           void (*build)(rpc::ServerBuilder&) = nullptr)
      : service(name) {
    auto opened = rpc::Endpoint::Open(address, {.node = {.name = name}});
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    rpc::ServerBuilder builder(*opened);
    builder.RegisterService(&service);
    if (build != nullptr) build(builder);
    auto built = builder.BuildAndStart();
    EXPECT_TRUE(built.ok()) << built.status().ToString();
    server = *std::move(built);
  }

  CalledEcho service;
  std::unique_ptr<rpc::Server> server;
};

class CallTest : public ToolTest {
 protected:
  // Slots for many calls: those of ended ones are free again only when their rings are.
  CallTest() {
    const Outcome made =
        RunTool({"format", address_, "--size", "8M", "--max-peers", "64", "--ring-size", "64K"});
    EXPECT_EQ(made.exit_code, 0) << made.err;
  }
};

TEST_F(CallTest, ServicesAreListedWithThePeersThatOfferThem) {
  const Outcome none = RunTool({"ls", address_, "--services"});
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_THAT(none.err, HasSubstr("no services"));
  const EchoPeer bob(address_, "bob");
  const EchoPeer eve(address_, "eve");
  EXPECT_THAT(RunTool({"ls", address_, "--services"}).out, HasSubstr("ivmq.test.Echo  bob, eve\n"));
  const Json services = RunTool({"ls", address_, "--services", "--json"}).Json()["services"];
  EXPECT_EQ(services, Json::parse(R"([{"service": "ivmq.test.Echo", "peers": ["bob", "eve"]}])"));
  const Json peers = RunTool({"ls", address_, "--json"}).Json()["peers"];
  EXPECT_EQ(peers[0]["services"], Json::parse(R"(["ivmq.test.Echo"])"));
  EXPECT_EQ(RunTool({"ls", address_, "--services", "--vectors"}).exit_code, 2);
}

TEST_F(CallTest, FieldsThatAreNotSetArePrintedOnRequest) {
  EchoPeer bob(address_, "bob");
  const std::vector<std::string> call{"call", address_, "bob", "ivmq.test.Echo/Say"};
  EXPECT_EQ(RunTool(call).out, "{\"text\":\" from bob\"}\n");
  std::vector<std::string> all = call;
  all.emplace_back("--emit-defaults");
  const Json response = RunTool(all).Json();
  EXPECT_EQ(response["count"], "0");
  EXPECT_EQ(response["data"], "");
}

// The service's own files do not have it: the server's program does.
TEST_F(CallTest, AnAnyHoldsWhateverTheServerKnows) {
  EchoPeer bob(address_, "bob");
  const std::string detail =
      R"({"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1.500s"})";
  const Outcome call =
      RunTool({"call", address_, "bob", "ivmq.test.Echo/Say", R"({"detail": )" + detail + "}"});
  EXPECT_EQ(call.exit_code, 0) << call.err;
  EXPECT_EQ(call.Json()["detail"], Json::parse(detail));
}

TEST_F(CallTest, AUnaryCallPrintsItsResponse) {
  const EchoPeer bob(address_, "bob");
  const Outcome call = RunTool({"call", address_, "bob", "ivmq.test.Echo/Say",
                                R"({"text": "hi \u202e", "count": 3, "data": "AAE="})"});
  EXPECT_EQ(call.exit_code, 0) << call.err;
  EXPECT_EQ(call.out, "{\"text\":\"hi \\u202e from bob\",\"count\":\"3\",\"data\":\"AAE=\"}\n");
  EXPECT_THAT(call.err, IsEmpty());
  // Without a request, and by $IVMQ_ADDRESS.
  EXPECT_EQ(RunTool({"call", "bob", "ivmq.test.Echo/Say"}, "", address_).Json()["text"],
            " from bob");
  EXPECT_EQ(RunTool({"call", address_, "bob", "/ivmq.test.Echo/Say", "-"}, R"({"text": "in"})")
                .Json()["text"],
            "in from bob");
}

TEST_F(CallTest, WithoutAPeerTheCallGoesToOneThatOffersTheService) {
  const EchoPeer bob(address_, "bob");
  EXPECT_EQ(RunTool({"call", address_, "ivmq.test.Echo/Say", R"({"text": "a/b"})"}).Json()["text"],
            "a/b from bob");
  const Outcome none = RunTool({"call", address_, "ivmq.test.Nope/Say"});
  EXPECT_EQ(none.exit_code, 3);
  EXPECT_THAT(none.err, AllOf(HasSubstr("no live peer offers 'ivmq.test.Nope'"),
                              HasSubstr("ivmq.test.Echo by bob")));
}

TEST_F(CallTest, ACallWaitsForAPeerThatComesLater) {
  Tool named({"call", address_, "bob", "ivmq.test.Echo/Say", "--await", "30"});
  Tool any({"call", address_, "ivmq.test.Echo/Say", "--await", "30"});
  const EchoPeer bob(address_, "bob");
  EXPECT_EQ(named.Wait().exit_code, 0);
  EXPECT_EQ(any.Wait().exit_code, 0);
  EXPECT_EQ(RunTool({"call", address_, "eve", "a.B/C", "--await", "1ms"}).exit_code, 4);
  EXPECT_EQ(RunTool({"call", address_, "a.B/C", "--await", "1ms"}).exit_code, 4);
}

TEST_F(CallTest, AStatusIsShownAndIsTheExitStatus) {
  const EchoPeer bob(address_, "bob");
  const Outcome call =
      RunTool({"call", address_, "bob", "ivmq.test.Echo/Say", R"({"fail": true})"});
  EXPECT_EQ(call.exit_code, 64 + rpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(call.err, "ivmq: NOT_FOUND: nothing\\x1b[31m; details: 01 02\n");
  EXPECT_THAT(call.out, IsEmpty());
  EXPECT_EQ(RunTool({"call", address_, "bob", "ivmq.test.Echo/Forgotten"}).exit_code,
            64 + rpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(CallTest, MetadataGoesBothWays) {
  const EchoPeer bob(address_, "bob");
  const Outcome call = RunTool({"call", address_, "bob", "ivmq.test.Echo/Say", "-v", "-H",
                                "trace: a: b", "-H", "raw-bin: AP8="});
  EXPECT_EQ(call.exit_code, 0) << call.err;
  EXPECT_THAT(call.err,
              AllOf(HasSubstr("answered by bob"), HasSubstr("header trace: a: b"),
                    HasSubstr("header raw-bin: 00 ff"), HasSubstr("trailer served-by: bob")));
  for (const char* const header : {"no colon", "Upper: x", "x-bin: ???"}) {
    EXPECT_EQ(RunTool({"call", address_, "bob", "ivmq.test.Echo/Say", "-H", header}).exit_code, 2)
        << header;
  }
}

TEST_F(CallTest, ACallEndsAtItsTimeout) {
  const EchoPeer bob(address_, "bob");
  const Outcome call = RunTool({"call", address_, "bob", "ivmq.test.Echo/Say",
                                R"({"waitCancel": true})", "--timeout", "100ms"});
  EXPECT_EQ(call.exit_code, 64 + rpc::StatusCode::DEADLINE_EXCEEDED) << call.err;
}

TEST_F(CallTest, ASignalCancelsTheCall) {
  EchoPeer bob(address_, "bob");
  Tool call({"call", address_, "bob", "ivmq.test.Echo/Say", R"({"waitCancel": true})"});
  bob.service.begun.get_future().wait();
  call.Signal(SIGINT);
  EXPECT_EQ(call.Wait().exit_code, 130);
}

TEST_F(CallTest, AServerStreamIsPrintedLineByLine) {
  const EchoPeer bob(address_, "bob");
  const Outcome call =
      RunTool({"call", address_, "bob", "ivmq.test.Echo/Count", R"({"count": 3})"});
  EXPECT_EQ(call.exit_code, 0) << call.err;
  EXPECT_EQ(call.out, "{}\n{\"number\":\"1\"}\n{\"number\":\"2\"}\n");
  const Outcome failed =
      RunTool({"call", address_, "bob", "ivmq.test.Echo/Count", R"({"count": 1, "fail": true})"});
  EXPECT_EQ(failed.exit_code, 64 + rpc::StatusCode::ABORTED);
  EXPECT_EQ(failed.out, "{}\n");
}

TEST_F(CallTest, AClientStreamTakesObjectsFromTheWordOrFromStandardInput) {
  const EchoPeer bob(address_, "bob");
  const std::string three = R"({"text": "a}\""}{"text":
    "b"}
    {"text": "c"})";
  const Json expected = Json::parse(R"({"text": "a}\"bc", "count": "3"})");
  EXPECT_EQ(RunTool({"call", address_, "bob", "ivmq.test.Echo/Collect", three}).Json(), expected);
  EXPECT_EQ(RunTool({"call", address_, "bob", "ivmq.test.Echo/Collect", "-"}, three).Json(),
            expected);
  EXPECT_EQ(RunTool({"call", address_, "bob", "ivmq.test.Echo/Collect"}).out, "{}\n");
}

TEST_F(CallTest, AConversationAnswersEachRequestAsItComes) {
  const EchoPeer bob(address_, "bob");
  Tool call({"call", address_, "bob", "ivmq.test.Echo/Chat", "-"});
  call.WriteInput("{\"text\": \"one\"}\n");
  EXPECT_EQ(call.AwaitOutput("one"), "{\"text\":\"one!\"}");
  call.WriteInput("{\"text\":\n\"two\"}\n");
  EXPECT_EQ(call.AwaitOutput("two"), "{\"text\":\"two!\"}");
  EXPECT_EQ(call.Wait().exit_code, 0);
}

TEST_F(CallTest, AConversationThatTheServerEndsDoesNotWaitForInput) {
  const EchoPeer bob(address_, "bob");
  Tool call({"call", address_, "bob", "ivmq.test.Echo/Chat", "-"});
  call.WriteInput("{\"fail\": true}\n");
  call.AwaitError("OUT_OF_RANGE: enough");
  call.AwaitEnd();
  EXPECT_EQ(call.Wait().exit_code, 64 + rpc::StatusCode::OUT_OF_RANGE);
}

TEST_F(CallTest, RequestsThatDoNotFitTheMethodAreWrongUsage) {
  const EchoPeer bob(address_, "bob");
  for (const char* const request :
       {"{", "{}{}", R"({"nope": 1})", R"({"count": "x"})", "", "text"}) {
    const Outcome call = RunTool({"call", address_, "bob", "ivmq.test.Echo/Say", request});
    EXPECT_EQ(call.exit_code, 2) << request << ": " << call.err;
    EXPECT_THAT(call.out, IsEmpty()) << request;
  }
  const Outcome late =
      RunTool({"call", address_, "bob", "ivmq.test.Echo/Collect", R"({"text": "a"} {"nope": 1})"});
  EXPECT_EQ(late.exit_code, 2);
  EXPECT_THAT(late.err, AllOf(HasSubstr("nope"), HasSubstr("ivmq.test.Request")));
}

TEST_F(CallTest, WhatIsNotThereIsNamedWithWhatIs) {
  const EchoPeer bob(address_, "bob");
  const Outcome peer = RunTool({"call", address_, "eve", "ivmq.test.Echo/Say"});
  EXPECT_EQ(peer.exit_code, 3);
  EXPECT_THAT(peer.err, HasSubstr("'eve'"));
  const Outcome service = RunTool({"call", address_, "bob", "ivmq.test.Nope/Say"});
  EXPECT_EQ(service.exit_code, 3);
  EXPECT_THAT(service.err, AllOf(HasSubstr("'ivmq.test.Nope'"), HasSubstr("ivmq.test.Echo")));
  const Outcome method = RunTool({"call", address_, "bob", "ivmq.test.Echo/Nope"});
  EXPECT_EQ(method.exit_code, 3);
  EXPECT_THAT(method.err,
              AllOf(HasSubstr("'Nope'"), HasSubstr("Say, Collect, Count, Chat, Forgotten")));
  EXPECT_EQ(RunTool({"call", address_, "bob", "ivmq.test.Echo", "{}"}).exit_code, 2);
  EXPECT_EQ(RunTool({"call", address_}).exit_code, 2);
}

TEST_F(CallTest, APeerShowsWhatItOffersAndHowThatIsDefined) {
  const EchoPeer bob(address_, "bob");
  const Outcome list = RunTool({"call", address_, "bob"});
  EXPECT_EQ(list.exit_code, 0) << list.err;
  EXPECT_THAT(list.out,
              AllOf(HasSubstr("ivmq.test.Echo\n"),
                    HasSubstr("  rpc Chat(stream ivmq.test.Request) returns (stream "
                              "ivmq.test.Response)\n"),
                    HasSubstr("grpc.health.v1.Health\n"), Not(HasSubstr("no definition"))));
  EXPECT_THAT(RunTool({"call", address_, "bob", "ivmq.test.Echo"}).out,
              AllOf(HasSubstr("service Echo {"), HasSubstr("message Request {"),
                    HasSubstr("string text = 1;")));
  EXPECT_THAT(RunTool({"call", address_, "bob", "ivmq.test.Response.Part"}).out,
              HasSubstr("int64 number = 1;"));
  EXPECT_THAT(RunTool({"call", address_, "bob", "ivmq.test.Echo.Say"}).out, HasSubstr("rpc Say("));
  EXPECT_EQ(RunTool({"call", address_, "bob", "ivmq.test.Nope"}).exit_code, 3);
}

TEST_F(CallTest, HealthIsAMethodLikeOthers) {
  const EchoPeer bob(address_, "bob");
  EXPECT_EQ(RunTool({"call", address_, "bob", "grpc.health.v1.Health/Check"}).out,
            "{\"status\":\"SERVING\"}\n");
  Tool watch({"call", address_, "bob", "grpc.health.v1.Health/Watch"});
  watch.AwaitOutput("SERVING");
  bob.server->Shutdown();
  watch.AwaitOutput("NOT_SERVING");
  watch.AwaitEnd();
  EXPECT_EQ(watch.Wait().exit_code, 64 + rpc::StatusCode::UNAVAILABLE);
}

TEST_F(CallTest, DefinitionsMayComeFromFiles) {
  const EchoPeer bob(address_, "bob",
                     [](rpc::ServerBuilder& builder) { builder.EnableReflection(false); });
  const Outcome without = RunTool({"call", address_, "bob", "ivmq.test.Echo/Say"});
  EXPECT_EQ(without.exit_code, 1);
  EXPECT_THAT(without.err, HasSubstr("--proto"));
  EXPECT_EQ(RunTool({"call", address_, "bob", "ivmq.test.Echo/Say", "--proto", ECHO_PROTO})
                .Json()["text"],
            " from bob");
  EXPECT_THAT(RunTool({"call", address_, "bob", "--proto", ECHO_PROTO}).out,
              HasSubstr("rpc Say(ivmq.test.Request)"));
}

TEST_F(CallTest, FilesMayImportOthersAndErrorsInThemHavePlaces) {
  const std::string parts = folder_.Write("parts.proto", R"(syntax = "proto2";
    package parts;
    message Part { required string name = 1; })");
  const std::string whole = folder_.Write("whole.proto", R"(syntax = "proto3";
    import "parts.proto";
    import "google/protobuf/timestamp.proto";
    message Whole { repeated parts.Part parts = 1; google.protobuf.Timestamp at = 2; }
    service Wholes { rpc Get(Whole) returns (Whole); })");
  const std::string folder = whole.substr(0, whole.rfind('/'));
  for (const std::vector<std::string>& where :
       {std::vector<std::string>{"--proto", whole},
        std::vector<std::string>{"--proto", whole, "-I", folder},
        std::vector<std::string>{"--proto", "whole.proto", "-I", folder}}) {
    std::vector<std::string> words{"call", address_, "bob", "Wholes"};
    words.insert(words.end(), where.begin(), where.end());
    const Outcome shown = RunTool(words);
    EXPECT_EQ(shown.exit_code, 0) << shown.err;
    EXPECT_THAT(shown.out, HasSubstr("repeated .parts.Part parts = 1;"));
  }
  const std::string bad = folder_.Write("bad.proto", "syntax = \"proto3\";\nmessage {\n");
  const Outcome wrong = RunTool({"call", address_, "bob", "--proto", bad});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("bad.proto:2:9: "));
  EXPECT_EQ(RunTool({"call", address_, "bob", "--proto", folder + "/none.proto"}).exit_code, 2);
}

TEST_F(CallTest, APeerThatDoesNotAnswerIsGivenUpAtTheTimeout) {
  Tool mute({"recv", address_, "--name", "mute"});
  mute.AwaitError("ready");
  const Outcome call =
      RunTool({"call", address_, "mute", "ivmq.test.Echo/Say", "--timeout", "100ms"});
  EXPECT_EQ(call.exit_code, 4);
  EXPECT_THAT(call.err, HasSubstr("peer 'mute'"));
}

}  // namespace
}  // namespace ivmq::testing
