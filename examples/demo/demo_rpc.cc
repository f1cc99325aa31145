// The calls of the demo over ivmq: without --call it serves, with it, it calls.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "ivmq/address.h"
#include "ivmq/rpc/server.h"

#include "calls.h"
#include "greeter.ivmq.pb.h"

namespace {

using ivmq::demo::Greeter;
using ivmq::demo::Greeting;
using ivmq::rpc::ClientContext;
using ivmq::rpc::Endpoint;
using ivmq::rpc::Status;

void SetPatience(ClientContext& context, std::chrono::seconds limit) {
  context.set_deadline(std::chrono::system_clock::now() + limit);
  context.set_wait_for_ready(true);
}

class GreeterService final : public Greeter::Service {
 public:
  GreeterService(std::shared_ptr<Endpoint> endpoint, std::chrono::seconds limit)
      : endpoint_(std::move(endpoint)), limit_(limit) {}

  Status Greet(ivmq::rpc::ServerContext* /*context*/, const Greeting* request,
               Greeting* response) override {
    response->set_text(request->text() + ", " + endpoint_->node().name());
    response->set_data(request->data());
    if (request->via().empty()) return Status::OK;
    Greeting onward(*response);
    onward.mutable_via()->Assign(request->via().begin() + 1, request->via().end());
    ClientContext context;
    SetPatience(context, limit_);
    return Greeter::NewStub(endpoint_->CreateChannel(request->via(0)))
        ->Greet(&context, onward, response);
  }

 private:
  std::shared_ptr<Endpoint> endpoint_;
  std::chrono::seconds limit_;
};

struct Options {
  std::string address = "auto";
  std::string name;
  std::vector<std::string> call;
  std::uint32_t count = 300;
  std::uint32_t spin_us = 20;
  int limit_seconds = 60;
};

int Fail(const Options& options, const ivmq::Status& status) {
  (void)std::fprintf(stderr, "%s: %s\n", options.name.c_str(), status.ToString().c_str());
  return 1;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Serves ivmq.demo.Greeter or, with --call, calls it.");
  app.add_option("--address", options.address, "The region, e.g. unix:/run/ivmq/ivmq.sock")
      ->capture_default_str();
  app.add_option("--name", options.name, "The name of this peer")->required();
  app.add_option("--call", options.call, "Whom to call, and whom that one calls, e.g. vm1,vm2")
      ->delimiter(',');
  app.add_option("--count", options.count, "Calls")->capture_default_str();
  app.add_option("--spin", options.spin_us, "Microseconds to look before sleeping")
      ->capture_default_str();
  app.add_option("--limit", options.limit_seconds, "Seconds for a call")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  const std::chrono::seconds limit(options.limit_seconds);
  ivmq::rpc::EndpointOptions endpoint_options;
  endpoint_options.node.name = options.name;
  endpoint_options.node.spin_budget = std::chrono::microseconds(options.spin_us);
  auto endpoint = Endpoint::Open(options.address, std::move(endpoint_options));
  if (!endpoint.ok()) return Fail(options, endpoint.status());

  if (!options.call.empty()) {
    const auto stub = Greeter::NewStub((*endpoint)->CreateChannel(options.call.front()));
    const auto greet = [&](const Greeting& request, Greeting* response) -> std::string {
      ClientContext context;
      SetPatience(context, limit);
      const Status status = stub->Greet(&context, request, response);
      if (status.ok()) return "";
      return ivmq::rpc::StatusCodeName(status.error_code()) + ": " + status.error_message();
    };
    const bool good =
        ivmq::demo::CallAndPrint("ivmq", options.name, options.call, options.count, greet);
    return good ? 0 : 1;
  }
  GreeterService service(*endpoint, limit);
  ivmq::rpc::ServerBuilder builder(*endpoint);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (!server.ok()) return Fail(options, server.status());
  (void)std::printf("%s offers ivmq.demo.Greeter\n", options.name.c_str());
  (void)std::fflush(stdout);
  (*server)->Wait();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& failure) {
    (void)std::fprintf(stderr, "demo_rpc: %s\n", failure.what());
    return 1;
  }
}
