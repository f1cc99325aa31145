#include "src/client_stream_call.h"

#include <utility>

#include "src/call_access.h"
#include "src/status_text.h"

namespace ivmq::rpc::internal {

ClientStreamCall::ClientStreamCall(Channel& channel, ClientContext& context_in,
                                   const Incoming& response, bool calls_back)
    : ClientCall(channel.ClientForStream(calls_back).node(), context_in, /*has_streams_in=*/true,
                 /*waits_in=*/false),
      channel_(channel.shared_from_this()),
      client_(channel.ClientForStream(false)),
      response_(response),
      stream_(client_.node(), client_.polling(), client_.outbox(), kClientKinds, life.peer(), id),
      is_intercepted_(!channel.interceptors_.empty()) {}

void ClientStreamCall::BeginCall(const MethodName& method, const Outgoing& request) {
  if (!is_intercepted_) [[likely]]
    return client_.Begin(*this, *channel_, method, request);
  const MethodType type = request.has_value()     ? MethodType::kServerStream
                          : response_.has_value() ? MethodType::kClientStream
                                                  : MethodType::kBidiStream;
  interception_.emplace(client_.node(), channel_->interceptors_,
                        CallInfo{.method = method.path, .peer = channel_->peer(), .type = type});
  Status status = interception_->BeforeStream(context);
  if (status.ok() && request.has_value() &&
      !(interception_->BeforeWrite(context, request) && interception_->BeforeWritesDone(context))) {
    status = Interception::Thrown();
  }
  if (!status.ok()) {
    Fail(std::move(status));
  } else if (!answers()) {
    client_.Begin(*this, *channel_, method, request);
  }
}

// ---- What comes ----

void ClientStreamCall::SetEnd(Status status, const CallFrame* end) {
  if (end != nullptr) {
    status = ReadEnd(*end, context);
    if (status.ok() && response_.has_value() && !response_.Parse(end->message)) {
      status = {StatusCode::INTERNAL, "the response does not parse"};
    }
  }
  CallAccess::End(context, status);
  {
    const std::lock_guard lock(mutex_);
    status_ = std::move(status);
    state_.Set(ClientStreamEvent::kEnd);
  }
  stream_.OnEnd();
}

bool ClientStreamCall::TakeFrame(CallFrameKind kind, const CallFrame& frame) {
  if (!frame.metadata.empty() && !TakeInitial(frame)) return false;
  switch (kind) {
    case CallFrameKind::kServerMessage:
      if (!stream_.OnMessage(frame.message)) return false;
      SetBegun();
      return true;
    case CallFrameKind::kServerInitial:
      SetBegun();
      return true;
    case CallFrameKind::kServerCredit:
      stream_.OnCredit(frame.header.argument);
      return true;
    default:
      return false;
  }
}

bool ClientStreamCall::TakeInitial(const CallFrame& frame) {
  MetadataReader entries(frame.metadata);
  const std::lock_guard lock(mutex_);
  if (HasEnded()) return true;  // the context may be gone
  ReceivedMetadata& initial = CallAccess::initial(context);
  if (!initial.map().empty()) return false;
  while (const std::optional<MetadataEntry> entry = entries.Next())
    initial.Set(entry->key, entry->value);
  state_.Set(ClientStreamEvent::kBegin);
  return !entries.malformed();
}

void ClientStreamCall::SetBegun() {
  if (state_.Get() != ClientStreamState::kWaiting) [[likely]]
    return;
  const std::lock_guard lock(mutex_);
  state_.Set(ClientStreamEvent::kBegin);
}

void ClientStreamCall::Fail(Status status) {
  if (id != 0) return client_.Cancel(id, std::move(status));
  if (TakeEnd()) End(std::move(status), nullptr);
}

// ---- Interceptors ----

bool ClientStreamCall::FailThrown() {
  Fail(Interception::Thrown());
  return false;
}

bool ClientStreamCall::Answer(const Incoming& message) {
  return !HasEnded() && !CallAccess::cancelled(context) && interception_->Answer(context, message);
}

void ClientStreamCall::EndAnswered() {
  if (!TakeEnd()) return;
  End(CallAccess::cancelled(context) ? Status(StatusCode::CANCELLED, kCancelledText)
                                     : interception_->AnswerEnd(context, response_),
      nullptr);
}

void ClientStreamCall::TellInterceptors() {
  if (!interception_.has_value()) return;
  Status end = status();
  if (end.ok() && response_.has_value() && !interception_->AfterRead(context, response_)) {
    end = Interception::Thrown();
  }
  interception_->AfterStream(context, end);
  const std::lock_guard lock(mutex_);
  status_ = std::move(end);
}

}  // namespace ivmq::rpc::internal
