// A channel: through it calls go to one peer, in whichever life, or to peers that offer a service.
#ifndef IVMQ_RPC_CHANNEL_H_
#define IVMQ_RPC_CHANNEL_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ivmq/internal/payload.h"
#include "ivmq/rpc/client_context.h"
#include "ivmq/rpc/deadline.h"
#include "ivmq/rpc/endpoint.h"
#include "ivmq/rpc/interceptor.h"
#include "ivmq/rpc/method.h"
#include "ivmq/rpc/status.h"

namespace ivmq::rpc {

namespace internal {
class ClientStreamCall;
class Providers;
}  // namespace internal

// What would happen to a call of a channel. Names and values are gRPC's. There is no connection, so
// the first two states do not occur.
// NOLINTBEGIN(readability-identifier-naming, readability-enum-initial-value)
enum grpc_connectivity_state : int {
  GRPC_CHANNEL_IDLE = 0,
  GRPC_CHANNEL_CONNECTING = 1,
  GRPC_CHANNEL_READY = 2,              // it would be sent
  GRPC_CHANNEL_TRANSIENT_FAILURE = 3,  // there is no live peer now: it would end with UNAVAILABLE
  GRPC_CHANNEL_SHUTDOWN = 4,           // the node's own life is over, and so the channel's
};
// NOLINTEND(readability-identifier-naming, readability-enum-initial-value)

// Thread-safe. Keeps its endpoint.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  // `unreachable`: if not empty, all calls end with UNAVAILABLE and this message.
  Channel(std::shared_ptr<Endpoint> endpoint, std::string peer,
          std::vector<ClientInterceptorFactory> interceptors, std::string unreachable = {});
  // REQUIRES: providers
  Channel(std::shared_ptr<Endpoint> endpoint, std::unique_ptr<internal::Providers> providers,
          std::vector<ClientInterceptorFactory> interceptors);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Empty if the channel goes to a service.
  [[nodiscard]] const std::string& peer() const noexcept { return peer_; }
  [[nodiscard]] Endpoint& endpoint() const noexcept { return *endpoint_; }

  // `try_to_connect` has no effect: there is nothing to connect.
  [[nodiscard]] grpc_connectivity_state GetState(bool try_to_connect) const;
  // Waits until the state differs from `last_observed`. False: the deadline, a time point of any
  // clock, has passed. On the thread that polls these functions check once and do not wait.
  template <typename ClockType, typename Duration>
  bool WaitForStateChange(grpc_connectivity_state last_observed,
                          const std::chrono::time_point<ClockType, Duration>& deadline) const {
    return AwaitState([=](auto state) { return state != last_observed; },
                      internal::ToSteady(deadline));
  }
  // Waits until the state is GRPC_CHANNEL_READY.
  template <typename ClockType, typename Duration>
  bool WaitForConnected(const std::chrono::time_point<ClockType, Duration>& deadline) const {
    return AwaitState([](auto state) { return state == GRPC_CHANNEL_READY; },
                      internal::ToSteady(deadline));
  }

  // ---- For generated code ----

  // REQUIRES: what the pointers refer to lives until the end of the call.
  Status Call(const internal::MethodName& method, ClientContext* context, const Outgoing& request,
              const Incoming& response);
  // `done` is called once, on the thread that polls, and must not block. What it throws is reported
  // to NodeOptions::on_report.
  void CallAsync(const internal::MethodName& method, ClientContext* context,
                 const Outgoing& request, const Incoming& response,
                 std::function<void(Status)> done);
  // `calls_back`: a thread must poll for the stream when none waits.
  [[nodiscard]] internal::CallClient& ClientForStream(bool calls_back) const;
  std::future<Status> CallFuture(const internal::MethodName& method, ClientContext* context,
                                 const Outgoing& request, const Incoming& response);

 private:
  friend class internal::CallClient;
  friend class internal::ClientStreamCall;

  bool AwaitState(const std::function<bool(grpc_connectivity_state)>& is_wanted,
                  std::chrono::steady_clock::time_point deadline) const;

  const std::shared_ptr<Endpoint> endpoint_;
  const std::string peer_;
  const std::unique_ptr<internal::Providers> providers_;  // nullptr: the channel goes to peer_
  const std::vector<ClientInterceptorFactory> interceptors_;
  const std::string unreachable_;
  std::atomic<std::uint64_t> cached_{0};  // the peer's life that was met last: slot, incarnation
};

// gRPC's name for what stubs take.
using ChannelInterface = Channel;

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_CHANNEL_H_
