#include "src/send_call.h"

#include <mutex>
#include <utility>

#include "src/heap.h"

namespace ivmq {

using layout::Counter;

SendResult SendCall::TrySend(const MessageType& type, std::span<const std::byte> message) {
  return me_ == nullptr ? writer_.TrySend<Hold::kLocked>(to_, type, message, limits_)
                        : writer_.TrySend<Hold::kOwned>(to_, type, message, limits_);
}

SendResult SendCall::Send(const MessageType& type, std::span<const std::byte> message,
                          SendResult first) {
  const SendResult result =
      Retry(first, HeadBytes(type) + message.size(), [&] { return TrySend(type, message); });
  if (result != SendResult::kTooLarge || type.name.size() > kMaxTypeName ||
      message.size() > writer_.context().options.max_message_bytes) {
    return result;
  }
  return writer_.fragmenter().Send(*this, type, message);
}

SendResult SendCall::SendBlock(std::span<const std::byte> head, Block& block) {
  block.PrepareToRefer();
  RingPosition position;
  const auto attempt = [&] {
    if (me_ != nullptr) {
      return writer_.TrySendBlock(to_, head, block.descriptor(), Hold::kOwned, &position);
    }
    if (const SendResult locked = writer_.Lock(limits_, me_); locked != SendResult::kOk) {
      return locked;
    }
    const std::lock_guard lock(writer_.ring_lock(), std::adopt_lock);
    return writer_.TrySendBlock(to_, head, block.descriptor(), Hold::kLocked, &position);
  };
  const SendResult result = Retry(attempt(), BlockRecordBytes(head.size()), attempt);
  if (result == SendResult::kOk) block.Refer(position);
  return result;
}

SendResult SendCall::Refuse() noexcept {
  if (when_full_ == WhenFull::kDrop) {
    writer_.context().Count(Counter::kDropped);
    return SendResult::kDropped;
  }
  writer_.context().Count(Counter::kRingsFull);
  return SendResult::kFull;
}

SendResult SendCall::OnFull(std::uint64_t record_bytes, bool must_go_on) {
  if (!waits() && !must_go_on) return Refuse();
  if (std::exchange(has_waited_, true) && limits_.IsOver()) return SendResult::kTimedOut;
  return WaitForRoom(record_bytes);
}

SendResult SendCall::AwaitRoom(std::uint64_t record_bytes) {
  const SendResult result = LookForRoom(record_bytes);
  return result == SendResult::kFull ? OnFull(record_bytes) : result;
}

SendResult SendCall::LookForRoomLocked(std::uint64_t record_bytes) {
  std::span<std::byte> record;
  const SendResult result = writer_.ClaimRecord(to_, record_bytes, &record, Hold::kLocked);
  if (result == SendResult::kOk) writer_.Abort();
  return result;
}

SendResult SendCall::LookForRoom(std::uint64_t record_bytes) {
  if (const SendResult result = writer_.Lock(limits_, me_); result != SendResult::kOk) {
    return result;
  }
  const std::lock_guard lock(writer_.ring_lock(), std::adopt_lock);
  return LookForRoomLocked(record_bytes);
}

namespace {

// While one lives the consumer may be asked to ring for room.
class RoomWaiter {
 public:
  explicit RoomWaiter(RingWriter& writer) noexcept : writer_(writer) {
    const std::lock_guard lock(writer_.ring_lock());
    writer_.BeginWait();
  }
  ~RoomWaiter() {
    const std::lock_guard lock(writer_.ring_lock());
    writer_.EndWait();
  }
  RoomWaiter(const RoomWaiter&) = delete;
  RoomWaiter& operator=(const RoomWaiter&) = delete;

 private:
  RingWriter& writer_;
};

}  // namespace

SendResult SendCall::WaitForRoom(std::uint64_t record_bytes) {
  NodeContext& context = writer_.context();
  // The consumer is probably at work on this very ring.
  WaitStrategy wait(*context.sleeper, limits_, context.options.spin_budget,
                    context.options.max_poll_interval);
  while (wait.is_spinning()) {
    const SendResult result = LookForRoom(record_bytes);
    if (result != SendResult::kFull) return result;
    if (wait.Pause({}) == Waited::kStopped) return SendResult::kStopped;
  }
  context.Count(Counter::kRingsFull);
  const RoomWaiter waiter(writer_);
  for (;;) {
    wait.BeginLook();
    bool is_rung = false;
    {
      SendResult result = writer_.Lock(limits_, me_);
      if (result != SendResult::kOk) return result;
      const std::lock_guard lock(writer_.ring_lock(), std::adopt_lock);
      writer_.Arm(to_);
      result = LookForRoomLocked(record_bytes);
      if (result != SendResult::kFull) return result;
      // Nobody rings for a ring that was withdrawn.
      is_rung = writer_.RingsForRoom();
    }
    const Waited waited = wait.Pause(is_rung ? kNet : wait.Growing());
    if (const SendResult result = ToSendResult(waited); result != SendResult::kOk) return result;
  }
}

}  // namespace ivmq
