// What a server hears about one call, and says beside the response.
#ifndef IVMQ_RPC_SERVER_CONTEXT_H_
#define IVMQ_RPC_SERVER_CONTEXT_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "ivmq/internal/spin_lock.h"
#include "ivmq/node.h"
#include "ivmq/rpc/metadata.h"

namespace ivmq::rpc {

class ServerUnaryReactor;
namespace internal {
class ChildCalls;
struct CallAccess;
struct ServerCall;
}  // namespace internal

// For one call, while its handler runs, or until its reactor's OnDone(): then it is another call's.
// IsCancelled and TryCancel may be called from any thread; everything else is thread-compatible.
class ServerContext {
 public:
  ServerContext();
  ~ServerContext();
  ServerContext(const ServerContext&) = delete;
  ServerContext& operator=(const ServerContext&) = delete;

  [[nodiscard]] std::chrono::system_clock::time_point deadline() const;
  // Nobody wants the answer any more: the client cancelled, it is dead or stands still, its
  // deadline has passed, or the server has cut the call.
  [[nodiscard]] bool IsCancelled() const;
  // Ends the call with CANCELLED for the client, soon and whatever the handler says afterwards,
  // unless it has ended. The handler has to end all the same. Thread-safe, while the context is the
  // call's; does not wait.
  void TryCancel();

  [[nodiscard]] const Metadata& client_metadata() const { return received_.map(); }
  // As ClientContext::AddMetadata; a pair that is not valid ends the call with INTERNAL.
  void AddInitialMetadata(const std::string& key, const std::string& value) {
    valid_ = initial_.Add(key, value) && valid_;
  }
  void AddTrailingMetadata(const std::string& key, const std::string& value) {
    valid_ = trailing_.Add(key, value) && valid_;
  }

  // For a handler that gives a reactor and needs none of its own: Finish() it and return it. The
  // call's, always the same one.
  [[nodiscard]] ServerUnaryReactor* DefaultReactor();

  // The name of the caller; not an identity, see docs/guarantees.md.
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

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_SERVER_CONTEXT_H_
