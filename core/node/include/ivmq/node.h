// A node: one attached peer. It has a name, knows the others by theirs, sends and receives
// messages.
//
//   auto node = ivmq::Node::Open("unix:/run/ivmq/ivmq.sock", {.name = "host"});
//   auto sender = (*node)->OpenSender("vm1");
//   sender->Send(bytes);
//   (*node)->Run(stop_token, [](const ivmq::Message& message) { ... });
#ifndef IVMQ_NODE_H_
#define IVMQ_NODE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"
#include "ivmq/message.h"
#include "ivmq/peer.h"
#include "ivmq/sender.h"
#include "ivmq/status.h"
#include "ivmq/transport.h"

namespace ivmq {

struct NodeOptions {
  // 1..63 bytes, unique in the region. Empty: "anonymous-" and a number nobody else has.
  std::string name{};
  // An ephemeral peer is forgotten when it ends. A durable one keeps its slot, and the messages it
  // has not acknowledged, until the name returns or `ivmq forget` drops it.
  bool durable = false;
  // How long Wait() looks at the rings itself before it sleeps, and a sender at a full ring for
  // room. Adaptive in Wait(): while sleeps turn out longer than this, it spins for a sixteenth
  // only. 0: sleeps at once. After the first few microseconds, and on a machine with one core, it
  // yields the core between looks.
  std::chrono::nanoseconds spin_budget = std::chrono::microseconds(50);
  // The longest sleep between two looks where no doorbell can announce a message: this node has
  // none, or a live peer of the region cannot ring. Sleeps start at 50 us and double up to this.
  std::chrono::nanoseconds max_poll_interval = std::chrono::milliseconds(1);
  // False: a message is copied out of the shared memory before the handler sees it, so that its
  // sender cannot change it meanwhile. True: messages that fit a record are handled in place.
  bool trust_peers = false;
  // Larger messages are refused at both ends.
  std::uint64_t max_message_bytes = std::uint64_t{64} << 20;
  // Memory for putting large messages together, for all senders. A sender whose message does not
  // fit beside the others waits until one is complete. At least max_message_bytes.
  std::uint64_t reassembly_bytes = std::uint64_t{256} << 20;
  // Memory for messages that are kept beyond their handlers (Message::Keep), with 256 bytes for each
  // of them. What is kept in the ring itself counts as those 256 bytes only.
  std::uint64_t kept_bytes = std::uint64_t{64} << 20;
  // Told about what no call returns: a damaged ring, a large message lost midway, a peer that died.
  // Called on a thread of the node's own, which the first report starts: one report at a time, in
  // order. It may block and may call the node as any thread may, but must not destroy it: ~Node()
  // returns when all has been told. Reports beyond 1024 that wait, and those at which it throws,
  // are counted, and a report says how many are missing.
  std::function<void(const Status&)> on_report{};
};

// Thread-safety: Poll, Look, HasDrained, Wait, Run, Arm and SetPeerWatcher are for one thread at a
// time (the poller). Everything else may be called from any thread at any time.
//
// Code of the user's (message handlers, the peer watcher, on_report, writers of SendInPlace, stop
// conditions) runs with no lock of the library held, so it may call whatever its thread may call;
// it must not destroy the node. A handler or watcher that polls or waits gets nothing: 0 and false.
// One that sends with WhenFull::kWait holds up everything else that this node receives. What a
// handler, a watcher or a writer throws leaves the call that ran it, and the node goes on.
//
// fork(): the node stays the parent's. The child's copy of it does nothing and says so: status()
// and what returns one give FAILED_PRECONDITION, sends kPeerGone, Poll() 0; Fd() is -1, Wait()
// passes its time, nothing is reported, and region() is all zero. It may be destroyed or left
// alone, and it keeps neither the parent's name nor its slot from being given to others when the
// parent ends. So daemon() comes before Open(). A region over inproc: is lost to the child.
// Children of vfork(), posix_spawn(), _Fork() or a bare clone() may only exec or exit.
class Node {
 public:
  // Opens `address` and joins the region. Defined in ivmq::transports, which knows the addresses;
  // see ivmq/address.h. Errors: those of OpenTransport, Region::Attach and PeerTable::Claim.
  // Joining takes kClaimBound (5 s) at most, whatever stands in the region.
  static Result<std::unique_ptr<Node>> Open(std::string_view address, NodeOptions options = {});
  // The same over a transport that is open already.
  static Result<std::unique_ptr<Node>> Open(std::unique_ptr<Transport> transport,
                                            NodeOptions options = {});
  // Leaves the region in order, and closes the transport last. No other call may be running, and
  // nothing may use region() or transport() any more. on_report may be called until it returns, so
  // what that uses must outlive the node; a handler, watcher or StopCondition is not called any
  // more. May run at the end of the program, for a node in static storage.
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  [[nodiscard]] PeerId id() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] const Transport& transport() const noexcept;
  [[nodiscard]] const Region& region() const noexcept;
  // OK while this node's life goes on. FAILED_PRECONDITION, with the reason, once another peer or
  // the server has declared it over. From then on the node writes nothing to the region: what it
  // had not published is dropped, Poll() finds nothing, sends give kPeerGone, what returns a Status
  // gives this one. on_report hears it once, and every wait for room and every Wait() that is under
  // way ends. Open a new node to go on. Thread-safe.
  [[nodiscard]] Status status() const;
  // Whether this is a forked child's copy of its parent's node. One load.
  [[nodiscard]] bool IsForkedCopy() const noexcept;

