// The services of an endpoint, from the server's side.
#ifndef IVMQ_RPC_CALL_SERVER_H_
#define IVMQ_RPC_CALL_SERVER_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <boost/intrusive/unordered_set.hpp>

#include "ivmq/internal/payload.h"
#include "ivmq/node.h"
#include "ivmq/rpc/interceptor.h"
#include "ivmq/rpc/internal/status_names.h"
#include "ivmq/rpc/server.h"

#include "src/call_frame.h"
#include "src/end_frame.h"
#include "src/end_sender.h"
#include "src/outbox.h"
#include "src/polling.h"
#include "src/pool.h"
#include "src/server_call.h"

namespace ivmq::rpc::internal {

struct CallServerOptions {
  Executor executor = Executor::kPool;
  std::size_t threads = 0;
  std::size_t max_threads = 0;
  std::size_t max_calls = 0;          // of one client
  std::size_t max_request_bytes = 0;  // of one client; one request more
  std::vector<ServerInterceptorFactory> interceptors;
};

// Members are for the thread that polls, unless they say otherwise.
class CallServer {
 public:
  CallServer(Node& node, Polling& polling, Outbox& outbox, EndSender& ends,
             CallServerOptions options);
  ~CallServer();
  CallServer(const CallServer&) = delete;
  CallServer& operator=(const CallServer&) = delete;

  // Before Start(). False: there is a method of that id.
  bool AddMethod(const Method& method);
  void Start();

  void OnFrame(const Message& message, CallFrameKind kind, const CallFrame& frame);
  // What a peer without a server answers to a request.
  static void RefuseFrom(EndSender& ends, const Message& message, const CallFrame& frame);
  // Cancels the calls of clients that are gone, and cuts those of clients that stand still.
  void OnPeers();

  // Takes no more calls; cuts those that have not ended at the deadline; waits for their handlers.
  // Where it must not wait, see MayWait(), it only takes no more calls. Thread-safe.
  void Shutdown(Clock::time_point deadline);
  // False: within a poll, or on a thread of the pool. Thread-safe.
  [[nodiscard]] bool MayWait() const noexcept;
  // Until Shutdown(). Thread-safe.
  void Wait();

  // ---- For the calls, on any thread ----

  // Runs the handler and replies.
  void Run(ServerCall& call, bool may_wait);
  // What interceptors do before the handler, and after it.
  [[nodiscard]] Status Before(ServerCall& call);
  void After(ServerCall& call, Status& status);
  // Runs code of an interceptor's. False: it has thrown.
  bool RunInterceptor(const std::function<void()>& run);
  // Within a catch (...) around code of the call's handler: its end.
  [[nodiscard]] Status Thrown(const ServerCall& call);
  // What a handler's OK becomes if a message that came was none, or one was not sent: the client
  // would take the stream for a whole one.
  [[nodiscard]] Status StreamStatus(const ServerCall& call, bool unparsable,
                                    SendResult unsent) const;
  // Ends the call for its client, unless it was cut. `may_wait`: for room, while the client wants
  // it; otherwise the end is kept until there is room.
  void Reply(ServerCall& call, const Status& status, bool may_wait);
  // The end of the call, and the response that goes with it, measured, or nothing.
  [[nodiscard]] EndFrame MakeEnd(ServerCall& call, const Status& result, Outgoing* response) const;
  // Ends the call with that, if there is room now.
  [[nodiscard]] bool TryReply(ServerCall& call, const EndFrame& end, const Outgoing& response);
  [[nodiscard]] Polling& polling() noexcept { return polling_; }
  // The end of a call that its handler has cancelled.
  [[nodiscard]] static Status CancelledHere() {
    return {StatusCode::CANCELLED, "cancelled by the server"};
  }
  // Forgets the call.
  void EndCall(ServerCall& call);
  void Recycle(ServerCall& call);
  // Ends the call for its client whatever its handler does, which is told that it is cancelled. For
  // the thread that polls.
  void Cut(ServerCall& call, Status status);
  // Takes so much more of its client's share for the call. For the thread that polls.
  [[nodiscard]] Status TakeBytes(ServerCall& call, std::size_t bytes);

