// A message of a topic on its way to the handler of its subscription.
#ifndef IVMQ_TOPIC_CALL_H_
#define IVMQ_TOPIC_CALL_H_

#include <cstddef>
#include <optional>
#include <span>

#include "ivmq/internal/layout.h"
#include "ivmq/message.h"

#include "src/reassembler.h"
#include "src/subscriptions.h"

namespace ivmq {

// For the poller. While it lives the subscription does not end.
class TopicCall {
 public:
  // `names`: what stands between the frame and the message. It may change while it is read.
  TopicCall(NodeContext& context, Subscriptions& subscriptions, PeerId publisher,
            const layout::Frame& frame, std::span<const std::byte> names);

  // kHandled: it is to be handed to Handle(), as the message of a record would be; kConsumed: it is
  // nobody's; kMalformed.
  [[nodiscard]] Outcome outcome() const noexcept { return outcome_; }
  // The bytes of `names` before the message's type name, and the frame that would stand before
  // that, if it were no topic's.
  [[nodiscard]] std::size_t head_bytes() const noexcept { return head_bytes_; }
  [[nodiscard]] layout::Frame frame() const noexcept {
    return {.kind = header_.kind,
            .name_bytes = static_cast<std::uint16_t>(names_bytes_ - head_bytes_),
            .type = header_.type};
  }
  // Calls the subscription's handler, whose exceptions leave it, and counts.
  void Handle(const Message& message);

 private:
  NodeContext& context_;
  layout::TopicHeader header_;
  std::size_t head_bytes_ = 0;
  std::size_t names_bytes_;
  Outcome outcome_ = Outcome::kMalformed;
  std::optional<Subscriptions::Running> running_;
  TopicSource* source_ = nullptr;
};

}  // namespace ivmq

#endif  // IVMQ_TOPIC_CALL_H_
