// Splits messages that are larger than a record, for one RingWriter.
//
// One large message is under way at a time, so that a receiver needs to put together only one a
// sender. Small ones go between its fragments.
#ifndef IVMQ_FRAGMENTER_H_
#define IVMQ_FRAGMENTER_H_

#include <cstdint>
#include <span>

#include "ivmq/sender.h"

namespace ivmq {

class RingWriter;
class SendCall;

// Thread-safe, except TryAbandon().
class Fragmenter {
 public:
  explicit Fragmenter(RingWriter& writer) noexcept : writer_(writer) {}
  Fragmenter(const Fragmenter&) = delete;
  Fragmenter& operator=(const Fragmenter&) = delete;

  // Sends the message when it is its turn. What was begun and does not go to its end is dropped by
  // the receiver.
  SendResult Send(SendCall& call, const MessageType& type, std::span<const std::byte> message);

  // Frees the receiver's memory of a message that ended midway, as soon as there is room to say so.
  // REQUIRES: the ring is the caller's, and its lock is held.
  void TryAbandon();

 private:
  class Turn;
  struct Progress;

  SendResult TakeTurn(SendCall& call);
  void EndTurn() noexcept;
  // Begins the message, also anew. REQUIRES: as of TryAbandon; the ring is open.
  void Begin(Progress& progress) noexcept;
  // Sends the next fragment, and says in `progress` how far the message is. kFull: it has no room.
  SendResult SendNext(SendCall& call, Progress& progress);
  // The message ends here.
  SendResult GiveUp(const SendCall& call, const Progress& progress, SendResult result);

  RingWriter& writer_;
  // Guarded by the ring's lock.
  bool is_under_way_ = false;
  bool is_awaited_ = false;    // somebody waits for its end
  bool must_abandon_ = false;  // tell the receiver that the last one ends midway
  std::uint32_t last_ = 0;     // its number; 0 is none
};

}  // namespace ivmq

#endif  // IVMQ_FRAGMENTER_H_
