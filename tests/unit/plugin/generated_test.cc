// Code generated from files other than the plain proto3 one that the other tests use.
#include <memory>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/inproc.h"
#include "ivmq/rpc/server.h"

#include "old.ivmq.pb.h"
#include "parts/shared.ivmq.pb.h"
#include "plain.ivmq.pb.h"
#include "plain_mock.ivmq.pb.h"

namespace {

using ::calls::Plain;
using ::old::ivmq::rpc::Keeper;
using ::old::ivmq::rpc::Second;
using ::testing::_;
using ::testing::DoAll;
using ::testing::HasSubstr;
using ::testing::Return;
using ::testing::SetArgPointee;
using Old = ::old::ivmq::rpc::Status;
using Deeper = Old::Nested::Deeper;
using ::ivmq::testparts::Shared;
namespace rpc = ::ivmq::rpc;

class KeeperService final : public Keeper::Service {
 public:
  rpc::Status Keep(rpc::ServerContext* /*context*/, const Old* request, Deeper* response) override {
    // A required field may stay away.
    if (request->count() >= 0) response->set_value(request->count());
    return rpc::Status::OK;
  }
  rpc::Status Imported(rpc::ServerContext* /*context*/, const Shared::Inner* request,
                       google::protobuf::Empty* /*response*/) override {
    return {rpc::StatusCode::ABORTED, request->text()};
  }
  rpc::Status Drain(rpc::ServerContext* /*context*/, rpc::ServerReader<Deeper>* reader,
                    Old* response) override {
    std::int32_t sum = 0;
    for (Deeper message; reader->Read(&message);) sum += static_cast<std::int32_t>(message.value());
    response->set_name("sum");
    response->set_count(sum);
    response->MutableExtension(old::ivmq::rpc::inner)->set_text("extended");
    return rpc::Status::OK;
  }
  rpc::Status Fill(rpc::ServerContext* /*context*/, const Old::Nested* request,
                   rpc::ServerWriter<Deeper>* writer) override {
    Deeper message;
    message.set_value(request->color());
    return writer->Write(message) ? rpc::Status::OK : rpc::Status::CANCELLED;
  }
  rpc::Status Both(rpc::ServerContext* /*context*/,
                   rpc::ServerReaderWriter<Old, Shared>* stream) override {
    Old response;
    for (Shared message; stream->Read(&message);) {
      response.set_name(message.inner().text());
      if (!stream->Write(response)) return rpc::Status::CANCELLED;
    }
    return rpc::Status::OK;
  }
};

class SecondService final : public Second::Service {
  rpc::Status Keep(rpc::ServerContext* /*context*/, const Old* request, Old* response) override {
    *response = *request;
    return rpc::Status::OK;
  }
};

class PlainService final : public Plain::Service {
  rpc::Status Length(rpc::ServerContext* /*context*/, const PlainRequest* request,
                     google::protobuf::Int64Value* response) override {
    response->set_value(request->has_text() ? static_cast<std::int64_t>(request->text().size())
                                            : -1);
    return rpc::Status::OK;
  }
};

class GeneratedTest : public ::testing::Test {
 protected:
  GeneratedTest() {
    auto made = ivmq::InprocRegion::Create(std::uint64_t{32} << 20, {.max_peers = 4});
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    region_ = *std::move(made);
    server_endpoint_ = Open("server");
    client_endpoint_ = Open("client");
    auto built = rpc::ServerBuilder(server_endpoint_)
                     .RegisterService(&keeper_service_)
                     .RegisterService(&second_service_)
                     .RegisterService(&plain_service_)
                     .RegisterService(&nothing_service_)
                     .BuildAndStart();
    EXPECT_TRUE(built.ok()) << built.status().ToString();
    server_ = *std::move(built);
    channel_ = client_endpoint_->CreateChannel("server");
    keeper_ = Keeper::NewStub(channel_);
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  }

  [[nodiscard]] std::shared_ptr<rpc::Endpoint> Open(const std::string& name) const {
    auto node = ivmq::Node::Open(*region_->Join(), {.name = name});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return rpc::Endpoint::Make(*std::move(node));
  }

