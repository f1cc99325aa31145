#include "src/client.h"

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "ivmq/serialize.h"

#include "src/call_access.h"
#include "src/patient_send.h"
#include "src/pool.h"

namespace ivmq::rpc::internal {
namespace {

using std::chrono::nanoseconds;

Status Unavailable(const std::string& peer, std::string_view why) {
  return {StatusCode::UNAVAILABLE, "peer '" + peer + "': " + std::string(why)};
}

// How often a call that waits for a suspected peer looks at it.
constexpr std::chrono::milliseconds kSuspectedLook{50};

// How a send went, in words for the caller of a call.
Status SendFailure(SendResult result, const std::string& peer, const ivmq::Status& error,
                   std::uint64_t limit) {
  switch (result) {
    case SendResult::kTooLarge:
      return {StatusCode::RESOURCE_EXHAUSTED,
              "the request is larger than this node's max_message_bytes, " + std::to_string(limit)};
    case SendResult::kTimedOut:
      return {StatusCode::DEADLINE_EXCEEDED,
              "no room in the ring to peer '" + peer + "' before the deadline"};
    case SendResult::kFull:
      return {StatusCode::RESOURCE_EXHAUSTED, "no room in the ring to peer '" + peer + "'"};
    case SendResult::kNoRoom:
      return {StatusCode::RESOURCE_EXHAUSTED, error.message()};
    default:
      return Unavailable(peer, "is gone");
  }
}

}  // namespace

Status ReadEnd(const Parsed& end, ClientContext& context) {
  std::string message;
  std::string details;
  EntryReader entries(end.metadata);
  while (const std::optional<Entry> entry = entries.Next()) {
    switch (entry->kind) {
      case EntryKind::kInitial:
        CallAccess::initial(context).Set(entry->key, entry->value);
        break;
      case EntryKind::kTrailing:
        CallAccess::trailing(context).Set(entry->key, entry->value);
        break;
      case EntryKind::kStatusMessage:
        message = entry->value;
        break;
      case EntryKind::kStatusDetails:
        details = entry->value;
        break;
    }
  }
  if (entries.malformed() || end.header.argument > StatusCode::UNAUTHENTICATED) {
    return {StatusCode::INTERNAL, "the server's answer is no correct frame"};
  }
  return {static_cast<StatusCode>(end.header.argument), std::move(message), std::move(details)};
}

namespace {

// What ends a unary call: the status, with the response in place.
Status EndUnary(Status status, const Parsed* end, ClientContext& context,
                google::protobuf::Message& response) {
  if (end != nullptr) {
    if (end->metadata.empty() && end->header.argument == StatusCode::OK) [[likely]] {
      status = Status();
    } else {
      status = ReadEnd(*end, context);
    }
    if (status.ok() &&
        !response.ParseFromArray(end->message.data(), static_cast<int>(end->message.size()))) {
      status = {StatusCode::INTERNAL,
                "the response is no " + std::string(response.GetDescriptor()->full_name())};
    }
  }
  CallAccess::End(context);
  return status;
}

// A call whose thread waits.
class SyncCall final : public ClientCall {
 public:
  SyncCall(Polling& polling, ClientContext& context, google::protobuf::Message& response)
      : ClientCall(/*has_streams_in=*/false, /*waits_in=*/true),
        polling_(polling),
        context_(context),
        response_(response) {}

  void End(Status status, const Parsed* end) override {
    status_ = EndUnary(std::move(status), end, context_, response_);
    polling_.Complete(waiter_);
  }
  Waiter& waiter() noexcept { return waiter_; }
  Status TakeStatus() { return std::move(status_); }

 private:
  Polling& polling_;
  ClientContext& context_;
  google::protobuf::Message& response_;
  Waiter waiter_;
  Status status_;
};

// A call with a callback; deletes itself.
class AsyncCall final : public ClientCall, private Task {
 public:
  AsyncCall(Polling& polling, ClientContext& context, google::protobuf::Message& response,
            std::function<void(Status)> done)
      : ClientCall(/*has_streams_in=*/false, /*waits_in=*/false),
        polling_(polling),
        context_(context),
        response_(response),
        done_(std::move(done)) {}

