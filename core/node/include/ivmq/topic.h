// Topics: one publisher's messages go to every peer that has subscribed to their topic.
//
//   auto topic = node->Advertise("camera/front", {.history = 1});
//   topic->Publish(frame);
//
//   auto subscription = node->Subscribe("camera/*", [](const ivmq::TopicMessage& m) { ... });
//   node->Run(stop_token);
//
// A topic's name is one or more levels with '/' between them: 1..63 bytes of UTF-8 without blanks,
// control characters and '*'. In a subscription's pattern a level may be "*", which stands for any
// one level, and the last one "**", which stands for any number of further levels, also none.
//
// Several peers may publish one topic; a subscriber gets the messages of all of them, those of each
// in the order in which they were published. A peer may subscribe to its own topics. Nobody needs
// to be there first. Each subscription gets its messages in the ring from the publisher to its
// peer, so a slow subscriber delays no other one, and costs the publisher a bounded amount of
// memory: see WhenSlow. docs/topics.md has the details.
#ifndef IVMQ_TOPIC_H_
#define IVMQ_TOPIC_H_

#include "ivmq/export.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ivmq/message.h"
#include "ivmq/peer.h"
#include "ivmq/sender.h"
#include "ivmq/status.h"

namespace ivmq {

// ---- Publishing ----

struct TopicOptions {
  // A new subscriber first gets the last so many messages, if it wants them. 0..kMaxTopicDepth.
  std::uint32_t history = 0;
  // The longest time that Publish() waits for subscribers with WhenSlow::kWait, all together.
  std::chrono::nanoseconds timeout = std::chrono::seconds(1);
  // Memory for the history, and for what subscribers with WhenSlow::kDropOldest have yet to get.
  // Beyond it the oldest messages are dropped, but never the last one.
  std::uint64_t kept_bytes = std::uint64_t{64} << 20;
};

class Block;
class TopicCore;

// A message that the caller writes in place: a large one in the heap of its node, from where each
// subscriber takes it without any copy in between; any other in a buffer. A message that is not
// published is not sent. Thread-compatible; must not outlive its topic.
class IVMQ_EXPORT TopicLoan {
 public:
  ~TopicLoan();
  TopicLoan(TopicLoan&&) noexcept;
  TopicLoan& operator=(TopicLoan&&) = delete;
  TopicLoan* operator->() noexcept { return this; }

  // kOk, or why there is no payload: kTooLarge.
  [[nodiscard]] SendResult result() const noexcept { return result_; }
  // As many bytes as were requested. Write all of them, and nothing once it is published.
  [[nodiscard]] std::span<std::byte> payload() const noexcept { return payload_; }
  // Publishes the message, once; as Topic::Publish. Without a payload it returns result().
  SendResult Publish();

 private:
  friend class TopicCore;
  TopicLoan(TopicCore& core, const MessageType& type) noexcept : core_(&core), type_(type) {}
  void End() noexcept;

  TopicCore* core_;  // nullptr: it is published, or was moved from
  MessageType type_;
  SendResult result_ = SendResult::kTooLarge;
  std::span<std::byte> payload_;
  std::shared_ptr<Block> block_;         // where it lies in the heap
  std::unique_ptr<std::byte[]> buffer_;  // or else
  std::uint64_t buffer_bytes_ = 0;
};

// A topic of this node, from Node::Advertise() until it is destroyed. Then its history is gone, and
// so is what has yet to be sent to slow subscribers (see Flush); what was sent to them arrives.
//
// Thread-safe; must not outlive its node.
class IVMQ_EXPORT Topic {
 public:
  ~Topic();
  Topic(Topic&&) noexcept;
  Topic& operator=(Topic&&) noexcept;

  [[nodiscard]] const std::string& name() const noexcept;

