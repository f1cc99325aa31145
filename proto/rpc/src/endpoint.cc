#include "ivmq/rpc/endpoint.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ivmq/internal/keep_forever.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/rpc/client.h"
#include "ivmq/rpc/server.h"

#include "src/builtin_protos.h"
#include "src/call_client.h"
#include "src/call_frame.h"
#include "src/call_server.h"
#include "src/discovery.h"
#include "src/end_sender.h"
#include "src/health_check.h"
#include "src/interception.h"
#include "src/outbox.h"
#include "src/polling.h"
#include "src/reflection.h"
#include "src/user_code.h"

namespace ivmq::rpc {

struct Endpoint::Impl {
  Impl(std::unique_ptr<Node> node_in, EndpointOptions options_in)
      : node(std::move(node_in)),
        options(std::move(options_in)),
        polling(*node, [this] { return Poll(); }),
        outbox(*node, polling),
        ends(*node, outbox),
        client(*node, polling, outbox),
        watches(*node) {
    node->SetPeerWatcher([this](const PeerSnapshot& snapshot) {
      client.EndUnwanted();
      watches.OnPeers(snapshot);
      if (internal::CallServer* const offers = server.load(std::memory_order_acquire)) {
        offers->OnPeers();
      }
    });
  }

  ~Impl() {
    if (server_owner != nullptr) server_owner->Shutdown(internal::Clock::time_point::min());
    client.EndAll();
    client.AwaitCancellers();
    outbox.Stop();
    // Their callbacks; there is no channel any more to begin another call with.
    while (polling.has_tasks()) polling.PollOnce();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  std::size_t Poll();
  void OnMessage(const Message& message);

  const std::unique_ptr<Node> node;
  const EndpointOptions options;
  internal::Polling polling;
  internal::Outbox outbox;
  internal::EndSender ends;
  internal::CallClient client;
  internal::Watches watches;
  std::unique_ptr<internal::CallServer> server_owner;  // guarded by mutex
  std::atomic<internal::CallServer*> server{nullptr};

  std::mutex mutex;
  bool is_driven = false;  // guarded by mutex; the application polls
  std::thread thread;      // guarded by mutex
  std::atomic<bool> stop{false};
  // Whether the application's loop is in Endpoint::Poll(): the thread that ends the endpoint
  // elsewhere waits for it.
  std::atomic<bool> loop_polls{false};
  // Itself, when the endpoint was destroyed by a callback of a poll of the application's.
  std::shared_ptr<Impl> until_polled;
};

void Endpoint::Impl::OnMessage(const Message& message) {
  if (message.kind < layout::FrameKind::kFirstRpc) {
    if (options.on_message) {
      (void)internal::RunUserCode(*node, "EndpointOptions::on_message",
                                  [&] { options.on_message(message); });
    }
    return;
  }
  const std::optional<internal::CallFrame> frame = internal::Parse(message.payload);
  // For a former life of this peer, or no frame at all: at most once means not now.
  if (!frame || frame->header.receiver != node->id().incarnation) {
    node->Count(layout::Counter::kUnparsable);
    return;
  }
  const auto kind = static_cast<internal::CallFrameKind>(message.kind);
  if (kind >= internal::CallFrameKind::kEnd) {
    client.OnFrame(message, kind, *frame);
  } else if (internal::CallServer* const offers = server.load(std::memory_order_acquire)) {
    offers->OnFrame(message, kind, *frame);
  } else if (kind == internal::CallFrameKind::kRequest) {
    internal::CallServer::RefuseFrom(ends, message, *frame);
  }
}

std::size_t Endpoint::Impl::Poll() {
  const std::size_t count = node->Poll([this](const Message& message) { OnMessage(message); });
  if (watches.has_new()) [[unlikely]]
    watches.OnPeers(node->Peers());
  if (polling.TakeTime()) [[unlikely]]
    client.EndUnwanted();
  if (client.has_dead()) [[unlikely]]
    client.EndCallsOfTheDead();
  return count;
}

std::shared_ptr<Endpoint> Endpoint::Make(std::unique_ptr<Node> node, EndpointOptions options) {
  return std::shared_ptr<Endpoint>(
      new Endpoint(std::make_shared<Impl>(std::move(node), std::move(options))));
}

Endpoint::~Endpoint() {
  if (impl_->node->IsForkedCopy()) {
    KeepForever(impl_);
    return;
  }
  const bool in_poll = impl_->polling.InPoll();
  impl_->stop.store(true, std::memory_order_relaxed);
  impl_->node->Wake();
  std::thread& thread = impl_->thread;
  if (thread.get_id() == std::this_thread::get_id()) {
    // In a callback: what is left ends with the thread.
    thread.detach();
    return;
  }
  if (thread.joinable()) thread.join();
  if (in_poll) {
    impl_->until_polled = impl_;
    return;
  }
  // A callback of the application's loop has handed the last reference to this thread. Not long: it
  // must not block.
  while (impl_->loop_polls.load(std::memory_order_acquire)) std::this_thread::yield();
}

Node& Endpoint::node() noexcept { return *impl_->node; }

std::shared_ptr<Channel> Endpoint::CreateChannel(
    std::string peer, std::vector<ClientInterceptorFactory> interceptors) {
  return std::make_shared<Channel>(shared_from_this(), std::move(peer), std::move(interceptors));
}

std::shared_ptr<Channel> Endpoint::CreateServiceChannel(
    std::string service, std::vector<ClientInterceptorFactory> interceptors) {
  return std::make_shared<Channel>(shared_from_this(),
                                   std::make_unique<internal::Providers>(std::move(service)),
                                   std::move(interceptors));
}

std::unique_ptr<ServiceWatch> Endpoint::WatchService(std::string service, ServiceWatcher watcher) {
  auto watch = std::make_shared<internal::Watch>(std::move(service), std::move(watcher));
  if (impl_->node->IsForkedCopy()) return std::unique_ptr<ServiceWatch>(new ServiceWatch(watch));
  impl_->watches.Add(watch);
  NeedThread();
  impl_->node->Wake();
  return std::unique_ptr<ServiceWatch>(new ServiceWatch(std::move(watch)));
}

void Endpoint::Drive() {
  if (impl_->node->IsForkedCopy()) return;
  const std::lock_guard lock(impl_->mutex);
  impl_->is_driven = true;
  impl_->polling.SetHasLoop();
}

int Endpoint::Fd() const noexcept { return impl_->node->Fd(); }
bool Endpoint::Arm() { return impl_->node->IsForkedCopy() || impl_->polling.Arm(); }
std::size_t Endpoint::Poll() {
  Impl& impl = *impl_;
  if (impl.node->IsForkedCopy()) [[unlikely]]
    return 0;
  if (impl.polling.InPoll()) return 0;
  impl.loop_polls.store(true, std::memory_order_relaxed);
  const std::size_t count = impl.polling.PollOnce();
  // A callback may have destroyed this endpoint.
  if (impl.until_polled != nullptr) [[unlikely]] {
    const std::shared_ptr<Impl> last = std::move(impl.until_polled);
    return count;
  }
  // From here on another thread may.
  impl.loop_polls.store(false, std::memory_order_release);
  return count;
}

void Endpoint::NeedThread() {
  if (impl_->node->IsForkedCopy()) return;
  const std::lock_guard lock(impl_->mutex);
  if (impl_->is_driven || impl_->thread.joinable()) return;
  impl_->polling.SetHasLoop();
  impl_->thread = std::thread([impl = impl_] { impl->polling.Loop(impl->stop); });
}

// ---- Channel ----

Channel::Channel(std::shared_ptr<Endpoint> endpoint, std::string peer,
                 std::vector<ClientInterceptorFactory> interceptors, std::string unreachable)
    : endpoint_(std::move(endpoint)),
      peer_(std::move(peer)),
      interceptors_(std::move(interceptors)),
      unreachable_(std::move(unreachable)) {}
Channel::Channel(std::shared_ptr<Endpoint> endpoint, std::unique_ptr<internal::Providers> providers,
                 std::vector<ClientInterceptorFactory> interceptors)
    : endpoint_(std::move(endpoint)),
      providers_(std::move(providers)),
      interceptors_(std::move(interceptors)) {}
Channel::~Channel() = default;

Status Channel::Call(const internal::MethodName& method, ClientContext* context,
                     const Outgoing& request, const Incoming& response) {
  internal::CallClient& client = endpoint_->impl_->client;
  if (interceptors_.empty()) [[likely]]
    return client.Call(*this, method, *context, request, response);
  internal::Interception interception(endpoint_->node(), interceptors_,
                                      {.method = method.path, .peer = peer_});
  Status status = interception.Before(*context, request);
  if (status.ok()) {
    status = interception.answers() ? interception.AnswerEnd(*context, response)
                                    : client.Call(*this, method, *context, request, response);
  }
  interception.After(*context, status, response);
  return status;
}

void Channel::CallAsync(const internal::MethodName& method, ClientContext* context,
                        const Outgoing& request, const Incoming& response,
                        std::function<void(Status)> done) {
  // `done` may drop the last reference of the application's before this returns.
  const std::shared_ptr<Channel> self = shared_from_this();
  if (Node& node = endpoint_->node(); node.IsForkedCopy()) [[unlikely]] {
    // Nobody polls for it.
    const Status status(StatusCode::FAILED_PRECONDITION, node.status().message());
    (void)internal::RunUserCode(node, "the callback of a call", [&] { done(status); });
    return;
  }
  endpoint_->NeedThread();
  internal::CallClient& client = endpoint_->impl_->client;
  if (interceptors_.empty()) [[likely]]
    return client.CallAsync(*this, method, *context, request, response, std::move(done));
  auto interception = std::make_shared<internal::Interception>(
      endpoint_->node(), interceptors_, CallInfo{.method = method.path, .peer = peer_});
  Status end = interception->Before(*context, request);
  const bool is_made = end.ok() && !interception->answers();
  if (end.ok() && !is_made) end = interception->AnswerEnd(*context, response);
  std::function<void(Status)> after = [interception, context, response,
                                       done = std::move(done)](Status status) {
    interception->After(*context, status, response);
    done(std::move(status));
  };
  if (!is_made) return client.EndAsync(*context, response, std::move(after), std::move(end));
  client.CallAsync(*this, method, *context, request, response, std::move(after));
}

std::future<Status> Channel::CallFuture(const internal::MethodName& method, ClientContext* context,
                                        const Outgoing& request, const Incoming& response) {
  auto promise = std::make_shared<std::promise<Status>>();
  std::future<Status> future = promise->get_future();
  CallAsync(method, context, request, response,
            [promise](Status status) { promise->set_value(std::move(status)); });
  return future;
}

internal::CallClient& Channel::ClientForStream(bool calls_back) const {
  if (calls_back) endpoint_->NeedThread();
  return endpoint_->impl_->client;
}

// ---- Server ----

namespace {

// The full names of the services, each once.
std::vector<std::string> NamesOf(const std::vector<Service*>& services) {
  std::vector<std::string> names;
  for (const Service* const service : services) {
    for (const internal::Method& method : service->methods()) {
      std::string name(internal::ServiceOf(method.path));
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        names.push_back(std::move(name));
      }
    }
  }
  return names;
}

}  // namespace

Result<std::unique_ptr<Server>> ServerBuilder::BuildAndStart() {
  if (Node& node = endpoint_->node(); node.IsForkedCopy()) return node.status();
  std::vector<Service*> services = services_;
  for (const Service* const service : services) {
    for (const internal::Method& method : service->methods()) {
      if (internal::IsPath(method.path)) continue;
      return Status(StatusCode::kInvalidArgument, "'" + method.path +
                                                      "' is no path of a method: those are "
                                                      "\"/package.Service/Method\"");
    }
  }
  const std::vector<std::string> names = NamesOf(services);
  if (Status status = CheckServices(names); !status.ok()) return status;
  const auto is_registered = [&](const char* name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  std::unique_ptr<internal::HealthCheck> health;
  if (health_check_ && !is_registered(internal::kHealthName)) {
    health = std::make_unique<internal::HealthCheck>();
    services.push_back(health.get());
  }
  std::unique_ptr<internal::Reflection> reflection;
  if (reflection_ && !is_registered(internal::kReflectionName)) {
    std::vector<std::string> all = NamesOf(services);
    all.emplace_back(internal::kReflectionName);
    reflection = std::make_unique<internal::Reflection>(std::move(all));
    services.push_back(reflection.get());
  }
  Endpoint::Impl& impl = *endpoint_->impl_;
  const std::size_t cores = std::max(2U, std::thread::hardware_concurrency());
  auto server = std::make_unique<internal::CallServer>(
      *impl.node, impl.polling, impl.outbox, impl.ends,
      internal::CallServerOptions{.executor = executor_,
                                  .threads = threads_ != 0 ? threads_ : cores,
                                  .max_threads = max_threads_,
                                  .max_calls = max_calls_,
                                  .max_request_bytes = max_request_bytes_,
                                  .interceptors = std::move(interceptors_)});
  for (const Service* const service : services) {
    for (const internal::Method& method : service->methods()) {
      if (!server->AddMethod(method)) {
        return Status(StatusCode::kAlreadyExists,
                      "two methods have the path or the id of " + method.path);
      }
    }
  }
  internal::CallServer& started = *server;
  {
    const std::lock_guard lock(impl.mutex);
    if (impl.server_owner != nullptr) {
      return Status(StatusCode::kAlreadyExists,
                    "the endpoint has a server: register all services with one");
    }
    started.Start();
    impl.server_owner = std::move(server);
    impl.server.store(&started, std::memory_order_release);
  }
  endpoint_->NeedThread();
  std::unique_ptr<Server> handle(
      new Server(endpoint_, started, std::move(health), std::move(reflection)));
  if (Status status = impl.node->SetServices(names); !status.ok()) return status;
  return handle;
}

Server::Server(std::shared_ptr<Endpoint> endpoint, internal::CallServer& server,
               std::unique_ptr<internal::HealthCheck> health,
               std::unique_ptr<internal::Reflection> reflection)
    : endpoint_(std::move(endpoint)),
      server_(server),
      health_(std::move(health)),
      reflection_(std::move(reflection)) {}
Server::~Server() {
  if (endpoint_->node().IsForkedCopy()) {
    KeepForever(std::shared_ptr<void>(health_.release(), [](void*) {}));
    KeepForever(std::shared_ptr<void>(reflection_.release(), [](void*) {}));
    return;
  }
  if (!server_.MayWait()) {
    (void)std::fputs(
        "ivmq: a server was destroyed by one of its handlers or by a callback of its endpoint: it "
        "cannot wait for them; destroy it on another thread\n",
        stderr);
    std::terminate();
  }
  Shutdown();
}
HealthCheckServiceInterface* Server::GetHealthCheckService() const noexcept {
  return health_.get();
}
void Server::ShutdownAt(std::chrono::steady_clock::time_point deadline) {
  if (endpoint_->node().IsForkedCopy()) return;
  // Refused only where nothing is offered any more.
  (void)endpoint_->node().SetServices({});
  if (health_ != nullptr) health_->EndWatches();
  server_.Shutdown(deadline);
  // Handlers that run inline.
  if (server_.MayWait()) endpoint_->impl_->polling.AwaitPollsEnd();
}
void Server::Wait() {
  if (!endpoint_->node().IsForkedCopy()) server_.Wait();
}

}  // namespace ivmq::rpc
