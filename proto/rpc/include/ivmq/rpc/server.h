// Offering services.
//
//   ivmq::rpc::ServerBuilder builder(endpoint);
//   builder.RegisterService(&echo);
//   const auto server = builder.BuildAndStart();
//   (*server)->Wait();
#ifndef IVMQ_RPC_SERVER_H_
#define IVMQ_RPC_SERVER_H_

#include "ivmq/export.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ivmq/internal/spin_lock.h"
#include "ivmq/node.h"
#include "ivmq/rpc/endpoint.h"
#include "ivmq/rpc/internal/metadata.h"
#include "ivmq/rpc/internal/method_handler.h"
#include "ivmq/status.h"

namespace ivmq::rpc {

// ---- Contexts ----

class ServerUnaryReactor;
namespace internal {
class ChildCalls;
struct CallAccess;
struct ServerCall;
}  // namespace internal

// What a server learns about one call, and sets for it apart from the response.
//
// Belongs to one call while its handler runs, or until its reactor's OnDone(); then it is reused
// for another call. Any thread may call IsCancelled and TryCancel; everything else is
// thread-compatible.
class IVMQ_EXPORT ServerContext {
 public:
  ServerContext();
  ~ServerContext();
  ServerContext(const ServerContext&) = delete;
  ServerContext& operator=(const ServerContext&) = delete;

  [[nodiscard]] std::chrono::system_clock::time_point deadline() const;
  // True: the answer is no longer wanted. The client has cancelled the call, it is dead or
  // suspected, its deadline has passed, or the server has ended the call.
  [[nodiscard]] bool IsCancelled() const;
  // Ends the call with CANCELLED for the client, unless it has ended: soon, and whatever status the
  // handler gives afterwards. The handler still has to end. Does not wait. Thread-safe while the
  // context belongs to the call.
  void TryCancel();

  [[nodiscard]] const Metadata& client_metadata() const { return received_.map(); }
  // As ClientContext::AddMetadata, but invalid metadata ends the call with INTERNAL.
  void AddInitialMetadata(const std::string& key, const std::string& value) {
    valid_ = initial_.Add(key, value) && valid_;
  }
  void AddTrailingMetadata(const std::string& key, const std::string& value) {
    valid_ = trailing_.Add(key, value) && valid_;
  }

  // For a handler that returns a reactor but needs no class of its own: Finish() this one and
  // return it. Owned by the call; always the same one.
  [[nodiscard]] ServerUnaryReactor* DefaultReactor();

  // The name of the caller. It proves no identity: see docs/guarantees.md.
  [[nodiscard]] std::string peer() const;

 private:
  friend struct internal::CallAccess;

  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::time_point::max();
  std::atomic<bool> cancelled_{false};
  std::atomic<bool> cancelled_here_{false};  // by TryCancel()
  bool valid_ = true;
  internal::ReceivedMetadata received_;
  internal::MetadataBytes initial_;
  internal::MetadataBytes trailing_;
  const Node* node_ = nullptr;
  PeerId from_;
  internal::ServerCall* call_ = nullptr;  // one that others than its handler can reach
  std::unique_ptr<ServerUnaryReactor> default_reactor_;

  mutable SpinLock lock_;
  // Guarded by lock_; nullptr: no call is cancelled with this one.
  mutable std::shared_ptr<internal::ChildCalls> children_;
};

using CallbackServerContext = ServerContext;

// ---- Services ----

// The base of all generated services. Must outlive the servers that offer it, see Server::Shutdown.
// A handler that throws ends its call with UNKNOWN; the exception is reported to on_report.
class IVMQ_EXPORT Service {
 public:
  Service() = default;
  virtual ~Service() = default;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // ---- For the runtime ----
  [[nodiscard]] const std::vector<internal::Method>& methods() const noexcept { return methods_; }

 protected:
  void AddMethod(std::string path, MethodType type,
                 std::unique_ptr<internal::MethodHandler> handler) {
    methods_.push_back({std::move(path), type, std::move(handler)});
  }

 private:
  std::vector<internal::Method> methods_;
};

// ---- Health ----

// How the application sets the health of its services, which grpc.health.v1.Health answers. Names
// are gRPC's. Returned by Server::GetHealthCheckService(). Thread-safe.
class IVMQ_EXPORT HealthCheckServiceInterface {
 public:
  virtual ~HealthCheckServiceInterface() = default;

