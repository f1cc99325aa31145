// The calls over ivmq.
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "ivmq/rpc/server.h"
#include "ivmq/rpc/stream.h"

#include "bench.ivmq.pb.h"
#include "calls.h"
#include "candidates/ivmq_node.h"
#include "rows.h"

namespace ivmq::bench {
namespace {

constexpr std::uint32_t kRingBytes = 256U << 10;

template <Unary kHow>
class OverIvmq {
 public:
  using Bench = bench::Bench;
  using Status = rpc::Status;
  using ClientContext = rpc::ClientContext;
  using ServerContext = rpc::ServerContext;
  using Reader = rpc::ServerReader<Payload>;
  using Writer = rpc::ServerWriter<Payload>;

  explicit OverIvmq(const Setup& setup) : address_(setup.address) {
    if (address_.empty()) {
      region_ = std::make_unique<LocalRegion>(
          16U << 20, FormatOptions{.max_peers = 4, .ring_capacity = kRingBytes}, 2);
    }
  }
  [[nodiscard]] std::unique_ptr<Bench::Stub> Connect() const {
    return Bench::NewStub(Open(Side::kClient)->CreateChannel("server"));
  }
  [[nodiscard]] std::shared_ptr<void> Serve(Bench::Service& service) const {
    rpc::ServerBuilder builder(Open(Side::kServer));
    builder.RegisterService(&service).SetExecutor(kHow == Unary::kPool ? rpc::Executor::kPool
                                                                       : rpc::Executor::kInline);
    auto server = builder.BuildAndStart();
    if (!server.ok()) Fail("server: " + server.status().ToString());
    return *std::move(server);
  }

 private:
  [[nodiscard]] std::shared_ptr<rpc::Endpoint> Open(Side side) const {
    rpc::EndpointOptions options;
    options.node.name = side == Side::kServer ? "server" : "client";
    switch (kHow) {
      case Unary::kInline:
        options.node.spin_budget = std::chrono::seconds(1);
        break;
      case Unary::kPool:
        break;  // as it comes: whoever polls and the handler share a core
      case Unary::kBlocking:
        options.node.spin_budget = std::chrono::nanoseconds(0);
        break;
    }
    Result<std::unique_ptr<Node>> node =
        region_ ? Node::Open(region_->Join(static_cast<std::uint32_t>(side), true), options.node)
                : Node::Open(address_, options.node);
    if (!node.ok()) Fail("open: " + node.status().ToString());
    return rpc::Endpoint::Make(*std::move(node), std::move(options));
  }

  std::string address_;
  std::unique_ptr<LocalRegion> region_;
};

}  // namespace

Latency IvmqLatency(Unary how, const std::string& address, std::chrono::nanoseconds duration) {
  switch (how) {
    case Unary::kInline:
      return UnaryLatency<OverIvmq<Unary::kInline>>({"ivmq, handler inline", ""}, duration);
    case Unary::kPool:
      return UnaryLatency<OverIvmq<Unary::kPool>>({"ivmq, handler in the pool", ""}, duration);
    case Unary::kBlocking:
      return UnaryLatency<OverIvmq<Unary::kBlocking>>({"ivmq, sleeping", address}, duration);
  }
  return {};
}

double IvmqRate(Many what, std::chrono::nanoseconds duration) {
  using Inline = OverIvmq<Unary::kInline>;
  using Pool = OverIvmq<Unary::kPool>;
  switch (what) {
    case Many::kUnary:
      return CallRate<Inline>({"ivmq, pipelined", ""}, duration, CallPipelined<Inline>);
    case Many::kServerStream:
      return CallRate<Pool>({"ivmq, server stream", ""}, duration, ReadStream<Pool>);
    case Many::kClientStream:
      return CallRate<Pool>({"ivmq, client stream", ""}, duration, WriteStream<Pool>);
  }
  return 0;
}

}  // namespace ivmq::bench
