#include "src/server_stream.h"

#include <utility>

#include "ivmq/rpc/stream.h"

#include "src/call_access.h"

namespace ivmq::rpc::internal {

bool ServerStream::Read(google::protobuf::Message& message) {
  const Stream::Outcome outcome = stream_.Read(message, CallAccess::deadline(context_));
  if (outcome == Stream::Outcome::kNotParsed) unparsable_ = true;
  return outcome == Stream::Outcome::kMessage;
}

bool ServerStream::Write(const google::protobuf::Message& message) {
  return stream_.Write(message, TakeInitial(), CallAccess::deadline(context_));
}

void ServerStream::SendInitialMetadata() {
  if (initial_sent_) return;
  stream_.SendFrame(Kind::kServerInitial, TakeInitial(), 0, CallAccess::deadline(context_));
}

const std::string& ServerStream::TakeInitial() {
  static const std::string kNone;
  if (std::exchange(initial_sent_, true)) return kNone;
  return CallAccess::initial(context_);
}

bool ServerStreamHandle::Read(google::protobuf::Message* message) { return stream_.Read(*message); }
bool ServerStreamHandle::Write(const google::protobuf::Message& message) {
  return stream_.Write(message);
}
void ServerStreamHandle::SendInitialMetadata() { stream_.SendInitialMetadata(); }

}  // namespace ivmq::rpc::internal
