// An endpoint: a named peer of a region that calls services, offers services, or both.
//
//   auto endpoint = ivmq::rpc::Endpoint::Open("auto", {.node = {.name = "vm1"}});
//   auto stub = Echo::NewStub((*endpoint)->CreateChannel("vm2"));
#ifndef IVMQ_RPC_ENDPOINT_H_
#define IVMQ_RPC_ENDPOINT_H_

#include "ivmq/export.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ivmq/node.h"
#include "ivmq/status.h"

namespace ivmq::rpc {

class Channel;
class ClientInterceptor;
class ServerInterceptor;
struct CallInfo;
namespace internal {
struct Watch;
}  // namespace internal

// Create an interceptor for a call, or return nullptr for none; see ivmq/rpc/interceptor.h.
// Thread-safe. The first one is the outermost: it is the first to see what its side sends, and the
// last to see what arrives.
using ClientInterceptorFactory =
    std::function<std::unique_ptr<ClientInterceptor>(const CallInfo& call)>;
using ServerInterceptorFactory =
    std::function<std::unique_ptr<ServerInterceptor>(const CallInfo& call)>;

struct EndpointOptions {
  NodeOptions node{};
  // Called for messages that are not frames of RPC, on the thread that polls; must not block. What
  // it throws is reported to NodeOptions::on_report, and the message counts as handled.
  std::function<void(const Message&)> on_message{};
};

// What it throws is reported to NodeOptions::on_report.
using ServiceWatcher = std::function<void(const std::vector<PeerInfo>& providers)>;

// Destroying it ends the watch. It may be destroyed inside the watcher; elsewhere its destructor
// waits for a watcher that runs. May outlive its endpoint.
class IVMQ_EXPORT ServiceWatch {
 public:
  ~ServiceWatch();
  ServiceWatch(const ServiceWatch&) = delete;
  ServiceWatch& operator=(const ServiceWatch&) = delete;

 private:
  friend class Endpoint;
  explicit ServiceWatch(std::shared_ptr<internal::Watch> watch);

  const std::shared_ptr<internal::Watch> watch_;
};

// Thread-safe, except that Fd(), Arm() and Poll() are for one event loop.
//
// A thread that waits for its own call polls for all. Events for which no thread waits (requests to
// services of this endpoint, ends of calls with a callback) are polled by a thread that starts when
// it is first needed, or by an event loop of the application: see Drive(). See docs/threading.md.
//
// User code runs with no lock of the library held. Inside a callback, a reactor or an inline
// handler, Poll() does nothing and returns 0, and synchronous calls end with FAILED_PRECONDITION.
//
// An endpoint belongs to the process that created it. A forked child's copy does nothing: calls end
// at once with FAILED_PRECONDITION, their callbacks and OnDone() run where the calls are begun,
// servers are neither built nor waited for, Poll() returns 0 and Arm() true. It may be destroyed.
// Calls that were begun before the fork go on in the parent. In the child their streams return
// false, and Finish() returns that status; TryCancel() does nothing; their callbacks and futures
// never complete.
class IVMQ_EXPORT Endpoint : public std::enable_shared_from_this<Endpoint> {
 public:
  // Errors: those of Node::Open.
  static Result<std::shared_ptr<Endpoint>> Open(std::string_view address,
                                                EndpointOptions options = {}) {
    auto node = Node::Open(address, options.node);
    if (!node.ok()) return node.status();
    return Make(*std::move(node), std::move(options));
  }
  // The same over a node that is open already. Nothing else may poll the node; any thread may send.
  static std::shared_ptr<Endpoint> Make(std::unique_ptr<Node> node, EndpointOptions options = {});
  // Runs when the last reference is dropped. Each channel, stream and server of the endpoint holds
  // a reference, so they may be destroyed in any order. Calls that still run, which have callbacks,
  // end with CANCELLED; then the node leaves the region. If a callback of the endpoint drops the
  // last reference, the node leaves when that poll has ended. If a callback has handed the last
  // reference to another thread, that thread waits for the end of the poll. Must not run in a
  // handler, for which the server waits. Contexts (see there), futures and watches may outlive the
  // endpoint.
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  [[nodiscard]] Node& node() noexcept;

  // A channel to the peer of that name, which need not exist yet. `interceptors` see its calls; the
  // first one is the outermost.
  [[nodiscard]] std::shared_ptr<Channel> CreateChannel(
      std::string peer, std::vector<ClientInterceptorFactory> interceptors = {});

  // A channel to the live peers that offer the service with that full name ("pkg.Echo"). Calls go
  // to them in turn, except to suspected ones. If there is none, a call ends with UNAVAILABLE, or
  // waits for one: see ClientContext::set_wait_for_ready.
  [[nodiscard]] std::shared_ptr<Channel> CreateServiceChannel(
      std::string service, std::vector<ClientInterceptorFactory> interceptors = {});
  // Calls `watcher` with the live peers that offer the service: soon, and whenever they change. It
  // runs on the thread that polls, so it must not block. Once the returned watch is destroyed, the
  // watcher neither runs nor is called.
  [[nodiscard]] std::unique_ptr<ServiceWatch> WatchService(std::string service,
                                                           ServiceWatcher watcher);

  // ---- For an event loop of the application ----

  // From now on the application polls: call Poll() when Fd() is readable, and Arm() before sleeping
  // on it. If Arm() returns false, something waits already: call Poll() instead of sleeping. Call
  // Drive() before there are calls or services.
  void Drive();
  [[nodiscard]] int Fd() const noexcept;
  [[nodiscard]] bool Arm();
  std::size_t Poll();

 private:
  friend class Channel;
  friend class Server;
  friend class ServerBuilder;

  struct IVMQ_HIDDEN Impl;
  explicit Endpoint(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  // Starts the thread that polls, unless the application does.
  void NeedThread();

  const std::shared_ptr<Impl> impl_;  // its thread's as well
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_ENDPOINT_H_
