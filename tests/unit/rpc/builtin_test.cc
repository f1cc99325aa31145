// What every server offers beside its services: health and reflection. The clients' code is
// generated here from the files that the servers' descriptors are made of.
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include "echo_pair.h"
#include "health.ivmq.pb.h"
#include "reflection.ivmq.pb.h"

namespace ivmq::testing {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::ivmq::reflection::Reflection;
using ::testing::ElementsAre;

class HealthTest : public ::testing::TestWithParam<rpc::Executor> {
 protected:
  // The status of a service, or a negative status code.
  int Check(const std::string& service) {
    ClientContext context;
    context.set_deadline(Soon());
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const rpc::Status status = stub_->Check(&context, request, &response);
    return status.ok() ? static_cast<int>(response.status()) : -status.error_code();
  }

  EchoPair pair_{GetParam()};
  std::unique_ptr<Health::Stub> stub_ =
      Health::NewStub(pair_.client_endpoint->CreateChannel("server"));
};

INSTANTIATE_TEST_SUITE_P(Executors, HealthTest,
                         ::testing::Values(rpc::Executor::kPool, rpc::Executor::kInline),
                         [](const auto& executor) {
                           return executor.param == rpc::Executor::kPool ? "Pool" : "Inline";
                         });

TEST_P(HealthTest, AServerServesAndOtherNamesAreNotFoundUntilTheyAreSet) {
  EXPECT_EQ(Check(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check("ivmq.test.Echo"), -StatusCode::NOT_FOUND);
  rpc::HealthCheckServiceInterface* const health = pair_.server->GetHealthCheckService();
  health->SetServingStatus("ivmq.test.Echo", true);
  EXPECT_EQ(Check("ivmq.test.Echo"), HealthCheckResponse::SERVING);
  health->SetServingStatus("ivmq.test.Echo", false);
  EXPECT_EQ(Check("ivmq.test.Echo"), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Check(""), HealthCheckResponse::SERVING);
  health->SetServingStatus(false);
  EXPECT_EQ(Check(""), HealthCheckResponse::NOT_SERVING);
  health->SetServingStatus(true);
  EXPECT_EQ(Check("ivmq.test.Echo"), HealthCheckResponse::SERVING);
}

TEST_P(HealthTest, NothingServesAfterShutdown) {
  rpc::HealthCheckServiceInterface* const health = pair_.server->GetHealthCheckService();
  health->Shutdown();
  EXPECT_EQ(Check(""), HealthCheckResponse::NOT_SERVING);
  health->SetServingStatus("late", true);
  EXPECT_EQ(Check("late"), HealthCheckResponse::NOT_SERVING);
}

TEST_P(HealthTest, NamesThatNoServiceHasAreRefused) {
  EXPECT_EQ(Check(std::string(2000, 'x')), -StatusCode::INVALID_ARGUMENT);
}

// ---- Watch ----

using Reader = std::unique_ptr<rpc::ClientReader<HealthCheckResponse>>;

Reader Watch(Health::Stub& stub, ClientContext& context, const std::string& service) {
  context.set_deadline(Soon());
  HealthCheckRequest request;
  request.set_service(service);
  return stub.Watch(&context, request);
}

// The next status, -1 at the end.
int Next(const Reader& reader) {
  HealthCheckResponse response;
  return reader->Read(&response) ? static_cast<int>(response.status()) : -1;
}

TEST_P(HealthTest, AWatchHearsTheStatusAndItsChanges) {
  ClientContext context;
  const Reader reader = Watch(*stub_, context, "later");
  EXPECT_EQ(Next(reader), HealthCheckResponse::SERVICE_UNKNOWN);
  rpc::HealthCheckServiceInterface* const health = pair_.server->GetHealthCheckService();
  health->SetServingStatus("other", true);
  health->SetServingStatus("later", true);
  EXPECT_EQ(Next(reader), HealthCheckResponse::SERVING);
  health->SetServingStatus("later", true);
  health->SetServingStatus("later", false);
  EXPECT_EQ(Next(reader), HealthCheckResponse::NOT_SERVING);
  health->SetServingStatus(true);
  EXPECT_EQ(Next(reader), HealthCheckResponse::SERVING);
  context.TryCancel();
  EXPECT_EQ(Next(reader), -1);
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
}

TEST_P(HealthTest, AWatchOfANameThatNoServiceHasIsRefused) {
  ClientContext context;
  const Reader reader = Watch(*stub_, context, std::string(2000, 'x'));
  EXPECT_EQ(Next(reader), -1);
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_P(HealthTest, ShutdownTellsWatchesAndEndsThem) {
  std::vector<std::unique_ptr<ClientContext>> contexts;
  std::vector<Reader> readers;
  for (int i = 0; i < 20; ++i) {
    contexts.push_back(std::make_unique<ClientContext>());
    readers.push_back(Watch(*stub_, *contexts.back(), ""));
    EXPECT_EQ(Next(readers.back()), HealthCheckResponse::SERVING);
  }
  pair_.server->Shutdown();
  for (const Reader& reader : readers) {
    EXPECT_EQ(Next(reader), HealthCheckResponse::NOT_SERVING);
    EXPECT_EQ(Next(reader), -1);
    EXPECT_EQ(reader->Finish().error_code(), StatusCode::UNAVAILABLE);
  }
}

TEST_P(HealthTest, ChangesWhileWatchesComeAndGoEndNothingElse) {
  rpc::HealthCheckServiceInterface* const health = pair_.server->GetHealthCheckService();
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    for (bool serving = false; !stop; serving = !serving) health->SetServingStatus("", serving);
  });
  for (int i = 0; i < 200; ++i) {
    ClientContext context;
    const Reader reader = Watch(*stub_, context, "");
    EXPECT_GE(Next(reader), HealthCheckResponse::SERVING);
    EXPECT_GE(Next(reader), HealthCheckResponse::SERVING);
  }
  stop = true;
  changer.join();
  pair_.server->Shutdown();
}

class ReflectionTest : public ::testing::Test {
 protected:
  rpc::Status Find(const std::string& symbol) {
    ClientContext context;
    context.set_deadline(Soon());
    ivmq::reflection::FindSymbolRequest request;
    request.set_symbol(symbol);
    return stub_->FindSymbol(&context, request, &files_);
  }
  std::vector<std::string> List() {
    ClientContext context;
    context.set_deadline(Soon());
    ivmq::reflection::ListServicesResponse response;
    EXPECT_TRUE(stub_->ListServices(&context, {}, &response).ok());
    return {response.services().begin(), response.services().end()};
  }

