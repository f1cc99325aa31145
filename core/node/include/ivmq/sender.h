// Sending: how a send waits, what comes of it, and several messages at once.
#ifndef IVMQ_SENDER_H_
#define IVMQ_SENDER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "ivmq/message.h"
#include "ivmq/peer.h"

namespace ivmq {

enum class [[nodiscard]] SendResult : std::uint8_t{
    kOk,
    kFull,      // WhenFull::kFail: too little space in the ring now
    kTimedOut,  // not sent until the deadline; the receiver drops what was begun
    kStopped,   // SendOptions::stop said so; the receiver drops what was begun
    kDropped,   // WhenFull::kDrop: too little space; counted in Counter::kDropped
    kTooLarge,  // more than max_message_bytes, or a claim larger than a record
    kPeerGone,  // that incarnation has ended, or this node's own life; last_error() says which
    kBusy,      // this thread has a Batch to that peer, or writes a message to it, right now
    kNoRoom,    // the arena has no room for a ring; last_error() has the numbers
};
std::string_view SendResultName(SendResult result);

// What a send does when the ring has too little space. A message larger than a record is refused or
// dropped before its first fragment only; once begun it waits for space, whatever was chosen.
enum class WhenFull : std::uint8_t { kFail, kWait, kDrop };

// Says that a wait is not wanted any more: a deadline of the caller's, a cancelled call. Asked by
// the thread that waits, with no lock of the library held: whenever it wakes (Node::Wake() does
// that), and twenty times a second.
class StopCondition {
 public:
  virtual ~StopCondition() = default;
  // Must not block.
  [[nodiscard]] virtual bool IsStopped() const noexcept = 0;
};

struct SendOptions {
  WhenFull when_full = WhenFull::kFail;
  // The longest wait: for room with kWait, for the rest of a message larger than a record, and in
  // any case until a Batch or a SendInPlace() of another thread to that peer ends.
  std::chrono::nanoseconds timeout = std::chrono::seconds(1);
  // Ends a wait before that, and a message larger than a record between two fragments. Not asked
  // while there is nothing to wait for. Must outlive the call.
  const StopCondition* stop = nullptr;
};

class Node;
class RingWriter;

// Several messages to one peer, published together: one store, one fence, at most one doorbell.
//
// The ring is the batch's until it is destroyed. What else sends to that peer gives kBusy on the
// thread that started the batch, and waits on others, no longer than its timeout. To other peers,
// and for everything else, the node goes on; but a damaged or dead ring is not looked after
// meanwhile, so keep it short. Thread-compatible; must not outlive its node.
class Batch {
 public:
  ~Batch();
  Batch(Batch&&) noexcept;
  Batch& operator=(Batch&&) = delete;

  // Claims room for a message of `bytes` bytes that fits one record. On kOk write all of
  // `*payload` before Commit(). kFull, kTooLarge, kPeerGone or kNoRoom leave the messages claimed
  // before untouched; after kFull commit them and claim again. What StartBatch() could not get, it
  // says here: kBusy, kTimedOut, kStopped.
  SendResult TryClaim(const MessageType& type, std::uint64_t bytes, std::span<std::byte>* payload);

  // Publishes what was claimed. What is not committed when the batch ends, or an exception ends it,
  // is dropped. Other results than kOk: nothing was published. kPeerGone: this node's life is over;
  // kFull: the receiver gave the ring up meanwhile, so claim again.
  SendResult Commit();

 private:
  friend class Node;
  Batch(RingWriter* writer, PeerId to, SendResult started) noexcept
      : writer_(writer), to_(to), started_(started) {}

  RingWriter* writer_;  // nullptr if `started_` is not kOk, or it was moved from
  PeerId to_;
  SendResult started_;
  std::uint64_t messages_ = 0;  // claimed and not committed
  std::uint64_t bytes_ = 0;
};

}  // namespace ivmq

#endif  // IVMQ_SENDER_H_
