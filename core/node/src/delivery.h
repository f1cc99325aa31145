// Hands messages to the user's handler.
#ifndef IVMQ_DELIVERY_H_
#define IVMQ_DELIVERY_H_

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "ivmq/internal/copy.h"
#include "ivmq/message.h"

#include "src/leases.h"
#include "src/node_context.h"
#include "src/reassembler.h"
#include "src/ring_reader.h"
#include "src/subscriptions.h"
#include "src/topic_call.h"

namespace ivmq {

// The user's, for the length of one Poll().
struct Handler {
  void (*function)(void* context, const Message& message);
  void* context;

  void operator()(const Message& message) const { function(context, message); }
};

// For one thread at a time: the node's poller.
class Delivery final : private internal::Keeper {
 public:
  Delivery(NodeContext& context, Reassembler& reassembler, std::shared_ptr<LeaseBook> leases,
           Subscriptions& subscriptions)
      : context_(context),
        reassembler_(reassembler),
        leases_(std::move(leases)),
        subscriptions_(subscriptions) {}

  // Does with a record of the reader's what is to be done: a message goes to the handler. What that
  // throws leaves the message where it is.
  [[gnu::always_inline]] Outcome Take(RingReader& reader, std::span<const std::byte> record,
                                      const Handler& handler) {
    layout::Frame frame;
    if (record.size() < sizeof(frame)) [[unlikely]]
      return Outcome::kMalformed;
    std::memcpy(&frame, record.data(), sizeof(frame));
    const std::span<const std::byte> rest = record.subspan(sizeof(frame));
    if (frame.kind >= layout::FrameKind::kFragment && frame.kind < layout::FrameKind::kFirstRpc)
        [[unlikely]] {
      return TakeOther(reader, frame, rest, handler);
    }
    return Deliver(reader, frame, rest, false, handler);
  }

 private:
  // A whole message: its frame and what follows it. `is_private`: those bytes cannot change any
  // more. A part of Take(): a call would cost as much as the work.
  [[gnu::always_inline]] inline Outcome Deliver(RingReader& reader, const layout::Frame& frame,
                                                std::span<const std::byte> rest, bool is_private,
                                                const Handler& handler);
  // The end of that: a message whose bytes are known to be good for the handler.
  [[gnu::always_inline]] inline void Hand(RingReader& reader, const layout::Frame& frame,
                                          std::string_view type_name,
                                          std::span<const std::byte> payload,
                                          const Handler& handler);
  [[nodiscard]] static constexpr bool IsMessage(layout::FrameKind kind) noexcept {
    using enum layout::FrameKind;
    return kind == kBytes || kind == kTypedById || kind == kTypedByName ||
           (kind >= kFirstRpc && kind <= kLastRpc);
  }
  // The same for a message of a topic, which goes to the handler of its subscription.
  Outcome DeliverTopic(RingReader& reader, const layout::Frame& frame,
                       std::span<const std::byte> rest, bool is_private);
  [[nodiscard]] static Handler HandlerOf(TopicCall& call) noexcept;
  // A piece of a large message, a message in a heap or of a topic, or the mark of a producer that
  // came back.
  [[gnu::noinline]] Outcome TakeOther(RingReader& reader, const layout::Frame& frame,
                                      std::span<const std::byte> rest, const Handler& handler);
  Outcome TakeFragment(RingReader& reader, const layout::Frame& frame,
                       std::span<const std::byte> rest, const Handler& handler);
  Outcome TakeBlock(RingReader& reader, std::span<const std::byte> rest, const Handler& handler);
  Outcome HandBlock(RingReader& reader, const layout::Frame& frame, std::string_view type_name,
                    std::span<const std::byte> block, const Handler& handler);
  [[gnu::cold]] void ReportTooLarge(const RingReader& reader, std::uint64_t bytes);

  struct Buffer {
    std::unique_ptr<std::byte[]> bytes;
    std::uint64_t capacity = 0;