  void End(Status status, const Parsed* end) override {
    status_ = EndUnary(std::move(status), end, context_, response_);
    if (polling_.InPoll()) {
      Run();
    } else {
      polling_.Post(*this);
    }
  }
  // It did not begin. Never calls back here: whoever begins a call may hold a lock.
  void Fail(Status status) {
    status_ = std::move(status);
    polling_.Post(*this);
  }

 private:
  void Run() override {
    const std::unique_ptr<AsyncCall> self(this);
    done_(std::move(status_));
  }

  Polling& polling_;
  ClientContext& context_;
  google::protobuf::Message& response_;
  std::function<void(Status)> done_;
  Status status_;
};

}  // namespace

// A request that is larger than a record.
class Client::LargeRequest final : public LargeFrame {
 public:
  LargeRequest(Client& client, const ClientCall& call, const MessageType& type, std::string bytes,
               std::string peer)
      : LargeFrame(call.to, type, std::move(bytes)),
        id_(call.id),
        peer_(std::move(peer)),
        client_(client) {}

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] const std::string& peer() const noexcept { return peer_; }

 private:
  void OnSent(SendResult result) override { client_.OnSent(*this, result); }

  const std::uint64_t id_;
  const std::string peer_;
  Client& client_;
};

void Client::EndAll() {
  for (ClientCall* const call : calls_.RemoveAll([](const ClientCall&) { return true; })) {
    call->End({StatusCode::CANCELLED, "the endpoint was closed"}, nullptr);
  }
}

Status Client::Call(Channel& channel, const MethodName& method, ClientContext& context,
                    const google::protobuf::Message& request, google::protobuf::Message& response) {
  if (polling_.InPoll()) {
    return {StatusCode::FAILED_PRECONDITION,
            "a synchronous call on the thread that polls could never end: use async() here"};
  }
  SyncCall call(polling_, context, response);
  if (Status status = Begin(call, /*is_kept=*/true, channel, method, context, &request);
      !status.ok()) {
    return status;
  }
  if (!polling_.Await(call.waiter(), CallAccess::deadline(context))) {
    Cancel(call.id, StatusCode::DEADLINE_EXCEEDED, "no answer before the deadline");
    (void)polling_.Await(call.waiter(), Clock::time_point::max());
  }
  return call.TakeStatus();
}

void Client::CallAsync(Channel& channel, const MethodName& method, ClientContext& context,
                       const google::protobuf::Message& request,
                       google::protobuf::Message& response, std::function<void(Status)> done) {
  // It may be gone as soon as it has begun.
  auto* const call = new AsyncCall(polling_, context, response, std::move(done));
  Status status = Begin(*call, /*is_kept=*/false, channel, method, context, &request);
  if (!status.ok()) call->Fail(std::move(status));
}

void Client::FailAsync(ClientContext& context, google::protobuf::Message& response,
                       std::function<void(Status)> done, Status status) {
  (new AsyncCall(polling_, context, response, std::move(done)))->Fail(std::move(status));
}

