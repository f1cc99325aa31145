#include "src/explain.h"

#include <mutex>

#include "ivmq/internal/str_cat.h"

namespace ivmq {

Status ExplainSend(NodeContext& context, Writers& writers, SendResult result, PeerId to,
                   std::string_view whom) {
  const std::string_view at = context.transport->info().address;
  const auto status = [&](StatusCode code, std::string_view what) {
    return Status(code, StrCat(at, ": the message to ", whom, what));
  };
  switch (result) {
    case SendResult::kOk:
      return {};
    case SendResult::kFull:
    case SendResult::kDropped:
      return status(StatusCode::kResourceExhausted,
                    " found too little room in the ring: its receiver does not keep up; wait for "
                    "room (WhenFull::kWait), or send less");
    case SendResult::kTimedOut:
      return status(StatusCode::kDeadlineExceeded, " was not sent within its timeout");
    case SendResult::kStopped:
      return status(StatusCode::kCancelled, " is not wanted any more: its stop condition says so");
    case SendResult::kTooLarge:
      return status(StatusCode::kResourceExhausted,
                    StrCat(" is larger than max_message_bytes, ", context.options.max_message_bytes,
                           ", or than one record, where it has to fit one"));
    case SendResult::kBusy:
      return status(
          StatusCode::kFailedPrecondition,
          " found the pair in use: by a Batch or a Loan of this thread, or by an exclusive "
          "sender");
    case SendResult::kPeerGone:
      if (Status over = context.LifeStatus(); !over.ok()) return over;
      return status(StatusCode::kUnavailable,
                    " has no receiver: its life has ended, or nobody has that name; see who is "
                    "there with `ivmq ls`");
    case SendResult::kNoRoom:
      break;
  }
  if (RingWriter* const writer = writers.Find(to.slot); writer != nullptr) {
    const std::lock_guard lock(writer->ring_lock());
    if (!writer->no_room().ok()) return writer->no_room();
  }
  return status(StatusCode::kResourceExhausted, " found no room for a ring in the arena");
}

}  // namespace ivmq
