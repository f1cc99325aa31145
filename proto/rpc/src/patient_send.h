// Sending a frame from a thread that may wait for room.
#ifndef IVMQ_RPC_PATIENT_SEND_H_
#define IVMQ_RPC_PATIENT_SEND_H_

#include <chrono>
#include <cstddef>
#include <span>

#include <google/protobuf/message.h>

#include "ivmq/node.h"
#include "ivmq/serialize.h"

#include "src/call_life.h"
#include "src/polling.h"
#include "src/pool.h"

namespace ivmq::rpc::internal {

// Sends `head` and, behind it, `message`, if there is one. Waits for room, and for other large
// messages to the same peer, while the call is wanted; then kStopped or kTimedOut.
inline SendResult SendPatiently(Node& node, PeerId to, const MessageType& type,
                                std::span<const std::byte> head,
                                const google::protobuf::Message* message, const CallLife& life) {
  const SendResult result = TrySendWithHead(node, to, type, head, message);
  if (result == SendResult::kOk) [[likely]]
    return result;
  // kTooLarge: for one record.
  if (result != SendResult::kFull && result != SendResult::kTooLarge) return result;
  const Pool::Wait wait;
  return SendWithHead(
      node, to, type, head, message,
      {.when_full = WhenFull::kWait, .timeout = TimeLeft(life.deadline()), .stop = &life});
}

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_PATIENT_SEND_H_
