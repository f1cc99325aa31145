#include "src/end_sender.h"

#include <iterator>
#include <optional>
#include <span>

#include "ivmq/serialize.h"

#include "src/call_table.h"

namespace ivmq::rpc::internal {
namespace {

// An end that is larger than a record.
class LargeEnd final : public LargeFrame {
 public:
  using LargeFrame::LargeFrame;

 private:
  // Otherwise the client is gone.
  void OnSent(SendResult /*result*/) override {}
};

// Whether it may go another time. Otherwise it has gone, or its client has.
bool FoundNoRoom(SendResult result) {
  return result == SendResult::kFull || result == SendResult::kBusy ||
         result == SendResult::kNoRoom;
}

}  // namespace

EndFrame EndSender::TooLarge(const EndFrame& end) const {
  return {node_, end.to(), end.id(),
          Status(StatusCode::RESOURCE_EXHAUSTED,
                 "the response is larger than the server's max_message_bytes, " +
                     std::to_string(node_.max_message_bytes()))};
}

bool EndSender::TrySend(const EndFrame& end, const google::protobuf::Message* response) {
  const SendResult result = TrySendWithHead(node_, end.to(), end.type(), end.head(), response);
  if (result == SendResult::kTooLarge) [[unlikely]]
    return TrySendLarge(end, response);
  return !FoundNoRoom(result);
}

bool EndSender::TrySendLarge(const EndFrame& end, const google::protobuf::Message* response) {
  if (!large_.HasRoom(end.to())) return false;
  std::optional<std::string> bytes = SerializeWithHead(node_, end.head(), response);
  if (!bytes.has_value()) return TrySend(TooLarge(end), nullptr);
  large_.Send(*new LargeEnd(end.to(), end.type(), *std::move(bytes)));
  return true;
}

void EndSender::Keep(const EndFrame& end, const google::protobuf::Message* response) {
  std::optional<std::string> bytes = SerializeWithHead(node_, end.head(), response);
  if (!bytes.has_value()) return Keep(TooLarge(end), nullptr);
  {
    const std::lock_guard lock(mutex_);
    Share& share = kept_[end.to().slot];
    if (share.bytes < kMostKeptBytes && share.refused.empty()) {
      share.bytes += sizeof(KeptEnd) + bytes->size();
      share.ends.push_back({end.to(), end.type(), *std::move(bytes)});
    } else if (share.refused.size() < CallTable::kMostCalls) {
      share.refused.emplace_back(end.to(), end.id());
    } else {
      // Of a client that has more calls than one can have.
      node_.Count(layout::Counter::kDropped);
    }
  }
  polling_.Post(sender_, /*later=*/true);
}

void EndSender::SendKept() {
  const std::lock_guard lock(mutex_);
  for (auto share = kept_.begin(); share != kept_.end();) {
    share = SendShare(share->second) ? kept_.erase(share) : std::next(share);
  }
  if (!kept_.empty()) polling_.Post(sender_, /*later=*/true);
}

bool EndSender::SendShare(Share& share) {
  for (; !share.ends.empty(); share.ends.pop_front()) {
    KeptEnd& end = share.ends.front();
    const std::size_t bytes = sizeof(KeptEnd) + end.bytes.size();
    if (!SendOne(end)) return false;
    share.bytes -= bytes;
  }
  for (; !share.refused.empty(); share.refused.pop_front()) {
    const auto& [to, id] = share.refused.front();
    const EndFrame end(node_, to, id,
                       {StatusCode::RESOURCE_EXHAUSTED,
                        "the client has not taken the ends of its calls: no memory for another"});
    if (!TrySend(end, nullptr)) return false;
  }
  return true;
}

bool EndSender::SendOne(KeptEnd& end) {
  const SendResult result =
      TrySendWithHead(node_, end.to, end.type, std::as_bytes(std::span(end.bytes)), nullptr);
  if (result != SendResult::kTooLarge) return !FoundNoRoom(result);
  if (!large_.HasRoom(end.to)) return false;
  large_.Send(*new LargeEnd(end.to, end.type, std::move(end.bytes)));
  return true;
}

}  // namespace ivmq::rpc::internal
