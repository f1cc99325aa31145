// The calls of the demo over gRPC, for comparison: demo_grpc serve IP:PORT NAME, or
// demo_grpc call IP:PORT SERVER NAME COUNT LIMIT_SECONDS.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "calls.h"
#include "greeter.grpc.pb.h"

namespace {

using ivmq::demo::Greeter;
using ivmq::demo::Greeting;

class GreeterService final : public Greeter::Service {
 public:
  explicit GreeterService(std::string name) : name_(std::move(name)) {}

  grpc::Status Greet(grpc::ServerContext* /*context*/, const Greeting* request,
                     Greeting* response) override {
    response->set_text(request->text() + ", " + name_);
    response->set_data(request->data());
    return grpc::Status::OK;
  }

 private:
  std::string name_;
};

int Serve(const std::string& address, const std::string& name) {
  GreeterService service(name);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  (void)std::printf("%s offers ivmq.demo.Greeter at %s by gRPC\n", name.c_str(), address.c_str());
  (void)std::fflush(stdout);
  server->Wait();
  return 0;
}

int Call(const std::string& address, const std::string& server, const std::string& name,
         std::uint32_t count, std::chrono::seconds limit) {
  const auto stub =
      Greeter::NewStub(grpc::CreateChannel("ipv4:" + address, grpc::InsecureChannelCredentials()));
  const auto greet = [&](const Greeting& request, Greeting* response) -> std::string {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + limit);
    context.set_wait_for_ready(true);
    const grpc::Status status = stub->Greet(&context, request, response);
    return status.ok() ? "" : "gRPC: " + status.error_message();
  };
  return ivmq::demo::CallAndPrint("gRPC over virtio-net", name, {server}, count, greet) ? 0 : 1;
}

int Main(const std::vector<std::string>& words) {
  if (words.size() == 3 && words[0] == "serve") return Serve(words[1], words[2]);
  if (words.size() == 6 && words[0] == "call") {
    return Call(words[1], words[2], words[3], static_cast<std::uint32_t>(std::stoul(words[4])),
                std::chrono::seconds(std::stoul(words[5])));
  }
  (void)std::fputs("see the head of demo_grpc.cc\n", stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main({argv + 1, argv + argc});
  } catch (const std::exception& failure) {
    (void)std::fprintf(stderr, "demo_grpc: %s\n", failure.what());
    return 1;
  }
}