Status Client::Begin(ClientCall& call, bool is_kept, Channel& channel, const MethodName& method,
                     ClientContext& context, const google::protobuf::Message* request) {
  if (!CallAccess::valid(context)) {
    return {StatusCode::INVALID_ARGUMENT,
            "the metadata is not valid: see ClientContext::AddMetadata for what it may hold"};
  }
  if (request != nullptr && !request->IsInitialized()) [[unlikely]] {
    return {StatusCode::INTERNAL,
            "the request lacks required fields: " + request->InitializationErrorString()};
  }
  const Clock::time_point deadline = CallAccess::deadline(context);
  Header header{.sender = node_.id().incarnation, .method = method.id};
  if (deadline != Clock::time_point::max()) {
    const nanoseconds left = deadline - Clock::now();
    if (left <= nanoseconds(0)) {
      return {StatusCode::DEADLINE_EXCEEDED, "the deadline had passed before the call"};
    }
    header.argument = static_cast<std::uint64_t>(left.count());
  }
  if (Status status = Resolve(channel, context, &call.to); !status.ok()) return status;
  // FindProvider() has said it.
  if (channel.providers_ == nullptr) [[likely]]
    CallAccess::set_peer(context, channel.peer());

  const PeerId to = call.to;
  if (!call.waits) call.deadline = deadline;
  if (!calls_.Insert(call, is_kept)) {
    return {StatusCode::RESOURCE_EXHAUSTED, "more calls under way than an endpoint can have"};
  }
  const std::uint64_t id = call.id;
  if (call.deadline != Clock::time_point::max()) polling_.WakeAt(call.deadline);
  const auto give_up = [&](Status status) {
    // Whoever ended it meanwhile has said why.
    if (calls_.Remove(id) == nullptr) return Status();
    CallAccess::End(context);
    return status;
  };
  if (!CallAccess::Begin(context, *this, id)) {
    return give_up({StatusCode::CANCELLED, "cancelled before it began"});
  }
  // OnPeers() ends a call that has started, if the peer dies from here on.
  if (!node_.IsLive(to)) return give_up(Unavailable(context.peer(), "is gone"));

  header.receiver = to.incarnation;
  header.call_high = static_cast<std::uint32_t>(id >> 32);
  const MessageType type{.kind = ToFrameKind(Kind::kRequest),
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
  const bool in_poll = polling_.InPoll();
  SendResult result = in_poll ? TrySendWithHead(node_, to, type, head, request)
                              : SendPatiently(node_, to, type, head, request, deadline,
                                              [&] { return CallAccess::cancelled(context); });
  if (result == SendResult::kTooLarge && in_poll) [[unlikely]]
    result = SendLater(call, type, head, request, context);
  if (result == SendResult::kOk) [[likely]] {
    // The context may be gone with the call, unless it is kept.
    if (!is_kept) {
      if (calls_.Start(id)) Cancel(id, StatusCode::CANCELLED, "cancelled by the client");
      if (!node_.IsLive(to)) {
        // OnPeers() may have passed it over.
        peers_changed_.store(true, std::memory_order_relaxed);
        node_.Wake();
      }
    } else if (CallAccess::cancelled(context)) [[unlikely]] {
      SendCancel(to, id);  // the first one may have overtaken the request
    }
    return {};
  }
  if (result == SendResult::kTimedOut && CallAccess::cancelled(context)) {
    return give_up({StatusCode::CANCELLED, "cancelled by the client"});
  }
  return give_up(
      SendFailure(result, context.peer(), node_.last_error(to), node_.max_message_bytes()));
}

SendResult Client::SendLater(ClientCall& call, const MessageType& type,
                             std::span<const std::byte> head,
                             const google::protobuf::Message* request, ClientContext& context) {
  if (!large_.HasRoom(call.to)) return SendResult::kFull;
  std::optional<std::string> bytes = SerializeWithHead(node_, head, request);
  if (!bytes.has_value()) return SendResult::kTooLarge;
  auto* const frame = new LargeRequest(*this, call, type, *std::move(bytes), context.peer());
  {
    const std::lock_guard lock(cancels_mutex_);
    large_requests_.emplace(call.id, frame);
  }
  // From here on SendCancel() tells it.
  if (CallAccess::cancelled(context)) frame->GiveUp();
  call.awaits_request = true;
  large_.Send(*frame);
  return SendResult::kOk;
}

void Client::OnSent(const LargeRequest& request, SendResult result) {
  {
    const std::lock_guard lock(cancels_mutex_);
    large_requests_.erase(request.id());
  }
  if (result != SendResult::kOk) {
    ClientCall* const call = calls_.Remove(request.id());
    if (call == nullptr) return;  // it has ended
    if (request.is_unwanted())
      return call->End({StatusCode::CANCELLED, "cancelled by the client"}, nullptr);
    return call->End(SendFailure(result, request.peer(), node_.last_error(request.to()),
                                 node_.max_message_bytes()),
                     nullptr);
  }
  if (request.is_unwanted()) return SendCancel(request.to(), request.id());
  ClientCall* const call = calls_.FindStreams(request.id(), request.to());
  if (call == nullptr) return;
  call->OnRequestSent();
  call->Unref();
}

Status Client::Resolve(Channel& channel, ClientContext& context, PeerId* to) {
  const std::uint64_t cached = channel.cached_.load(std::memory_order_relaxed);
  const PeerId known{static_cast<std::uint32_t>(cached >> 32), static_cast<std::uint32_t>(cached)};
  if (cached != 0 && node_.IsLive(known) && !node_.IsSuspected(known)) [[likely]] {
    *to = known;
    return {};
  }
  if (channel.providers_ != nullptr) return FindProvider(*channel.providers_, context, to);
  const Clock::time_point deadline = CallAccess::deadline(context);
  for (;;) {
    Result<PeerInfo> peer = node_.Lookup(channel.peer());
    const bool is_live = peer.ok() && peer->state == layout::PeerState::kLive;
    if (is_live && !peer->suspected) {
      *to = peer->id;
      break;
    }
    if (!CallAccess::wait_for_ready(context) || polling_.InPoll()) {
      return Unavailable(channel.peer(), is_live     ? "has shown no sign of life for two seconds"
                                         : peer.ok() ? "is away"
                                                     : "is not there");
    }
    const nanoseconds left = deadline == Clock::time_point::max()
                                 ? nanoseconds(std::chrono::hours(24 * 365))
                                 : nanoseconds(deadline - Clock::now());
    if (left <= nanoseconds(0)) {
      return {StatusCode::DEADLINE_EXCEEDED,
              "peer '" + channel.peer() + "' was not ready before the deadline"};
    }
    const Pool::Wait wait;
    if (is_live) {
      std::this_thread::sleep_for(std::min<nanoseconds>(left, kSuspectedLook));
    } else {
      (void)node_.Await(channel.peer(), left);
    }
  }
  channel.cached_.store(std::uint64_t{to->slot} << 32 | to->incarnation, std::memory_order_relaxed);
  return {};
}

Status Client::FindProvider(Providers& providers, ClientContext& context, PeerId* to) {
  const Clock::time_point deadline = CallAccess::deadline(context);
  for (nanoseconds interval = std::chrono::microseconds(50);;) {
    if (providers.Next(node_, context, to)) [[likely]]
      return {};
    const std::string nobody = "no live peer offers the service " + providers.service();
    if (!CallAccess::wait_for_ready(context) || polling_.InPoll()) {
      return {StatusCode::UNAVAILABLE, nobody + "; see who offers what with `ivmq ls --services`"};
    }
    if (Clock::now() >= deadline) {
      return {StatusCode::DEADLINE_EXCEEDED, nobody + " before the deadline"};
    }
    const Pool::Wait wait;
    std::this_thread::sleep_until(std::min(deadline, Clock::now() + interval));
    interval = std::min<nanoseconds>(interval * 2, std::chrono::milliseconds(5));
  }
}

void Client::Cancel(std::uint64_t id, StatusCode code, const char* why) {
  ClientCall* const call = calls_.RemoveStarted(id);
  if (call == nullptr) return;
  const PeerId to = call->to;
  call->End({code, why}, nullptr);
  SendCancel(to, id);
}

void Client::EndExpired() {
  const Clock::time_point now = Clock::now();
  for (ClientCall* const call :
       calls_.RemoveAll([&](const ClientCall& each) { return each.deadline <= now; })) {
    const PeerId to = call->to;
    const std::uint64_t id = call->id;
    call->End({StatusCode::DEADLINE_EXCEEDED, "no answer before the deadline"}, nullptr);
    SendCancel(to, id);
  }
  Clock::time_point next = Clock::time_point::max();
  calls_.ForEach([&](const ClientCall& call) { next = std::min(next, call.deadline); });
  if (next != Clock::time_point::max()) polling_.WakeAt(next);
}

void Client::SendCancel(PeerId to, std::uint64_t id) {
  {
    const std::lock_guard lock(cancels_mutex_);
    const auto request = large_requests_.find(id);
    // The server hears of it behind the request, if at all.
    if (request != large_requests_.end()) return request->second->GiveUp();
  }
  if (TrySendCancel(to, id)) return;
  {
    const std::lock_guard lock(cancels_mutex_);
    cancels_.emplace_back(to, id);
  }
  polling_.Post(sender_, /*later=*/true);
}

bool Client::TrySendCancel(PeerId to, std::uint64_t id) {
  const Header header{.sender = node_.id().incarnation,
                      .receiver = to.incarnation,
                      .call_high = static_cast<std::uint32_t>(id >> 32)};
  return node_.Send(to,
                    {.kind = ToFrameKind(Kind::kCancel), .type = static_cast<std::uint32_t>(id)},
                    std::as_bytes(std::span(&header, 1)),
                    {.when_full = WhenFull::kFail}) != SendResult::kFull;
}

void Client::SendCancels() {
  const std::lock_guard lock(cancels_mutex_);
  std::erase_if(cancels_,
                [&](const auto& cancel) { return TrySendCancel(cancel.first, cancel.second); });
  if (!cancels_.empty()) polling_.Post(sender_, /*later=*/true);
}

void Client::OnFrame(const Message& message, Kind kind, const Parsed& frame) {
  const std::uint64_t id = std::uint64_t{frame.header.call_high} << 32 | message.type;
  // By the incarnation in the frame: a durable peer's successor delivers its last words.
  const PeerId from{message.from.slot, frame.header.sender};
  if (kind == Kind::kEnd) [[likely]] {
    ClientCall* const call = calls_.RemoveAnswered(id, from);
    // nullptr: late, or from a peer that it was never sent to.
    if (call != nullptr) call->End({}, &frame);
    return;
  }
  ClientCall* const call = calls_.FindStreams(id, from);
  if (call == nullptr) return;
  if (!call->OnFrame(kind, frame)) {
    Cancel(id, StatusCode::INTERNAL, "the server sends what no correct server sends");
  }
  call->Unref();
}

void Client::OnPeers() {
  peers_changed_.store(false, std::memory_order_relaxed);
  // The calls know whom they wait for.
  std::vector<PeerId> dead;
  std::vector<std::uint64_t> suspected;
  calls_.ForEach([&](const ClientCall& call) {
    if (!node_.IsLive(call.to)) {
      if (std::find(dead.begin(), dead.end(), call.to) == dead.end()) dead.push_back(call.to);
    } else if (node_.IsSuspected(call.to)) {
      suspected.push_back(call.id);
    }
  });
  // It may go on one day: it is told.
  for (const std::uint64_t id : suspected) {
    Cancel(id, StatusCode::UNAVAILABLE, "the server has shown no sign of life for two seconds");
  }
  for (const PeerId peer : dead) {
    if (std::find(dead_.begin(), dead_.end(), peer) == dead_.end()) dead_.push_back(peer);
  }
}

void Client::EndCallsOfTheDead() {
  std::erase_if(dead_, [&](PeerId peer) {
    if (!node_.HasDrained(peer)) return false;
    for (ClientCall* const call :
         calls_.RemoveAll([&](const ClientCall& each) { return each.to == peer; })) {
      call->End({StatusCode::UNAVAILABLE, "the server has died, or left"}, nullptr);
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

void ClientContext::TryCancel() {
  internal::Client* client = nullptr;
  std::uint64_t call = 0;
  {
    const std::lock_guard lock(lock_);
    cancelled_.store(true, std::memory_order_relaxed);
    client = client_;
    call = call_;
  }
  if (client != nullptr) client->Cancel(call, StatusCode::CANCELLED, "cancelled by the client");
}

}  // namespace ivmq::rpc
