// The calls that a handler makes on behalf of the one that it handles, see
// ClientContext::FromServerContext: they are cancelled with that one, and when it ends.
#ifndef IVMQ_RPC_CHILD_CALLS_H_
#define IVMQ_RPC_CHILD_CALLS_H_

#include <mutex>
#include <vector>

#include "ivmq/rpc/client.h"

namespace ivmq::rpc::internal {

// Shared by the contexts of all these calls, which may go in any order. Thread-safe.
class ChildCalls {
 public:
  // False: it is too late, they were cancelled.
  [[nodiscard]] bool Add(ClientContext& child);
  void Remove(const ClientContext& child);
  // Once.
  void CancelAll();

 private:
  std::mutex mutex_;
  bool cancelled_ = false;                // guarded by mutex_
  std::vector<ClientContext*> children_;  // guarded by mutex_; none is gone
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_CHILD_CALLS_H_
