#include <cassert>

#include "ivmq/internal/serialize.h"
#include "ivmq/proto.h"

namespace ivmq {
namespace internal {

MessageType TypeOf(const google::protobuf::Message& message, const TypeIds* ids) {
  if (ids != nullptr) {
    if (const auto id = ids->IdOf(*message.GetDescriptor())) {
      return {.kind = FrameKind::kTypedById, .type = *id, .name = {}};
    }
  }
  return {.kind = FrameKind::kTypedByName, .name = message.GetDescriptor()->full_name()};
}

}  // namespace internal

namespace {

SendResult SendAs(Node& node, PeerId to, const MessageType& type,
                  const google::protobuf::Message& message, const SendOptions& options) {
  Outgoing payload(message);
  assert(payload.IsWhole());
  payload.Measure();
  return SendWithHead(node, to, type, {}, payload, options);
}

}  // namespace

SendResult Send(Node& node, PeerId to, const google::protobuf::Message& message,
                const SendOptions& options) {
  return SendAs(node, to, internal::TypeOf(message, nullptr), message, options);
}

SendResult Send(Node& node, PeerId to, const google::protobuf::Message& message, const TypeIds& ids,
                const SendOptions& options) {
  return SendAs(node, to, internal::TypeOf(message, &ids), message, options);
}

}  // namespace ivmq