  std::shared_ptr<ivmq::InprocRegion> region_;
  KeeperService keeper_service_;
  SecondService second_service_;
  PlainService plain_service_;
  calls::Nothing::Service nothing_service_;
  std::shared_ptr<rpc::Endpoint> server_endpoint_;
  std::shared_ptr<rpc::Endpoint> client_endpoint_;
  std::unique_ptr<rpc::Server> server_;
  std::shared_ptr<rpc::Channel> channel_;
  std::unique_ptr<Keeper::Stub> keeper_;
  rpc::ClientContext context_;
};

TEST_F(GeneratedTest, DefaultsGroupsAndExtensionsOfProto2Arrive) {
  Old request;
  request.set_name("x");
  request.mutable_extra()->set_set(true);
  request.MutableExtension(old::ivmq::rpc::inner)->set_text("inner");
  Old response;
  const auto second = Second::NewStub(channel_);
  ASSERT_TRUE(second->Keep(&context_, request, &response).ok());
  EXPECT_EQ(response.SerializeAsString(), request.SerializeAsString());
  EXPECT_EQ(response.GetExtension(old::ivmq::rpc::inner).text(), "inner");

  rpc::ClientContext again;
  Deeper deeper;
  ASSERT_TRUE(keeper_->Keep(&again, request, &deeper).ok());
  EXPECT_EQ(deeper.value(), 7) << "the default of the field";
}

TEST_F(GeneratedTest, ARequestWithoutARequiredFieldIsNotSent) {
  Old request;
  Deeper response;
  const rpc::Status status = keeper_->Keep(&context_, request, &response);
  EXPECT_EQ(status.error_code(), rpc::StatusCode::INTERNAL);
  EXPECT_THAT(status.error_message(), HasSubstr("name"));
}

TEST_F(GeneratedTest, AResponseWithoutARequiredFieldIsNotSent) {
  Old request;
  request.set_name("x");
  request.set_count(-1);
  Deeper response;
  const rpc::Status status = keeper_->Keep(&context_, request, &response);
  EXPECT_EQ(status.error_code(), rpc::StatusCode::INTERNAL);
  EXPECT_THAT(status.error_message(), HasSubstr("value"));
}

TEST_F(GeneratedTest, MessagesOfOtherFilesPackagesAndSyntaxes) {
  Shared::Inner request;
  request.set_text("from afar");
  google::protobuf::Empty response;
  const rpc::Status status = keeper_->Imported(&context_, request, &response);
  EXPECT_EQ(status.error_code(), rpc::StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "from afar");
}

TEST_F(GeneratedTest, StreamsOfNestedMessages) {
  Old sum;
  const auto writer = keeper_->Drain(&context_, &sum);
  for (int i = 1; i <= 3; ++i) {
    Deeper message;
    message.set_value(i);
    EXPECT_TRUE(writer->Write(message));
  }
  EXPECT_TRUE(writer->WritesDone());
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_EQ(sum.count(), 6);
  EXPECT_EQ(sum.GetExtension(old::ivmq::rpc::inner).text(), "extended");

  rpc::ClientContext filled;
  const auto reader = keeper_->Fill(&filled, Old::Nested());
  Deeper color;
  EXPECT_TRUE(reader->Read(&color));
  EXPECT_EQ(color.value(), Old::Nested::BLUE);
  EXPECT_FALSE(reader->Read(&color));
  EXPECT_TRUE(reader->Finish().ok());

  rpc::ClientContext chatted;
  const auto both = keeper_->Both(&chatted);
  Shared message;
  message.mutable_inner()->set_text("hello");
  EXPECT_TRUE(both->Write(message));
  Old answer;
  EXPECT_TRUE(both->Read(&answer));
  EXPECT_EQ(answer.name(), "hello");
  EXPECT_TRUE(both->WritesDone());
  EXPECT_TRUE(both->Finish().ok());
}

TEST_F(GeneratedTest, AFileWithoutAPackageAndServicesInANamespaceOfTheirOwn) {
  static_assert(std::string_view(Plain::service_full_name()) == "Plain");
  static_assert(std::string_view(Keeper::service_full_name()) == "old.ivmq.rpc.Keeper");
  const auto plain = Plain::NewStub(client_endpoint_->CreateServiceChannel("Plain"));
  PlainRequest request;
  google::protobuf::Int64Value response;
  ASSERT_TRUE(plain->Length(&context_, request, &response).ok());
  EXPECT_EQ(response.value(), -1) << "an optional field that is not there";
  rpc::ClientContext again;
  request.set_text("");
  ASSERT_TRUE(plain->Length(&again, request, &response).ok());
  EXPECT_EQ(response.value(), 0);
  rpc::ClientContext letters;
  const auto reader = plain->Letters(&letters, request);
  google::protobuf::StringValue letter;
  EXPECT_FALSE(reader->Read(&letter));
  EXPECT_EQ(reader->Finish().error_code(), rpc::StatusCode::UNIMPLEMENTED);
}

// ---- Mocks ----

// What an application tests with them.
std::int64_t LengthOf(Plain::StubInterface& stub, const std::string& text) {
  rpc::ClientContext context;
  PlainRequest request;
  request.set_text(text);
  google::protobuf::Int64Value response;
  return stub.Length(&context, request, &response).ok() ? response.value() : -1;
}

int LettersOf(Plain::StubInterface& stub) {
  rpc::ClientContext context;
  const std::unique_ptr<rpc::ClientReaderInterface<google::protobuf::StringValue>> reader =
      stub.Letters(&context, PlainRequest());
  int count = 0;
  for (google::protobuf::StringValue letter; reader->Read(&letter);) ++count;
  return reader->Finish().ok() ? count : -1;
}

TEST(MockTest, AMockedStubAnswersUnaryCalls) {
  calls::MockPlainStub stub;
  google::protobuf::Int64Value five;
  five.set_value(5);
  EXPECT_CALL(stub, Length(_, _, _))
      .WillOnce(DoAll(SetArgPointee<2>(five), Return(rpc::Status::OK)))
      .WillOnce(Return(rpc::Status(rpc::StatusCode::UNAVAILABLE, "")));
  EXPECT_EQ(LengthOf(stub, "hello"), 5);
  EXPECT_EQ(LengthOf(stub, "hello"), -1);
}

class FakeReader final : public rpc::ClientReaderInterface<google::protobuf::StringValue> {
 public:
  bool Read(google::protobuf::StringValue* /*message*/) override { return left_-- > 0; }
  void WaitForInitialMetadata() override {}
  rpc::Status Finish() override { return rpc::Status::OK; }

 private:
  int left_ = 3;
};

TEST(MockTest, AMockedStubGivesStreams) {
  calls::MockPlainStub stub;
  // Who calls owns it, as with gRPC's mocks.
  EXPECT_CALL(stub, LettersRaw(_, _)).WillOnce(Return(new FakeReader()));
  EXPECT_EQ(LettersOf(stub), 3);
}

}  // namespace
