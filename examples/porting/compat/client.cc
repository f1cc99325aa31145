// gRPC's client over ivmq. Usage: example_porting_compat_client ivmq:///greeter
#include <chrono>
#include <iostream>

#include "ivmq/rpc/grpc_compat.h"

#include "greeter.ivmq.pb.h"

namespace rpc = ivmq::grpc;

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
  const auto channel = rpc::CreateChannel(argv[1], rpc::InsecureChannelCredentials());
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
