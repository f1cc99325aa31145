#include "ivmq/node.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <mutex>
#include <optional>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

#include "ivmq/internal/crash_point.h"
#include "ivmq/internal/keep_forever.h"
#include "ivmq/internal/peer_slot.h"
#include "ivmq/internal/str_cat.h"

#include "src/at_fork.h"
#include "src/explain.h"
#include "src/heap.h"
#include "src/heartbeat.h"
#include "src/node_context.h"
#include "src/poller.h"
#include "src/publications.h"
#include "src/readers.h"
#include "src/send_call.h"
#include "src/sender_core.h"
#include "src/subscriptions.h"
#include "src/topic_board.h"
#include "src/wait_strategy.h"
#include "src/writers.h"

namespace ivmq {
namespace {

using layout::Counter;
using std::chrono::nanoseconds;

std::string AnonymousName() {
  std::random_device random;
  std::array<char, 40> name{};
  (void)std::snprintf(name.data(), name.size(), "anonymous-%d-%08x", static_cast<int>(getpid()),
                      random());
  return name.data();
}

}  // namespace

struct Node::Impl {
  Impl(std::unique_ptr<Transport> transport, const Region& region, NodeOptions options_in)
      : context(std::move(transport), region, std::move(options_in)) {}

  // A poll after work that is rarely due.
  [[gnu::noinline]] std::size_t AttendAndPoll(const Node& node, const Handler& handler,
                                              std::size_t limit);

  NodeContext context;
  std::unique_ptr<Writers> writers;
  std::unique_ptr<Heap> heap;
  std::unique_ptr<TopicBoard> board;
  std::unique_ptr<Publications> publications;
  std::unique_ptr<Subscriptions> subscriptions;
  std::unique_ptr<Readers> readers;
  std::optional<Poller> poller;  // in here: each poll looks at it
  std::unique_ptr<Heartbeat> heartbeat;

