// Two peers of one process: one calls a service of the other.
#include <chrono>
#include <iostream>

#include <ivmq/rpc/client.h>
#include <ivmq/rpc/server.h>

#include "greeter.ivmq.pb.h"

namespace {

class Greeter final : public app::Greeter::Service {
  ivmq::rpc::Status Say(ivmq::rpc::ServerContext* /*context*/, const app::HelloRequest* request,
                        app::HelloReply* reply) override {
    reply->set_text("hello, " + request->name());
    return ivmq::rpc::Status::OK;
  }
};

}  // namespace

int main() {
  const auto server_end = ivmq::rpc::Endpoint::Open("inproc:calls", {.node = {.name = "server"}});
  const auto client_end = ivmq::rpc::Endpoint::Open("inproc:calls", {.node = {.name = "client"}});
  if (!server_end.ok() || !client_end.ok()) {
    std::cerr << (server_end.ok() ? client_end : server_end).status().ToString() << '\n';
    return 1;
  }
  Greeter greeter;
  const auto server =
      ivmq::rpc::ServerBuilder(*server_end).RegisterService(&greeter).BuildAndStart();
  if (!server.ok()) {
    std::cerr << server.status().ToString() << '\n';
    return 1;
  }

  const auto stub = app::Greeter::NewStub((*client_end)->CreateChannel("server"));
  ivmq::rpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  app::HelloRequest request;
  request.set_name("world");
  app::HelloReply reply;
  if (const auto status = stub->Say(&context, request, &reply); !status.ok()) {
    std::cerr << status.error_message() << '\n';
    return 1;
  }
  std::cout << "reply: " << reply.text() << '\n';
}
