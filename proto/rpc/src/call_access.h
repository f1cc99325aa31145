// What the runtime does to the contexts.
#ifndef IVMQ_RPC_CALL_ACCESS_H_
#define IVMQ_RPC_CALL_ACCESS_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "ivmq/rpc/client.h"
#include "ivmq/rpc/reactor.h"
#include "ivmq/rpc/server.h"

#include "src/call_frame.h"
#include "src/call_life.h"
#include "src/child_calls.h"

namespace ivmq::rpc::internal {

struct ServerCall;

struct CallAccess {
  // The members of both contexts by names of their own, since they are private to users only.
  static auto deadline(const ClientContext& context) { return context.deadline_; }
  static const std::string& metadata(const ClientContext& context) {
    return context.metadata_.bytes();
  }
  static void ClearMetadata(ClientContext& context) {
    context.metadata_.clear();
    context.valid_ = true;
  }
  static bool valid(const ClientContext& context) { return context.valid_; }
  static bool wait_for_ready(const ClientContext& context) { return context.wait_for_ready_; }
  static void set_peer(ClientContext& context, std::string_view peer) {
    context.peer_bytes_ = peer.copy(context.peer_.data(), context.peer_.size());
  }

  // From here on TryCancel() ends the call; one that came before only shows in cancelled().
  static void Begin(ClientContext& context, CallClient& client, std::uint64_t call) {
    const std::lock_guard lock(context.lock_);
    context.client_ = &client;
    context.call_ = call;
  }
  static const std::atomic<bool>& cancelled(const ClientContext& context) {
    return context.cancelled_;
  }
  static void End(ClientContext& context, const Status& status) {
    if (!status.ok()) [[unlikely]]
      context.failure_ = status;
    Leave(context);
  }
  static void Leave(ClientContext& context) {
    const std::lock_guard lock(context.lock_);
    context.client_ = nullptr;
  }
  static ReceivedMetadata& initial(ClientContext& context) { return context.initial_; }
  static ReceivedMetadata& trailing(ClientContext& context) { return context.trailing_; }

  // Makes the context that of another call.
  static void Reset(ServerContext& context, const Node& node, PeerId from,
                    std::chrono::steady_clock::time_point deadline) {
    context.node_ = &node;
    context.from_ = from;
    context.deadline_ = deadline;
    context.cancelled_.store(false, std::memory_order_relaxed);
    context.cancelled_here_.store(false, std::memory_order_relaxed);
    context.call_ = nullptr;
    context.valid_ = true;
    context.initial_.clear();
    context.trailing_.clear();
  }
  // Drops what a context that no call has need not keep.
  static void Clear(ServerContext& context) {
    context.received_.clear();
    if (context.default_reactor_ != nullptr) context.default_reactor_.reset();
  }
  static void Cancel(ServerContext& context) {
    context.cancelled_.store(true, std::memory_order_relaxed);
    CancelChildren(context);
  }
  // Those of FromServerContext().
  static void CancelChildren(ServerContext& context) {
    std::shared_ptr<ChildCalls> children;
    {
      const std::lock_guard lock(context.lock_);
      children = std::move(context.children_);
    }
    if (children != nullptr) [[unlikely]]
      children->CancelAll();
  }
  // The same when nobody else has the context any more.
  static void EndChildren(ServerContext& context) {
    if (context.children_ != nullptr) [[unlikely]]
      CancelChildren(context);
  }
  // What is cancelled with the call; made when it is first asked for.
  static std::shared_ptr<ChildCalls> children(const ServerContext& context) {
    const std::lock_guard lock(context.lock_);
    if (context.children_ == nullptr) context.children_ = std::make_shared<ChildCalls>();
    return context.children_;
  }
  static void set_call(ServerContext& context, ServerCall& call) { context.call_ = &call; }
  static bool cancelled_here(const ServerContext& context) {
    return context.cancelled_here_.load(std::memory_order_relaxed);
  }
  static auto deadline(const ServerContext& context) { return context.deadline_; }
  // REQUIRES: it is that of a call.
  static CallLife life(const ServerContext& context) {
    return {*context.node_, context.deadline_, context.cancelled_, context.from_};
  }
  static bool valid(const ServerContext& context) { return context.valid_; }
  static ReceivedMetadata& received(ServerContext& context) { return context.received_; }
  static const std::string& initial(const ServerContext& context) {
    return context.initial_.bytes();
  }
  static const std::string& trailing(const ServerContext& context) {
    return context.trailing_.bytes();
  }
  static void ClearInitial(ServerContext& context) { context.initial_.clear(); }
  static void ClearTrailing(ServerContext& context) { context.trailing_.clear(); }
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_CALL_ACCESS_H_
