// A node: one attached peer. It has a name, finds other peers by their names, and sends and
// receives messages.
//
//   auto node = ivmq::Node::Open("unix:/run/ivmq/ivmq.sock", {.name = "host"});
//   auto sender = (*node)->OpenSender("vm1");
//   sender->Send(bytes);
//   (*node)->Run(stop_token, [](const ivmq::Message& message) { ... });
#ifndef IVMQ_NODE_H_
#define IVMQ_NODE_H_

#include "ivmq/export.h"

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
#include "ivmq/topic.h"
#include "ivmq/transport.h"

namespace ivmq {

struct NodeOptions {
  // 1..63 bytes, unique in the region. Empty: "anonymous-" and a unique number.
  std::string name{};
  // An ephemeral peer is forgotten when it ends. A durable one keeps its slot, and the messages
  // that it has not acknowledged, until the name returns or `ivmq forget` drops it.
  bool durable = false;
  // How long Wait(), and a sender at a full ring, spin before they sleep. Adaptive in Wait(): as
  // long as sleeps turn out to be longer than this, it spins only for a sixteenth. 0: sleeps at
  // once. After the first few microseconds, and in a process that may use one core only, spinning
  // yields the core.
  std::chrono::nanoseconds spin_budget = std::chrono::microseconds(50);
  // The longest sleep between two checks of the rings if no doorbell can announce a message: this
  // node has none, or a live peer of the region cannot ring. Sleeps start at 50 us and double up to
  // this.
  std::chrono::nanoseconds max_poll_interval = std::chrono::milliseconds(1);
  // False: a message is copied out of the shared memory before the handler sees it, so its sender
  // cannot change it while it is handled. True: messages that did not come in fragments are handled
  // in place.
  bool trust_peers = false;
  // Larger messages are refused at both ends.
  std::uint64_t max_message_bytes = std::uint64_t{64} << 20;
  // Memory for assembling large messages, for all senders together. A sender whose message does not
  // fit beside the others waits until one of them is complete. At least max_message_bytes. A large
  // message that its sender lent (Sender::Loan) needs none of it, but one buffer of its own size.
  std::uint64_t reassembly_bytes = std::uint64_t{256} << 20;
  // Memory for messages that are kept beyond their handlers (Message::Keep). Each counts as its
  // bytes plus 256; a message that is kept in the ring counts as 256 bytes.
  std::uint64_t kept_bytes = std::uint64_t{64} << 20;
  // Called with errors that no function returns: a damaged ring, a large message lost midway, a
  // lost connection to the server, the end of this node's life, exceptions of user code in calls.
  // It runs on a thread of the node, which the first report starts: one report at a time, in order.
  // It may block, and may call the node like any other thread, but must not destroy it: ~Node()
  // returns when all reports have been passed on. Reports beyond 1024 that wait, and those at which
  // it throws, are counted, and a report says how many are missing.
  std::function<void(const Status&)> on_report{};
};

// Thread-safety: Poll, Look, HasDrained, Wait, Run, Arm and SetPeerWatcher are for one thread at a
// time (the poller). Everything else may be called from any thread at any time.
//
// User code (message handlers, the peer watcher, on_report, writers of SendInPlace, stop
// conditions) runs with no lock of the library held, so it may call whatever its thread may call,
// but it must not destroy the node. In a handler or watcher, polling returns 0 and waiting returns
// false. A handler that sends with WhenFull::kWait delays everything else that this node receives.
// What a handler, a watcher or a writer throws leaves the function that ran it, and the node
// remains usable. See docs/threading.md.
//
// fork(): the node belongs to the parent. The child's copy does nothing and says so: status() and
// functions that return a Status give FAILED_PRECONDITION, sends kPeerGone, Poll() 0; Fd() is -1,
// Wait() waits until its timeout, nothing is reported, and region() is all zero. The copy may be
// destroyed or left alone. It keeps neither the parent's name nor its slot from being reused when
// the parent ends. So call daemon() before Open(). A region over inproc: is lost to the child.
// Children of vfork(), posix_spawn(), _Fork() or a bare clone() may only exec or exit.
class IVMQ_EXPORT Node {
 public:
  // Opens `address` and joins the region; see ivmq/address.h. Errors: those of OpenTransport,
  // Region::Attach and PeerTable::Claim.
  // Joining takes kClaimBound (5 s) at most, whatever the region contains.
  static Result<std::unique_ptr<Node>> Open(std::string_view address, NodeOptions options = {});
  // The same over a transport that is open already.
  static Result<std::unique_ptr<Node>> Open(std::unique_ptr<Transport> transport,
                                            NodeOptions options = {});
  // Leaves the region in order, and closes the transport last. REQUIRES: no other call is running,
  // and nothing uses region() or transport() any more. on_report may be called until the destructor
  // returns, so what it uses must outlive the node; handlers, watchers and stop conditions are no
  // longer called. A node in static storage may be destroyed at the end of the program.
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  [[nodiscard]] PeerId id() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] const Transport& transport() const noexcept;
  [[nodiscard]] const Region& region() const noexcept;
  // OK during this node's life. FAILED_PRECONDITION, with the reason, once another peer or the
  // server has declared the life over. From then on the node writes nothing to the region: what it
  // had not published is dropped, Poll() finds nothing, sends return kPeerGone, and functions that
  // return a Status return this one. It is reported to on_report once, and every wait in progress
  // ends. To go on, open a new node. Thread-safe.
  [[nodiscard]] Status status() const;
  // Whether this is a forked child's copy of its parent's node. One load.
  [[nodiscard]] bool IsForkedCopy() const noexcept;

