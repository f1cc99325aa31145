// A client over ivmq. Usage: example_porting_ivmq_client ADDRESS
#include "ivmq/rpc/client.h"

#include <chrono>
#include <iostream>

#include "ivmq/rpc/stream.h"

#include "greeter.ivmq.pb.h"

namespace rpc = ivmq::rpc;

namespace {

void SetDeadline(rpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
}

bool TryGreet(example::Greeter::Stub& stub, const example::Person& person) {
  rpc::ClientContext context;
  SetDeadline(context);
  example::Greeting greeting;
  const rpc::Status status = stub.Greet(&context, person, &greeting);
  if (!status.ok()) {
    std::cout << "status " << status.error_code() << ": " << status.error_message() << '\n';
    return status.error_code() == rpc::StatusCode::INVALID_ARGUMENT;
  }
  std::cout << greeting.text() << '\n';
  return context.GetServerTrailingMetadata().count("greeted") == 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto endpoint = rpc::Endpoint::Open(argv[1], {.node = {.name = "visitor"}});
  if (!endpoint.ok()) {
    std::cerr << endpoint.status().ToString() << '\n';
    return 1;
  }
  const auto channel = (*endpoint)->CreateChannel("greeter");
  const auto stub = example::Greeter::NewStub(channel);

  example::Person person;
  if (!TryGreet(*stub, person)) return 1;
  person.set_name("world");
  if (!TryGreet(*stub, person)) return 1;

  rpc::ClientContext context;
  SetDeadline(context);
  person.set_times(2);
  const auto reader = stub->Repeat(&context, person);
  example::Greeting greeting;
  while (reader->Read(&greeting)) std::cout << greeting.text() << '\n';
  return reader->Finish().ok() ? 0 : 1;
}
