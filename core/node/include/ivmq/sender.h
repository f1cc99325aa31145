// Sending: senders, the results and the waits of sends, several messages at once.
//
//   auto sender = node->OpenSender("vm1");
//   sender->Send(bytes);                        // text, a trivially copyable struct, and with
//   sender->Send(temperature);                  // ivmq/proto.h any protobuf message
//
#ifndef IVMQ_SENDER_H_
#define IVMQ_SENDER_H_

#include "ivmq/export.h"

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "ivmq/message.h"
#include "ivmq/peer.h"
#include "ivmq/status.h"

namespace ivmq {

enum class [[nodiscard]] SendResult : std::uint8_t{
    kOk,
    kFull,      // WhenFull::kFail: too little room in the ring now
    kTimedOut,  // not sent before the deadline; the receiver drops what was begun
    kStopped,   // SendOptions::stop said so; the receiver drops what was begun
    kDropped,   // WhenFull::kDrop: too little room; counted in Counter::kDropped
    kTooLarge,  // more than max_message_bytes, or a claim larger than a record
    kPeerGone,  // that incarnation has ended, or this node's own life; Explain() says which
    kBusy,      // this thread has a Batch or a Loan to that peer, or an exclusive sender has it
    kNoRoom,    // the arena has no room for a ring; Explain() has the numbers
};
IVMQ_EXPORT std::string_view SendResultName(SendResult result);

// What a send does when the ring has too little room. A message larger than a record is refused or
// dropped only before its first fragment; once begun, it waits for room, whatever was chosen, for
// SendOptions::timeout at most. With a timeout of 0, kFail and kDrop never wait: such a message is
// sent only if the ring has room for all of it.
enum class WhenFull : std::uint8_t { kFail, kWait, kDrop };

// Tells a wait that it is no longer wanted: a deadline of the caller has passed, a call was
// cancelled. Called by the thread that waits, with no lock of the library held: whenever it wakes
// (Node::Wake() wakes it), and twenty times a second.
class IVMQ_EXPORT StopCondition {
 public:
  virtual ~StopCondition() = default;
  // Must not block.
  [[nodiscard]] virtual bool IsStopped() const noexcept = 0;
};

struct SendOptions {
  WhenFull when_full = WhenFull::kFail;
  // The longest wait: for room with kWait, for the rest of a message larger than a record, and,
  // whatever was chosen, until a Batch, a Loan or a SendInPlace() of another thread to that peer
  // ends.
  std::chrono::nanoseconds timeout = std::chrono::seconds(1);
  // Ends a wait earlier, and a message larger than a record between two fragments. Not called while
  // there is nothing to wait for. Must outlive the call.
  const StopCondition* stop = nullptr;
};

class Node;
class RingWriter;

// Several messages to one peer, published together: one store, one fence, at most one doorbell.
//
// The batch owns the ring until it is destroyed. Other sends to that peer return kBusy on the
// thread that started the batch; on other threads they wait, but no longer than their timeout.
// Sends to other peers are not affected. While the batch lives, damage to the ring is not repaired
// and its memory not freed, so keep it short. Thread-compatible; must not outlive its node.
class IVMQ_EXPORT Batch {
 public:
  ~Batch();
  Batch(Batch&&) noexcept;
  Batch& operator=(Batch&&) = delete;

  // Claims room for a message of `bytes` bytes that fits one record. On kOk, write all of
  // `*payload` before Commit(). kFull, kTooLarge, kPeerGone and kNoRoom leave earlier claims
  // untouched; after kFull, commit them and claim again. If StartBatch() could not get the ring,
  // this returns why: kBusy, kTimedOut, kStopped.
  SendResult TryClaim(const MessageType& type, std::uint64_t bytes, std::span<std::byte>* payload);