  EchoPair pair_;
  std::unique_ptr<Reflection::Stub> stub_ =
      Reflection::NewStub(pair_.client_endpoint->CreateChannel("server"));
  google::protobuf::FileDescriptorSet files_;
};

TEST_F(ReflectionTest, AllServicesAreListedAndOnlyTheApplicationsArePublished) {
  EXPECT_THAT(List(),
              ElementsAre("ivmq.test.Echo", "grpc.health.v1.Health", "ivmq.reflection.Reflection"));
  EXPECT_THAT(pair_.client_endpoint->node().Lookup("server")->services,
              ElementsAre("ivmq.test.Echo"));
}

TEST_F(ReflectionTest, AClientBuildsEveryListedServiceFromItsFiles) {
  for (const std::string& service : List()) {
    const rpc::Status status = Find(service);
    ASSERT_TRUE(status.ok()) << service << ": " << status.error_message();
    google::protobuf::DescriptorPool pool;
    for (const auto& file : files_.file()) ASSERT_NE(pool.BuildFile(file), nullptr) << service;
    EXPECT_NE(pool.FindServiceByName(service), nullptr) << service;
  }
  ASSERT_TRUE(Find("grpc.health.v1.Health").ok());
  EXPECT_EQ(files_.file(0).package(), "grpc.health.v1");
}

TEST_F(ReflectionTest, MethodsMessagesAndNestedOnesAreSymbolsToo) {
  for (const char* const symbol :
       {"ivmq.test.Echo.Say", "ivmq.test.Request", "ivmq.test.Response.Part",
        "grpc.health.v1.HealthCheckResponse.ServingStatus", "google.protobuf.FileDescriptorSet"}) {
    EXPECT_TRUE(Find(symbol).ok()) << symbol;
    EXPECT_GT(files_.file_size(), 0) << symbol;
  }
}

TEST_F(ReflectionTest, WhatTheProgramHasIsThereForAnyThatHoldsIt) {
  ASSERT_TRUE(Find("google.protobuf.Timestamp").ok());
  EXPECT_EQ(files_.file(files_.file_size() - 1).name(), "google/protobuf/timestamp.proto");
}

TEST_F(ReflectionTest, SymbolsThatTheProgramDoesNotHaveAreNotFound) {
  for (const char* const symbol : {"", ".", "ivmq.test.Nothing", "a b", "Request"}) {
    EXPECT_EQ(Find(symbol).error_code(), StatusCode::NOT_FOUND) << symbol;
  }
  EXPECT_EQ(Find(std::string(2000, 'x')).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST(BuiltinTest, AServerMayBeBuiltWithoutThem) {
  EchoPair pair(rpc::Executor::kPool, [](rpc::ServerBuilder& builder) {
    builder.EnableHealthCheck(false).EnableReflection(false);
  });
  EXPECT_EQ(pair.server->GetHealthCheckService(), nullptr);
  const auto channel = pair.client_endpoint->CreateChannel("server");
  ClientContext health;
  HealthCheckResponse healthy;
  EXPECT_EQ(Health::NewStub(channel)->Check(&health, {}, &healthy).error_code(),
            StatusCode::UNIMPLEMENTED);
  ClientContext reflection;
  ivmq::reflection::ListServicesResponse services;
  EXPECT_EQ(Reflection::NewStub(channel)->ListServices(&reflection, {}, &services).error_code(),
            StatusCode::UNIMPLEMENTED);
}

TEST(BuiltinTest, AServicesOwnHealthComesFirst) {
  class Own final : public Health::Service {
   public:
    rpc::Status Check(rpc::ServerContext*, const HealthCheckRequest*,
                      HealthCheckResponse* response) override {
      response->set_status(HealthCheckResponse::NOT_SERVING);
      return rpc::Status::OK;
    }
  } own;
  EchoPair pair(rpc::Executor::kPool,
                [&](rpc::ServerBuilder& builder) { builder.RegisterService(&own); });
  EXPECT_EQ(pair.server->GetHealthCheckService(), nullptr);
  EXPECT_THAT(pair.client_endpoint->node().Lookup("server")->services,
              ElementsAre("ivmq.test.Echo", "grpc.health.v1.Health"));
  const auto channel = pair.client_endpoint->CreateChannel("server");
  ClientContext context;
  HealthCheckResponse response;
  ASSERT_TRUE(Health::NewStub(channel)->Check(&context, {}, &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);

  ClientContext find;
  ivmq::reflection::FindSymbolRequest request;
  request.set_symbol("grpc.health.v1.Health");
  google::protobuf::FileDescriptorSet files;
  ASSERT_TRUE(Reflection::NewStub(channel)->FindSymbol(&find, request, &files).ok());
  EXPECT_EQ(files.file(0).name(), "health.proto") << "that of the program's own file";
}

}  // namespace
}  // namespace ivmq::testing
