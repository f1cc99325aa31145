#include "src/call_client.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "ivmq/internal/serialize.h"

#include "src/call_access.h"
#include "src/pool.h"
#include "src/status_text.h"
#include "src/unsent.h"
#include "src/user_code.h"

namespace ivmq::rpc::internal {
namespace {

using std::chrono::nanoseconds;

// Pauses between two looks for a peer that is not there: they double.
constexpr std::chrono::microseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{5};
// The thread that polls looks at all calls for late ones only so often.
constexpr std::chrono::milliseconds kTimeGrain{1};

Status Unavailable(const std::string& peer, std::string_view why) {
  return {StatusCode::UNAVAILABLE, "peer '" + peer + "': " + std::string(why)};
}

// What ends a call that is not wanted any more and has not ended. `missing`: what it lacked, if not
// the server's answer.
Status StatusOf(Verdict verdict, const ClientCall& call, const std::string& missing) {
  switch (verdict) {
    case Verdict::kCancelled:
      return {StatusCode::CANCELLED, kCancelledText};
    case Verdict::kLate:
      return {StatusCode::DEADLINE_EXCEEDED,
              missing.empty() ? kLateText : std::string(kLateText) + ": " + missing};
    case Verdict::kPeerStill:
      return Unavailable(call.context.peer(), "has shown no sign of life for two seconds");
    case Verdict::kSelfGone:
      // Under way it is cut off from its peer; otherwise it cannot begin.
      return {call.life.has_peer() ? StatusCode::UNAVAILABLE : StatusCode::FAILED_PRECONDITION,
              call.life.node().status().message()};
    default:
      return Unavailable(call.context.peer(), "is gone");
  }
}
Status StatusOf(Verdict verdict, const ClientCall& call) { return StatusOf(verdict, call, {}); }

}  // namespace

Status ReadEnd(const CallFrame& end, ClientContext& context) {
  std::string message;
  std::string details;
  MetadataReader entries(end.metadata);
  while (const std::optional<MetadataEntry> entry = entries.Next()) {
    switch (entry->kind) {
      case MetadataKind::kInitial:
        CallAccess::initial(context).Set(entry->key, entry->value);
        break;
      case MetadataKind::kTrailing:
        CallAccess::trailing(context).Set(entry->key, entry->value);
        break;
      case MetadataKind::kStatusMessage:
        message = entry->value;
        break;
      case MetadataKind::kStatusDetails:
        details = entry->value;
        break;
    }
  }
  if (entries.malformed()) {
    return {StatusCode::INTERNAL, "the server's answer is no correct frame"};
  }
  return {KnownCode(end.header.argument), std::move(message), std::move(details)};
}

namespace {

// What ends a unary call: the status, with the response in place.
Status EndUnary(Status status, const CallFrame* end, ClientContext& context,
                const Incoming& response) {
  if (end != nullptr) {
    if (end->metadata.empty() && end->header.argument == StatusCode::OK) [[likely]] {
      status = Status();
    } else {
      status = ReadEnd(*end, context);
    }
    if (status.ok() && !response.Parse(end->message)) {
      status = {StatusCode::INTERNAL, "the response is no " + response.TypeName()};
    }
  }
  CallAccess::End(context, status);
  return status;
}

// A call whose thread waits.
class SyncCall final : public ClientCall {
 public:
  SyncCall(const CallClient& client, ClientContext& context_in, const Incoming& response)
      : ClientCall(client.node(), context_in, /*has_streams_in=*/false, /*waits_in=*/true),
        polling_(client.polling()),
        response_(response) {}

  void End(Status status, const CallFrame* end) override {
    status_ = EndUnary(std::move(status), end, context, response_);
    polling_.Complete(waiter_);
  }
  PollWaiter& waiter() noexcept { return waiter_; }
  Status TakeStatus() { return std::move(status_); }

 private:
  Polling& polling_;
  const Incoming response_;
  PollWaiter waiter_;
  Status status_;
};

// A call with a callback, which comes when the call has ended and whoever began it has gone on;
// then it deletes itself.
class AsyncCall final : public ClientCall, private PollTask {
 public:
  AsyncCall(const CallClient& client, ClientContext& context_in, const Incoming& response,
            std::function<void(Status)> done)
      : ClientCall(client.node(), context_in, /*has_streams_in=*/false, /*waits_in=*/false),
        node_(client.node()),
        polling_(client.polling()),
        response_(response),
        done_(std::move(done)) {}