  // Sets the status of one service; "" is the server as a whole, which serves by default. A service
  // that was never set is unknown.
  virtual void SetServingStatus(const std::string& service_name, bool serving) = 0;
  // Sets the status of all services that were set before.
  virtual void SetServingStatus(bool serving) = 0;
  // From now on no service serves, whether set before or later. Server::Shutdown() calls it.
  virtual void Shutdown() = 0;
};

// ---- Servers ----

namespace internal {
class HealthCheck;
class Reflection;
class CallServer;
}  // namespace internal

// Where handlers run that implement a unary method and return its status. Handlers of streams
// always run on the pool, and handlers that return a reactor on the thread that polls.
enum class Executor : std::uint8_t {
  kPool,    // on threads of the server: they may block, and make calls
  kInline,  // on the thread that polls: fastest, but they must not block
};

// Thread-safe.
class IVMQ_EXPORT Server {
 public:
  // Calls Shutdown(). REQUIRES: not called in a handler, a reactor, or a callback of the endpoint,
  // since it could not wait for these; it ends the program then.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Stops the server: new requests end with UNAVAILABLE. Waits for the calls that run and until
  // their handlers have returned; afterwards the services may be destroyed. In a handler, a
  // reactor, or a callback of the endpoint it does not wait, and ends no running call.
  void Shutdown() { ShutdownAt(std::chrono::steady_clock::time_point::max()); }
  // The same, but calls that still run or wait at the deadline end with UNAVAILABLE for their
  // clients, whatever their handlers do afterwards. The handlers see that they are cancelled, and
  // are waited for.
  template <typename ClockType, typename Duration>
  void Shutdown(const std::chrono::time_point<ClockType, Duration>& deadline) {
    using Steady = std::chrono::steady_clock;
    ShutdownAt(Steady::now() +
               std::chrono::duration_cast<Steady::duration>(deadline - ClockType::now()));
  }
  // Waits for Shutdown(), and until all calls have ended. Must not be called in a handler, a
  // reactor, or a callback.
  void Wait();

  // Sets what grpc.health.v1.Health answers. Owned by the server; nullptr if it was built without.
  [[nodiscard]] HealthCheckServiceInterface* GetHealthCheckService() const noexcept;

 private:
  friend class ServerBuilder;
  Server(std::shared_ptr<Endpoint> endpoint, internal::CallServer& server,
         std::unique_ptr<internal::HealthCheck> health,
         std::unique_ptr<internal::Reflection> reflection);
  void ShutdownAt(std::chrono::steady_clock::time_point deadline);

  std::shared_ptr<Endpoint> endpoint_;
  internal::CallServer& server_;
  std::unique_ptr<internal::HealthCheck> health_;     // may be nullptr
  std::unique_ptr<internal::Reflection> reflection_;  // may be nullptr
};

// Thread-compatible.
class IVMQ_EXPORT ServerBuilder {
 public:
  explicit ServerBuilder(std::shared_ptr<Endpoint> endpoint) : endpoint_(std::move(endpoint)) {}

  // `service` must outlive the server.
  ServerBuilder& RegisterService(Service* service) {
    services_.push_back(service);
    return *this;
  }
  // Default: Executor::kPool.
  ServerBuilder& SetExecutor(Executor executor) {
    executor_ = executor;
    return *this;
  }
  // The initial number of threads of the pool; 0: one for each core, but at least two.
  ServerBuilder& SetThreads(std::size_t threads) {
    threads_ = threads;
    return *this;
  }
  // The pool grows up to this number when all its threads wait: in calls of their own, or for the
  // other side of a stream. When it cannot grow and all threads wait, requests end with
  // RESOURCE_EXHAUSTED.
  ServerBuilder& SetMaxThreads(std::size_t threads) {
    max_threads_ = threads;
    return *this;
  }
  // The most calls of one client that may wait or run at once; more end with RESOURCE_EXHAUSTED.
  ServerBuilder& SetMaxCalls(std::size_t calls) {
    max_calls_ = calls;
    return *this;
  }
  // The most bytes that the requests, with their metadata, of one client's waiting and running
  // calls may take: a call that begins when that much is taken ends with RESOURCE_EXHAUSTED. A
  // stream counts with its largest message, if that is larger than 256 KiB.
  ServerBuilder& SetMaxRequestBytes(std::size_t bytes) {
    max_request_bytes_ = bytes;
    return *this;
  }
  // The interceptor sees all calls. The first one added is the outermost.
  ServerBuilder& AddInterceptor(ServerInterceptorFactory factory) {
    interceptors_.push_back(std::move(factory));
    return *this;
  }

  // Whether the server offers grpc.health.v1.Health, and the reflection that `ivmq call` uses.
  // Default: both, unless a service of that name is registered. Peers cannot find these two by the
  // name of the service.
  ServerBuilder& EnableHealthCheck(bool enable) {
    health_check_ = enable;
    return *this;
  }
  ServerBuilder& EnableReflection(bool enable) {
    reflection_ = enable;
    return *this;
  }

  // Starts the server, and publishes the names of its services to all peers. Errors:
  //   ALREADY_EXISTS      the endpoint has a server, or two methods have the same path or id
  //   INVALID_ARGUMENT    the path of a method is not valid
  //   RESOURCE_EXHAUSTED  the names of the services do not fit into the node's slot
  Result<std::unique_ptr<Server>> BuildAndStart();

 private:
  std::shared_ptr<Endpoint> endpoint_;
  std::vector<Service*> services_;
  Executor executor_ = Executor::kPool;
  std::size_t threads_ = 0;
  std::size_t max_threads_ = 256;
  std::size_t max_calls_ = 1024;
  std::size_t max_request_bytes_ = std::size_t{256} << 20;
  bool health_check_ = true;
  bool reflection_ = true;
  std::vector<ServerInterceptorFactory> interceptors_;
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_SERVER_H_
