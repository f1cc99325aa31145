#include "src/child_calls.h"

#include <memory>

#include "ivmq/rpc/server.h"

#include "src/call_access.h"

namespace ivmq::rpc {
namespace internal {

bool ChildCalls::Add(ClientContext& child) {
  const std::lock_guard lock(mutex_);
  if (cancelled_) return false;
  children_.push_back(&child);
  return true;
}

void ChildCalls::Remove(const ClientContext& child) {
  const std::lock_guard lock(mutex_);
  std::erase(children_, &child);
}

void ChildCalls::CancelAll() {
  std::vector<ClientContext::Cancelling> cancelling;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (ClientContext* const child : children_) cancelling.push_back(child->BeginCancel());
    children_.clear();
  }
  // Behind the lock: their callbacks may run here, and end their contexts.
  for (const ClientContext::Cancelling& each : cancelling) ClientContext::EndCancel(each);
}

}  // namespace internal

std::unique_ptr<ClientContext> ClientContext::FromServerContext(const ServerContext& server_context,
                                                                PropagationOptions options) {
  auto context = std::make_unique<ClientContext>();
  if (options.deadline_) {
    context->latest_ = internal::CallAccess::deadline(server_context);
    context->deadline_ = context->latest_;
  }
  if (options.cancel_) {
    context->parent_ = internal::CallAccess::children(server_context);
    // One that is cancelled meanwhile cancels all that it finds added.
    if (!context->parent_->Add(*context) || server_context.IsCancelled()) context->TryCancel();
  }
  return context;
}

void ClientContext::LeaveParent() noexcept { parent_->Remove(*this); }

}  // namespace ivmq::rpc