  // Last, so that no child sees what is half destroyed.
  AtFork at_fork{[this] {
    context.BecomeForkedCopy();
    if (writers) writers->UnlockInChild();
  }};
};

Node::Node(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Node>> Node::Open(std::unique_ptr<Transport> transport,
                                         NodeOptions options) {
  if (options.name.empty()) options.name = AnonymousName();
  if (options.reassembly_bytes < options.max_message_bytes) {
    return Status(
        StatusCode::kInvalidArgument,
        StrCat("reassembly_bytes ", options.reassembly_bytes, " is less than max_message_bytes ",
               options.max_message_bytes, ": the largest message could never be put together"));
  }
  // The largest assembly is a message with its frame and type name.
  options.reassembly_bytes += sizeof(layout::Frame) + kMaxTypeName;
  const std::string address = transport->info().address;
  const auto at_address = [&address](const Status& status) {
    return Status(status.code(), StrCat(address, ": ", status.message()));
  };

  const Result<Region> region = Region::Attach(transport->memory());
  if (!region.ok()) return at_address(region.status());
  auto impl = std::make_unique<Impl>(std::move(transport), *region, std::move(options));
  NodeContext& context = impl->context;
  if (Status status = impl->at_fork.status(); !status.ok()) return at_address(status);

  Result<std::unique_ptr<Sleeper>> sleeper = Sleeper::Create(*context.transport);
  if (!sleeper.ok()) return at_address(sleeper.status());
  context.sleeper = *std::move(sleeper);

  context.identity = {.name = context.options.name,
                      .durable = context.options.durable,
                      .pid = static_cast<std::uint32_t>(getpid()),
                      .boot_id = ReadBootId()};
  const Result<ClaimedSlot> self = context.table.Claim(context.identity, *context.transport);
  if (!self.ok()) return at_address(self.status());
  context.BeginLife(*self);
  IVMQ_CRASH_POINT("attach.claimed");
  if (const Status& complaint = context.transport->info().complaint; !complaint.ok()) {
    context.Report(at_address(complaint));
  }

  impl->writers = std::make_unique<Writers>(context);
  impl->heap = std::make_unique<Heap>(context, *impl->writers);
  impl->board = std::make_unique<TopicBoard>(context);
  impl->publications =
      std::make_unique<Publications>(context, *impl->writers, *impl->heap, *impl->board);
  impl->subscriptions = std::make_unique<Subscriptions>(context, *impl->board);
  impl->readers = std::make_unique<Readers>(context, *impl->writers, *impl->subscriptions);
  impl->poller.emplace(context, *impl->readers, *impl->publications);
  IVMQ_CRASH_POINT("attach.built");
  try {
    impl->heartbeat = std::make_unique<Heartbeat>(
        context, *impl->writers, *impl->heap, *impl->readers, *impl->board, *impl->publications);
  } catch (const std::system_error& error) {
    context.table.Leave(context.self, *context.transport);
    return at_address(Status(StatusCode::kResourceExhausted,
                             StrCat("no thread for the heartbeat: ", error.what())));
  }
  IVMQ_CRASH_POINT("attach.beating");
  context.table.WakeAll(*context.transport, context.self.id.slot);
  IVMQ_CRASH_POINT("attach.announced");
  return std::unique_ptr<Node>(new Node(std::move(impl)));
}

Node::~Node() {
  if (IsForkedCopy()) {
    KeepForever(std::move(impl_));
    return;
  }
  impl_->heartbeat->Stop();
  impl_->context.reporter.Finish();  // on_report may still use the node
  IVMQ_CRASH_POINT("leave.begun");
  impl_->readers->PublishReleased();
  impl_->writers->PublishCommitted();
  IVMQ_CRASH_POINT("leave.published");
  NodeContext& context = impl_->context;
  if (!context.IsMyLife()) {
    LetGoOfSlot(*context.transport, context.self.id.slot);
    return;
  }
  impl_->heartbeat->ShowCounters();
  context.table.Leave(context.self, *context.transport);
  IVMQ_CRASH_POINT("leave.reclaimed");
  context.table.WakeAll(*context.transport, std::nullopt);
}

PeerId Node::id() const noexcept { return impl_->context.self.id; }
const std::string& Node::name() const noexcept { return impl_->context.options.name; }
const Transport& Node::transport() const noexcept { return *impl_->context.transport; }
const Region& Node::region() const noexcept { return impl_->context.region; }
Status Node::status() const { return impl_->context.LifeStatus(); }
bool Node::IsForkedCopy() const noexcept { return impl_->context.is_forked_copy(); }

// ---- Peers ----

PeerSnapshot Node::Peers() const {
  PeerSnapshot snapshot = impl_->context.table.Snapshot();
  for (PeerInfo& peer : snapshot.peers) {
    peer.suspected = impl_->heartbeat->IsSuspected(peer.id.slot);
  }
  return snapshot;
}

Result<PeerInfo> Node::Lookup(std::string_view name) const {
  if (Status over = status(); !over.ok()) return over;
  std::optional<PeerInfo> peer = impl_->context.table.Find(name);
  if (!peer) {
    return Status(StatusCode::kNotFound, StrCat(transport().info().address, ": no peer is named '",
                                                name, "'; see who is there with `ivmq ls`"));
  }
  peer->suspected = impl_->heartbeat->IsSuspected(peer->id.slot);
  return *std::move(peer);
}

Result<PeerInfo> Node::Await(std::string_view name, nanoseconds timeout,
                             const StopCondition* stop) const {
  if (Status over = status(); !over.ok()) return over;
  // Peers that come ring a doorbell, if they can.
  WaitStrategy wait(*impl_->context.sleeper, {.deadline = DeadlineAfter(timeout), .stop = stop}, {},
                    std::chrono::milliseconds(5));
  for (;;) {
    wait.BeginLook();
    Result<PeerInfo> peer = Lookup(name);
    if (peer.ok() && peer->state == layout::PeerState::kLive) return peer;
    if (peer.status().code() == StatusCode::kFailedPrecondition) return peer;
    switch (wait.Pause(wait.Growing())) {
      case Waited::kStopped:
        return Status(StatusCode::kCancelled,
                      StrCat(transport().info().address, ": nobody waits for a live peer named '",
                             name, "' any more"));
      case Waited::kTimedOut:
        return Status(
            StatusCode::kDeadlineExceeded,
            StrCat(transport().info().address, ": no live peer named '", name, "' within ",
                   std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count(),
                   " ms; see who is there with `ivmq ls`"));
      case Waited::kAWhile:
      case Waited::kForEvent:
        break;
    }
  }
}

bool Node::IsLive(PeerId peer) const noexcept {
  const Region& region = impl_->context.region;
  if (peer.slot >= region.max_peers()) return false;
  const auto life =
      layout::Life::FromWord(region.slot(peer.slot).life.load(std::memory_order_acquire));
  return life.incarnation == peer.incarnation && life.state == layout::PeerState::kLive;
}

bool Node::IsSuspected(PeerId peer) const noexcept {
  return peer.slot < impl_->context.region.max_peers() && impl_->heartbeat->IsSuspected(peer.slot);
}

bool Node::HasDrained(PeerId peer) const noexcept { return impl_->readers->HasDrained(peer.slot); }

std::uint64_t Node::peers_generation() const noexcept { return impl_->context.table.generation(); }

Status Node::SetServices(std::vector<std::string> services) {
  NodeContext& context = impl_->context;
  if (Status status = CheckServices(services); !status.ok()) return status;
  // Before the lock too: a forked child might never get it.
  if (Status over = context.LifeStatus(); !over.ok()) return over;
  {
    const std::lock_guard lock(context.services_mutex);
    if (Status over = context.LifeStatus(); !over.ok()) return over;
    context.services = std::move(services);
    if (!context.table.WriteServices(context.self.id, context.services)) return {};
  }
  context.table.WakeAll(*context.transport, context.self.id.slot);
  Wake();
  return {};
}

void Node::SetPeerWatcher(std::function<void(const PeerSnapshot&)> watcher) {
  impl_->poller->SetPeerWatcher(std::move(watcher));
}

// ---- Sending ----

SendResult Node::Send(PeerId to, const MessageType& type, std::span<const std::byte> message,
                      const SendOptions& options) {
  RingWriter* const writer = impl_->writers->Find(to.slot);
  if (writer == nullptr) return SendResult::kPeerGone;
  const SendResult result = writer->TrySend<Hold::kLocked>(to, type, message, options);
  if (result == SendResult::kOk) [[likely]]
    return result;
  return SendCall(*writer, to, options, nullptr).Send(type, message, result);
}

SendResult Node::SendInPlaceWith(PeerId to, const MessageType& type, std::uint64_t bytes,
                                 WriteFunction write, void* context, const SendOptions& options) {
  Batch batch = StartBatch(to, options);
  std::span<std::byte> payload;
  if (const SendResult result = batch.TryClaim(type, bytes, &payload); result != SendResult::kOk) {
    return result;
  }
  write(context, payload);
  return batch.Commit();
}

Batch Node::StartBatch(PeerId to, const SendOptions& options) {
  RingWriter* const writer = impl_->writers->Find(to.slot);
  if (writer == nullptr) return {nullptr, to, SendResult::kPeerGone};
  if (const SendResult result = writer->Lock(options, nullptr); result != SendResult::kOk) {
    return {nullptr, to, result};
  }
  writer->ring_lock().Take(std::unique_lock(writer->ring_lock(), std::adopt_lock), ThisThread(),
                           /*is_exclusive=*/false);
  return {writer, to, SendResult::kOk};
}

SendResult Node::AwaitRoom(PeerId to, const MessageType& type, std::uint64_t bytes,
                           const SendOptions& options) {
  RingWriter* const writer = impl_->writers->Find(to.slot);
  if (writer == nullptr) return SendResult::kPeerGone;
  return SendCall(*writer, to, options, nullptr).AwaitRoom(HeadBytes(type) + bytes);
}

std::uint64_t Node::MaxRecordMessage(PeerId to, const MessageType& type) {
  RingWriter* const writer = impl_->writers->Find(to.slot);
  if (writer == nullptr) return 0;
  const std::lock_guard lock(writer->ring_lock());
  const bool is_open = writer->ring_lock().IsFreeFor(nullptr)
                           ? writer->EnsureOpen(to) == SendResult::kOk
                           : writer->IsOpen(to);
  if (!is_open) return 0;
  const std::uint64_t record = writer->producer().max_payload();
  const std::uint64_t head = HeadBytes(type);
  return record > head ? std::min(record - head, max_message_bytes()) : 0;
}

Status Node::Explain(SendResult result, PeerId to) const {
  return ExplainSend(impl_->context, *impl_->writers, result, to,
                     StrCat("the peer of slot ", to.slot, ", incarnation ", to.incarnation));
}

Result<Sender> Node::OpenSender(std::string_view name, const SenderOptions& options) {
  if (Status status = CheckName(name); !status.ok()) return status;
  if (Status over = status(); !over.ok()) return over;
  auto core = std::make_unique<SenderCore>(*this, impl_->context, *impl_->writers, *impl_->heap,
                                           name, options);
  if (core->Begin() == SendResult::kBusy) {
    return Status(StatusCode::kAlreadyExists,
                  StrCat(transport().info().address,
                         ": another exclusive sender, or a Batch of "
                         "this thread, has the pair to '",
                         name, "'; share one sender, or end the other"));
  }
  return Sender(std::move(core));
}

// ---- Topics ----

Result<Topic> Node::Advertise(std::string_view name, const TopicOptions& options) {
  Result<std::shared_ptr<TopicCore>> core = impl_->publications->Open(name, options);
  if (!core.ok()) return core.status();
  return Topic(*std::move(core));
}

Result<Subscription> Node::Subscribe(std::string_view pattern, TopicHandler handler,
                                     const SubscribeOptions& options) {
  const Result<SubscriptionCore*> core =
      impl_->subscriptions->Open(pattern, std::move(handler), options);
  if (!core.ok()) return core.status();
  return Subscription(*impl_->subscriptions, **core);
}

nanoseconds Node::spin_budget() const noexcept { return impl_->context.options.spin_budget; }

std::uint64_t Node::max_message_bytes() const noexcept {
  return impl_->context.options.max_message_bytes;
}

// ---- Receiving ----

std::size_t Node::PollWith(HandlerFunction handler, void* context, std::size_t limit) {
  Impl& impl = *impl_;
  if (impl.poller->HasToAttend()) [[unlikely]]
    return impl.AttendAndPoll(*this, {handler, context}, limit);
  return impl.readers->Poll({handler, context}, limit);
}

std::size_t Node::Impl::AttendAndPoll(const Node& node, const Handler& handler, std::size_t limit) {
  if (readers->is_polling()) return 0;
  poller->Attend([&node] { return node.Peers(); });
  return readers->Poll(handler, limit);
}

bool Node::Look() noexcept { return impl_->poller->Look(); }
bool Node::Wait(nanoseconds timeout) { return impl_->poller->Wait(timeout); }
void Node::Wake() noexcept { impl_->poller->Wake(); }
int Node::Fd() const noexcept { return impl_->context.sleeper->fd(); }
bool Node::Arm(nanoseconds look_again) { return impl_->poller->Arm(look_again); }

Status Node::CheckRun() const {
  if (impl_->readers->is_polling()) {
    return {StatusCode::kFailedPrecondition,
            "Run() was called within a handler, which holds up the poller"};
  }
  return status();
}

// ---- Figures ----

std::uint64_t Node::counter(Counter counter) const noexcept {
  const auto index = static_cast<std::size_t>(counter);
  if (index >= layout::kCounterWords) return 0;
  return impl_->context.counters[index].load(std::memory_order_relaxed) +
         impl_->writers->Sum(counter);
}

void Node::Count(Counter counter, std::uint64_t amount) noexcept {
  impl_->context.Count(counter, amount);
}

void Node::Report(const Status& status) {
  if (!IsForkedCopy()) impl_->context.Report(status);
}

}  // namespace ivmq