  // ---- Peers ----

  [[nodiscard]] PeerSnapshot Peers() const;
  // NOT_FOUND if no peer has that name now. A durable peer is also found while it is away.
  // FAILED_PRECONDITION: see status().
  Result<PeerInfo> Lookup(std::string_view name) const;
  // Waits until a live peer has that name. DEADLINE_EXCEEDED after `timeout`; CANCELLED once `stop`
  // says so; FAILED_PRECONDITION: see status().
  Result<PeerInfo> Await(std::string_view name, std::chrono::nanoseconds timeout,
                         const StopCondition* stop = nullptr) const;
  // Whether that life of the peer is live, as far as is known. One load; thread-safe.
  [[nodiscard]] bool IsLive(PeerId peer) const noexcept;
  // Whether the peer has shown no sign of life for two seconds: it is stopped, or dead without
  // confirmation. One load; thread-safe. The peer watcher is called when this changes.
  [[nodiscard]] bool IsSuspected(PeerId peer) const noexcept;
  // Whether the ring from the peer's slot is empty. For the poller.
  [[nodiscard]] bool HasDrained(PeerId peer) const noexcept;
  // Changes whenever the peers or their services have changed. One load; thread-safe.
  [[nodiscard]] std::uint64_t peers_generation() const noexcept;
  // Replaces the list of services that this peer offers, by their full names; the watchers of other
  // peers are called. INVALID_ARGUMENT, RESOURCE_EXHAUSTED: see CheckServices; FAILED_PRECONDITION:
  // see status().
  Status SetServices(std::vector<std::string> services);
  // Poll() calls `watcher` once, and then whenever the peers or their services have changed since
  // the last call. If it throws, the next Poll() calls it again.
  void SetPeerWatcher(std::function<void(const PeerSnapshot&)> watcher);

  // ---- Sending ----

  // A sender to the peer with that name, through all of its lives. INVALID_ARGUMENT: no peer can
  // have this name; ALREADY_EXISTS: another exclusive sender of this node owns that pair;
  // FAILED_PRECONDITION: see status(). The sender must not outlive the node.
  Result<Sender> OpenSender(std::string_view name, const SenderOptions& options = {});
  // Sends a message of any size up to max_message_bytes. A message that does not fit one record is
  // sent in fragments, one such message at a time to each peer. Once begun, it is completed or,
  // with kTimedOut, kStopped and kPeerGone, dropped by the receiver.
  SendResult Send(PeerId to, const MessageType& type, std::span<const std::byte> message,
                  const SendOptions& options = {});
  SendResult Send(PeerId to, std::span<const std::byte> message, const SendOptions& options = {}) {
    return Send(to, MessageType{}, message, options);
  }
  SendResult Send(PeerId to, std::string_view message, const SendOptions& options = {}) {
    return Send(to, std::as_bytes(std::span(message)), options);
  }
  // Sends a message of `bytes` bytes that `write(std::span<std::byte>)` writes directly into the
  // ring: all of them, and quickly, since the thread owns the ring while it writes, as with a
  // Batch. Does not wait for room. kTooLarge: it does not fit one record. kFull, kPeerGone,
  // kNoRoom: as for TryClaim. Nothing is sent if `write` throws.
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
  // Waits, as `options` says, until there is room for a message of `bytes` bytes that fits one
  // record. kOk promises nothing if another thread sends to the same peer.
  SendResult AwaitRoom(PeerId to, const MessageType& type, std::uint64_t bytes,
                       const SendOptions& options);
  // The largest message that fits one record to `to`; carves a ring if there is none. 0: it cannot
  // send to `to`.
  [[nodiscard]] std::uint64_t MaxRecordMessage(PeerId to, const MessageType& type);
  // Explains a result of a send to `to` as a Status with a message; OK for kOk. For kPeerGone it is
  // status(), if that is not OK. Thread-safe.
  [[nodiscard]] Status Explain(SendResult result, PeerId to) const;

