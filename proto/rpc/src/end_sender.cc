#include "src/end_sender.h"

#include <iterator>
#include <optional>
#include <span>

#include "ivmq/internal/serialize.h"

#include "src/call_table.h"

namespace ivmq::rpc::internal {
namespace {

// Whether it may go another time. Otherwise it has gone, or its client has.
bool FoundNoRoom(SendResult result) {
  return result == SendResult::kFull || result == SendResult::kBusy ||
         result == SendResult::kNoRoom;
}

}  // namespace

// An end that is larger than a record.
class EndSender::LargeEnd final : public LargeFrame {
 public:
  LargeEnd(EndSender& sender, PeerId to, const MessageType& type, std::uint64_t id,
           std::string bytes)
      : LargeFrame(to, type, std::move(bytes)), sender_(sender), id_(id) {}

 private:
  // Otherwise it has gone, or the client has, or the endpoint goes.
  void OnSent(SendResult result) override {
    if (result == SendResult::kNoRoom) sender_.KeepBytes(to(), type(), id_, TakeBytes());
  }

  EndSender& sender_;
  const std::uint64_t id_;
};

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
  if (!large_.HasRoom(end.to())) return false;
  std::optional<std::string> bytes = SerializeWithHead(node_, end.head(), response);
  if (!bytes.has_value()) return CanBeLess(end, response) ? TrySend(TooLarge(end), {}) : true;
  large_.Send(*new LargeEnd(*this, end.to(), end.type(), end.id(), *std::move(bytes)));
  return true;
}

void EndSender::Keep(const EndFrame& end, const Outgoing& response) {
  std::optional<std::string> bytes = SerializeWithHead(node_, end.head(), response);
  if (!bytes.has_value()) {
    if (CanBeLess(end, response)) Keep(TooLarge(end), {});
    return;
  }
  KeepBytes(end.to(), end.type(), end.id(), *std::move(bytes));
}

void EndSender::KeepBytes(PeerId to, const MessageType& type, std::uint64_t id, std::string bytes) {
  // A durable peer's ring takes messages after its death; but this is for that life.
  if (!node_.IsLive(to)) return;
  {
    const std::lock_guard lock(mutex_);
    Share& share = kept_[to.slot];
    // The former holder of the slot is gone, and its debt with it.
    if (!(share.to == to)) share = {.to = to};
    if (share.bytes < kMostKeptBytes && share.refused.empty()) {
      share.bytes += sizeof(KeptEnd) + bytes.size();
      share.ends.push_back({type, id, std::move(bytes)});
    } else if (share.refused.size() < CallTable::kMostCalls) {
      share.refused.push_back(id);
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
    const bool is_over = !node_.IsLive(share->second.to) || SendShare(share->second);
    share = is_over ? kept_.erase(share) : std::next(share);
  }
  if (!kept_.empty()) polling_.Post(sender_, /*later=*/true);
}

bool EndSender::SendShare(Share& share) {
  for (; !share.ends.empty(); share.ends.pop_front()) {
    KeptEnd& end = share.ends.front();
    const std::size_t bytes = sizeof(KeptEnd) + end.bytes.size();
    if (!SendOne(share.to, end)) return false;
    share.bytes -= bytes;
  }
  for (; !share.refused.empty(); share.refused.pop_front()) {
    const EndFrame end(node_, share.to, share.refused.front(),
                       {StatusCode::RESOURCE_EXHAUSTED,
                        "the client has not taken the ends of its calls: no memory for another"});
    if (!TrySend(end, {})) return false;
  }
  return true;
}

bool EndSender::SendOne(PeerId to, KeptEnd& end) {
  const SendResult result =
      TrySendWithHead(node_, to, end.type, std::as_bytes(std::span(end.bytes)), {});
  if (result != SendResult::kTooLarge) return !FoundNoRoom(result);
  if (!large_.HasRoom(to)) return false;
  large_.Send(*new LargeEnd(*this, to, end.type, end.id, std::move(end.bytes)));
  return true;
}

}  // namespace ivmq::rpc::internal