  void End(Status status, const CallFrame* end) override {
    status_ = EndUnary(std::move(status), end, context, response_);
    if (state_.On(CallbackEvent::kEnd) != CallbackState::kBegun) return;
    if (polling_.InPoll()) {
      Run();
    } else {
      polling_.Post(*this);
    }
  }
  // CallClient::Begin() has returned. Never calls back here: whoever begins a call may hold a lock.
  void OnBegun() {
    if (state_.On(CallbackEvent::kBegin) == CallbackState::kEnded) polling_.Post(*this);
  }
  // The call is not made.
  void Fail(Status status) {
    status_ = std::move(status);
    polling_.Post(*this);
  }

 private:
  void Run() override {
    const std::unique_ptr<AsyncCall> self(this);
    (void)RunUserCode(node_, "the callback of a call", [&] { done_(std::move(status_)); });
  }

  Node& node_;
  Polling& polling_;
  const Incoming response_;
  std::function<void(Status)> done_;
  Status status_;
  CallState<CallbackState> state_{CallbackState::kBeginning};
};

}  // namespace

// A request that is sent on another thread.
class CallClient::QueuedRequest final : public QueuedFrame {
 public:
  QueuedRequest(CallClient& client, const ClientCall& call, const MessageType& type,
                std::string bytes)
      : QueuedFrame(call.life.peer(), type, std::move(bytes)), client_(client), id_(call.id) {}

 private:
  [[nodiscard]] bool IsWanted() const noexcept override { return client_.calls_.WantsRequest(id_); }
  void OnSent(SendResult result) override { client_.OnQueuedSent(to(), id_, result); }

