// One call, as its server keeps it.
#ifndef IVMQ_RPC_SERVER_CALL_H_
#define IVMQ_RPC_SERVER_CALL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <boost/intrusive/unordered_set.hpp>

#include "ivmq/node.h"
#include "ivmq/rpc/interceptor.h"
#include "ivmq/rpc/server_context.h"
#include "ivmq/rpc/service.h"
#include "ivmq/spin_lock.h"

#include "src/frame.h"
#include "src/pool.h"

namespace ivmq::rpc::internal {

class CallbackCall;
class Server;
class ServerStream;
class Stream;
struct ServerCall;

// A method that is offered, with calls of it that have ended and are used again.
struct MethodEntry {
  std::uint64_t id = 0;
  const Method* method = nullptr;
  SpinLock lock;
  std::vector<std::unique_ptr<ServerCall>> spare;  // guarded by lock
};

struct ServerCall final : Pool::Job, boost::intrusive::unordered_set_base_hook<> {
  ServerCall(Server& server_in, MethodEntry& method_in);
  ~ServerCall();
  ServerCall(const ServerCall&) = delete;
  ServerCall& operator=(const ServerCall&) = delete;

  // As jobs of the pool.
  void Run() override;
  void Refuse() override;

  // The last reference gives it back to its server.
  void Ref() noexcept { references.fetch_add(1, std::memory_order_relaxed); }
  void Unref();

  // nullptr if it has no streams.
  [[nodiscard]] Stream* streams() noexcept;
  [[nodiscard]] bool initial_sent() const noexcept;
  // The client does not want the answer any more. For the thread that polls.
  void Cancel();
  // A frame behind the request. For the thread that polls.
  void OnFrame(Kind kind, const Parsed& frame);

  Server& server;
  MethodEntry& method;
  PeerId from;
  std::uint64_t id = 0;
  ServerContext context;
  std::unique_ptr<Messages> messages;
  std::size_t request_bytes = 0;
  bool parsed = false;
  // At most one of the two: of methods with streams whose handlers wait, and of those with
  // reactors.
  std::unique_ptr<ServerStream> stream;
  std::unique_ptr<CallbackCall> callback;
  std::vector<std::unique_ptr<ServerInterceptor>> interceptors;
  std::atomic<int> references{1};
};

// A reference.
class CallReference {
 public:
  explicit CallReference(ServerCall* call) : call_(call) {
    if (call_ != nullptr) call_->Ref();
  }
  ~CallReference() {
    if (call_ != nullptr) call_->Unref();
  }
  CallReference(CallReference&& other) noexcept : call_(std::exchange(other.call_, nullptr)) {}
  CallReference& operator=(CallReference&&) = delete;

  ServerCall* operator->() const noexcept { return call_; }
  explicit operator bool() const noexcept { return call_ != nullptr; }

 private:
  ServerCall* call_;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_SERVER_CALL_H_
