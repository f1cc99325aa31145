// The messages of one call's streams, as either side has them: a queue of those received, and how
// far this side may send. Each side lets the other send a window ahead of what it has read, so that
// a slow reader neither blocks other calls nor grows memory.
#ifndef IVMQ_RPC_MESSAGE_STREAM_H_
#define IVMQ_RPC_MESSAGE_STREAM_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ivmq/internal/payload.h"
#include "ivmq/internal/spin_lock.h"
#include "ivmq/node.h"

#include "src/byte_queue.h"
#include "src/call_frame.h"
#include "src/call_life.h"
#include "src/call_state.h"
#include "src/outbox.h"
#include "src/polling.h"

namespace ivmq::rpc::internal {

// What a stream may have under way, in bytes; a message counts with kMessageCost beside its own.
// The last one may go beyond it.
inline constexpr std::uint64_t kWindow = std::uint64_t{256} << 10;
inline constexpr std::uint64_t kMessageCost = 16;

// The frames that a side sends.
struct StreamKinds {
  CallFrameKind message;
  CallFrameKind credit;
};
inline constexpr StreamKinds kClientKinds{CallFrameKind::kClientMessage,
                                          CallFrameKind::kClientCredit};
inline constexpr StreamKinds kServerKinds{CallFrameKind::kServerMessage,
                                          CallFrameKind::kServerCredit};

// Read and Write each for one thread at a time; everything else thread-safe.
class MessageStream {
 public:
  // Of the call that `to` and `id` say once it has begun.
  MessageStream(Node& node, Polling& polling, Outbox& outbox, const StreamKinds& kinds,
                const PeerId& to, const std::uint64_t& id)
      : node_(node), polling_(polling), outbox_(outbox), kinds_(kinds), to_(to), id_(id) {}

  // ---- For the application's threads ----

  // All of them wait while the call is wanted.

  // Waits for a message. kEnd: there will be none. After any outcome but kMessage there is none
  // any more.
  enum class [[nodiscard]] Outcome : std::uint8_t{kMessage, kEnd, kUnwanted, kNotParsed};
  Outcome Read(const Incoming& message, const CallLife& life);
  // Waits until the other side wants it. kStopped, kTimedOut: it does not any more, or the call is
  // not wanted.
  SendResult Write(Outgoing message, std::string_view metadata, const CallLife& life);
  // Nobody reads any more: what comes is dropped.
  void Discard();
  // Sends a frame without a message, behind those sent.
  SendResult SendFrame(CallFrameKind kind, std::string_view metadata, const CallLife& life);

  // ---- The same without waiting ----

  enum class [[nodiscard]] Attempt : std::uint8_t{
      kDone,
      kEnd,        // the stream has ended
      kNotParsed,  // a message was there, and no such message
      kNotYet,     // no message, or no credit: OnMessage() or OnCredit() tells
      kFull,       // the ring is, or somebody has it: try again later
      kLarge,      // it does not fit one record; nothing was sent
  };
  Attempt TryRead(const Incoming& message) { return Take(message, nullptr); }
  // kEnd: `*result` says why. REQUIRES: the message was measured.
  Attempt TryWrite(const Outgoing& message, std::string_view metadata, SendResult* result);
  // kDone, kFull, or kLarge if there is metadata.
  Attempt TrySendFrame(CallFrameKind kind, std::string_view metadata);

  // What was kLarge, as the bytes of one frame of TypeOf(): nothing if the node does not send that
  // much. A message, which was measured, counts as written.
  [[nodiscard]] std::optional<std::string> LargeFrameOf(const Outgoing& message,
                                                        std::string_view metadata);
  [[nodiscard]] MessageType TypeOf(CallFrameKind kind) const noexcept {
    return {.kind = ToFrameKind(kind), .type = static_cast<std::uint32_t>(id_)};
  }
  [[nodiscard]] PeerId to() const noexcept { return to_; }
  [[nodiscard]] const StreamKinds& kinds() const noexcept { return kinds_; }
  // Whether the calling thread polls: it must not wait.
  [[nodiscard]] bool IsInPoll() const noexcept { return polling_.InPoll(); }
  // Nothing is sent any more.
  [[nodiscard]] bool HasEnded() const noexcept {
    return state_.Get() == MessageStreamState::kEnded;
  }

  // ---- For the thread that polls ----

  // False: the other side sends more than it may.
  [[nodiscard]] bool OnMessage(std::string_view message);
  void OnCredit(std::uint64_t total);
  // The other side sends no more.
  void OnLast();
  // The call has ended: nothing is sent any more; what was received can be read.
  void OnEnd();

 private:
  // Whether more messages may come. REQUIRES: lock_ is held.
  [[nodiscard]] bool MayCome() const noexcept {
    return state_.Get() <= MessageStreamState::kDiscards;
  }
  // Whether the other side wants a message more. It may also have ended.
  [[nodiscard]] bool MayWrite() const noexcept {
    return sent_ < may_send_.load(std::memory_order_relaxed);
  }
  // Drops what was received and what comes. Returns whether more may come.
  bool DropReceived();
  // Takes a message if there is one, and lets the other side send more when it must hear of it.
  // `waiter`: who waits for the next one, if there is none.
  Attempt Take(const Incoming& message, PollWaiter* waiter);
  [[nodiscard]] CallHeader HeaderOf(std::string_view metadata) const;
  // The header's bytes, or those of `*longer`, where the metadata stands behind them.
  [[nodiscard]] static std::span<const std::byte> Head(const CallHeader& header,
                                                       std::string_view metadata,
                                                       std::string* longer);

  Node& node_;
  Polling& polling_;
  Outbox& outbox_;
  const StreamKinds& kinds_;
  const PeerId& to_;
  const std::uint64_t& id_;

  SpinLock lock_;
  ByteQueue received_;                                              // guarded by lock_
  CallState<MessageStreamState> state_{MessageStreamState::kOpen};  // written under lock_
  PollWaiter* reader_ = nullptr;                                    // guarded by lock_
  PollWaiter* writer_ = nullptr;                                    // guarded by lock_
  std::atomic<std::uint64_t> may_send_{kWindow};                    // written under lock_
  ByteQueue reading_;                // the reader's; received before the others
  std::uint64_t sent_ = 0;           // the writer's
  std::uint64_t consumed_ = 0;       // the reader's
  std::uint64_t granted_ = kWindow;  // the reader's
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_MESSAGE_STREAM_H_
