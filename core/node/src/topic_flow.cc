#include "src/topic_flow.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <new>

#include "ivmq/internal/copy.h"

#include "src/frame.h"
#include "src/send_call.h"

namespace ivmq {
namespace {

// Over at once.
constexpr WaitLimits kNow{.deadline = std::chrono::steady_clock::time_point()};

bool Prepare(Block& block) noexcept {
  try {
    block.PrepareToRefer();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

TopicFlow::TopicFlow(NodeContext& context, RingWriter& writer, const Subscriber& subscriber,
                     const PeerTopic& topic, std::uint64_t next, std::uint64_t live_from)
    : context_(context),
      writer_(writer),
      to_(subscriber.peer),
      subscription_(subscriber.topic.id),
      when_slow_(subscriber.topic.when_slow),
      depth_(subscriber.topic.depth),
      live_from_(live_from),
      head_{.frame = {.kind = layout::FrameKind::kTopic, .type = topic.id},
            .topic = {.subscription = subscription_,
                      .incarnation = to_.incarnation,
                      .topic_bytes = static_cast<std::uint8_t>(topic.name.size())}},
      fixed_bytes_(offsetof(Head, name) + PaddedTopicName(topic.name.size())),
      next_(next),
      window_(subscriber.topic.depth) {
  std::memcpy(head_.name.data(), topic.name.data(), topic.name.size());
}

// ---- Sending ----

void TopicFlow::WriteTopicHead(const MessageType& type, std::byte* to) const noexcept {
  layout::Frame frame = head_.frame;
  frame.name_bytes = static_cast<std::uint16_t>(HeadBytesOf(type) - sizeof(frame));
  layout::TopicHeader topic = head_.topic;
  topic.sequence = next_;
  topic.type = type.type;
  topic.kind = type.kind;
  topic.flags = next_ < live_from_ ? layout::kTopicHistory : std::uint8_t{0};
  std::memcpy(to, &frame, sizeof(frame));
  std::memcpy(to + offsetof(Head, topic), &topic, sizeof(topic));
  for (std::size_t at = offsetof(Head, name), i = 0; at < fixed_bytes_; at += 8, ++i) {
    std::memcpy(to + at, &head_.name[i], 8);
  }
  if (!type.name.empty()) std::memcpy(to + fixed_bytes_, type.name.data(), type.name.size());
}

void TopicFlow::FollowRing() noexcept {
  if (writer_.cell_word() == cell_word_) [[likely]]
    return;
  window_.Clear();
  cell_word_ = writer_.cell_word();
}

void TopicFlow::NoteSent(std::uint64_t sequence) noexcept {
  FollowRing();
  window_.Sent(writer_.producer().position());
  next_ = std::max(next_, sequence + 1);
}

SendResult TopicFlow::LookAtWindow() {
  if (const SendResult result = writer_.EnsureOpen(to_); result != SendResult::kOk) return result;
  FollowRing();
  const Producer& producer = writer_.producer();
  const std::uint64_t handled = producer.acknowledged();
  if (handled <= producer.position()) window_.Handled(handled);
  return window_.is_full() ? SendResult::kFull : SendResult::kOk;
}

SendResult TopicFlow::TrySend(const Outgoing& message) {
  if (in_fragments_ || !window_.Reserve()) [[unlikely]]
    return SendResult::kFull;
  if (message.block != nullptr && !Prepare(*message.block)) return SendResult::kFull;
  RingPosition position;
  SendResult result = writer_.Lock(kNow, nullptr);
  if (result == SendResult::kOk) [[likely]] {
    const std::lock_guard lock(writer_.ring_lock(), std::adopt_lock);
    if (window_.is_full()) result = LookAtWindow();
    if (result == SendResult::kOk) [[likely]]
      result = TrySendRecord(message, &position);
  }
  switch (result) {
    case SendResult::kOk:
      if (message.block != nullptr) message.block->Refer(position);
      return result;
    case SendResult::kPeerGone:
    case SendResult::kTooLarge:
      return result;
    default:
      return SendResult::kFull;
  }
}

SendResult TopicFlow::TrySendRecord(const Outgoing& message, RingPosition* position) {
  const std::size_t head = HeadBytesOf(message.type);
  SendResult result = SendResult::kOk;
  if (message.block == nullptr) {
    std::span<std::byte> record;
    result = writer_.ClaimRecord(to_, head + message.bytes.size(), &record, Hold::kLocked);
    if (result == SendResult::kOk) [[likely]] {
      CopyMessage(record.data() + head, message.bytes.data(), message.bytes.size());
      WriteTopicHead(message.type, record.data());  // last, for the reason of CopyMessage()
      writer_.Publish(1, message.bytes.size());
    }
  } else {
    std::array<std::byte, kMostHead> names;
    WriteTopicHead(message.type, names.data());
    result = writer_.TrySendBlock(to_, std::span(names).first(head), message.block->descriptor(),
                                  Hold::kLocked, position);
  }
  if (result == SendResult::kOk) [[likely]]
    NoteSent(next_);
  return result;
}

MessageType TopicFlow::BeginFragments(const MessageType& type, std::byte* to) noexcept {
  in_fragments_ = true;
  WriteTopicHead(type, to);
  const auto* const name = reinterpret_cast<const char*>(to + sizeof(layout::Frame));
  return {.kind = head_.frame.kind,
          .type = head_.frame.type,
          .name = {name, HeadBytesOf(type) - sizeof(layout::Frame)}};
}

SendResult TopicFlow::SendFragments(RingWriter& writer, PeerId to, const MessageType& type,
                                    std::span<const std::byte> bytes,
                                    std::chrono::nanoseconds timeout) {
  const SendOptions options{
      .when_full = timeout > std::chrono::nanoseconds(0) ? WhenFull::kWait : WhenFull::kFail,
      .timeout = timeout};
  return SendCall(writer, to, options, nullptr).Send(type, bytes, SendResult::kTooLarge);
}

void TopicFlow::EndFragments(std::uint64_t sequence, SendResult result) noexcept {
  in_fragments_ = false;
  const std::lock_guard lock(writer_.ring_lock());
  if (result == SendResult::kOk) return NoteSent(sequence);
  // The subscriber does not read its ring: nothing else is begun before it does.
  FollowRing();
  window_.Block(writer_.producer().position());
  next_ = std::max(next_, sequence + 1);
}

// ---- Who lags ----

std::uint64_t TopicFlow::SkipTo(std::uint64_t sequence) noexcept {
  const std::uint64_t skipped = sequence > next_ ? sequence - next_ : 0;
  next_ += skipped;
  return skipped;
}

std::uint64_t TopicFlow::Settle(std::uint64_t end) noexcept {
  switch (when_slow_) {
    case WhenSlow::kDropOldest:
      return end - next_ > depth_ ? SkipTo(end - depth_) : 0;
    case WhenSlow::kDropNewest:
      return SkipTo(end);
    case WhenSlow::kWait:
      break;
  }
  return 0;
}

void TopicFlow::BeginLag() {
  if (is_lagging_) return;
  is_lagging_ = true;
  context_.AddLagging(1);
  {
    const std::lock_guard lock(writer_.ring_lock());
    writer_.BeginWait();
  }
  (void)Rearm();
}

bool TopicFlow::Rearm() {
  const std::lock_guard lock(writer_.ring_lock());
  if (!writer_.ring_lock().IsFreeFor(nullptr)) return false;
  writer_.Arm(to_);
  return writer_.RingsForRoom();
}

void TopicFlow::EndLag() noexcept {
  if (!is_lagging_ || context_.is_forked_copy()) return;
  is_lagging_ = false;
  context_.AddLagging(-1);
  const std::lock_guard lock(writer_.ring_lock());
  writer_.EndWait();
}

}  // namespace ivmq