  CallClient& client_;
  const std::uint64_t id_;
};

void CallClient::EndAll() {
  for (const TakenCall& taken : calls_.RemoveAll([](const ClientCall&) { return true; })) {
    taken.call->End({StatusCode::CANCELLED, "the endpoint was closed"}, nullptr);
  }
}

Status CallClient::Call(Channel& channel, const MethodName& method, ClientContext& context,
                        const Outgoing& request, const Incoming& response) {
  if (polling_.InPoll()) {
    return {StatusCode::FAILED_PRECONDITION,
            "a synchronous call on the thread that polls could never end: use async() here"};
  }
  SyncCall call(*this, context, response);
  Begin(call, channel, method, request);
  if (!polling_.Await(call.waiter(), call.life.deadline())) {
    EndIfUnwanted(call);
    (void)polling_.Await(call.waiter(), Clock::time_point::max());
  }
  return call.TakeStatus();
}

void CallClient::CallAsync(Channel& channel, const MethodName& method, ClientContext& context,
                           const Outgoing& request, const Incoming& response,
                           std::function<void(Status)> done) {
  auto* const call = new AsyncCall(*this, context, response, std::move(done));
  Begin(*call, channel, method, request);
  call->OnBegun();
}

void CallClient::EndAsync(ClientContext& context, const Incoming& response,
                          std::function<void(Status)> done, Status status) {
  (new AsyncCall(*this, context, response, std::move(done)))->Fail(std::move(status));
}

void CallClient::Begin(ClientCall& call, Channel& channel, const MethodName& method,
                       const Outgoing& request) {
  Status failure = TryBegin(call, channel, method, request);
  if (failure.ok()) [[likely]]
    return;
  // Whoever has ended it meanwhile has said why.
  if (call.id == 0 ? call.TakeEnd() : calls_.Remove(call.id).call != nullptr) {
    call.End(std::move(failure), nullptr);
  }
}

Status CallClient::TryBegin(ClientCall& call, Channel& channel, const MethodName& method,
                            const Outgoing& request) {
  ClientContext& context = call.context;
  if (!CallAccess::valid(context)) {
    return {StatusCode::INVALID_ARGUMENT,
            "the metadata is not valid: see ClientContext::AddMetadata for what it may hold"};
  }
  if (!request.IsWhole()) [[unlikely]] {
    return {StatusCode::INTERNAL, "the request lacks required fields: " + request.Missing()};
  }
  Clock::time_point now = call.life.Now();
  if (now >= call.life.deadline()) {
    return {StatusCode::DEADLINE_EXCEEDED, kLateText};
  }
  const std::uint64_t cached = channel.cached_.load(std::memory_order_relaxed);
  PeerId to{static_cast<std::uint32_t>(cached >> 32), static_cast<std::uint32_t>(cached)};
  CallAccess::set_peer(context, channel.peer());
  if (cached == 0 || !node_.IsLive(to) || node_.IsSuspected(to) || !node_.IsLive(node_.id()))
      [[unlikely]] {
    if (Status status = FindPeer(channel, call, &to); !status.ok()) return status;
    now = call.life.Now();
  }

  call.life.SetPeer(to);
  if (!calls_.Insert(call)) {
    return {StatusCode::RESOURCE_EXHAUSTED, "more calls under way than an endpoint can have"};
  }
  // From here on other threads may end it.
  const std::uint64_t id = call.id;
  if (!call.waits && call.life.has_deadline()) polling_.WakeAt(call.life.deadline());
  CallAccess::Begin(context, *this, id);
  // What came before it was in the table, nobody else has seen.
  if (const Verdict verdict = call.life.Look(now); verdict != Verdict::kWanted) [[unlikely]] {
    if (verdict == Verdict::kEnded) CallAccess::Leave(context);
    return StatusOf(verdict, call);
  }

  CallHeader header{.sender = node_.id().incarnation,
                    .receiver = to.incarnation,
                    .call_high = static_cast<std::uint32_t>(id >> 32),
                    .method = method.id};
  if (call.life.has_deadline()) {
    header.argument = static_cast<std::uint64_t>(nanoseconds(call.life.deadline() - now).count());
  }
  const MessageType type{.kind = ToFrameKind(CallFrameKind::kRequest),
                         .type = static_cast<std::uint32_t>(id)};
  const std::string& metadata = CallAccess::metadata(context);
  header.metadata_bytes = static_cast<std::uint32_t>(metadata.size());
  std::string longer;
  std::span<const std::byte> head = std::as_bytes(std::span(&header, 1));
  if (!metadata.empty()) [[unlikely]] {
    longer.assign(reinterpret_cast<const char*>(&header), sizeof(header));
    longer += metadata;
    head = std::as_bytes(std::span(longer));
  }
  Outgoing measured = request;
  measured.Measure();
  SendResult result = TrySendWithHead(node_, to, type, head, measured);
  if (MayGoLater(result)) [[unlikely]] {
    if (!polling_.InPoll()) {
      result = outbox_.SendWithPatience(to, type, head, measured, call.life);
    } else if (result != SendResult::kFull) {
      result = QueueRequest(call, type, head, measured);
      if (result == SendResult::kOk) return {};
    }
  }
  if (result != SendResult::kOk) [[unlikely]] {
    const Verdict verdict = call.life.Look();
    if (verdict == Verdict::kWanted) return SendFailure(call, result);
    return StatusOf(verdict, call, "no room in the ring to peer '" + context.peer() + "'");
  }
  // Whoever has cut it before the request went leaves it to us.
  if (call.life.state().On(ClientCallEvent::kSend) == ClientCallState::kCutUnsent) [[unlikely]]
    SendCancel(to, id);
  return {};
}

Status CallClient::SendFailure(const ClientCall& call, SendResult result) const {
  return UnsentStatus(node_, call.life.peer(), result, "this node",
                      "peer '" + call.context.peer() + "'");
}

SendResult CallClient::QueueRequest(ClientCall& call, const MessageType& type,
                                    std::span<const std::byte> head, const Outgoing& request) {
  if (!outbox_.HasRoom(call.life.peer())) return SendResult::kFull;
  std::optional<std::string> bytes = SerializeWithHead(node_, head, request);
  if (!bytes.has_value()) return SendResult::kTooLarge;
  if (!calls_.SetQueued(call.id)) return SendResult::kStopped;
  outbox_.Queue(*new QueuedRequest(*this, call, type, *std::move(bytes)));
  return SendResult::kOk;
}

void CallClient::OnQueuedSent(PeerId to, std::uint64_t id, SendResult result) {
  const bool sent = result == SendResult::kOk;
  const FinishedRequest request = calls_.FinishRequest(id, sent);
  if (!sent) {
    // nullptr: it has ended.
    if (ClientCall* const call = calls_.Remove(id).call; call != nullptr) {
      call->End(SendFailure(*call, result), nullptr);
    }
  } else if (request.is_cut) {
    SendCancel(to, id);
  } else if (request.call != nullptr) {
    request.call->OnRequestSent();
  }
  if (request.call != nullptr) request.call->Unref();
}

bool CallClient::IsReachable(const Channel& channel) const {
  if (!channel.unreachable_.empty()) return false;
  if (channel.providers_ != nullptr) return channel.providers_->HasAny(node_);
  const Result<PeerInfo> peer = node_.Lookup(channel.peer());
  return peer.ok() && peer->state == layout::PeerState::kLive && !peer->suspected;
}

template <typename LookForPeer>
bool CallClient::AwaitPeer(const ClientCall& call, LookForPeer look) const {
  const Pool::Wait wait;
  for (nanoseconds pause = kFirstPause; !look();
       pause = std::min<nanoseconds>(2 * pause, kLongestPause)) {
    if (call.life.IsStopped()) return false;
    std::this_thread::sleep_until(std::min(call.life.deadline(), Clock::now() + pause));
  }
  return true;
}

Status CallClient::FindPeer(Channel& channel, ClientCall& call, PeerId* to) {
  // Before any lock: in a forked child nobody may be left to give it back. Its copy of a node sees
  // no live peer, so that all its calls come here.
  if (IsOver(node_)) return {StatusCode::FAILED_PRECONDITION, node_.status().message()};
  if (!channel.unreachable_.empty()) return {StatusCode::UNAVAILABLE, channel.unreachable_};
  std::string missing;  // why there is none
  const auto look = [&] {
    if (channel.providers_ != nullptr) {
      if (channel.providers_->Next(node_, call.context, to)) return true;
      missing = "no live peer offers the service " + channel.providers_->service() +
                "; see who offers what with `ivmq ls --services`";
      return false;
    }
    const Result<PeerInfo> peer = node_.Lookup(channel.peer());
    const bool is_live = peer.ok() && peer->state == layout::PeerState::kLive;
    if (!is_live || peer->suspected) {
      missing = "peer '" + channel.peer() +
                (is_live     ? "': has shown no sign of life for two seconds"
                 : peer.ok() ? "': is away"
                             : "': is not there");
      return false;
    }
    *to = peer->id;
    channel.cached_.store(std::uint64_t{to->slot} << 32 | to->incarnation,
                          std::memory_order_relaxed);
    return true;
  };
  if (look()) [[likely]]
    return {};
  const bool waits = CallAccess::wait_for_ready(call.context) && !polling_.InPoll();
  if (waits && AwaitPeer(call, look)) return {};
  const Verdict verdict = call.life.Look();
  return verdict == Verdict::kWanted ? Status(StatusCode::UNAVAILABLE, missing)
                                     : StatusOf(verdict, call, missing);
}

void CallClient::Cancel(std::uint64_t id, Status why) { Cut(calls_.Remove(id), std::move(why)); }

void CallClient::Cut(const TakenCall& taken, Status why) {
  if (taken.call == nullptr) return;
  const PeerId to = taken.call->life.peer();
  const std::uint64_t id = taken.call->id;
  taken.call->End(std::move(why), nullptr);
  if (taken.was_sent()) SendCancel(to, id);
}

void CallClient::SendCancel(PeerId to, std::uint64_t id) {
  outbox_.SendNote(to, {.kind = CallFrameKind::kCancel, .call = id});
}

void CallClient::EndIfUnwanted(const ClientCall& call) {
  const Verdict verdict = call.life.Look();
  if (verdict == Verdict::kWanted || verdict == Verdict::kEnded || verdict == Verdict::kPeerGone) {
    return;
  }
  Cancel(call.id, StatusOf(verdict, call));
}

void CallClient::EndUnsent(const ClientCall& call, SendResult why) {
  if (call.life.Look() == Verdict::kWanted) return Cancel(call.id, SendFailure(call, why));
  EndIfUnwanted(call);
}

void CallClient::CancelAndLeave(std::uint64_t id) {
  const TakenCall taken = calls_.Remove(id);
  const bool has_streams = taken.call != nullptr && taken.call->has_streams;
  if (has_streams) taken.call->Ref();
  Cut(taken, {StatusCode::CANCELLED, kCancelledText});
  cancellers_.fetch_sub(1, std::memory_order_release);
  // Perhaps the last reference, which keeps the channel, and so this client.
  if (has_streams) taken.call->Unref();
}

void CallClient::EndUnwanted() {
  const Clock::time_point now = Clock::now();
  Clock::time_point next = Clock::time_point::max();
  std::vector<Verdict> verdicts;
  const std::vector<TakenCall> unwanted = calls_.RemoveAll([&](const ClientCall& call) {
    const Verdict verdict = call.life.Look(now);
    if (verdict == Verdict::kWanted || verdict == Verdict::kPeerGone) {
      if (!call.waits) next = std::min(next, call.life.deadline());
      if (verdict == Verdict::kPeerGone &&
          std::find(dead_.begin(), dead_.end(), call.life.peer()) == dead_.end()) {
        dead_.push_back(call.life.peer());
      }
      return false;
    }
    verdicts.push_back(verdict);
    return true;
  });
  if (next != Clock::time_point::max()) polling_.WakeAt(std::max(next, now + kTimeGrain));
  for (std::size_t i = 0; i < unwanted.size(); ++i) {
    Cut(unwanted[i], StatusOf(verdicts[i], *unwanted[i].call));
  }
}

void CallClient::OnFrame(const Message& message, CallFrameKind kind, const CallFrame& frame) {
  const std::uint64_t id = std::uint64_t{frame.header.call_high} << 32 | message.type;
  // By the incarnation in the frame: a durable peer's successor delivers its last words.
  const PeerId from{message.from.slot, frame.header.sender};
  if (kind == CallFrameKind::kEnd) [[likely]] {
    ClientCall* const call = calls_.RemoveAnswered(id, from);
    // nullptr: late, or from a peer that it was never sent to.
    if (call != nullptr) call->End({}, &frame);
    return;
  }
  ClientCall* const call = calls_.FindStreams(id, from);
  if (call == nullptr) return;
  if (!call->OnFrame(kind, frame)) {
    Cancel(id, {StatusCode::INTERNAL, "the server sends what no correct server sends"});
  }
  call->Unref();
}

void CallClient::EndCallsOfTheDead() {
  std::erase_if(dead_, [&](PeerId peer) {
    if (!node_.HasDrained(peer)) return false;
    for (const TakenCall& taken :
         calls_.RemoveAll([&](const ClientCall& each) { return each.life.peer() == peer; })) {
      taken.call->End(StatusOf(Verdict::kPeerGone, *taken.call), nullptr);
    }
    return true;
  });
}

}  // namespace ivmq::rpc::internal

