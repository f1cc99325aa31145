#include "src/delivery.h"

#include <array>
#include <cstring>
#include <new>
#include <string_view>

#include "ivmq/internal/crash_point.h"
#include "ivmq/internal/extent.h"
#include "ivmq/internal/str_cat.h"

namespace ivmq {

using layout::Frame;
using layout::FrameKind;

void Delivery::ReportTooLarge(const RingReader& reader, std::uint64_t bytes) {
  context_.Count(layout::Counter::kDropped);
  context_.Report(
      Status(StatusCode::kResourceExhausted,
             StrCat("a message of ", BytesText(bytes), " from slot ", reader.slot(),
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
  if (block_copy_.Contains(message.payload)) {
    return MakeCopy(message, &block_copy_.bytes, &block_copy_.capacity);
  }
  // What is nowhere is of a handler that has returned.
  if (copy_.Contains(message.payload)) return MakeCopy(message, &copy_.bytes, &copy_.capacity);
  const bool is_block = !block_.empty() && message.payload.data() == block_.data();
  if (!is_block && !reader.IsInRecord(message.payload)) return nullptr;
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

// ---- What is no record of its own ----

Outcome Delivery::TakeOther(RingReader& reader, const Frame& frame, std::span<const std::byte> rest,
                            const Handler& handler) {
  switch (frame.kind) {
    case FrameKind::kFragment:
      return TakeFragment(reader, frame, rest, handler);
    case FrameKind::kBlock:
      return TakeBlock(reader, rest, handler);
    case FrameKind::kTopic:
      return DeliverTopic(reader, frame, rest, false);
    case FrameKind::kSuccessor:
      if (!rest.empty()) return Outcome::kMalformed;
      reader.PassSuccessor(frame.type);
      return Outcome::kConsumed;
    default:
      return Outcome::kMalformed;
  }
}

Handler Delivery::HandlerOf(TopicCall& call) noexcept {
  return {[](void* context, const Message& message) {
            static_cast<TopicCall*>(context)->Handle(message);
          },
          &call};
}

Outcome Delivery::DeliverTopic(RingReader& reader, const Frame& frame,
                               std::span<const std::byte> rest, bool is_private) {
  if (frame.name_bytes > rest.size()) return Outcome::kMalformed;
  TopicCall call(context_, subscriptions_, reader.from(), frame, rest.first(frame.name_bytes));
  if (call.outcome() != Outcome::kHandled) return call.outcome();
  return Deliver(reader, call.frame(), rest.subspan(call.head_bytes()), is_private,
                 HandlerOf(call));
}

Outcome Delivery::TakeFragment(RingReader& reader, const Frame& frame,
                               std::span<const std::byte> rest, const Handler& handler) {
  Assembly& assembly = reader.assembly();
  if (const Outcome outcome = reassembler_.Take(reader.slot(), assembly, frame, rest);
      outcome != Outcome::kComplete) {
    return outcome;
  }
  Outcome delivered = Outcome::kMalformed;
  try {
    const Frame whole = Reassembler::FrameOf(assembly);
    const std::span<const std::byte> behind = Reassembler::RestOf(assembly);
    delivered = whole.kind == FrameKind::kTopic ? DeliverTopic(reader, whole, behind, true)
                                                : Deliver(reader, whole, behind, true, handler);
  } catch (...) {
    Reassembler::TakeBack(assembly);
    throw;
  }
  reassembler_.Finish(reader.slot(), assembly);
  return delivered;
}

Outcome Delivery::TakeBlock(RingReader& reader, std::span<const std::byte> rest,
                            const Handler& handler) {
  layout::BlockDescriptor descriptor;
  Frame frame;
  if (rest.size() < sizeof(descriptor) + sizeof(frame)) return Outcome::kMalformed;
  std::memcpy(&descriptor, rest.data(), sizeof(descriptor));
  std::memcpy(&frame, rest.data() + sizeof(descriptor), sizeof(frame));
  const std::span<const std::byte> name = rest.subspan(sizeof(descriptor) + sizeof(frame));
  const auto block = BlockOf(context_.region, reader.slot(), descriptor);
  const bool is_topic = frame.kind == FrameKind::kTopic;
  if (!block || block->empty() || !(is_topic || IsMessage(frame.kind)) ||
      frame.name_bytes != name.size() || name.size() > kMaxTypeName) {
    return Outcome::kMalformed;
  }
  if (block->size() > context_.options.max_message_bytes) {
    ReportTooLarge(reader, block->size());
    return Outcome::kConsumed;
  }
  std::array<char, kMaxTypeName> text;
  if (!name.empty()) std::memcpy(text.data(), name.data(), name.size());
  const std::string_view type_name(text.data(), name.size());
  if (!is_topic) return HandBlock(reader, frame, type_name, *block, handler);
  TopicCall call(context_, subscriptions_, reader.from(), frame,
                 std::as_bytes(std::span(type_name)));
  if (call.outcome() != Outcome::kHandled) return call.outcome();
  return HandBlock(reader, call.frame(), type_name.substr(call.head_bytes()), *block,
                   HandlerOf(call));
}

Outcome Delivery::HandBlock(RingReader& reader, const Frame& frame, std::string_view type_name,
                            std::span<const std::byte> block, const Handler& handler) {
  if (context_.options.trust_peers) {
    const struct Handled {
      ~Handled() { block = {}; }
      std::span<const std::byte>& block;
    } handled{block_};
    block_ = block;
    Hand(reader, frame, type_name, block_, handler);
    return Outcome::kHandledBlock;
  }
  // One such copy at a time, which waits for nothing: pieces of a message that has the node's
  // memory for fragments may stand behind it in its ring.
  if (block_copy_.capacity < block.size()) {
    block_copy_ = Buffer{};
    block_copy_.bytes.reset(new (std::nothrow) std::byte[block.size()]);
    if (block_copy_.bytes == nullptr) return Outcome::kStalled;
    block_copy_.capacity = block.size();
  }
  CopyBlock(block_copy_.bytes.get(), block.data(), block.size());
  IVMQ_CRASH_POINT("release.block_copied");
  Hand(reader, frame, type_name, {block_copy_.bytes.get(), block.size()}, handler);
  if (block_copy_.capacity > kMostSpare) block_copy_ = Buffer{};
  return Outcome::kHandledBlock;
}

}  // namespace ivmq
