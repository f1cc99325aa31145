// The client's side of calls: the channels that they go through, and a context for each.
//
//   const auto stub = Echo::NewStub(endpoint->CreateChannel("vm2"));
//   ivmq::rpc::ClientContext context;
//   const ivmq::rpc::Status status = stub->Say(&context, request, &response);
#ifndef IVMQ_RPC_CLIENT_H_
#define IVMQ_RPC_CLIENT_H_

#include "ivmq/export.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/payload.h"
#include "ivmq/internal/spin_lock.h"
#include "ivmq/rpc/endpoint.h"
#include "ivmq/rpc/internal/deadline.h"
#include "ivmq/rpc/internal/metadata.h"
#include "ivmq/rpc/internal/method.h"
#include "ivmq/rpc/internal/status_names.h"

namespace ivmq::rpc {

// ---- Contexts ----

class ServerContext;

namespace internal {
class ChildCalls;
class CallClient;
struct CallAccess;
}  // namespace internal

// What a call that a handler makes inherits from the call that it handles. Default: everything.
// Names are gRPC's.
class PropagationOptions {
 public:
  // The call ends no later than the handled one.
  PropagationOptions& enable_deadline_propagation() noexcept { return Set(&deadline_, true); }
  PropagationOptions& disable_deadline_propagation() noexcept { return Set(&deadline_, false); }
  // The call is cancelled when the handled one is cancelled or ends.
  PropagationOptions& enable_cancellation_propagation() noexcept { return Set(&cancel_, true); }
  PropagationOptions& disable_cancellation_propagation() noexcept { return Set(&cancel_, false); }
  // No effect: there is no census.
  PropagationOptions& enable_census_stats_propagation() noexcept { return *this; }
  PropagationOptions& disable_census_stats_propagation() noexcept { return *this; }
  PropagationOptions& enable_census_tracing_propagation() noexcept { return *this; }
  PropagationOptions& disable_census_tracing_propagation() noexcept { return *this; }

 private:
  friend class ClientContext;
  PropagationOptions& Set(bool* which, bool value) noexcept {
    *which = value;
    return *this;
  }

  bool deadline_ = true;
  bool cancel_ = true;
};

// What a client sets for one call, and learns about it apart from the response. Must outlive the call and every TryCancel() in progress. Any thread may call
// TryCancel() at any time: before the call, while it runs, after its end, even when stub, channel
// and endpoint are gone. Everything else is thread-compatible: call setters before the call, and
// getters after it (those of initial metadata once it has arrived).
class IVMQ_EXPORT ClientContext {
 public:
  ClientContext() = default;
  ~ClientContext() {
    if (parent_ != nullptr) [[unlikely]]
      LeaveParent();
  }
  ClientContext(const ClientContext&) = delete;
  ClientContext& operator=(const ClientContext&) = delete;

  // The context of a call that a handler makes on behalf of the call that it handles. It may
  // outlive that one. Thread-safe while `server_context` lives.
  static std::unique_ptr<ClientContext> FromServerContext(const ServerContext& server_context,
                                                          PropagationOptions options = {});
  static std::unique_ptr<ClientContext> FromCallbackServerContext(
      const ServerContext& server_context, PropagationOptions options = {}) {
    return FromServerContext(server_context, options);
  }

  // A time point of any clock of std::chrono. It is sent as the remaining time.
  template <typename ClockType, typename Duration>
  void set_deadline(const std::chrono::time_point<ClockType, Duration>& deadline) {
    deadline_ = std::min(latest_, internal::ToSteady(deadline));
  }
  // Includes the deadline inherited by FromServerContext().
  [[nodiscard]] std::chrono::system_clock::time_point deadline() const;

  // Keys: a-z 0-9 - _ . and values: printable ASCII, or any bytes if the key ends with "-bin"; at
  // most 64 KiB together. Otherwise the call ends with INVALID_ARGUMENT.
  void AddMetadata(const std::string& key, const std::string& value) {
    valid_ = metadata_.Add(key, value) && valid_;
  }

  // True: if the server is not there or shows no sign of life, the call waits for it until the
  // deadline or TryCancel(). The thread that begins the call waits, whatever kind of call it is.
  // False, or on the thread that polls, which never waits: UNAVAILABLE at once.
  void set_wait_for_ready(bool wait) noexcept { wait_for_ready_ = wait; }

  // Ends the call with CANCELLED if it has not ended, whatever it waits for. Called before the
  // call, it keeps the call from starting. Does not wait. Inside a callback of the endpoint, the
  // callback of the call may run before this returns.
  void TryCancel();

  [[nodiscard]] const Metadata& GetServerInitialMetadata() const { return initial_.map(); }
  [[nodiscard]] const Metadata& GetServerTrailingMetadata() const { return trailing_.map(); }
  // The name of the peer that the call went to. It proves no identity: see docs/guarantees.md.
  [[nodiscard]] std::string peer() const { return {peer_.data(), peer_bytes_}; }
  // How the call ended, as text for a log, with details that the status omits. Empty if it is OK.
  [[nodiscard]] std::string debug_error_string() const;

 private:
  friend class internal::ChildCalls;
  friend struct internal::CallAccess;

  // A cancel that has begun: what it ends, once the context may be gone.
  struct Cancelling {
    internal::CallClient* client = nullptr;  // nullptr: no call was under way
    std::uint64_t call = 0;
  };
  Cancelling BeginCancel() noexcept;
  static void EndCancel(const Cancelling& cancelling);
  void LeaveParent() noexcept;

  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::time_point::max();
  std::chrono::steady_clock::time_point latest_ = std::chrono::steady_clock::time_point::max();
  std::shared_ptr<internal::ChildCalls> parent_;  // nullptr: it is cancelled with no other call
  internal::MetadataBytes metadata_;
  bool valid_ = true;
  bool wait_for_ready_ = false;
  internal::ReceivedMetadata initial_;
  internal::ReceivedMetadata trailing_;
  std::array<char, layout::kNameBytes> peer_;
  std::size_t peer_bytes_ = 0;
  Status failure_;  // OK, or how the call ended

  SpinLock lock_;
  std::atomic<bool> cancelled_{false};      // written under lock_
  internal::CallClient* client_ = nullptr;  // guarded by lock_; of the call that runs
  std::uint64_t call_ = 0;                  // guarded by lock_
};

// ---- Channels ----

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

// Through it calls go to one peer, in whichever life, or to peers that offer a service.
// Thread-safe. Keeps its endpoint.
class IVMQ_EXPORT Channel : public std::enable_shared_from_this<Channel> {
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

#endif  // IVMQ_RPC_CLIENT_H_
