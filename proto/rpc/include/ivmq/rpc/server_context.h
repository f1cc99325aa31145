// What a server learns about one call, and sets for it apart from the response.
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

// Belongs to one call while its handler runs, or until its reactor's OnDone(); then it is reused
// for another call. Any thread may call IsCancelled and TryCancel; everything else is
// thread-compatible.
class ServerContext {
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

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_SERVER_CONTEXT_H_
