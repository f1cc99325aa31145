// The way of a topic's messages to one subscription: up to where they were sent, and how many are
// on their way.
#ifndef IVMQ_TOPIC_FLOW_H_
#define IVMQ_TOPIC_FLOW_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "ivmq/internal/topic_name.h"
#include "ivmq/message.h"
#include "ivmq/peer.h"
#include "ivmq/sender.h"
#include "ivmq/topic.h"

#include "src/heap.h"
#include "src/node_context.h"
#include "src/ring_writer.h"
#include "src/topic_window.h"
#include "src/wait_strategy.h"

namespace ivmq {

// A subscription of some peer's.
struct Subscriber {
  PeerId peer;
  PeerTopic topic;  // what the peer's slot says
};

// A message that is to be sent.
struct Outgoing {
  MessageType type;
  std::span<const std::byte> bytes;
  std::shared_ptr<Block> block;  // where these lie, if they do in the heap
};

// Thread-compatible: guarded by its topic's lock.
class TopicFlow {
 public:
  // The most bytes that stand before a message: its frame, and what that has of a topic.
  static constexpr std::size_t kMostHead = sizeof(layout::Frame) + sizeof(layout::TopicHeader) +
                                           PaddedTopicName(kMaxTopicName) + kMaxTopicTypeName;
  static_assert(kMostHead <= sizeof(layout::Frame) + kMaxTypeName);

  // `next`: the first message to send; those before `live_from` are history.
  TopicFlow(NodeContext& context, RingWriter& writer, const Subscriber& subscriber,
            const PeerTopic& topic, std::uint64_t next, std::uint64_t live_from);
  ~TopicFlow() { EndLag(); }
  TopicFlow(const TopicFlow&) = delete;
  TopicFlow& operator=(const TopicFlow&) = delete;

  [[nodiscard]] bool IsOf(const Subscriber& subscriber) const noexcept {
    return to_ == subscriber.peer && subscription_ == subscriber.topic.id;
  }
  [[nodiscard]] PeerId to() const noexcept { return to_; }
  [[nodiscard]] std::uint32_t subscription() const noexcept { return subscription_; }
  [[nodiscard]] WhenSlow when_slow() const noexcept { return when_slow_; }
  [[nodiscard]] RingWriter& writer() const noexcept { return writer_; }
  // The sequence number of the message to send next.
  [[nodiscard]] std::uint64_t next() const noexcept { return next_; }

  // Sends the message number next(), if there is room for it in the window and in the ring now.
  // kFull: there is none; kTooLarge: it needs a block, or has to go in fragments; kPeerGone: that
  // life of the peer has ended.
  SendResult TrySend(const Outgoing& message);
  // The same in fragments, which wait for room up to `timeout`, in three steps: between the first
  // and the last one the lock is not held, and nothing else is sent. BeginFragments() returns the
  // type for SendFragments(), with its name in `to`, of kMostHead bytes.
  [[nodiscard]] MessageType BeginFragments(const MessageType& type, std::byte* to) noexcept;
  static SendResult SendFragments(RingWriter& writer, PeerId to, const MessageType& type,
                                  std::span<const std::byte> bytes,
                                  std::chrono::nanoseconds timeout);
  void EndFragments(std::uint64_t sequence, SendResult result) noexcept;

  // Leaves out all before `sequence`. Returns how many these are.
  std::uint64_t SkipTo(std::uint64_t sequence) noexcept;
  // Leaves out what the subscriber, which has no room now, does not want; `end` - 1 is the newest
  // message. Returns how many these are.
  std::uint64_t Settle(std::uint64_t end) noexcept;

  // While messages wait to be sent. BeginLag() asks the consumer to ring when it has handled some;
  // so does Rearm(), again, before a look that precedes a sleep. It returns whether the consumer
  // will ring.
  [[nodiscard]] bool is_lagging() const noexcept { return is_lagging_; }
  void BeginLag();
  bool Rearm();
  void EndLag() noexcept;

 private:
  // What stands before each message of the topic, without the message's type name.
  struct Head {
    layout::Frame frame;
    layout::TopicHeader topic;
    std::array<std::uint64_t, PaddedTopicName(kMaxTopicName) / 8> name{};
  };
  [[nodiscard]] std::size_t HeadBytesOf(const MessageType& type) const noexcept {
    return fixed_bytes_ + type.name.size();
  }
  // Writes HeadBytesOf(type) bytes, for the message number next().
  void WriteTopicHead(const MessageType& type, std::byte* to) const noexcept;
  // Sends it, in a record or by a record that refers to its block. REQUIRES: as of LookAtWindow();
  // the block is prepared. The record ends at `*position`, if it refers to one.
  SendResult TrySendRecord(const Outgoing& message, RingPosition* position);
  // kOk: one more may be sent. REQUIRES: the ring's lock is held, and the ring is nobody's.
  SendResult LookAtWindow();
  // The message was sent: it ends with the ring's last record, or before it.
  void NoteSent(std::uint64_t sequence) noexcept;
  // Follows the writer to another ring.
  void FollowRing() noexcept;

  NodeContext& context_;
  RingWriter& writer_;
  const PeerId to_;
  const std::uint32_t subscription_;
  const WhenSlow when_slow_;
  const std::uint32_t depth_;
  const std::uint64_t live_from_;
  Head head_;
  std::size_t fixed_bytes_;  // of that
  std::uint64_t next_;
  TopicWindow window_;
  std::uint64_t cell_word_ = 0;  // of the ring that the window is of
  bool in_fragments_ = false;
  bool is_lagging_ = false;
};

}  // namespace ivmq

#endif  // IVMQ_TOPIC_FLOW_H_