  // Publishes what was claimed. Messages that are not committed when the batch ends, or when an
  // exception ends it, are dropped. If it is not kOk, nothing was published. kPeerGone: this node's
  // life is over; kFull: the receiver has given the ring up in the meantime, so claim again.
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

// ---- What can be sent ----

// How values of type T become messages. A Sender sends every type that has an Encoder: text,
// contiguous ranges of trivially copyable values, trivially copyable values (their bytes, padding
// included), and, with ivmq/proto.h, protobuf messages. Specialize it for your own types:
//
//   template <>
//   struct ivmq::Encoder<Reading> {
//     static MessageType Type(const Reading& reading);    // what is sent before the bytes
//     static std::uint64_t Size(const Reading& reading);  // of them; asked once, before Write()
//     static void Write(const Reading& reading, std::span<std::byte> to);  // all of them
//   };
//
// or, if the bytes are in memory already, with `static std::span<const std::byte> Bytes(const T&)`
// instead of Size() and Write(). Write() runs like a writer of SendInPlace(), and may throw.
template <typename T>
struct Encoder;

template <typename T>
requires std::convertible_to<const T&, std::string_view>
struct Encoder<T> {
  static MessageType Type(const T& /*text*/) noexcept { return {}; }
  static std::span<const std::byte> Bytes(const T& text) noexcept {
    return std::as_bytes(std::span(std::string_view(text)));
  }
};

template <typename T>
requires(!std::convertible_to<const T&, std::string_view> &&
         std::ranges::contiguous_range<const T> && std::ranges::sized_range<const T> &&
         std::is_trivially_copyable_v<std::ranges::range_value_t<const T>>) struct Encoder<T> {
  static MessageType Type(const T& /*range*/) noexcept { return {}; }
  static std::span<const std::byte> Bytes(const T& range) noexcept {
    return std::as_bytes(std::span(std::ranges::data(range), std::ranges::size(range)));
  }
};

template <typename T>
requires(!std::convertible_to<const T&, std::string_view> && !std::ranges::range<const T> &&
         std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> &&
         !std::is_null_pointer_v<T>) struct Encoder<T> {
  static MessageType Type(const T& /*value*/) noexcept { return {}; }
  static std::span<const std::byte> Bytes(const T& value) noexcept {
    return std::as_bytes(std::span(&value, 1));
  }
};

// ---- Senders ----

struct SenderOptions {
  // The sender owns its pair as long as it exists: its sends take no lock, and one thread at a time
  // may use it. All other sends of this node to that peer return kBusy, including those of calls.
  bool exclusive = false;
  // As in SendOptions, for sends without options of their own.
  WhenFull when_full = WhenFull::kFail;
  std::chrono::nanoseconds timeout = std::chrono::seconds(1);
  const StopCondition* stop = nullptr;
};

class Block;
class SenderCore;

// A message that the caller writes in place: directly in the ring if it fits one record, otherwise
// in the heap of its node, from where the receiver takes it without any copy in between. If that
// has no room, it lies in a buffer that its sender keeps for the next one, and goes in fragments. A
// message that is not published is not sent.
//
//   auto loan = sender->Loan(bytes);
//   if (loan.result() != ivmq::SendResult::kOk) return ...;
//   Fill(loan->payload());
//   loan->Publish();
//
// A loan in the ring owns the ring for its thread, like a Batch: keep it short. Thread-compatible;
// must not outlive its sender.
class IVMQ_EXPORT Loan {
 public:
  ~Loan();
  Loan(Loan&& other) noexcept;
  Loan& operator=(Loan&&) = delete;
  Loan* operator->() noexcept { return this; }

  // kOk, or why there is no payload; as for Sender::Send.
  [[nodiscard]] SendResult result() const noexcept { return result_; }
  // As many bytes as were requested. Write all of them, and nothing once it is published.
  [[nodiscard]] std::span<std::byte> payload() const noexcept { return payload_; }
  // Sends the message, once. A message that is not in the ring waits for room, as the sender's
  // options say. For one in the ring, kPeerGone means that this node's life is over. Without a
  // payload it returns result().
  SendResult Publish();

