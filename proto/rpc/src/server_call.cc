#include "src/server_call.h"

#include "src/call_access.h"
#include "src/server.h"
#include "src/server_reactor.h"
#include "src/server_stream.h"

namespace ivmq::rpc::internal {

ServerCall::ServerCall(Server& server_in, MethodEntry& method_in)
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

Stream* ServerCall::streams() noexcept {
  if (stream != nullptr) return &stream->stream();
  return callback != nullptr ? &callback->stream() : nullptr;
}

bool ServerCall::initial_sent() const noexcept {
  if (stream != nullptr) return stream->initial_sent();
  return callback != nullptr && callback->initial_sent();
}

void ServerCall::Cancel() {
  CallAccess::Cancel(context);
  if (stream != nullptr) stream->stream().OnEnd();
  if (callback != nullptr) callback->OnCancelled();
}

void ServerCall::OnFrame(Kind kind, const Parsed& frame) {
  Stream* const messages_of = streams();
  if (messages_of == nullptr || method.method->type == MethodType::kUnary) return;
  switch (kind) {
    case Kind::kClientMessage:
      if (!messages_of->OnMessage(frame.message)) return Cancel();
      break;
    case Kind::kHalfClose:
      messages_of->OnLast();
      break;
    case Kind::kClientCredit:
      messages_of->OnCredit(frame.header.argument);
      break;
    default:
      return;
  }
  if (callback != nullptr) callback->Advance();
}

}  // namespace ivmq::rpc::internal