  // ---- Topics: see ivmq/topic.h ----

  // Begins to publish a topic. INVALID_ARGUMENT: not a topic's name, or too much history;
  // ALREADY_EXISTS: this node publishes it; RESOURCE_EXHAUSTED: the node's slot has no room for
  // more topics and subscriptions, see docs/topics.md; FAILED_PRECONDITION: see status().
  Result<Topic> Advertise(std::string_view name, const TopicOptions& options = {});
  // Has Poll() call `handler` for the messages of all topics of that pattern. It is user code like
  // any other handler, and counts in Poll()'s limit and result. INVALID_ARGUMENT: not a pattern, no
  // handler, or options outside their bounds; RESOURCE_EXHAUSTED, FAILED_PRECONDITION: as above.
  Result<Subscription> Subscribe(std::string_view pattern, TopicHandler handler,
                                 const SubscribeOptions& options = {});

  // ---- Receiving ----

  // Calls handler(const Message&) for up to `limit` waiting messages and returns their number.
  // Never blocks. A message is acknowledged when its handler returns, unless it is kept
  // (Message::Keep). If the handler throws, the next Poll() hands the message out again, with
  // `redelivered` set.
  template <typename Handler>
  std::size_t Poll(Handler&& handler, std::size_t limit = 64) {
    using Type = std::remove_reference_t<Handler>;
    return PollWith(
        [](void* context, const Message& message) { (*static_cast<Type*>(context))(message); },
        const_cast<void*>(static_cast<const void*>(std::addressof(handler))), limit);
  }

  // Whether Poll() may have something to do: a few loads, for a loop that polls without sleeping.
  // It may be true spuriously; after Arm() it is true, since only Poll() tells senders that this
  // node is awake. Call Poll() now and then all the same: it also tells senders about room.
  [[nodiscard]] bool Look() noexcept;

  // Spins, then sleeps, until a message waits, the peers have changed (if there is a watcher),
  // Wake() was called, or `timeout` has passed. Returns false at the timeout; may return true
  // spuriously.
  bool Wait(std::chrono::nanoseconds timeout);

  // Handles messages and waits for more until a stop is requested (OK) or this life is over (see
  // status()). What the handler throws leaves Run(). FAILED_PRECONDITION inside a handler.
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

  // Makes the current or the next Wait() return, or Fd() readable and the next Arm() return false,
  // and makes all waits of this node check their StopCondition. The poller sees what the caller has
  // stored before, before it sleeps again. Poll() does not clear it. Thread-safe.
  void Wake() noexcept;

  // For your own event loop: Fd() becomes readable when Poll() may have something to do. Call Arm()
  // before sleeping on it. If Arm() returns false, something waits already: call Poll() instead of
  // sleeping. Fd() becomes readable after `look_again` in any case.
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
  struct IVMQ_HIDDEN Impl;
  using HandlerFunction = void (*)(void* context, const Message& message);

  using WriteFunction = void (*)(void* context, std::span<std::byte> payload);

  explicit Node(std::unique_ptr<Impl> impl);
  SendResult SendInPlaceWith(PeerId to, const MessageType& type, std::uint64_t bytes,
                             WriteFunction write, void* context, const SendOptions& options);
  std::size_t PollWith(HandlerFunction handler, void* context, std::size_t limit);
  [[nodiscard]] Status CheckRun() const;

  std::unique_ptr<Impl> impl_;
};

}  // namespace ivmq

#endif  // IVMQ_NODE_H_
