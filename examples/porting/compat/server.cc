// gRPC's service over ivmq. Usage: example_porting_compat_server ivmq:///greeter
#include <iostream>
#include <string>

#include "ivmq/rpc/grpc_compat.h"

#include "greeter.ivmq.pb.h"

namespace rpc = ivmq::grpc;

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
  GreeterService service;
  rpc::ServerBuilder builder;
  builder.AddListeningPort(argv[1], rpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) {
    std::cerr << "cannot serve " << argv[1] << '\n';
    return 1;
  }
  std::cout << "serving" << std::endl;
  server->Wait();
}
