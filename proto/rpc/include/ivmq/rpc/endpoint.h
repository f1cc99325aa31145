// An endpoint: a named peer of a region that calls services, offers services, or both.
//
//   auto endpoint = ivmq::rpc::Endpoint::Open("auto", {.node = {.name = "vm1"}});
//   auto stub = Echo::NewStub((*endpoint)->CreateChannel("vm2"));
#ifndef IVMQ_RPC_ENDPOINT_H_
#define IVMQ_RPC_ENDPOINT_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ivmq/node.h"
#include "ivmq/rpc/interceptor.h"
#include "ivmq/status.h"

namespace ivmq::rpc {

class Channel;
namespace internal {
struct Watch;
}  // namespace internal

struct EndpointOptions {
  NodeOptions node{};
  // Messages that are no frames of RPC; called on the thread that polls, and must not block. What
  // it throws NodeOptions::on_report hears; the message counts as handled.
  std::function<void(const Message&)> on_message{};
};

// What it throws NodeOptions::on_report hears.
using ServiceWatcher = std::function<void(const std::vector<PeerInfo>& providers)>;

// Ends with its destruction, which may be within the watcher, and otherwise waits for one that
// runs. May outlive its endpoint.
class ServiceWatch {
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
// Who waits for a call of its own polls for all. What nobody waits for (requests to services here,
// ends of calls with a callback) is polled by a thread that starts when it is first needed, or by
// an event loop of the application's: see Drive().
//
// Code of the application's runs with no lock of the library held. Within a callback, a reactor or
// an inline handler, Poll() does nothing and gives 0, and synchronous calls end with
// FAILED_PRECONDITION.
//
// An endpoint belongs to the process that made it. A forked child's copy does nothing: calls end at
// once with FAILED_PRECONDITION, their callbacks and OnDone() run where they are begun, servers are
// not built and not waited for, Poll() gives 0, Arm() true. It may be destroyed. Calls that were
// begun before the fork go on in the parent: in the child their streams give false, and Finish()
// that status; TryCancel() does nothing; their callbacks and futures never come.
class Endpoint : public std::enable_shared_from_this<Endpoint> {
 public:
  // Errors: those of Node::Open.
  static Result<std::shared_ptr<Endpoint>> Open(std::string_view address,
                                                EndpointOptions options = {}) {
    auto node = Node::Open(address, options.node);
    if (!node.ok()) return node.status();
    return Make(*std::move(node), std::move(options));
  }
  // The same over a node that is open already. Nobody else may poll it; sending is for everybody.
  static std::shared_ptr<Endpoint> Make(std::unique_ptr<Node> node, EndpointOptions options = {});
  // With the last reference, of which each channel, stream and server of it holds one: so they may
  // go in any order. Ends the calls that still run, which have callbacks, with CANCELLED; then the
  // node has left. In a callback of the endpoint, which may hold the last reference, it leaves when
  // that poll has ended; a thread that a callback has handed the last reference to waits for the
  // end of the poll. Not in a handler, which its server waits for.
  // What may be held longer: contexts (see there), futures, watches.
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  [[nodiscard]] Node& node() noexcept;

  // A channel to the peer of that name, which need not be there yet. `interceptors` see its
  // calls; the first one is the outermost.
  [[nodiscard]] std::shared_ptr<Channel> CreateChannel(
      std::string peer, std::vector<ClientInterceptorFactory> interceptors = {});

  // A channel to whoever offers the service, by its full name ("pkg.Echo"): each call goes to one
  // of the live peers that do, in turn, suspected ones left out. While there is none, calls end
  // with UNAVAILABLE, or wait for one, see ClientContext::set_wait_for_ready.
  [[nodiscard]] std::shared_ptr<Channel> CreateServiceChannel(
      std::string service, std::vector<ClientInterceptorFactory> interceptors = {});
  // Calls `watcher` with the live peers that offer the service: soon, and whenever they have
  // changed. On the thread that polls, so it must not block. Once the returned watch is gone, the
  // watcher neither runs nor is called.
  [[nodiscard]] std::unique_ptr<ServiceWatch> WatchService(std::string service,
                                                           ServiceWatcher watcher);

  // ---- For an event loop of the application's ----

  // From now on the application polls: call Poll() when Fd() is readable, and Arm() before sleeping
  // on it; false means that something waits already. To be called before there are calls or
  // services.
  void Drive();
  [[nodiscard]] int Fd() const noexcept;
  [[nodiscard]] bool Arm();
  std::size_t Poll();

 private:
  friend class Channel;
  friend class Server;
  friend class ServerBuilder;

  struct Impl;
  explicit Endpoint(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  // Polls by itself from now on, unless the application does.
  void NeedThread();

  const std::shared_ptr<Impl> impl_;  // its thread's as well
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_ENDPOINT_H_