    [[nodiscard]] bool Contains(std::span<const std::byte> of) const noexcept {
      return of.data() >= bytes.get() && of.data() + of.size() <= bytes.get() + capacity;
    }
  };
  void Grow(std::uint64_t bytes);
  Message Keep(const Message& message) override;
  // A lease of the message that is being handled; nullptr: too many are kept.
  std::shared_ptr<Lease> MakeLease(const Message& message);
  std::shared_ptr<Lease> NewLease(const Message& message, std::uint64_t bytes) noexcept;
  // The lease takes the buffer over if the message fills it, and copies it otherwise.
  std::shared_ptr<Lease> MakeCopy(const Message& message, std::unique_ptr<std::byte[]>* buffer,
                                  std::uint64_t* capacity);
  // After a handler that has kept its message: holds the record as long as that needs it.
  [[gnu::cold]] void HoldRecord(RingReader& reader);
  // Before what a handler threw leaves, having kept its message.
  [[gnu::cold]] void ForgetLease(RingReader& reader);

  NodeContext& context_;
  Reassembler& reassembler_;
  std::shared_ptr<LeaseBook> leases_;
  Subscriptions& subscriptions_;
  RingReader* handling_ = nullptr;    // whose message the handler has now
  std::shared_ptr<Lease> lease_;      // of that
  bool is_of_record_ = false;         // the lease: of a message that one record stands for
  Buffer copy_;                       // where a message stands while it is handled
  Buffer block_copy_;                 // the same for one that came from a heap
  std::span<const std::byte> block_;  // where that lies, if it is handled in place
};

inline Outcome Delivery::Deliver(RingReader& reader, const layout::Frame& frame,
                                 std::span<const std::byte> rest, bool is_private,
                                 const Handler& handler) {
  if (!IsMessage(frame.kind) || frame.name_bytes > kMaxTypeName || frame.name_bytes > rest.size())
      [[unlikely]] {
    return Outcome::kMalformed;
  }
  const std::size_t bytes = rest.size() - frame.name_bytes;
  if (bytes > context_.options.max_message_bytes) [[unlikely]] {
    ReportTooLarge(reader, bytes);
    return Outcome::kConsumed;
  }
  if (!is_private && !context_.options.trust_peers) {
    // From here on nobody can change it.
    if (copy_.capacity < rest.size()) [[unlikely]]
      Grow(rest.size());
    CopyMessage(copy_.bytes.get(), rest.data(), rest.size());
    rest = {copy_.bytes.get(), rest.size()};
    is_private = true;
  }
  std::array<char, kMaxTypeName> name;
  std::string_view type_name;
  if (frame.name_bytes != 0) {
    const auto* text = reinterpret_cast<const char*>(rest.data());
    if (!is_private) {
      std::memcpy(name.data(), text, frame.name_bytes);
      text = name.data();
    }
    type_name = {text, frame.name_bytes};
  }
  Hand(reader, frame, type_name, rest.subspan(frame.name_bytes), handler);
  return Outcome::kHandled;
}

inline void Delivery::Hand(RingReader& reader, const layout::Frame& frame,
                           std::string_view type_name, std::span<const std::byte> payload,
                           const Handler& handler) {
  using layout::Counter;
  const Message message{.from = reader.from(),
                        .kind = frame.kind,
                        .type = frame.type,
                        .type_name = type_name,
                        .payload = payload,
                        .redelivered = reader.consumer().redelivered(),
                        .keeper = this};
  context_.CountAlone(Counter::kMessagesReceived);
  context_.CountAlone(Counter::kBytesReceived, payload.size());
  if (message.redelivered) context_.CountAlone(Counter::kRedelivered);
  handling_ = &reader;
  try {
    handler(message);
  } catch (...) {
    reader.consumer().Redeliver();
    ForgetLease(reader);
    throw;
  }
  handling_ = nullptr;
  if (lease_ != nullptr) [[unlikely]]
    HoldRecord(reader);
}

}  // namespace ivmq

#endif  // IVMQ_DELIVERY_H_
