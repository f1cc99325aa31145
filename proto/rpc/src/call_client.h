// The calls of an endpoint, from the client's side.
#ifndef IVMQ_RPC_CALL_CLIENT_H_
#define IVMQ_RPC_CALL_CLIENT_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ivmq/internal/payload.h"
#include "ivmq/node.h"
#include "ivmq/rpc/client.h"
#include "ivmq/rpc/internal/status_names.h"

#include "src/call_frame.h"
#include "src/call_table.h"
#include "src/discovery.h"
#include "src/outbox.h"
#include "src/polling.h"

namespace ivmq::rpc::internal {

// The status of a kEnd frame; its metadata goes to the context.
Status ReadEnd(const CallFrame& end, ClientContext& context);

// Thread-safe, except that members that say so are for the thread that polls.
class CallClient {
 public:
  CallClient(Node& node, Polling& polling, Outbox& outbox)
      : node_(node), polling_(polling), outbox_(outbox) {}
  // Ends all calls with CANCELLED.
  void EndAll();

  Status Call(Channel& channel, const MethodName& method, ClientContext& context,
              const Outgoing& request, const Incoming& response);
  void CallAsync(Channel& channel, const MethodName& method, ClientContext& context,
                 const Outgoing& request, const Incoming& response,
                 std::function<void(Status)> done);
  // The same for a call that is not made.
  void EndAsync(ClientContext& context, const Incoming& response, std::function<void(Status)> done,
                Status status);
  // Ends the call if it has not ended, and tells the server.
  void Cancel(std::uint64_t call, Status why);
  // The same with CANCELLED, for who does not keep the endpoint: it waits for him from
  // AddCanceller() on, which is called while the call has not ended.
  void AddCanceller() noexcept { cancellers_.fetch_add(1, std::memory_order_relaxed); }
  void CancelAndLeave(std::uint64_t call);
  // Until they have left. REQUIRES: there are no calls. Not long: nobody waits while he cancels.
  void AwaitCancellers() const noexcept {
    while (cancellers_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  }
  // Ends the call if it is not wanted any more: what a thread does whose wait for it was in vain. A
  // call whose peer is gone ends behind the peer's last words, by whoever polls.
  void EndIfUnwanted(const ClientCall& call);
  // The same for a message of a stream that was not sent: without it the call is worth nothing.
  void EndUnsent(const ClientCall& call, SendResult why);
  // Finds the peer and sends the request, with a message if there is one; waits for both, but not
  // on the thread that polls. Ends the call if that fails. The call and its context live until this
  // returns, also if the call ends before.
  void Begin(ClientCall& call, Channel& channel, const MethodName& method, const Outgoing& request);

  // Whether a call would find a peer now. Not in a forked copy.
  [[nodiscard]] bool IsReachable(const Channel& channel) const;

  [[nodiscard]] Node& node() const noexcept { return node_; }
  [[nodiscard]] Polling& polling() const noexcept { return polling_; }
  [[nodiscard]] Outbox& outbox() const noexcept { return outbox_; }

  // ---- For the thread that polls ----

  void OnFrame(const Message& message, CallFrameKind kind, const CallFrame& frame);
  // Ends the calls that are not wanted any more: to be called when their time has come (see
  // Polling::TakeTime), and when the peers have changed.
  void EndUnwanted();
  // Ends the calls of peers that are gone and whose last words have been heard.
  void EndCallsOfTheDead();
  [[nodiscard]] bool has_dead() const noexcept { return !dead_.empty(); }

 private:
  // Begins the call, or says why not.
  Status TryBegin(ClientCall& call, Channel& channel, const MethodName& method,
                  const Outgoing& request);
  // Says which peer the call goes to; the context gets its name. Waits for it if the context says
  // so.
  Status FindPeer(Channel& channel, ClientCall& call, PeerId* to);
  // Looks until `look()` is true, with pauses while the call is wanted. False: it is not.
  template <typename LookForPeer>
  [[nodiscard]] bool AwaitPeer(const ClientCall& call, LookForPeer look) const;
  // How a send went, in words for the caller of a call.
  [[nodiscard]] Status SendFailure(const ClientCall& call, SendResult result) const;
  class QueuedRequest;
  // Has a request sent on another thread: one that is larger than a record, or whose ring is
  // somebody's right now. Not kOk: it will not be. Within a poll.
  SendResult QueueRequest(ClientCall& call, const MessageType& type,
                          std::span<const std::byte> head, const Outgoing& request);
  // How that went.
  void OnQueuedSent(PeerId to, std::uint64_t id, SendResult result);
  // Ends a call, and tells the server: one that only stands still may go on one day.
  void Cut(const TakenCall& taken, Status why);
  // Tells the server now, or when there is room.
  void SendCancel(PeerId to, std::uint64_t id);

  Node& node_;
  Polling& polling_;
  Outbox& outbox_;
  CallTable calls_;
  std::atomic<int> cancellers_{0};
  std::vector<PeerId> dead_;  // the poller's: whose calls end when their last messages were read
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_CALL_CLIENT_H_
