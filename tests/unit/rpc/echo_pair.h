// A client and a server of Echo in one process.
#ifndef IVMQ_TESTS_UNIT_RPC_ECHO_PAIR_H_
#define IVMQ_TESTS_UNIT_RPC_ECHO_PAIR_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/inproc.h"
#include "ivmq/rpc/server.h"

#include "echo.ivmq.pb.h"

namespace ivmq::testing {

using ivmq::test::Echo;
using ivmq::test::Request;
using ivmq::test::Response;
using rpc::ClientContext;
using rpc::StatusCode;

inline constexpr std::chrono::seconds kPatience{30};

inline std::chrono::system_clock::time_point Soon() {
  return std::chrono::system_clock::now() + kPatience;
}

class EchoService final : public Echo::Service {
 public:
  rpc::Status Say(rpc::ServerContext* context, const Request* request,
                  Response* response) override {
    ++calls;
    if (request->fail() && request->has_count()) {
      return {static_cast<StatusCode>(request->count()), "as asked"};
    }
    if (request->fail()) {
      context->AddTrailingMetadata("why-bin", std::string("\0\1", 2));
      return {StatusCode::NOT_FOUND, "nothing of that name", std::string("\0details", 8)};
    }
    if (request->wait_cancel()) {
      const auto until = std::chrono::steady_clock::now() + kPatience;
      while (!context->IsCancelled() && std::chrono::steady_clock::now() < until) {
        std::this_thread::yield();
      }
      if (context->IsCancelled()) cancelled.set_value();
      return {StatusCode::CANCELLED, ""};
    }
    if (request->wait_release()) {
      waiting.release();
      go.wait();
    }
    for (const auto& [key, value] : context->client_metadata()) {
      context->AddInitialMetadata(std::string(key), std::string(value));
    }
    response->set_text(request->text() + " for " + context->peer());
    response->set_data(request->data());
    return rpc::Status::OK;
  }

  rpc::Status Collect(rpc::ServerContext* /*context*/, rpc::ServerReader<Request>* reader,
                      Response* response) override {
    Request request;
    std::int64_t count = 0;
    while (reader->Read(&request)) {
      if (request.count() != count++) return {StatusCode::DATA_LOSS, "not in order"};
    }
    response->set_count(count);
    return rpc::Status::OK;
  }

  rpc::Status Count(rpc::ServerContext* context, const Request* request,
                    rpc::ServerWriter<Response::Part>* writer) override {
    context->AddInitialMetadata("begins", "now");
    Response::Part part;
    for (std::int64_t i = 0; i < request->count(); ++i) {
      part.set_number(i);
      if (!writer->Write(part)) {
        written.set_value(i);
        return {StatusCode::CANCELLED, ""};
      }
    }
    return rpc::Status::OK;
  }

  rpc::Status Chat(rpc::ServerContext* /*context*/,
                   rpc::ServerReaderWriter<Response, Request>* stream) override {
    Request request;
    Response response;
    while (stream->Read(&request)) {
      response.set_text(request.text() + "!");
      if (!stream->Write(response)) return {StatusCode::CANCELLED, ""};
    }
    return rpc::Status::OK;
  }

  std::atomic<int> calls{0};
  std::promise<void> cancelled;
  std::promise<std::int64_t> written;  // messages until a stream was cancelled
  std::counting_semaphore<> waiting{0};
  std::promise<void> release;
  std::shared_future<void> go{release.get_future()};
};

// A server of the services that are given, and a client with a stub of Echo.
struct ServicePair {
  explicit ServicePair(rpc::Service& service,
                       const std::function<void(rpc::ServerBuilder&)>& build = {},
                       const FormatOptions& format = {.max_peers = 8},
                       const NodeOptions& server_options = {},
                       std::uint64_t region_bytes = std::uint64_t{8} << 20) {
    auto made = InprocRegion::Create(region_bytes, format);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    region = *std::move(made);
    server_endpoint = Open("server", server_options);
    client_endpoint = Open("client");
    rpc::ServerBuilder builder(server_endpoint);
    builder.RegisterService(&service);
    if (build) build(builder);
    auto built = builder.BuildAndStart();
    EXPECT_TRUE(built.ok()) << built.status().ToString();
    server = *std::move(built);
    stub = Echo::NewStub(client_endpoint->CreateChannel("server"));
  }

  [[nodiscard]] std::shared_ptr<rpc::Endpoint> Open(const std::string& name,
                                                    NodeOptions options = {}) const {
    options.name = name;
    auto transport = region->Join();
    EXPECT_TRUE(transport.ok()) << transport.status().ToString();
    auto node = Node::Open(*std::move(transport), options);
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return rpc::Endpoint::Make(*std::move(node));
  }

  std::shared_ptr<InprocRegion> region;
  std::shared_ptr<rpc::Endpoint> server_endpoint;
  std::shared_ptr<rpc::Endpoint> client_endpoint;
  std::unique_ptr<rpc::Server> server;
  std::unique_ptr<Echo::Stub> stub;
};

struct EchoServiceMember {
  EchoService service;
};

struct EchoPair : EchoServiceMember, ServicePair {
  explicit EchoPair(rpc::Executor executor = rpc::Executor::kPool,
                    const std::function<void(rpc::ServerBuilder&)>& build = {},
                    const FormatOptions& format = {.max_peers = 8})
      : ServicePair(
            service,
            [&](rpc::ServerBuilder& builder) {
              builder.SetExecutor(executor);
              if (build) build(builder);
            },
            format) {}
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_UNIT_RPC_ECHO_PAIR_H_
