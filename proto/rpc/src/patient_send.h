// Sending a frame from a thread that may wait for room.
#ifndef IVMQ_RPC_PATIENT_SEND_H_
#define IVMQ_RPC_PATIENT_SEND_H_

#include <chrono>
#include <cstddef>
#include <span>

#include "ivmq/internal/payload.h"
#include "ivmq/internal/serialize.h"
#include "ivmq/node.h"

#include "src/call_life.h"
#include "src/polling.h"
#include "src/pool.h"

namespace ivmq::rpc::internal {

// What TrySendWithHead() can do at another time, or with more than one record.
inline bool MayGoLater(SendResult tried) noexcept {
  return tried == SendResult::kFull || tried == SendResult::kBusy || tried == SendResult::kTooLarge;
}

// Sends `head` and, behind it, `message`, if there is one. Waits for room, and for other large
// messages to the same peer, while the call is wanted; then kStopped or kTimedOut.
inline SendResult SendWithPatience(Node& node, PeerId to, const MessageType& type,
                                   std::span<const std::byte> head, const Outgoing& message,
                                   const CallLife& life) {
  const Pool::Wait wait;
  return SendWithHead(
      node, to, type, head, message,
      {.when_full = WhenFull::kWait, .timeout = TimeLeft(life.deadline()), .stop = &life});
}

// The same for what probably need not wait.
inline SendResult SendPatiently(Node& node, PeerId to, const MessageType& type,
                                std::span<const std::byte> head, const Outgoing& message,
                                const CallLife& life) {
  const SendResult tried = TrySendWithHead(node, to, type, head, message);
  return MayGoLater(tried) ? SendWithPatience(node, to, type, head, message, life) : tried;
}

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_PATIENT_SEND_H_
