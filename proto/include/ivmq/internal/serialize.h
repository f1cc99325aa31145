// Writing a payload straight into a ring, behind bytes that say what it is.
#ifndef IVMQ_INTERNAL_SERIALIZE_H_
#define IVMQ_INTERNAL_SERIALIZE_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "ivmq/internal/payload.h"
#include "ivmq/node.h"

namespace ivmq {

// All of these: `payload` is behind `head`, if there is one. REQUIRES: it was measured.

// Sends both. What does not fit one record is put into a buffer that the calling thread keeps for
// the next time. Thread-safe. The results are those of ivmq::Send.
SendResult SendWithHead(Node& node, PeerId to, const MessageType& type,
                        std::span<const std::byte> head, const Outgoing& payload,
                        SendOptions options);

// The same for what fits one record, without waiting. kTooLarge: it does not. kBusy: the ring is
// somebody's right now, of this thread or another, who has a Batch or writes a message.
SendResult TrySendWithHead(Node& node, PeerId to, const MessageType& type,
                           std::span<const std::byte> head, const Outgoing& payload);

// Both as bytes, to be sent later. nullopt: they are larger than the node sends.
std::optional<std::string> SerializeWithHead(const Node& node, std::span<const std::byte> head,
                                             const Outgoing& payload);

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_SERIALIZE_H_
