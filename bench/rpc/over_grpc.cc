// The calls over gRPC, by a unix socket or the loopback device.
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include "bench.grpc.pb.h"
#include "calls.h"
#include "rows.h"

namespace ivmq::bench {
namespace {

// With kCallback the server's Echo is not given a thread for each call.
template <bool kCallback>
class OverGrpc {
 public:
  using Bench = over_grpc::Bench;
  using Status = grpc::Status;
  using ClientContext = grpc::ClientContext;
  using ServerContext = grpc::ServerContext;
  using Reader = grpc::ServerReader<Payload>;
  using Writer = grpc::ServerWriter<Payload>;

  explicit OverGrpc(const Setup& setup)
      : address_(setup.address.empty() ? fmt::format("unix-abstract:ivmq_rpc_bench-{}", getpid())
                                       : setup.address) {}

  [[nodiscard]] std::unique_ptr<Bench::Stub> Connect() const {
    return Bench::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  }
  [[nodiscard]] std::shared_ptr<void> Serve(Bench::Service& service) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    callback_.emplace(service);
    if constexpr (kCallback) {
      builder.RegisterService(&*callback_);
    } else {
      builder.RegisterService(&service);
    }
    std::shared_ptr<grpc::Server> server = builder.BuildAndStart();
    if (server == nullptr) Fail("gRPC does not serve " + address_);
    return {server.get(), [server](void*) { server->Shutdown(); }};
  }

 private:
  class Callback final : public Bench::WithCallbackMethod_Echo<Bench::Service> {
   public:
    explicit Callback(Bench::Service& service) : service_(service) {}
    grpc::ServerUnaryReactor* Echo(grpc::CallbackServerContext* context, const Payload* request,
                                   Payload* response) override {
      grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
      reactor->Finish(service_.Echo(nullptr, request, response));
      return reactor;
    }

   private:
    Bench::Service& service_;
  };

  std::string address_;
  std::optional<Callback> callback_;
};

}  // namespace

Latency GrpcLatency(const std::string& address, std::chrono::nanoseconds duration) {
  return UnaryLatency<OverGrpc<false>>({"gRPC, synchronous", address}, duration);
}

double GrpcRate(Many what, std::chrono::nanoseconds duration) {
  using Synchronous = OverGrpc<false>;
  using Callback = OverGrpc<true>;
  switch (what) {
    case Many::kUnary:
      return CallRate<Callback>({"gRPC, pipelined", ""}, duration, CallPipelined<Callback>);
    case Many::kServerStream:
      return CallRate<Synchronous>({"gRPC, server stream", ""}, duration, ReadStream<Synchronous>);
    case Many::kClientStream:
      return CallRate<Synchronous>({"gRPC, client stream", ""}, duration, WriteStream<Synchronous>);
  }
  return 0;
}

}  // namespace ivmq::bench
