// Serializing a protobuf message straight into a ring, behind bytes that say what it is.
#ifndef IVMQ_SERIALIZE_H_
#define IVMQ_SERIALIZE_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include <google/protobuf/message.h>

#include "ivmq/node.h"

namespace ivmq {

// Sends `head` and, behind it, `message`, if there is one. What does not fit one record is put into
// a buffer that the calling thread keeps for the next time.
// REQUIRES: message->IsInitialized().
// Thread-safe. The results are those of ivmq::Send.
SendResult SendWithHead(Node& node, PeerId to, const MessageType& type,
                        std::span<const std::byte> head, const google::protobuf::Message* message,
                        SendOptions options);

// The same for what fits one record, without waiting. kTooLarge: it does not. kBusy: the ring is
// somebody's right now, of this thread or another, who has a Batch or writes a message.
SendResult TrySendWithHead(Node& node, PeerId to, const MessageType& type,
                           std::span<const std::byte> head,
                           const google::protobuf::Message* message);

// `head` and, behind it, `message`, if there is one: to be sent later. nullopt: it is larger than
// the node sends. REQUIRES: message->IsInitialized().
std::optional<std::string> SerializeWithHead(const Node& node, std::span<const std::byte> head,
                                             const google::protobuf::Message* message);

}  // namespace ivmq

#endif  // IVMQ_SERIALIZE_H_
