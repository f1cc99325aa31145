#include "src/delivery.h"

#include <new>

#include "ivmq/internal/str_cat.h"
#include "ivmq/internal/topic_name.h"

namespace ivmq {

using layout::Frame;
using layout::FrameKind;

void Delivery::ReportTooLarge(const RingReader& reader, std::uint64_t bytes) {
  context_.Count(layout::Counter::kDropped);
  context_.Report(
      Status(StatusCode::kResourceExhausted,
             StrCat("a message of ", bytes, " bytes from slot ", reader.slot(),
                    " is dropped: the limit here is ", context_.options.max_message_bytes)));
}

// ---- Leases ----

void Delivery::Grow(std::uint64_t bytes) {
  copy_ = Buffer{};
  copy_.bytes.reset(new std::byte[bytes]);
  copy_.capacity = bytes;
}

Message Delivery::Keep(const Message& message) {
  if (handling_ == nullptr) return {};
  if (lease_ == nullptr) lease_ = MakeLease(message);
  if (lease_ == nullptr) {
    context_.Count(layout::Counter::kKeepsRefused);
    return {};
  }
  Message kept = message;
  kept.type_name = lease_->type_name;
  kept.payload = lease_->payload;
  kept.keeper = nullptr;
  kept.lease = lease_;
  return kept;
}

std::shared_ptr<Lease> Delivery::MakeLease(const Message& message) {
  RingReader& reader = *handling_;
  Assembly& assembly = reader.assembly();
  is_of_record_ = !assembly.Contains(message.payload);
  if (!is_of_record_) return MakeCopy(message, &assembly.bytes, &assembly.capacity);
  // What is neither is of a handler that has returned.
  if (copy_.Contains(message.payload)) return MakeCopy(message, &copy_.bytes, &copy_.capacity);
  if (!reader.IsInRecord(message.payload)) return nullptr;
  return reader.HoldsMuch() ? MakeCopy(message, nullptr, nullptr) : NewLease(message, 0);
}

std::shared_ptr<Lease> Delivery::NewLease(const Message& message, std::uint64_t bytes) noexcept {
  if (!leases_->Reserve(bytes)) return nullptr;
  try {
    auto lease = std::make_shared<Lease>(leases_, bytes);
    lease->type_name = message.type_name;
    lease->payload = message.payload;
    return lease;
  } catch (const std::bad_alloc&) {
    leases_->End(bytes, /*holds_record=*/false);
    return nullptr;
  }
}

std::shared_ptr<Lease> Delivery::MakeCopy(const Message& message,
                                          std::unique_ptr<std::byte[]>* buffer,
                                          std::uint64_t* capacity) {
  const std::size_t bytes = message.payload.size();
  const bool moves = buffer != nullptr && bytes >= *capacity / 2;
  std::shared_ptr<Lease> lease = NewLease(message, moves ? *capacity : bytes);
  if (lease == nullptr) return nullptr;
  if (moves) {
    lease->memory = std::move(*buffer);
    *capacity = 0;
    return lease;
  }
  lease->memory.reset(new (std::nothrow) std::byte[bytes]);
  if (lease->memory == nullptr) return nullptr;
  CopyBlock(lease->memory.get(), message.payload.data(), bytes);
  lease->payload = {lease->memory.get(), bytes};
  return lease;
}

void Delivery::HoldRecord(RingReader& reader) {
  const std::shared_ptr<Lease> lease = std::move(lease_);
  const bool in_place = lease->memory == nullptr;
  if (!in_place && !(context_.options.durable && is_of_record_)) return;
  auto end = std::make_shared<std::atomic<bool>>(false);
  reader.Hold(end, in_place);
  lease->HoldRecord(std::move(end));
}

void Delivery::ForgetLease(RingReader& reader) {
  handling_ = nullptr;
  const std::shared_ptr<Lease> lease = std::move(lease_);
  Assembly& assembly = reader.assembly();
  if (lease == nullptr || !assembly.is_under_way() || assembly.bytes != nullptr) return;
  // The lease has its memory, and the message is to be handled again.
  assembly.bytes.reset(new std::byte[assembly.total]);
  assembly.capacity = assembly.total;
  CopyBlock(assembly.bytes.get(), lease->memory.get(), assembly.total);
}

Outcome Delivery::DeliverAny(RingReader& reader, const Frame& frame,
                             std::span<const std::byte> rest, bool is_private,
                             const Handler& handler) {
  return frame.kind == FrameKind::kTopic ? DeliverTopic(reader, frame, rest, is_private)
                                         : Deliver(reader, frame, rest, is_private, handler);
}

Outcome Delivery::DeliverTopic(RingReader& reader, const Frame& frame,
                               std::span<const std::byte> rest, bool is_private) {
  layout::TopicHeader header;
  if (frame.name_bytes < sizeof(header) || frame.name_bytes > rest.size()) {
    return Outcome::kMalformed;
  }
  std::memcpy(&header, rest.data(), sizeof(header));
  const std::size_t head = sizeof(header) + PaddedTopicName(header.topic_bytes);
  const bool is_message = header.kind == FrameKind::kBytes ||
                          header.kind == FrameKind::kTypedById ||
                          header.kind == FrameKind::kTypedByName;
  if (!is_message || header.topic_bytes > kMaxTopicName || head > frame.name_bytes) {
    return Outcome::kMalformed;
  }
  std::array<char, kMaxTopicName> name;
  std::memcpy(name.data(), rest.data() + sizeof(header), header.topic_bytes);
  // What was sent to a former life, or to a subscription that has ended, is nobody's.
  const Subscriptions::Running running(subscriptions_, header.subscription);
  if (header.incarnation != context_.self.id.incarnation || running.get() == nullptr) {
    context_.Count(layout::Counter::kUnhandled);
    return Outcome::kConsumed;
  }
  TopicSource* const source =
      running.get()->Find(reader.from(), frame.type, {name.data(), header.topic_bytes});
  if (source == nullptr) return Outcome::kMalformed;

  // Calls the subscription's handler for a message.
  struct Call {
    SubscriptionCore& subscription;
    TopicSource& source;
    const layout::TopicHeader& header;
    NodeContext& context;
  } call{*running.get(), *source, header, context_};
  const Handler handler{
      [](void* context, const Message& message) {
        const Call& to = *static_cast<Call*>(context);
        const std::uint64_t next = to.source.last + 1;
        const std::uint64_t sequence = to.header.sequence;
        const std::uint64_t missed = next != 1 && sequence > next ? sequence - next : 0;
        to.subscription.handler()({.topic = to.source.name,
                                   .publisher = message.from,
                                   .sequence = sequence,
                                   .missed = missed,
                                   .is_history = (to.header.flags & layout::kTopicHistory) != 0,
                                   .message = message});
        to.source.last = sequence;
        to.subscription.Count(missed);
        if (missed != 0) to.context.CountAlone(layout::Counter::kTopicsMissed, missed);
      },
      &call};
  const Frame inner{.kind = header.kind,
                    .name_bytes = static_cast<std::uint16_t>(frame.name_bytes - head),
                    .type = header.type};
  return Deliver(reader, inner, rest.subspan(head), is_private, handler);
}

Outcome Delivery::TakeOther(RingReader& reader, const Frame& frame, std::span<const std::byte> rest,
                            const Handler& handler) {
  if (frame.kind == FrameKind::kSuccessor && rest.empty()) {
    reader.PassSuccessor(frame.type);
    return Outcome::kConsumed;
  }
  if (frame.kind == FrameKind::kTopic) return DeliverTopic(reader, frame, rest, false);
  if (frame.kind != FrameKind::kFragment) return Outcome::kMalformed;
  Assembly& assembly = reader.assembly();
  if (const Outcome outcome = reassembler_.Take(reader.slot(), assembly, frame, rest);
      outcome != Outcome::kComplete) {
    return outcome;
  }
  Outcome delivered = Outcome::kMalformed;
  try {
    delivered = DeliverAny(reader, Reassembler::FrameOf(assembly), Reassembler::RestOf(assembly),
                           true, handler);
  } catch (...) {
    Reassembler::TakeBack(assembly);
    throw;
  }
  reassembler_.Finish(reader.slot(), assembly);
  return delivered;
}

}  // namespace ivmq