  // ---- Peers ----

  [[nodiscard]] PeerSnapshot Peers() const;
  // NOT_FOUND if nobody has that name now. A durable peer is found while it is away, too.
  // FAILED_PRECONDITION: see status().
  Result<PeerInfo> Lookup(std::string_view name) const;
  // Waits until somebody live has that name: DEADLINE_EXCEEDED after `timeout`, CANCELLED once
  // `stop` says so. FAILED_PRECONDITION: see status().
  Result<PeerInfo> Await(std::string_view name, std::chrono::nanoseconds timeout,
                         const StopCondition* stop = nullptr) const;
  // Whether that life of the peer goes on, as far as is known. One load; thread-safe.
  [[nodiscard]] bool IsLive(PeerId peer) const noexcept;
  // Whether the peer has shown no sign of life for two seconds: it is stopped, or dead and nobody
  // has confirmed it. One load; thread-safe. A peer watcher hears of changes.
  [[nodiscard]] bool IsSuspected(PeerId peer) const noexcept;
  // Whether nothing waits in the ring from the peer's slot. For the poller.
  [[nodiscard]] bool HasDrained(PeerId peer) const noexcept;
  // Changes whenever the peers, or what they offer, have changed. One load; thread-safe.
  [[nodiscard]] std::uint64_t peers_generation() const noexcept;
  // What this peer offers, by the full names of the services, instead of what it offered before;
  // the other peers' watchers hear it. INVALID_ARGUMENT, RESOURCE_EXHAUSTED: see CheckServices;
  // FAILED_PRECONDITION: see status().
  Status SetServices(std::vector<std::string> services);
  // Poll() calls `watcher` when the peers, or what they offer, have changed since its last call;
  // once at first. One that throws is called again by the next Poll().
  void SetPeerWatcher(std::function<void(const PeerSnapshot&)> watcher);

  // ---- Sending ----

