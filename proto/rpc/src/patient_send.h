// Sending a frame from a thread that may wait for room.
#ifndef IVMQ_RPC_PATIENT_SEND_H_
#define IVMQ_RPC_PATIENT_SEND_H_

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <span>

#include <google/protobuf/message.h>

#include "ivmq/node.h"
#include "ivmq/serialize.h"

#include "src/polling.h"
#include "src/pool.h"

namespace ivmq::rpc::internal {

// A thread that waits for room looks this often whether the frame is still wanted.
inline constexpr std::chrono::milliseconds kPatienceSlice{50};
// The longest that a receiver may take for the rest of a message larger than a record.
inline constexpr std::chrono::seconds kLargePatience{60};

// Sends `head` and, behind it, `message`, if there is one. Waits for room until the deadline, or
// until `is_unwanted()` says so: then kTimedOut.
template <typename IsUnwanted>
SendResult SendPatiently(Node& node, PeerId to, const MessageType& type,
                         std::span<const std::byte> head, const google::protobuf::Message* message,
                         Clock::time_point deadline, IsUnwanted is_unwanted) {
  for (;;) {
    const SendResult result = SendWithHead(
        node, to, type, head, message,
        {.when_full = WhenFull::kFail,
         .timeout = std::min<std::chrono::nanoseconds>(kLargePatience, TimeLeft(deadline))});
    if (result != SendResult::kFull) [[likely]]
      return result;
    const std::chrono::nanoseconds left = TimeLeft(deadline);
    if (left <= std::chrono::nanoseconds(0) || is_unwanted()) return SendResult::kTimedOut;
    const Pool::Wait wait;
    const std::size_t bytes =
        head.size() + (message == nullptr ? 0 : static_cast<std::size_t>(message->GetCachedSize()));
    const SendResult room = node.AwaitRoom(
        to, sizeof(layout::Frame) + std::min<std::uint64_t>(bytes, node.MaxRecordMessage(to, type)),
        {.when_full = WhenFull::kWait,
         .timeout = std::min<std::chrono::nanoseconds>(kPatienceSlice, left)});
    if (room != SendResult::kOk && room != SendResult::kTimedOut) return room;
  }
}

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_PATIENT_SEND_H_
