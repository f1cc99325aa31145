// Offering services.
//
//   ivmq::rpc::ServerBuilder builder(endpoint);
//   builder.RegisterService(&echo);
//   const auto server = builder.BuildAndStart();
//   (*server)->Wait();
#ifndef IVMQ_RPC_SERVER_H_
#define IVMQ_RPC_SERVER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ivmq/rpc/endpoint.h"
#include "ivmq/rpc/health.h"
#include "ivmq/rpc/interceptor.h"
#include "ivmq/rpc/service.h"
#include "ivmq/status.h"

namespace ivmq::rpc {

namespace internal {
class HealthCheck;
class Reflection;
class Server;
}  // namespace internal

// Where handlers of unary methods run that return the status. Those of streams run on the pool,
// those that return a reactor on the thread that polls.
enum class Executor : std::uint8_t {
  kPool,    // on threads of the server's: they may block, and call others
  kInline,  // on the thread that polls: quickest, and they must not block
};

// Thread-safe.
class Server {
 public:
  // Calls Shutdown(). REQUIRES: not in a handler, a reactor, or a callback of the endpoint, which
  // it could not wait for: that ends the program.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Offers nothing any more: takes no more requests (they end with UNAVAILABLE), and waits for the
  // calls that run and for what their handlers still do here. Then the services may go. In a
  // handler, a reactor, or a callback of the endpoint it does not wait, and cuts nothing.
  void Shutdown() { ShutdownAt(std::chrono::steady_clock::time_point::max()); }
  // The same; calls that still run or wait at that time are cut: they end with UNAVAILABLE for
  // their clients, whatever their handlers do afterwards. Those are told that they are cancelled,
  // and waited for.
  template <typename ClockType, typename Duration>
  void Shutdown(const std::chrono::time_point<ClockType, Duration>& deadline) {
    using Steady = std::chrono::steady_clock;
    ShutdownAt(Steady::now() +
               std::chrono::duration_cast<Steady::duration>(deadline - ClockType::now()));
  }
  // Until Shutdown(), and all calls have ended. Not in a handler, a reactor, or a callback.
  void Wait();

  // What grpc.health.v1.Health answers; nullptr if the server was built without it. The server's.
  [[nodiscard]] HealthCheckServiceInterface* GetHealthCheckService() const noexcept;

 private:
  friend class ServerBuilder;
  Server(std::shared_ptr<Endpoint> endpoint, internal::Server& server,
         std::unique_ptr<internal::HealthCheck> health,
         std::unique_ptr<internal::Reflection> reflection);
  void ShutdownAt(std::chrono::steady_clock::time_point deadline);

  std::shared_ptr<Endpoint> endpoint_;
  internal::Server& server_;
  std::unique_ptr<internal::HealthCheck> health_;     // may be nullptr
  std::unique_ptr<internal::Reflection> reflection_;  // may be nullptr
};

// Thread-compatible.
class ServerBuilder {
 public:
  explicit ServerBuilder(std::shared_ptr<Endpoint> endpoint) : endpoint_(std::move(endpoint)) {}

  // `service` must outlive the server.
  ServerBuilder& RegisterService(Service* service) {
    services_.push_back(service);
    return *this;
  }
  // Executor::kPool unless it is said.
  ServerBuilder& SetExecutor(Executor executor) {
    executor_ = executor;
    return *this;
  }
  // Threads of the pool at first; 0: one a core, but at least two.
  ServerBuilder& SetThreads(std::size_t threads) {
    threads_ = threads;
    return *this;
  }
  // The pool grows up to this when all its threads wait: in calls of their own, or for the other
  // side of a stream. When all of these wait, requests end with RESOURCE_EXHAUSTED.
  ServerBuilder& SetMaxThreads(std::size_t threads) {
    max_threads_ = threads;
    return *this;
  }
  // Calls of one client that wait or run at once; more end with RESOURCE_EXHAUSTED.
  ServerBuilder& SetMaxCalls(std::size_t calls) {
    max_calls_ = calls;
    return *this;
  }
  // Memory for the requests of one client's calls that wait or run, in bytes, and for the metadata
  // that came with them: a call that begins
  // when that much is taken ends with RESOURCE_EXHAUSTED. A stream counts with its largest message,
  // if that is larger than 256 KiB.
  ServerBuilder& SetMaxRequestBytes(std::size_t bytes) {
    max_request_bytes_ = bytes;
    return *this;
  }
  // Sees all calls; the first one added is the outermost.
  ServerBuilder& AddInterceptor(ServerInterceptorFactory factory) {
    interceptors_.push_back(std::move(factory));
    return *this;
  }

  // Whether the server offers grpc.health.v1.Health, and the reflection that `ivmq call` asks. It
  // does unless it is said; but not beside a registered service of the same name. Peers find
  // neither of them by the service's name.
  ServerBuilder& EnableHealthCheck(bool enable) {
    health_check_ = enable;
    return *this;
  }
  ServerBuilder& EnableReflection(bool enable) {
    reflection_ = enable;
    return *this;
  }

  // Its node then says to all peers which services it offers.
  // ALREADY_EXISTS: the endpoint has a server, or two methods have one path or id;
  // INVALID_ARGUMENT: the path of a method is none;
  // RESOURCE_EXHAUSTED: the names of the services do not fit the node's slot.
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
