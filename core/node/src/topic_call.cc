#include "src/topic_call.h"

#include <array>
#include <cstring>

#include "ivmq/internal/topic_name.h"

namespace ivmq {

using layout::Counter;
using layout::FrameKind;

TopicCall::TopicCall(NodeContext& context, Subscriptions& subscriptions, PeerId publisher,
                     const layout::Frame& frame, std::span<const std::byte> names)
    : context_(context), names_bytes_(names.size()) {
  if (names.size() < sizeof(header_)) return;
  std::memcpy(&header_, names.data(), sizeof(header_));
  head_bytes_ = sizeof(header_) + PaddedTopicName(header_.topic_bytes);
  const bool is_message = header_.kind == FrameKind::kBytes ||
                          header_.kind == FrameKind::kTypedById ||
                          header_.kind == FrameKind::kTypedByName;
  if (!is_message || header_.topic_bytes > kMaxTopicName || head_bytes_ > names.size()) return;
  std::array<char, kMaxTopicName> name;
  std::memcpy(name.data(), names.data() + sizeof(header_), header_.topic_bytes);

  // What was sent to a former life, or to a subscription that has ended, is nobody's.
  running_.emplace(subscriptions, header_.subscription);
  SubscriptionCore* const subscription = running_->get();
  if (header_.incarnation != context_.self.id.incarnation || subscription == nullptr) {
    context_.Count(Counter::kUnhandled);
    outcome_ = Outcome::kConsumed;
    return;
  }
  source_ = subscription->Find(publisher, frame.type, {name.data(), header_.topic_bytes});
  if (source_ != nullptr) outcome_ = Outcome::kHandled;
}

void TopicCall::Handle(const Message& message) {
  SubscriptionCore& subscription = *running_->get();
  const std::uint64_t next = source_->last + 1;
  const std::uint64_t missed = next != 1 && header_.sequence > next ? header_.sequence - next : 0;
  subscription.handler()({.topic = source_->name,
                          .publisher = message.from,
                          .sequence = header_.sequence,
                          .missed = missed,
                          .is_history = (header_.flags & layout::kTopicHistory) != 0,
                          .message = message});
  source_->last = header_.sequence;
  subscription.Count(missed);
  if (missed != 0) context_.CountAlone(Counter::kTopicsMissed, missed);
}

}  // namespace ivmq