 private:
  friend class SenderCore;
  Loan(SenderCore& core, const MessageType& type, const SendOptions& options) noexcept
      : core_(&core), type_(type), options_(options) {}
  void End() noexcept;

  SenderCore* core_;  // nullptr: it is published, or was moved from
  MessageType type_;
  SendOptions options_;
  SendResult result_ = SendResult::kOk;
  RingWriter* writer_ = nullptr;  // whose ring it lies in
  std::span<std::byte> payload_;
  std::shared_ptr<Block> block_;         // or in the heap
  std::unique_ptr<std::byte[]> buffer_;  // or else
  std::uint64_t buffer_bytes_ = 0;
};

// Sends to the peer that has a name, through all of its lives: when a life has ended, the next send
// looks the name up again. A message goes to one life, once; it is not sent again to the next life.
// The peer need not exist yet.
//
// Thread-safe; an exclusive sender is thread-compatible. Must not outlive its node.
class IVMQ_EXPORT Sender {
 public:
  ~Sender();
  Sender(Sender&&) noexcept;
  Sender& operator=(Sender&&) noexcept;

  [[nodiscard]] const std::string& name() const noexcept;
  // The life that the last send found; {0, 0} if no peer had the name.
  [[nodiscard]] PeerId peer() const noexcept;

  // Sends a value of any size up to max_message_bytes; see Encoder. `options` replace those of the
  // sender for this call. kPeerGone: no peer has the name now, or this node's own life is over;
  // kBusy: this thread has a Batch or a Loan of that pair, or another exclusive sender owns it. The
  // other results are those of Node::Send.
  template <typename T = std::span<const std::byte>>
  SendResult Send(const T& value) {
    return SendValue(value, nullptr);
  }
  template <typename T = std::span<const std::byte>>
  SendResult Send(const T& value, const SendOptions& options) {
    return SendValue(value, &options);
  }
  // Sends bytes with a type that the caller chooses.
  SendResult SendTyped(const MessageType& type, std::span<const std::byte> bytes);
  SendResult SendTyped(const MessageType& type, std::span<const std::byte> bytes,
                       const SendOptions& options);

  // Returns room for a message of `bytes` bytes, which the caller writes. `type.name` must live
  // until the message is published.
  [[nodiscard]] ::ivmq::Loan Loan(std::uint64_t bytes, const MessageType& type = {});
  [[nodiscard]] ::ivmq::Loan Loan(std::uint64_t bytes, const MessageType& type,
                                  const SendOptions& options);

  // Waits until a live peer has the name. Results: those of Node::Await.
  Status AwaitPeer(std::chrono::nanoseconds timeout, const StopCondition* stop = nullptr) const;
  // Explains a result of this sender as a Status with a message; OK for kOk.
  [[nodiscard]] Status Explain(SendResult result) const;

 private:
  friend class Node;
  using WriteFunction = void (*)(const void* value, std::span<std::byte> to);

  explicit Sender(std::unique_ptr<SenderCore> core) noexcept;
  template <typename T>
  SendResult SendValue(const T& value, const SendOptions* options) {
    using Encoding = Encoder<T>;
    if constexpr (requires { Encoding::Bytes(value); }) {
      return SendBytes(Encoding::Type(value), Encoding::Bytes(value), options);
    } else {
      return SendWritten(
          Encoding::Type(value), Encoding::Size(value),
          [](const void* v, std::span<std::byte> to) {
            Encoding::Write(*static_cast<const T*>(v), to);
          },
          std::addressof(value), options);
    }
  }
  SendResult SendBytes(const MessageType& type, std::span<const std::byte> bytes,
                       const SendOptions* options);
  SendResult SendWritten(const MessageType& type, std::uint64_t bytes, WriteFunction write,
                         const void* value, const SendOptions* options);

  std::unique_ptr<SenderCore> core_;
};

}  // namespace ivmq

#endif  // IVMQ_SENDER_H_
