#include "src/end_sender.h"

#include <optional>
#include <string>
#include <utility>

#include "ivmq/internal/serialize.h"

namespace ivmq::rpc::internal {

EndFrame EndSender::TooLarge(const EndFrame& end) const {
  return {node_, end.to(), end.id(),
          Status(StatusCode::RESOURCE_EXHAUSTED,
                 "the response is larger than the server's max_message_bytes, " +
                     std::to_string(node_.max_message_bytes()))};
}

bool EndSender::TrySend(const EndFrame& end, const Outgoing& response) {
  const SendResult result = TrySendWithHead(node_, end.to(), end.type(), end.head(), response);
  if (result == SendResult::kTooLarge) [[unlikely]]
    return TrySendLarge(end, response);
  return !FoundNoRoom(result);
}

bool EndSender::CanBeLess(const EndFrame& end, const Outgoing& response) const {
  if (response.has_value() || !end.is_bare()) return true;
  // The node sends not even that much.
  node_.Count(layout::Counter::kDropped);
  return false;
}

bool EndSender::TrySendLarge(const EndFrame& end, const Outgoing& response) {
  if (!outbox_.HasRoom(end.to())) return false;
  std::optional<std::string> bytes = SerializeWithHead(node_, end.head(), response);
  if (!bytes.has_value()) return CanBeLess(end, response) ? TrySend(TooLarge(end), {}) : true;
  outbox_.QueueEnd(end.to(), end.type(), end.id(), *std::move(bytes));
  return true;
}

void EndSender::Keep(const EndFrame& end, const Outgoing& response) {
  std::optional<std::string> bytes = SerializeWithHead(node_, end.head(), response);
  if (!bytes.has_value()) {
    if (CanBeLess(end, response)) Keep(TooLarge(end), {});
    return;
  }
  outbox_.Keep(end.to(), end.type(), end.id(), *std::move(bytes));
}

}  // namespace ivmq::rpc::internal
