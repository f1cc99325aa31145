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

#include "ivmq/internal/payload.h"
#include "ivmq/internal/spin_lock.h"
#include "ivmq/node.h"
#include "ivmq/rpc/interceptor.h"
#include "ivmq/rpc/internal/status_names.h"
#include "ivmq/rpc/server.h"

#include "src/call_frame.h"
#include "src/call_state.h"
#include "src/polling.h"
#include "src/pool.h"

namespace ivmq::rpc::internal {

class CallbackCall;
class CallServer;
class ServerStream;
class MessageStream;
struct ServerCall;

// A method that is offered, with calls of it that have ended and are used again.
struct MethodEntry {
  std::uint64_t id = 0;
  const Method* method = nullptr;
  SpinLock lock;
  std::vector<std::unique_ptr<ServerCall>> spare;  // guarded by lock
};

struct ServerCall final : Pool::Job, boost::intrusive::unordered_set_base_hook<> {
  ServerCall(CallServer& server_in, MethodEntry& method_in);
  ~ServerCall();
  ServerCall(const ServerCall&) = delete;
  ServerCall& operator=(const ServerCall&) = delete;

  // As jobs of the pool.
  void Run() override;
  void Refuse() override;

  // The last reference gives it back to its server.
  void Ref() noexcept { references.fetch_add(1, std::memory_order_relaxed); }
  void Unref();

  // Whether its server lists it. REQUIRES: mutex_ of the server is held.
  [[nodiscard]] bool is_listed() const noexcept {
    return boost::intrusive::unordered_set_base_hook<>::is_linked();
  }
  // nullptr if it has no streams.
  [[nodiscard]] MessageStream* streams() noexcept;
  [[nodiscard]] bool initial_sent() const noexcept;
  // Has its server end it with CANCELLED, soon. On any thread.
  void CancelHere();
  // Nobody wants the answer any more: tells the handler. For the thread that polls.
  void Cancel();
  // Whether the handler is the one who ends the call for its client.
  [[nodiscard]] bool TakeEnd() noexcept {
    if (state.Get() == ServerCallState::kUnlisted) return true;
    return state.On(ServerCallEvent::kTake).has_value();
  }
  [[nodiscard]] bool WasCut() const noexcept { return state.Get() == ServerCallState::kCut; }
  // Passes a message of a stream to the interceptors.
  void AfterRead(const Incoming& message) {
    if (!interceptors.empty()) [[unlikely]]
      InterceptRead(message);
  }
  void BeforeWrite(const Outgoing& message) {
    if (!interceptors.empty()) [[unlikely]]
      InterceptWrite(message);
  }
  // A frame behind the request. For the thread that polls.
  void OnFrame(CallFrameKind kind, const CallFrame& frame);

  CallServer& server;
  MethodEntry& method;
  PeerId from;
  std::uint64_t id = 0;
  ServerContext context;
  std::unique_ptr<Messages> messages;
  std::size_t request_bytes = 0;   // of memory, about
  std::size_t response_bytes = 0;  // of the message
  std::size_t metadata_bytes = 0;  // of the client's; the same
  std::size_t taken_bytes = 0;     // of its client's share; guarded by mutex_ of the server
  std::uint64_t taker = 0;         // whose share it is, see CallServer::Share
  std::size_t stream_bytes = 0;    // the poller's; the largest message of the client's stream
  bool parsed = false;             // the request is such a message
  CallState<ServerCallState> state{ServerCallState::kUnlisted};
  Status cut;  // the end, if it was cut
  // At most one of the two: of methods with streams whose handlers wait, and of those with
  // reactors.
  std::unique_ptr<ServerStream> stream;
  std::unique_ptr<CallbackCall> callback;
  std::vector<std::unique_ptr<ServerInterceptor>> interceptors;
  std::atomic<bool> interceptor_thrown{false};  // at a message of a stream
  std::atomic<int> references{1};

 private:
  void InterceptRead(const Incoming& message);
  void InterceptWrite(const Outgoing& message);

  void EndHere();

  MemberTask<&ServerCall::EndHere> here_canceller_{*this};
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
  ServerCall& operator*() const noexcept { return *call_; }
  explicit operator bool() const noexcept { return call_ != nullptr; }

 private:
  ServerCall* call_;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_SERVER_CALL_H_
