#include "src/call_server.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "ivmq/internal/serialize.h"

#include "src/call_access.h"
#include "src/call_life.h"
#include "src/seen.h"
#include "src/server_reactor.h"
#include "src/server_stream.h"
#include "src/status_text.h"
#include "src/unsent.h"
#include "src/user_code.h"

namespace ivmq::rpc::internal {
namespace {

using std::chrono::nanoseconds;

// Requests of up to so many bytes are taken to need no more memory than that.
constexpr std::size_t kMostUnweighed = std::size_t{4} << 10;
// What an entry of the metadata takes beside its bytes, about: nodes of two maps, and allocations.
constexpr std::size_t kEntryCost = 256;
// Calls of a method that are kept for the next ones.
constexpr std::size_t kMostSpare = 64;
// Messages larger than this are not kept.
constexpr std::size_t kMostSpareBytes = std::size_t{1} << 20;

Status InterceptorThrown() { return {StatusCode::UNKNOWN, "an interceptor has thrown"}; }

std::uint64_t IdOf(const Message& message, const CallFrame& frame) {
  return std::uint64_t{frame.header.call_high} << 32 | message.type;
}
// By the incarnation in the frame: a durable peer's successor delivers its last words.
PeerId SenderOf(const Message& message, const CallFrame& frame) {
  return {message.from.slot, frame.header.sender};
}

}  // namespace

CallServer::CallServer(Node& node, Polling& polling, Outbox& outbox, EndSender& ends,
                       CallServerOptions options)
    : node_(node),
      polling_(polling),
      outbox_(outbox),
      ends_(ends),
      options_(std::move(options)),
      call_buckets_(std::bit_ceil(std::clamp<std::size_t>(options_.max_calls, 16, 1U << 16))),
      calls_(Calls::bucket_traits(call_buckets_.data(), call_buckets_.size())),
      shares_(node.region().max_peers()) {}

CallServer::~CallServer() { Shutdown(Clock::time_point::min()); }

bool CallServer::AddMethod(const Method& method) {
  auto entry = std::make_unique<MethodEntry>();
  entry->id = MethodId(method.path);
  entry->method = &method;
  for (const auto& other : methods_) {
    if (other->id == entry->id) return false;
  }
  entry->spare.reserve(kMostSpare);
  methods_.push_back(std::move(entry));
  return true;
}

void CallServer::Start() {
  buckets_.assign(std::bit_ceil(methods_.size() * 2 + 1), nullptr);
  for (const auto& entry : methods_) {
    std::size_t at = entry->id;
    while (buckets_[at & (buckets_.size() - 1)] != nullptr) ++at;
    buckets_[at & (buckets_.size() - 1)] = entry.get();
  }
  // Handlers of streams wait, so they never run inline.
  const bool needs_pool = std::any_of(methods_.begin(), methods_.end(), [&](const auto& entry) {
    return !entry->method->handler->has_reactor() &&
           (options_.executor == Executor::kPool || entry->method->type != MethodType::kUnary);
  });
  if (needs_pool)
    pool_ = std::make_unique<Pool>(options_.threads, options_.max_threads, node_.spin_budget());
}

MethodEntry* CallServer::Find(std::uint64_t id) noexcept {
  for (std::size_t at = id;; ++at) {
    MethodEntry* const entry = buckets_[at & (buckets_.size() - 1)];
    if (entry == nullptr || entry->id == id) return entry;
  }
}

// ---- Frames ----

void CallServer::OnFrame(const Message& message, CallFrameKind kind, const CallFrame& frame) {
  if (kind == CallFrameKind::kRequest) [[likely]]
    return OnRequest(message, frame);
  const CallReference call = FindCall(SenderOf(message, frame), IdOf(message, frame));
  if (!call) return;  // it has ended
  if (kind == CallFrameKind::kCancel) {
    call->Cancel();
  } else {
    call->OnFrame(kind, frame);
  }
}

CallReference CallServer::FindCall(PeerId from, std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto call = calls_.find(CallKey{from, id});
  return CallReference(call == calls_.end() ? nullptr : &*call);
}

void CallServer::OnRequest(const Message& message, const CallFrame& frame) {
  const std::uint64_t id = IdOf(message, frame);
  const PeerId from = SenderOf(message, frame);
  // Behind this the services may be gone.
  if (down_.load(std::memory_order_relaxed)) [[unlikely]] {
    return ends_.Refuse(from, id, {StatusCode::UNAVAILABLE, "the server shuts down"});
  }
  MethodEntry* const method = Find(frame.header.method);
  if (method == nullptr) {
    return ends_.Refuse(from, id, {StatusCode::UNIMPLEMENTED, kUnimplementedText});
  }
  std::unique_ptr<ServerCall> call = NewCall(*method);
  call->from = from;
  call->id = id;
  call->request_bytes = frame.message.size();
  const std::uint64_t left = frame.header.argument;
  constexpr std::uint64_t kFar = nanoseconds(std::chrono::hours(24 * 365)).count();
  CallAccess::Reset(
      call->context, node_, from,
      left == 0 || left > kFar ? Clock::time_point::max() : Clock::now() + nanoseconds(left));
  std::size_t metadata_bytes = 0;
  if (!frame.metadata.empty()) [[unlikely]] {
    MetadataReader entries(frame.metadata);
    while (const std::optional<MetadataEntry> entry = entries.Next()) {
      if (entry->kind == MetadataKind::kInitial) {
        CallAccess::received(call->context).Set(entry->key, entry->value);
        metadata_bytes += entry->key.size() + entry->value.size() + kEntryCost;
      }
    }
    if (entries.malformed()) {
      return ends_.Refuse(from, id,
                          {StatusCode::INTERNAL, "the request's metadata is no metadata"});
    }
  }
  // Here, while the bytes are at hand: a call that waits holds no second copy.
  const MethodType type = method->method->type;
  const bool has_request = type == MethodType::kUnary || type == MethodType::kServerStream;
  const Incoming request = call->messages->request();
  call->parsed = !has_request || request.Parse(frame.message);
  // Many small fields take far more memory than bytes of the frame.
  if (call->request_bytes > kMostUnweighed) [[unlikely]] {
    call->request_bytes = std::max(call->request_bytes, request.SpaceUsed());
  }
  call->metadata_bytes = metadata_bytes;
  const bool has_reactor = method->method->handler->has_reactor();
  if (type == MethodType::kUnary && options_.executor == Executor::kInline && !has_reactor) {
    Run(*call, /*may_wait=*/false);
    return Recycle(*call.release());  // nobody else knows it
  }
  if (has_reactor) {
    call->callback = std::make_unique<CallbackCall>(node_, polling_, outbox_, *call);
  } else if (type != MethodType::kUnary) {
    call->stream = std::make_unique<ServerStream>(node_, polling_, outbox_, *call);
  }
  if (const Status status = Register(*call); !status.ok()) {
    ends_.Refuse(from, id, status);
    return call.release()->Unref();
  }
  ServerCall& registered = *call.release();
  if (has_reactor) {
    registered.callback->Begin();
  } else {
    pool_->Submit(registered, from.slot);
  }
}

Status CallServer::CheckBytes(const Share& share) const {
  const std::size_t bytes = share.Bytes(options_.max_request_bytes);
  if (bytes < options_.max_request_bytes) [[likely]]
    return {};
  return {StatusCode::RESOURCE_EXHAUSTED,
          "the client's calls under way hold " + std::to_string(bytes) +
              " bytes of requests, and the server takes " +
              std::to_string(options_.max_request_bytes) + " of one client"};
}

Status CallServer::Register(ServerCall& call) {
  const std::lock_guard lock(mutex_);
  if (down_.load(std::memory_order_relaxed)) {
    return {StatusCode::UNAVAILABLE, "the server shuts down"};
  }
  Share& share = shares_[call.from.slot];
  if (share.incarnation != call.from.incarnation && node_.IsLive(call.from)) [[unlikely]]
    share.SetHolder(call.from.incarnation);
  if (share.Calls(options_.max_calls) >= options_.max_calls) {
    return {StatusCode::RESOURCE_EXHAUSTED,
            "the client has as many calls under way as the server takes of one, " +
                std::to_string(options_.max_calls)};
  }
  if (Status status = CheckBytes(share); !status.ok()) return status;
  if (!calls_.insert(call).second) {
    return {StatusCode::INTERNAL, "a call of this id is under way"};
  }
  call.state.Set(ServerCallEvent::kList);
  CallAccess::set_call(call.context, call);
  call.taken_bytes = call.request_bytes + call.metadata_bytes;
  call.taker = share.holders;
  Load& load = share.holder;
  ++load.calls;
  load.bytes += call.taken_bytes;
  return {};
}

Status CallServer::TakeBytes(ServerCall& call, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  // Its handler has ended it: nobody would give them back.
  if (!call.is_listed()) return {};
  Share& share = shares_[call.from.slot];
  if (Status status = CheckBytes(share); !status.ok()) return status;
  call.taken_bytes += bytes;
  share.Of(call.taker).bytes += bytes;
  return {};
}

void CallServer::EndCall(ServerCall& call) {
  {
    const std::lock_guard lock(mutex_);
    calls_.erase(calls_.iterator_to(call));
    Load& load = shares_[call.from.slot].Of(call.taker);
    --load.calls;
    load.bytes -= call.taken_bytes;
    // A thread may be about to leave its reactor's Start...() or Finish().
    if (call.references.load(std::memory_order_acquire) != 1) {
      (void)call.state.On(ServerCallEvent::kLinger);
      ++lingering_;
    } else {
      TellIfQuiet();
    }
  }
  call.Unref();
}

void CallServer::TellIfQuiet() {
  if (!down_.load(std::memory_order_relaxed) || !calls_.empty() || lingering_ != 0) return;
  ended_.notify_all();
  for (PollWaiter* const waiter : shutdowns_) polling_.Complete(*waiter);
  shutdowns_.clear();
}

std::unique_ptr<ServerCall> CallServer::NewCall(MethodEntry& method) {
  {
    const std::lock_guard lock(method.lock);
    if (!method.spare.empty()) {
      auto call = std::move(method.spare.back());
      method.spare.pop_back();
      return call;
    }
  }
  return std::make_unique<ServerCall>(*this, method);
}

void CallServer::Recycle(ServerCall& ended) {
  std::unique_ptr<ServerCall> call(&ended);
  const bool lingered = call->state.Get() == ServerCallState::kLingers;
  Keep(std::move(call));
  if (!lingered) [[likely]]
    return;
  // Behind this the server may be gone.
  const std::lock_guard lock(mutex_);
  --lingering_;
  TellIfQuiet();
}

void CallServer::Keep(std::unique_ptr<ServerCall> call) {
  call->references.store(1, std::memory_order_relaxed);
  CallAccess::EndChildren(call->context);
  if (call->state.Get() != ServerCallState::kUnlisted) {
    call->state.Set(ServerCallEvent::kReuse);
    call->stream_bytes = 0;
    call->cut = Status();
  }
  if (call->stream != nullptr) call->stream.reset();
  if (call->callback != nullptr) call->callback.reset();
  if (!call->interceptors.empty()) call->interceptors.clear();
  CallAccess::Clear(call->context);
  if (call->request_bytes > kMostSpareBytes || call->response_bytes > kMostSpareBytes) {
    return;
  }
  MethodEntry& method = call->method;
  const std::lock_guard lock(method.lock);
  if (method.spare.size() < kMostSpare) method.spare.push_back(std::move(call));
}

void CallServer::OnPeers() {
  std::vector<CallReference> gone;
  std::vector<CallReference> still;
  {
    const std::lock_guard lock(mutex_);
    for (ServerCall& call : calls_) {
      const Verdict verdict = CallAccess::life(call.context).Look();
      if (verdict == Verdict::kPeerGone || verdict == Verdict::kSelfGone) gone.emplace_back(&call);
      if (verdict == Verdict::kPeerStill) still.emplace_back(&call);
    }
  }
  for (const CallReference& call : gone) call->Cancel();
  for (const CallReference& call : still) {
    Cut(*call, {StatusCode::UNAVAILABLE, "the client has shown no sign of life for two seconds"});
  }
}

// ---- Handlers ----

Status CallServer::Before(ServerCall& call) {
  // It may have waited, or be the last words of a client that is gone.
  if (call.state.Get() != ServerCallState::kUnlisted && call.context.IsCancelled()) {
    return {StatusCode::DEADLINE_EXCEEDED, kLateText};
  }
  if (!call.parsed) {
    return {StatusCode::INTERNAL, "the request is no " + call.messages->request().TypeName()};
  }
  call.messages->response().Clear();
  if (options_.interceptors.empty()) [[likely]]
    return {};
  const MethodType type = call.method.method->type;
  for (const ServerInterceptorFactory& make : options_.interceptors) {
    Status status;
    if (!RunInterceptor([&] {
          std::unique_ptr<ServerInterceptor> interceptor =
              make({.method = call.method.method->path, .peer = {}, .type = type});
          if (interceptor == nullptr) return;
          call.interceptors.push_back(std::move(interceptor));
          ServerInterceptor& made = *call.interceptors.back();
          status = type == MethodType::kUnary
                       ? made.Before(call.context, *SeenIncoming(call.messages->request()))
                       : made.BeforeStream(call.context);
        })) {
      status = InterceptorThrown();
    }
    if (!status.ok()) {
      After(call, status);
      return status;
    }
  }
  if (type == MethodType::kServerStream) call.AfterRead(call.messages->request());
  return {};
}

bool CallServer::RunInterceptor(const std::function<void()>& run) {
  return RunUserCode(node_, "an interceptor of the server", run);
}

void CallServer::After(ServerCall& call, Status& status) {
  const MethodType type = call.method.method->type;
  if (status.ok() && type == MethodType::kClientStream) call.BeforeWrite(call.messages->reply());
  if (call.interceptor_thrown.exchange(false, std::memory_order_relaxed)) {
    status = InterceptorThrown();
  }
  for (; !call.interceptors.empty(); call.interceptors.pop_back()) {
    ServerInterceptor& each = *call.interceptors.back();
    if (!RunInterceptor([&] {
          if (type == MethodType::kUnary) {
            each.After(call.context, status, *SeenIncoming(call.messages->response()));
          } else {
            each.AfterStream(call.context, status);
          }
        })) {
      status = InterceptorThrown();
    }
  }
}

Status CallServer::Thrown(const ServerCall& call) {
  ReportThrown(node_, "the handler of " + call.method.method->path);
  return {StatusCode::UNKNOWN, "the handler has thrown"};
}

Status CallServer::StreamStatus(const ServerCall& call, bool unparsable, SendResult unsent) const {
  if (unparsable) return {StatusCode::INTERNAL, "a message of the stream does not parse"};
  if (unsent == SendResult::kOk) [[likely]]
    return {};
  return UnsentStatus(node_, call.from, unsent, "the server", "the client");
}

void CallServer::Run(ServerCall& call, bool may_wait) {
  Status status = Before(call);
  if (!status.ok()) [[unlikely]]
    return Reply(call, status, may_wait);
  const MethodHandler& handler = *call.method.method->handler;
  try {
    status = handler.Run(call.context, *call.messages, call.stream.get());
  } catch (...) {
    status = Thrown(call);
  }
  if (call.stream != nullptr && status.ok()) {
    status = StreamStatus(call, call.stream->unparsable(), call.stream->unsent());
  }
  if (!call.interceptors.empty()) [[unlikely]]
    After(call, status);
  Reply(call, status, may_wait);
}

// ---- Ends ----

EndFrame CallServer::MakeEnd(ServerCall& call, const Status& result, Outgoing* response) const {
  // Whatever the handler made of it: the client says the same, and may do so a little later.
  static const Status kLate(StatusCode::DEADLINE_EXCEEDED, kLateText);
  static const Status kCancelled = CancelledHere();
  *response = {};
  const Clock::time_point deadline = CallAccess::deadline(call.context);
  const bool late = deadline != Clock::time_point::max() && Clock::now() >= deadline;
  const Status& status = late                                       ? kLate
                         : CallAccess::cancelled_here(call.context) ? kCancelled
                                                                    : result;
  if (!CallAccess::valid(call.context)) [[unlikely]] {
    return {node_, call.from, call.id,
            Status(StatusCode::INTERNAL, "the handler gave metadata that is not valid")};
  }
  const MethodType type = call.method.method->type;
  const bool has_response = type == MethodType::kUnary || type == MethodType::kClientStream;
  if (status.ok() && has_response) {
    Outgoing message = call.messages->reply();
    if (!message.IsWhole()) [[unlikely]] {
      return {node_, call.from, call.id,
              Status(StatusCode::INTERNAL,
                     "the handler's response lacks required fields: " + message.Missing())};
    }
    message.Measure();
    call.response_bytes = message.size();
    *response = message;
  }
  return {node_, call.from, call.id, status, &call.context, !call.initial_sent()};
}

void CallServer::Reply(ServerCall& call, const Status& status, bool may_wait) {
  if (!call.TakeEnd()) return;
  Outgoing response;
  const EndFrame end = MakeEnd(call, status, &response);
  if (may_wait) {
    SendPatientlyOrKeep(call, end, response);
  } else {
    ends_.Send(end, response);
  }
}

bool CallServer::TryReply(ServerCall& call, const EndFrame& end, const Outgoing& response) {
  return ends_.TrySend(end, response) && call.TakeEnd();
}

void CallServer::SendPatientlyOrKeep(const ServerCall& call, const EndFrame& end,
                                     const Outgoing& response) {
  const CallLife life = CallAccess::life(call.context);
  const SendResult result = outbox_.SendPatiently(end.to(), end.type(), end.head(), response, life);
  if (result == SendResult::kOk) [[likely]]
    return;
  if (result == SendResult::kTooLarge) {
    return ends_.Send(ends_.TooLarge(end), {});
  }
  if (call.WasCut()) return ends_.Refuse(end.to(), end.id(), call.cut);
  // One that stands still may go on one day, or has just done so; no thread waits for that.
  const Verdict verdict = life.Look();
  if (verdict == Verdict::kPeerStill || verdict == Verdict::kWanted) ends_.Keep(end, response);
}

void CallServer::RefuseFrom(EndSender& ends, const Message& message, const CallFrame& frame) {
  ends.Refuse(SenderOf(message, frame), IdOf(message, frame),
              {StatusCode::UNIMPLEMENTED, "this peer offers no services"});
}

void CallServer::Cut(ServerCall& call, Status status) {
  if (!call.WasCut()) {
    // Otherwise it has ended there.
    const Verdict verdict = CallAccess::life(call.context).Look();
    const bool is_wanted = verdict == Verdict::kWanted || verdict == Verdict::kPeerStill;
    call.cut = std::move(status);
    // Who has taken the end tells the client, if it does not get through.
    if (call.state.On(ServerCallEvent::kCut) == ServerCallState::kOpen && is_wanted) {
      ends_.Refuse(call.from, call.id, call.cut);
    }
  }
  call.Cancel();
}

// ---- The end ----

bool CallServer::MayWait() const noexcept {
  return !polling_.InPoll() && (pool_ == nullptr || pool_here != pool_.get());
}

void CallServer::Shutdown(Clock::time_point deadline) {
  PollWaiter waiter;
  {
    const std::lock_guard lock(mutex_);
    down_.store(true, std::memory_order_relaxed);
    if (MayWait()) shutdowns_.push_back(&waiter);
    TellIfQuiet();
  }
  if (!MayWait()) return;
  if (!polling_.Await(waiter, deadline)) {
    polling_.Post(cutter_);
    (void)polling_.Await(waiter, Clock::time_point::max());
  }
  // Whoever has told it may still hold it.
  const std::lock_guard lock(mutex_);
}

void CallServer::CutAll() {
  std::vector<CallReference> calls;
  {
    const std::lock_guard lock(mutex_);
    for (ServerCall& call : calls_) calls.emplace_back(&call);
  }
  for (const CallReference& call : calls) {
    Cut(*call, {StatusCode::UNAVAILABLE, "the server shuts down: cancelling all calls"});
  }
}

void CallServer::Wait() {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [&] { return down_ && calls_.empty() && lingering_ == 0; });
}

}  // namespace ivmq::rpc::internal

namespace ivmq::rpc {

std::chrono::system_clock::time_point ServerContext::deadline() const {
  using System = std::chrono::system_clock;
  if (deadline_ == std::chrono::steady_clock::time_point::max()) return System::time_point::max();
  return System::now() +
         std::chrono::duration_cast<System::duration>(deadline_ - std::chrono::steady_clock::now());
}

void ServerContext::TryCancel() {
  cancelled_here_.store(true, std::memory_order_relaxed);
  if (call_ != nullptr) call_->CancelHere();
}

bool ServerContext::IsCancelled() const {
  if (cancelled_here_.load(std::memory_order_relaxed)) return true;
  if (node_ == nullptr) return false;
  const internal::Verdict verdict = internal::CallAccess::life(*this).Look();
  // Whoever cuts the calls of a client that stands still, to which that is to be told, cancels
  // them.
  return verdict != internal::Verdict::kWanted && verdict != internal::Verdict::kPeerStill;
}

std::string ServerContext::peer() const {
  for (const PeerInfo& peer : node_->Peers().peers) {
    if (peer.id == from_) return peer.name;
  }
  return "";
}

}  // namespace ivmq::rpc
