// A channel: the way to one peer, whichever life of it, or to the peers that offer a service.
#ifndef IVMQ_RPC_CHANNEL_H_
#define IVMQ_RPC_CHANNEL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/message.h>

#include "ivmq/rpc/client_context.h"
#include "ivmq/rpc/endpoint.h"
#include "ivmq/rpc/interceptor.h"
#include "ivmq/rpc/method.h"
#include "ivmq/rpc/status.h"

namespace ivmq::rpc {

namespace internal {
class Providers;
}  // namespace internal

// Thread-safe. Keeps its endpoint.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  Channel(std::shared_ptr<Endpoint> endpoint, std::string peer,
          std::vector<ClientInterceptorFactory> interceptors);
  // REQUIRES: providers
  Channel(std::shared_ptr<Endpoint> endpoint, std::unique_ptr<internal::Providers> providers,
          std::vector<ClientInterceptorFactory> interceptors);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Empty if the channel goes to a service.
  [[nodiscard]] const std::string& peer() const noexcept { return peer_; }
  [[nodiscard]] Endpoint& endpoint() const noexcept { return *endpoint_; }

  // ---- For generated code ----

  // REQUIRES: everything that is pointed to lives until the end of the call.
  Status Call(const internal::MethodName& method, ClientContext* context,
              const google::protobuf::Message& request, google::protobuf::Message* response);
  // `done` is called once, on the thread that polls; it must not block. What it throws
  // NodeOptions::on_report hears.
  void CallAsync(const internal::MethodName& method, ClientContext* context,
                 const google::protobuf::Message& request, google::protobuf::Message* response,
                 std::function<void(Status)> done);
  // `calls_back`: somebody must poll for the stream when no thread waits.
  [[nodiscard]] internal::Client& ClientForStream(bool calls_back) const;
  std::future<Status> CallFuture(const internal::MethodName& method, ClientContext* context,
                                 const google::protobuf::Message& request,
                                 google::protobuf::Message* response);

 private:
  friend class internal::Client;

  const std::shared_ptr<Endpoint> endpoint_;
  const std::string peer_;
  const std::unique_ptr<internal::Providers> providers_;  // nullptr: the channel goes to peer_
  const std::vector<ClientInterceptorFactory> interceptors_;
  std::atomic<std::uint64_t> cached_{0};  // the peer's life that was met last: slot, incarnation
};

// gRPC's name for what stubs take.
using ChannelInterface = Channel;

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_CHANNEL_H_