 private:
  struct CallKey {
    PeerId from;
    std::uint64_t id = 0;
    friend bool operator==(const CallKey&, const CallKey&) = default;
  };
  struct KeyOf {
    using type = CallKey;  // NOLINT(readability-identifier-naming): Boost's name
    CallKey operator()(const ServerCall& call) const noexcept { return {call.from, call.id}; }
  };
  struct HashKey {
    std::size_t operator()(const CallKey& key) const noexcept {
      return key.id * 0x9e3779b97f4a7c15 ^
             (std::uint64_t{key.from.slot} << 32 | key.from.incarnation);
    }
  };
  using Calls = boost::intrusive::unordered_set<ServerCall, boost::intrusive::key_of_value<KeyOf>,
                                                boost::intrusive::hash<HashKey>>;

  // What calls take.
  struct Load {
    std::size_t calls = 0;
    std::size_t bytes = 0;
  };
  // The same of the calls from one slot: those of its live holder, whatever a client says in its
  // frames, and those of former ones that have not ended. These have as much for themselves, and
  // weigh on the holder only beyond that: lives that come and go take no more than two clients.
  struct Share {
    std::uint32_t incarnation = 0;  // of the holder
    std::uint64_t holders = 0;      // until now
    Load holder;
    Load former;

    void SetHolder(std::uint32_t next) noexcept {
      incarnation = next;
      ++holders;
      former.calls += holder.calls;
      former.bytes += holder.bytes;
      holder = {};
    }
    // `taker`: what `holders` was when the call began.
    [[nodiscard]] Load& Of(std::uint64_t taker) noexcept {
      return taker == holders ? holder : former;
    }
    // What counts against a limit.
    [[nodiscard]] std::size_t Calls(std::size_t most) const noexcept {
      return holder.calls + Beyond(former.calls, most);
    }
    [[nodiscard]] std::size_t Bytes(std::size_t most) const noexcept {
      return holder.bytes + Beyond(former.bytes, most);
    }

   private:
    static std::size_t Beyond(std::size_t taken, std::size_t most) noexcept {
      return taken > most ? taken - most : 0;
    }
  };

  [[nodiscard]] MethodEntry* Find(std::uint64_t id) noexcept;
  [[nodiscard]] CallReference FindCall(PeerId from, std::uint64_t id);
  void OnRequest(const Message& message, const CallFrame& frame);
  // For the next call of its method.
  static void Keep(std::unique_ptr<ServerCall> call);
  [[nodiscard]] std::unique_ptr<ServerCall> NewCall(MethodEntry& method);
  // Makes the call known. Not OK: why it is not.
  [[nodiscard]] Status Register(ServerCall& call);
  // Waits for room while the client wants the end.
  void SendPatientlyOrKeep(const ServerCall& call, const EndFrame& end, const Outgoing& response);
  void CutAll();
  [[nodiscard]] Status CheckBytes(const Share& share) const;
  // REQUIRES: mutex_ is held. Ends the waits of Shutdown() and Wait(), if they are over.
  void TellIfQuiet();

  Node& node_;
  Polling& polling_;
  Outbox& outbox_;
  EndSender& ends_;
  const CallServerOptions options_;
  std::vector<std::unique_ptr<MethodEntry>> methods_;
  std::vector<MethodEntry*> buckets_;  // by id; a power of two, at most half full

  MemberTask<&CallServer::CutAll> cutter_{*this};

  std::mutex mutex_;
  std::condition_variable ended_;
  std::vector<Calls::bucket_type> call_buckets_;
  Calls calls_;                // guarded by mutex_; those that wait or run
  std::size_t lingering_ = 0;  // guarded by mutex_; calls that have ended and are still in use
  std::vector<Share> shares_;  // guarded by mutex_; by slot
  std::vector<PollWaiter*> shutdowns_;  // guarded by mutex_; wait until there are no calls
  std::atomic<bool> down_{false};       // written under mutex_
  std::unique_ptr<Pool> pool_;          // of handlers that may wait
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_CALL_SERVER_H_
