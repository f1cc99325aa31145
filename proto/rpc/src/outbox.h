// What an endpoint sends that cannot go at once: each peer has a box of its own, so that one that
// does not read costs the others nothing.
//
// Who sends a frame may wait for room himself, on a thread that may (SendPatiently); have it kept
// until there is room, and hear no more of it (Keep, SendNote); or have it sent by a thread of the
// outbox and hear how it went (Queue): frames larger than a record go in pieces, while the receiver
// takes them out.
#ifndef IVMQ_RPC_OUTBOX_H_
#define IVMQ_RPC_OUTBOX_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <boost/intrusive/slist.hpp>

#include "ivmq/internal/payload.h"
#include "ivmq/node.h"

#include "src/call_frame.h"
#include "src/call_life.h"
#include "src/polling.h"
#include "src/pool.h"

namespace ivmq::rpc::internal {

// Whether a frame that was tried may go at another time, or in more than one record.
[[nodiscard]] constexpr bool MayGoLater(SendResult tried) noexcept {
  return tried == SendResult::kFull || tried == SendResult::kBusy || tried == SendResult::kTooLarge;
}
// Whether it may be kept until there is room. Otherwise it has gone, or its receiver has.
[[nodiscard]] constexpr bool FoundNoRoom(SendResult tried) noexcept {
  return tried == SendResult::kFull || tried == SendResult::kBusy || tried == SendResult::kNoRoom;
}

// A frame that a thread of the outbox sends. Deletes itself when it has been sent, or never will
// be.
class QueuedFrame : public boost::intrusive::slist_base_hook<>, private PollTask {
 public:
  QueuedFrame(PeerId to, MessageType type, std::string bytes)
      : to_(to), type_(type), bytes_(std::move(bytes)) {}
  ~QueuedFrame() override = default;

  [[nodiscard]] PeerId to() const noexcept { return to_; }
  [[nodiscard]] const MessageType& type() const noexcept { return type_; }

 protected:
  // Whether somebody wants it still: if not it is not sent, or not to its end. On any thread.
  [[nodiscard]] virtual bool IsWanted() const noexcept = 0;
  // How it went, by the thread that polls. kStopped: it was given up.
  virtual void OnSent(SendResult result) = 0;
  // For OnSent(): to be sent another time.
  [[nodiscard]] std::string TakeBytes() noexcept { return std::move(bytes_); }

 private:
  friend class Outbox;
  void Run() final {
    const std::unique_ptr<QueuedFrame> self(this);
    OnSent(result_);
  }

  const PeerId to_;
  const MessageType type_;
  std::string bytes_;
  SendResult result_ = SendResult::kStopped;
};

// A frame that is nothing but its header, and so is kept as what it says.
struct Note {
  CallFrameKind kind;  // kCancel; a credit; kEnd: the call's end found no space, see Outbox::Keep()
  std::uint64_t call;
  std::uint64_t argument = 0;
};

// Thread-safe. What is kept for a life of a peer goes with that life: a durable peer's ring takes
// messages after its death, but these are for that life.
class Outbox {
 public:
  Outbox(Node& node, Polling& polling);
  ~Outbox();
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  // ---- For threads that may wait ----

  // Sends `head` and, behind it, `message`, if there is one; both together were found not to go at
  // once. Waits for room, and for other large messages to the same peer, while the call is wanted;
  // then kStopped or kTimedOut.
  SendResult SendWithPatience(PeerId to, const MessageType& type, std::span<const std::byte> head,
                              const Outgoing& message, const CallLife& life);
  // The same for what probably need not wait.
  SendResult SendPatiently(PeerId to, const MessageType& type, std::span<const std::byte> head,
                           const Outgoing& message, const CallLife& life);

  // ---- For whoever does not ask how it went ----

  // Sends the frame that ends a call when there is room for it. Where there is no space to keep it
  // the call ends with RESOURCE_EXHAUSTED, behind those that are kept.
  void Keep(PeerId to, const MessageType& type, std::uint64_t call, std::string bytes);
  // The same for one that is larger than a record. REQUIRES: HasRoom(to)
  void QueueEnd(PeerId to, const MessageType& type, std::uint64_t call, std::string bytes);
  // Sends a note, now or when there is room for it. Notes may overtake each other.
  void SendNote(PeerId to, const Note& note);

  // ---- By a thread of the outbox ----

  // Whether another frame to the peer may be queued. Otherwise try later.
  [[nodiscard]] bool HasRoom(PeerId to);
  // Has it sent behind those that were queued before. Whatever is sent otherwise may overtake it.
  void Queue(QueuedFrame& frame);
  // Gives queued frames that peers take in this second time for it, and gives up the others.
  // Returns when all are posted to the thread that polls. REQUIRES: nobody polls or sends meanwhile.
  void Stop();

 private:
  class Box;
  class QueuedEnd;

  [[nodiscard]] Box& BoxOf(PeerId to);
  [[nodiscard]] Pool& pool();
  // `for_others`: how long it may wait for the messages of other threads.
  [[nodiscard]] SendResult TrySend(PeerId to, const Note& note,
                                   std::chrono::nanoseconds for_others);
  [[nodiscard]] bool IsGivenUp(const QueuedFrame& frame) const noexcept;

  Node& node_;
  Polling& polling_;
  std::atomic<bool> stopped_{false};
  Clock::time_point last_moment_;  // behind it all is given up; written before stopped_
  std::mutex mutex_;
  std::vector<std::unique_ptr<Box>> boxes_;  // guarded by mutex_; by slot, made when one is needed
  std::unique_ptr<Pool> pool_;               // made under mutex_, with the first queued frame
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_OUTBOX_H_