  // Publishes a value of any size up to max_message_bytes; see Encoder. Results:
  //   kOk        it is published: each subscriber has it, will get it, or drops it as it chose
  //   kTimedOut  the same, but a subscriber with WhenSlow::kWait did not take it within the timeout
  //   kTooLarge  more than max_message_bytes, or a type name of more than kMaxTopicTypeName bytes;
  //              nothing is published
  //   kPeerGone  this node's life is over; nothing is published
  template <typename T = std::span<const std::byte>>
  SendResult Publish(const T& value) {
    using Encoding = Encoder<T>;
    if constexpr (requires { Encoding::Bytes(value); }) {
      return PublishTyped(Encoding::Type(value), Encoding::Bytes(value));
    } else {
      return PublishWritten(
          Encoding::Type(value), Encoding::Size(value),
          [](const void* v, std::span<std::byte> to) {
            Encoding::Write(*static_cast<const T*>(v), to);
          },
          std::addressof(value));
    }
  }
  // Publishes bytes with a type that the caller chooses.
  SendResult PublishTyped(const MessageType& type, std::span<const std::byte> bytes);
  // Returns room for a message of `bytes` bytes, which the caller writes. `type.name` must live
  // until the message is published.
  [[nodiscard]] TopicLoan Loan(std::uint64_t bytes, const MessageType& type = {});
  // Waits until everything that was published has been sent to each subscriber, or dropped as it
  // chose: before the topic or its node ends. kTimedOut: some has not, after `timeout`, and remains
  // to be sent; kPeerGone: this node's life is over.
  SendResult Flush(std::chrono::nanoseconds timeout);

  // How many subscriptions the topic has, as far as this node knows.
  [[nodiscard]] std::size_t subscribers() const;
  // How many messages were published.
  [[nodiscard]] std::uint64_t published() const noexcept;
  // How many were not sent to a subscriber that was too slow, over all subscribers.
  [[nodiscard]] std::uint64_t dropped() const noexcept;
  // Explains a result of this topic as a Status with a message; OK for kOk.
  [[nodiscard]] Status Explain(SendResult result) const;

 private:
  friend class Node;
  using WriteFunction = void (*)(const void* value, std::span<std::byte> to);

  explicit Topic(std::shared_ptr<TopicCore> core) noexcept;
  SendResult PublishWritten(const MessageType& type, std::uint64_t bytes, WriteFunction write,
                            const void* value);

  std::shared_ptr<TopicCore> core_;
};

// The longest type name of a message of a topic.
inline constexpr std::size_t kMaxTopicTypeName = 900;

// ---- Subscribing ----

struct SubscribeOptions {
  // What happens, at each publisher, while `depth` of a topic's messages are on their way: sent,
  // and not handled here. A message that is kept in its ring counts as not handled.
  WhenSlow when_slow = WhenSlow::kDropOldest;
  std::uint32_t depth = 8;  // 1..kMaxTopicDepth
  // How many earlier messages of each topic are wanted at first. The publisher's history and
  // `depth` limit it, too.
  std::uint32_t history = kMaxTopicDepth;
};

// What the handler of a subscription receives. References are valid until the handler returns.
struct TopicMessage {
  std::string_view topic;      // its name
  PeerId publisher;            // message.from
  std::uint64_t sequence = 0;  // counts the messages of this topic of this publisher, from 1
  // How many were published between this one and the one that this subscription got before, and
  // did not come. 0 for the first one.
  std::uint64_t missed = 0;
  bool is_history = false;  // published before the publisher knew of this subscription
  const Message& message;   // its Keep() works
};
using TopicHandler = std::function<void(const TopicMessage&)>;

class Subscriptions;
class SubscriptionCore;

// From Node::Subscribe() until it is destroyed. When the destructor has returned, the handler is
// not called any more and does not run: the destructor waits for it, unless the handler itself
// destroys the subscription. So do not hold a lock there which the handler takes.
//
// Thread-safe; must not outlive its node.
class IVMQ_EXPORT Subscription {
 public:
  ~Subscription();
  Subscription(Subscription&&) noexcept;
  Subscription& operator=(Subscription&&) noexcept;

  [[nodiscard]] const std::string& pattern() const noexcept;
  // How many messages its handler has handled; the sum of TopicMessage::missed of these.
  [[nodiscard]] std::uint64_t received() const noexcept;
  [[nodiscard]] std::uint64_t missed() const noexcept;

 private:
  friend class Node;
  Subscription(Subscriptions& subscriptions, SubscriptionCore& core) noexcept
      : subscriptions_(&subscriptions), core_(&core) {}
  void End() noexcept;

  Subscriptions* subscriptions_;  // nullptr: it was moved from
  SubscriptionCore* core_;
};

}  // namespace ivmq

#endif  // IVMQ_TOPIC_H_
