// Writing a payload directly into a ring, after bytes that describe it.
#ifndef IVMQ_INTERNAL_SERIALIZE_H_
#define IVMQ_INTERNAL_SERIALIZE_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "ivmq/internal/payload.h"
#include "ivmq/node.h"

namespace ivmq {

// In all of these functions `payload`, if there is one, follows `head`. REQUIRES: it was measured.

// Sends both. If they do not fit one record, they are written to a buffer that the calling thread
// keeps for the next time. Thread-safe. The results are those of ivmq::Send.
SendResult SendWithHead(Node& node, PeerId to, const MessageType& type,
                        std::span<const std::byte> head, const Outgoing& payload,
                        SendOptions options);

// The same without waiting, if both fit one record. kTooLarge: they do not. kBusy: the ring has an
// owner now, a Batch or a writer of this thread or another one.
SendResult TrySendWithHead(Node& node, PeerId to, const MessageType& type,
                           std::span<const std::byte> head, const Outgoing& payload);

// Both as bytes, to be sent later. nullopt: they are larger than the node sends.
std::optional<std::string> SerializeWithHead(const Node& node, std::span<const std::byte> head,
                                             const Outgoing& payload);

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_SERIALIZE_H_
