// One send while it lasts: to whom, how long it may wait, and what it does when the ring is full.
#ifndef IVMQ_SEND_CALL_H_
#define IVMQ_SEND_CALL_H_

#include <cstdint>
#include <optional>
#include <span>

#include "ivmq/sender.h"

#include "src/ring_writer.h"
#include "src/wait_strategy.h"

namespace ivmq {

class Block;

// For one thread. Made when a send does not succeed at once: the time that it has begins then.
class SendCall {
 public:
  // `me`: the owner for whom it is sent, nullptr for everybody else.
  SendCall(RingWriter& writer, PeerId to, const SendOptions& options, Owner me) noexcept
      : writer_(writer),
        to_(to),
        when_full_(options.when_full),
        never_waits_(options.when_full != WhenFull::kWait &&
                     options.timeout <= std::chrono::nanoseconds(0)),
        limits_(WaitLimits::Of(options)),
        me_(me) {}

  [[nodiscard]] PeerId to() const noexcept { return to_; }
  [[nodiscard]] Owner me() const noexcept { return me_; }
  [[nodiscard]] const WaitLimits& limits() const noexcept { return limits_; }
  // Not even for the rest of a large message.
  [[nodiscard]] bool never_waits() const noexcept { return never_waits_; }
  [[nodiscard]] bool waits() const noexcept { return when_full_ == WhenFull::kWait; }

  // Sends a message of any size; `first` is what came of the first attempt, for a record.
  SendResult Send(const MessageType& type, std::span<const std::byte> message, SendResult first);
  // Sends a message that lies in the heap: a record that refers to it. `head`: its frame and type
  // name. Afterwards the ring has the block, whatever becomes of the caller's. Throws bad_alloc, if
  // the block goes to more than one ring.
  SendResult SendBlock(std::span<const std::byte> head, Block& block);
  // Calls attempt() again as long as it gives kFull and the send may wait for a record of
  // `record_bytes`; `first` is what it gave at first.
  template <typename Attempt>
  SendResult Retry(SendResult first, std::uint64_t record_bytes, Attempt&& attempt) {
    SendResult result = first;
    while (result == SendResult::kFull) {
      result = OnFull(record_bytes);
      if (result != SendResult::kOk) break;
      result = attempt();
    }
    return result;
  }
  // One look for room, and what OnFull() makes of it.
  SendResult AwaitRoom(std::uint64_t record_bytes);

  // The one place that says what a full ring means: kOk after a wait that found room for a record
  // of `record_bytes`, and the send may try again; everything else is its result. A message that
  // has begun `must_go_on`: it waits, whatever was chosen.
  SendResult OnFull(std::uint64_t record_bytes, bool must_go_on = false);
  // The same for what a send may not wait for.
  SendResult Refuse() noexcept;

 private:
  SendResult TrySend(const MessageType& type, std::span<const std::byte> message);
  // kFull if there is none.
  SendResult LookForRoom(std::uint64_t record_bytes);
  // The same. REQUIRES: the lock is held, and the ring is `me`'s.
  SendResult LookForRoomLocked(std::uint64_t record_bytes);
  SendResult WaitForRoom(std::uint64_t record_bytes);

  RingWriter& writer_;
  PeerId to_;
  WhenFull when_full_;
  bool never_waits_;
  WaitLimits limits_;
  Owner me_;
  bool has_waited_ = false;  // others may have taken the room that came
};

}  // namespace ivmq

#endif  // IVMQ_SEND_CALL_H_
