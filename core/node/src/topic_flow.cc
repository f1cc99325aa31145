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
      topic_id_(topic.id),
      topic_name_(topic.name),
      live_from_(live_from),
      next_(next),
      window_(subscriber.topic.depth) {}

// ---- Sending ----

MessageType TopicFlow::WriteTopicHead(const MessageType& type, char* to) const noexcept {
  const layout::TopicHeader header{
      .sequence = next_,
      .subscription = subscription_,
      .incarnation = to_.incarnation,
      .type = type.type,
      .kind = type.kind,
      .flags = next_ < live_from_ ? layout::kTopicHistory : std::uint8_t{0},
      .topic_bytes = static_cast<std::uint8_t>(topic_name_.size())};
  std::memcpy(to, &header, sizeof(header));
  char* at = to + sizeof(header);
  const std::size_t field = PaddedTopicName(topic_name_.size());
  std::memset(at + field - 8, 0, 8);
  std::memcpy(at, topic_name_.data(), topic_name_.size());
  at += field;
  if (!type.name.empty()) std::memcpy(at, type.name.data(), type.name.size());
  at += type.name.size();
  return {.kind = layout::FrameKind::kTopic,
          .type = topic_id_,
          .name = {to, static_cast<std::size_t>(at - to)}};
}

void TopicFlow::FollowRing() noexcept {
  if (writer_.cell_word() == cell_word_) [[likely]]
    return;
  window_.Clear();
  cell_word_ = writer_.cell_word();
}

void TopicFlow::NoteSent(std::uint64_t sequence) {
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
  if (in_fragments_) return SendResult::kFull;
  std::array<char, kMostHead> head;
  const MessageType type = WriteTopicHead(message.type, head.data());
  if (message.block != nullptr && !Prepare(*message.block)) return SendResult::kFull;
  RingPosition position;
  SendResult result = writer_.Lock(kNow, nullptr);
  if (result == SendResult::kOk) [[likely]] {
    const std::lock_guard lock(writer_.ring_lock(), std::adopt_lock);
    if (window_.is_full()) result = LookAtWindow();
    if (result == SendResult::kOk) result = TrySendRecord(type, message, &position);
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

SendResult TopicFlow::TrySendRecord(const MessageType& type, const Outgoing& message,
                                    RingPosition* position) {
  SendResult result = SendResult::kOk;
  if (message.block == nullptr) {
    std::span<std::byte> room;
    result = writer_.Claim(to_, type, message.bytes.size(), &room, Hold::kLocked);
    if (result == SendResult::kOk) [[likely]] {
      CopyMessage(room.data(), message.bytes.data(), message.bytes.size());
      WriteHead(type, room.data() - HeadBytes(type));  // last, for the reason of CopyMessage()
      writer_.Publish(1, message.bytes.size());
    }
  } else {
    std::array<std::byte, sizeof(layout::Frame) + kMostHead> head;
    WriteHead(type, head.data());
    result = writer_.TrySendBlock(to_, std::span(head).first(HeadBytes(type)),
                                  message.block->descriptor(), Hold::kLocked, position);
  }
  if (result == SendResult::kOk) [[likely]]
    NoteSent(next_);
  return result;
}

SendResult TopicFlow::SendFragments(RingWriter& writer, PeerId to, const MessageType& type,
                                    std::span<const std::byte> bytes,
                                    std::chrono::nanoseconds timeout) {
  const SendOptions options{
      .when_full = timeout > std::chrono::nanoseconds(0) ? WhenFull::kWait : WhenFull::kFail,
      .timeout = timeout};
  return SendCall(writer, to, options, nullptr).Send(type, bytes, SendResult::kTooLarge);
}

void TopicFlow::EndFragments(std::uint64_t sequence, SendResult result) {
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
  context_.lagging.fetch_add(1, std::memory_order_relaxed);
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
  context_.lagging.fetch_sub(1, std::memory_order_relaxed);
  const std::lock_guard lock(writer_.ring_lock());
  writer_.EndWait();
}

}  // namespace ivmq
