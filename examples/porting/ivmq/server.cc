// The service over ivmq. Usage: example_porting_ivmq_server ADDRESS
#include "ivmq/rpc/server.h"

#include <iostream>
#include <string>

#include "ivmq/rpc/stream.h"

#include "greeter.ivmq.pb.h"

namespace rpc = ivmq::rpc;

namespace {

class GreeterService final : public example::Greeter::Service {
  rpc::Status Greet(rpc::ServerContext* context, const example::Person* person,
                    example::Greeting* greeting) override {
    if (person->name().empty()) return {rpc::StatusCode::INVALID_ARGUMENT, "who is there?"};
    context->AddTrailingMetadata("greeted", person->name());
    greeting->set_text("hello, " + person->name());
    return rpc::Status::OK;
  }

  rpc::Status Repeat(rpc::ServerContext* context, const example::Person* person,
                     rpc::ServerWriter<example::Greeting>* writer) override {
    example::Greeting greeting;
    for (int i = 1; i <= person->times() && !context->IsCancelled(); ++i) {
      greeting.set_text(std::to_string(i) + ": hello, " + person->name());
      if (!writer->Write(greeting)) break;
    }
    return rpc::Status::OK;
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto endpoint = rpc::Endpoint::Open(argv[1], {.node = {.name = "greeter"}});
  if (!endpoint.ok()) {
    std::cerr << endpoint.status().ToString() << '\n';
    return 1;
  }
  GreeterService service;
  rpc::ServerBuilder builder(*endpoint);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (!server.ok()) {
    std::cerr << server.status().ToString() << '\n';
    return 1;
  }
  std::cout << "serving" << std::endl;
  (*server)->Wait();
}
