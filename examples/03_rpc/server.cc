// Offers example.Hello as the peer "server". Usage: example_rpc_server ADDRESS
#include "ivmq/rpc/server.h"

#include <iostream>

#include "hello.ivmq.pb.h"

namespace {

class HelloService final : public example::Hello::Service {
  ivmq::rpc::Status Say(ivmq::rpc::ServerContext* context, const example::HelloRequest* request,
                        example::HelloReply* reply) override {
    std::cout << context->peer() << " calls" << std::endl;
    reply->set_text("hello, " + request->name());
    return ivmq::rpc::Status::OK;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const auto endpoint =
      ivmq::rpc::Endpoint::Open(argc > 1 ? argv[1] : "auto", {.node = {.name = "server"}});
  if (!endpoint.ok()) {
    std::cerr << endpoint.status().ToString() << '\n';
    return 1;
  }
  HelloService service;
  const auto server = ivmq::rpc::ServerBuilder(*endpoint).RegisterService(&service).BuildAndStart();
  if (!server.ok()) {
    std::cerr << server.status().ToString() << '\n';
    return 1;
  }
  (*server)->Wait();
}
