#include "src/server_call.h"

#include <algorithm>
#include <utility>

#include "src/call_access.h"
#include "src/call_server.h"
#include "src/seen.h"
#include "src/server_reactor.h"
#include "src/server_stream.h"

namespace ivmq::rpc::internal {

ServerCall::ServerCall(CallServer& server_in, MethodEntry& method_in)
    : server(server_in), method(method_in), messages(method_in.method->handler->NewMessages()) {}
ServerCall::~ServerCall() = default;

void ServerCall::Run() {
  server.Run(*this, /*may_wait=*/true);
  server.EndCall(*this);
}

void ServerCall::Refuse() {
  server.Reply(*this,
               {StatusCode::RESOURCE_EXHAUSTED,
                "all threads of the server wait: see ServerBuilder::SetMaxThreads"},
               /*may_wait=*/false);
  server.EndCall(*this);
}

void ServerCall::Unref() {
  if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) server.Recycle(*this);
}

MessageStream* ServerCall::streams() noexcept {
  if (stream != nullptr) return &stream->stream();
  return callback != nullptr ? &callback->stream() : nullptr;
}

bool ServerCall::initial_sent() const noexcept {
  if (stream != nullptr) return stream->initial_sent();
  return callback != nullptr && callback->initial_sent();
}

void ServerCall::CancelHere() {
  Ref();
  if (!server.polling().Post(here_canceller_)) Unref();
}

void ServerCall::EndHere() {
  server.Cut(*this, CallServer::CancelledHere());
  Unref();
}

void ServerCall::Cancel() {
  CallAccess::Cancel(context);
  if (stream != nullptr) stream->stream().OnEnd();
  if (callback != nullptr) callback->OnCancelled();
}

void ServerCall::InterceptRead(const Incoming& message) {
  const SeenIncoming seen(message);
  for (const auto& each : interceptors) {
    if (!server.RunInterceptor([&] { each->AfterRead(context, *seen); })) {
      interceptor_thrown.store(true, std::memory_order_relaxed);
    }
  }
}

void ServerCall::InterceptWrite(const Outgoing& message) {
  const SeenOutgoing seen(message);
  for (auto each = interceptors.rbegin(); each != interceptors.rend(); ++each) {
    if (!server.RunInterceptor([&] { (*each)->BeforeWrite(context, *seen); })) {
      interceptor_thrown.store(true, std::memory_order_relaxed);
    }
  }
}

void ServerCall::OnFrame(CallFrameKind kind, const CallFrame& frame) {
  MessageStream* const messages_of = streams();
  if (messages_of == nullptr || method.method->type == MethodType::kUnary) return;
  switch (kind) {
    case CallFrameKind::kClientMessage:
      if (frame.message.size() > std::max(kWindow, stream_bytes)) [[unlikely]] {
        // The stream's buffers stay that large until its end.
        if (Status status = server.TakeBytes(*this, frame.message.size() - stream_bytes);
            !status.ok()) {
          return server.Cut(*this, std::move(status));
        }
        stream_bytes = frame.message.size();
      }
      if (!messages_of->OnMessage(frame.message)) {
        return server.Cut(*this,
                          {StatusCode::INTERNAL, "the client has sent more than it was let send"});
      }
      break;
    case CallFrameKind::kHalfClose:
      messages_of->OnLast();
      break;
    case CallFrameKind::kClientCredit:
      messages_of->OnCredit(frame.header.argument);
      break;
    default:
      return;
  }
  if (callback != nullptr) callback->Advance();
}

}  // namespace ivmq::rpc::internal
