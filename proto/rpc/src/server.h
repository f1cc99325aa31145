// The services of an endpoint, from the server's side.
#ifndef IVMQ_RPC_SERVER_INTERNAL_H_
#define IVMQ_RPC_SERVER_INTERNAL_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <boost/intrusive/unordered_set.hpp>

#include "ivmq/node.h"
#include "ivmq/rpc/interceptor.h"
#include "ivmq/rpc/server.h"
#include "ivmq/rpc/service.h"
#include "ivmq/rpc/status.h"

#include "src/end_frame.h"
#include "src/frame.h"
#include "src/large_send.h"
#include "src/polling.h"
#include "src/pool.h"
#include "src/server_call.h"

namespace ivmq::rpc::internal {

struct ServerOptions {
  Executor executor = Executor::kPool;
  std::size_t threads = 0;
  std::size_t max_threads = 0;
  std::size_t max_calls = 0;
  std::vector<ServerInterceptorFactory> interceptors;
};

// Members are for the thread that polls, unless they say otherwise.
class Server {
 public:
  Server(Node& node, Polling& polling, LargeSender& large, ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Before Start(). False: there is a method of that id.
  bool AddMethod(const Method& method);
  void Start();

  void OnFrame(const Message& message, Kind kind, const Parsed& frame);
  // What a peer without a server answers to a request.
  static void RefuseFrom(Node& node, const Message& message, const Parsed& frame);
  // Cancels the calls of clients that are gone.
  void OnPeers();

  // Takes no more calls; cancels those that have not ended at the deadline; waits for their ends.
  // Thread-safe; not on the thread that polls, nor on one of the pool.
  void Shutdown(Clock::time_point deadline);
  // Until Shutdown(). Thread-safe.
  void Wait();

  // ---- For the calls, on any thread ----

  // Runs the handler and replies.
  void Run(ServerCall& call, bool may_wait);
  // What interceptors do before the handler, and after it.
  [[nodiscard]] Status Before(ServerCall& call);
  static void After(ServerCall& call, Status& status);
  // Ends the call for its client. `may_wait`: for room, while the client wants it; otherwise the
  // end is kept until there is room.
  void Reply(ServerCall& call, const Status& status, bool may_wait);
  // The same if there is room now.
  [[nodiscard]] bool TryReply(ServerCall& call, const Status& status);
  // Forgets the call.
  void EndCall(ServerCall& call);
  void Recycle(ServerCall& call);

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

  // Has a member function run by the thread that polls.
  template <void (Server::*kFunction)()>
  class Later final : public Task {
   public:
    explicit Later(Server& server) : server_(server) {}
    void Run() override { (server_.*kFunction)(); }

   private:
    Server& server_;
  };
  // An end that waits for room.
  struct KeptEnd {
    PeerId to;
    MessageType type;
    std::string bytes;
  };

  [[nodiscard]] MethodEntry* Find(std::uint64_t id) noexcept;
  [[nodiscard]] CallReference FindCall(PeerId from, std::uint64_t id);
  void OnRequest(const Message& message, const Parsed& frame);
  [[nodiscard]] std::unique_ptr<ServerCall> NewCall(MethodEntry& method);
  // Makes the call known. Not OK: why it is not.
  [[nodiscard]] Status Register(ServerCall& call);
  // The end of the call, and the response that goes with it or nullptr.
  [[nodiscard]] EndFrame MakeEnd(ServerCall& call, const Status& result,
                                 const google::protobuf::Message** response) const;
  // `wait_for`: waits for room while that call is wanted; nullptr: keeps it if there is no room.
  void Send(const EndFrame& end, const google::protobuf::Message* response,
            const ServerContext* wait_for);
  // False: there is no room now.
  [[nodiscard]] bool TrySend(const EndFrame& end, const google::protobuf::Message* response);
  // The same for one that is larger than a record.
  [[nodiscard]] bool TrySendLarge(const EndFrame& end, const google::protobuf::Message* response);
  [[nodiscard]] EndFrame TooLarge(const EndFrame& end) const;
  void Refuse(PeerId to, std::uint64_t id, const Status& status);
  void Keep(const EndFrame& end, const google::protobuf::Message* response);
  void SendKept();
  void CancelAll();

  Node& node_;
  Polling& polling_;
  LargeSender& large_;
  const ServerOptions options_;
  std::vector<std::unique_ptr<MethodEntry>> methods_;
  std::vector<MethodEntry*> buckets_;  // by id; a power of two, at most half full

  Later<&Server::SendKept> sender_{*this};
  Later<&Server::CancelAll> canceller_{*this};
  std::mutex kept_mutex_;
  std::deque<KeptEnd> kept_;    // guarded by kept_mutex_
  std::size_t kept_bytes_ = 0;  // guarded by kept_mutex_

  std::mutex mutex_;
  std::condition_variable ended_;
  std::vector<Calls::bucket_type> call_buckets_;
  Calls calls_;                     // guarded by mutex_; those that wait or run
  std::vector<Waiter*> shutdowns_;  // guarded by mutex_; wait until there are no calls
  std::atomic<bool> down_{false};   // written under mutex_
  std::unique_ptr<Pool> pool_;      // of handlers that may wait
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_SERVER_INTERNAL_H_
