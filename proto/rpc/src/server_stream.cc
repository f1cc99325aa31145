#include "src/server_stream.h"

#include <utility>

#include "ivmq/rpc/stream.h"

#include "src/call_access.h"

namespace ivmq::rpc::internal {

bool ServerStream::Read(const Incoming& message) {
  if (stream_.IsInPoll()) return false;
  const MessageStream::Outcome outcome = stream_.Read(message, life_);
  if (outcome == MessageStream::Outcome::kNotParsed) unparsable_ = true;
  if (outcome != MessageStream::Outcome::kMessage) return false;
  call_.AfterRead(message);
  return true;
}

bool ServerStream::Write(const Outgoing& message) {
  if (stream_.IsInPoll()) return false;
  call_.BeforeWrite(message);
  const SendResult result = stream_.Write(message, TakeInitial(), life_);
  if (result == SendResult::kOk) [[likely]]
    return true;
  unsent_ = result;
  return false;
}

void ServerStream::SendInitialMetadata() {
  if (initial_sent_ || stream_.IsInPoll()) return;
  (void)stream_.SendFrame(CallFrameKind::kServerInitial, TakeInitial(), life_);
}

const std::string& ServerStream::TakeInitial() {
  static const std::string kNone;
  if (std::exchange(initial_sent_, true)) return kNone;
  return CallAccess::initial(call_.context);
}

bool ServerStreamHandle::Read(const Incoming& message) { return stream_.Read(message); }
bool ServerStreamHandle::Write(const Outgoing& message) { return stream_.Write(message); }
void ServerStreamHandle::SendInitialMetadata() { stream_.SendInitialMetadata(); }

}  // namespace ivmq::rpc::internal