  // Sends to whoever has that name, through all of its lives. INVALID_ARGUMENT: nobody can have it;
  // ALREADY_EXISTS: another exclusive sender of this node has that peer; FAILED_PRECONDITION: see
  // status(). The sender must not outlive the node.
  Result<Sender> OpenSender(std::string_view name, const SenderOptions& options = {});
  // Sends a message of any size up to max_message_bytes: what does not fit one record goes in
  // fragments, one message at a time to each peer. A large message that was begun is finished or,
  // at kTimedOut, kStopped and kPeerGone, dropped by the receiver.
  SendResult Send(PeerId to, const MessageType& type, std::span<const std::byte> message,
                  const SendOptions& options = {});
  SendResult Send(PeerId to, std::span<const std::byte> message, const SendOptions& options = {}) {
    return Send(to, MessageType{}, message, options);
  }
  SendResult Send(PeerId to, std::string_view message, const SendOptions& options = {}) {
    return Send(to, std::as_bytes(std::span(message)), options);
  }
  // Sends a message of `bytes` bytes that `write(std::span<std::byte>)` writes straight into the
  // ring: all of it, and soon, since the ring is that thread's meanwhile, as a Batch's. Does not wait for room.
  // kTooLarge: it does not fit one record. kFull, kPeerGone, kNoRoom: as of TryClaim. Nothing is
  // sent if `write` throws.
  template <typename Write>
  SendResult SendInPlace(PeerId to, const MessageType& type, std::uint64_t bytes, Write&& write,
                         const SendOptions& options = {}) {
    using Type = std::remove_reference_t<Write>;
    return SendInPlaceWith(
        to, type, bytes,
        [](void* context, std::span<std::byte> payload) {
          (*static_cast<Type*>(context))(payload);
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(write))), options);
  }
  // Waits, as `options` says, until no other thread has a Batch to that peer.
  [[nodiscard]] Batch StartBatch(PeerId to, const SendOptions& options = {});
  // Waits, as `options` says, until a message of `bytes` bytes has room that fits one record. kOk
  // promises nothing to a second sending thread.
  SendResult AwaitRoom(PeerId to, const MessageType& type, std::uint64_t bytes,
                       const SendOptions& options);
  // The largest message that fits one record to `to`; carves the ring if there is none. 0: cannot
  // send.
  [[nodiscard]] std::uint64_t MaxRecordMessage(PeerId to, const MessageType& type);
  // What a result of a send to `to` says, in words; OK for kOk. Of kPeerGone: status() if that is
  // not OK. Thread-safe; it says nothing of other threads' sends.
  [[nodiscard]] Status Explain(SendResult result, PeerId to) const;

  // ---- Receiving ----

  // Calls handler(const Message&) for up to `limit` waiting messages and returns how many. Never
  // blocks. A message counts as acknowledged when its handler returns. One at which it throws does
  // not: the next Poll() hands it out again, with `redelivered` set.
  template <typename Handler>
  std::size_t Poll(Handler&& handler, std::size_t limit = 64) {
    using Type = std::remove_reference_t<Handler>;
    return PollWith(
        [](void* context, const Message& message) { (*static_cast<Type*>(context))(message); },
        const_cast<void*>(static_cast<const void*>(std::addressof(handler))), limit);
  }

  // Whether Poll() may have something to do: a few loads, for a loop that polls without sleeping.
  // A true may be spurious; behind Arm() it says so, since only Poll() tells senders that nobody
  // sleeps. Poll all the same now and then: it also tells them about room.
  [[nodiscard]] bool Look() noexcept;

  // Spins, then sleeps, until a message waits, the peers have changed (if they are watched), Wake()
  // was called, or `timeout` has passed. Returns false at the timeout. A true may be spurious.
  bool Wait(std::chrono::nanoseconds timeout);

  // Handles messages and waits for more until `stop` is asked for (OK), or this life is over: see
  // status(). What the handler throws leaves it. FAILED_PRECONDITION within a handler.
  template <typename Handler>
  Status Run(std::stop_token stop, Handler&& handler) {
    const std::stop_callback wake(stop, [this] { Wake(); });
    while (!stop.stop_requested()) {
      if (Poll(handler) != 0) continue;
      if (Status status = CheckRun(); !status.ok()) return status;
      (void)Wait(std::chrono::hours(1));
    }
    return {};
  }

  // Makes this or the next Wait() return, or Fd() readable and the next Arm() give false, and all
  // waits of this node ask their StopCondition: whatever the caller has stored before is seen by
  // the poller before it sleeps again. Poll() leaves it. Thread-safe.
  void Wake() noexcept;

  // For an event loop of your own: Fd() becomes readable when Poll() may have something to do.
  // Before sleeping on it, call Arm(): false means that something waits already, so Poll() instead
  // of sleeping. `look_again`: it becomes readable after that time in any case.
  [[nodiscard]] int Fd() const noexcept;
  [[nodiscard]] bool Arm(std::chrono::nanoseconds look_again = std::chrono::hours(1));

  // NodeOptions::spin_budget of this node.
  [[nodiscard]] std::chrono::nanoseconds spin_budget() const noexcept;
  // NodeOptions::max_message_bytes of this node.
  [[nodiscard]] std::uint64_t max_message_bytes() const noexcept;

  // ---- Figures ----

  [[nodiscard]] std::uint64_t counter(layout::Counter counter) const noexcept;
  // For layers above: adds to one of this peer's counters.
  void Count(layout::Counter counter, std::uint64_t amount = 1) noexcept;
  // Passes `status` to on_report, on its thread.
  void Report(const Status& status);

 private:
  struct Impl;
  using HandlerFunction = void (*)(void* context, const Message& message);

  using WriteFunction = void (*)(void* context, std::span<std::byte> payload);

  explicit Node(std::unique_ptr<Impl> impl);
  SendResult SendInPlaceWith(PeerId to, const MessageType& type, std::uint64_t bytes,
                             WriteFunction write, void* context, const SendOptions& options);
  std::size_t PollWith(HandlerFunction handler, void* context, std::size_t limit);
  // The same after what is rarely to be done.
  [[gnu::noinline]] std::size_t AttendAndPoll(HandlerFunction handler, void* context,
                                              std::size_t limit);
  void TellWatcher();
  [[nodiscard]] Status CheckRun() const;

  std::unique_ptr<Impl> impl_;
};

}  // namespace ivmq

#endif  // IVMQ_NODE_H_
