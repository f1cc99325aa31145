#include "ivmq/proto.h"
#include "ivmq/serialize.h"

namespace ivmq {
namespace {

MessageType ByName(const google::protobuf::Message& message) {
  return {.kind = layout::FrameKind::kTypedByName, .name = message.GetDescriptor()->full_name()};
}

}  // namespace

SendResult Send(Node& node, PeerId to, const google::protobuf::Message& message,
                const SendOptions& options) {
  return SendWithHead(node, to, ByName(message), {}, &message, options);
}

SendResult Send(Node& node, PeerId to, const google::protobuf::Message& message, const TypeIds& ids,
                const SendOptions& options) {
  if (const auto id = ids.IdOf(*message.GetDescriptor())) {
    const MessageType type{.kind = layout::FrameKind::kTypedById, .type = *id, .name = {}};
    return SendWithHead(node, to, type, {}, &message, options);
  }
  return SendWithHead(node, to, ByName(message), {}, &message, options);
}

}  // namespace ivmq
