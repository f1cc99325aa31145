// Calls example.Hello of the peer "server". Usage: example_rpc_client ADDRESS [NAME]
#include "ivmq/rpc/client.h"

#include <chrono>
#include <iostream>

#include "hello.ivmq.pb.h"

int main(int argc, char** argv) {
  const auto endpoint =
      ivmq::rpc::Endpoint::Open(argc > 1 ? argv[1] : "auto", {.node = {.name = "client"}});
  if (!endpoint.ok()) {
    std::cerr << endpoint.status().ToString() << '\n';
    return 1;
  }
  const auto stub = example::Hello::NewStub((*endpoint)->CreateChannel("server"));

  ivmq::rpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  context.set_wait_for_ready(true);  // the server may start after this
  example::HelloRequest request;
  request.set_name(argc > 2 ? argv[2] : "world");
  example::HelloReply reply;
  const ivmq::rpc::Status status = stub->Say(&context, request, &reply);
  if (!status.ok()) {
    std::cerr << ivmq::rpc::StatusCodeName(status.error_code()) << ": " << status.error_message()
              << '\n';
    return 1;
  }
  std::cout << reply.text() << '\n';
}