namespace ivmq::rpc {

std::chrono::system_clock::time_point ClientContext::deadline() const {
  using System = std::chrono::system_clock;
  if (deadline_ == std::chrono::steady_clock::time_point::max()) return System::time_point::max();
  return System::now() +
         std::chrono::duration_cast<System::duration>(deadline_ - std::chrono::steady_clock::now());
}

std::string ClientContext::debug_error_string() const {
  if (failure_.ok()) return {};
  return StatusCodeName(failure_.error_code()) + " (" + std::to_string(failure_.error_code()) +
         "), call of peer '" + peer() + "': " + failure_.error_message();
}

void ClientContext::TryCancel() { EndCancel(BeginCancel()); }

ClientContext::Cancelling ClientContext::BeginCancel() noexcept {
  const std::lock_guard lock(lock_);
  cancelled_.store(true, std::memory_order_relaxed);
  // A forked child's copy: the call is its parent's.
  if (client_ != nullptr && client_->node().IsForkedCopy()) [[unlikely]]
    return {};
  // The call has not ended, so that the endpoint is there; from here on it waits for us. Of this
  // context nothing is used any more: it may go with the call.
  if (client_ != nullptr) client_->AddCanceller();
  return {client_, call_};
}

void ClientContext::EndCancel(const Cancelling& cancelling) {
  if (cancelling.client != nullptr) cancelling.client->CancelAndLeave(cancelling.call);
}

}  // namespace ivmq::rpc
