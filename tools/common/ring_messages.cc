#include "common/ring_messages.h"

#include <cstring>

#include <fmt/format.h>

#include "ivmq/internal/extent.h"
#include "ivmq/internal/topic_name.h"
#include "ivmq/message.h"

namespace ivmq::inspect {
namespace {

using layout::Frame;
using layout::FrameKind;

// What a message may have at most; a node refuses more, unless it was told otherwise.
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;

template <typename T>
bool Read(std::span<const std::byte>* from, T* to) noexcept {
  if (from->size() < sizeof(T)) return false;
  std::memcpy(to, from->data(), sizeof(T));
  *from = from->subspan(sizeof(T));
  return true;
}

std::string_view TextOf(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool IsRpc(FrameKind kind) noexcept {
  return kind >= FrameKind::kFirstRpc && kind <= FrameKind::kLastRpc;
}

// Takes what stands between the frame of a topic's message and the message.
std::string_view ParseTopic(std::span<const std::byte> names, FrameView* view) noexcept {
  layout::TopicHeader header;
  if (!Read(&names, &header)) return "a topic's header is cut off";
  const std::size_t padded = PaddedTopicName(header.topic_bytes);
  if (header.topic_bytes > kMaxTopicName || padded > names.size()) {
    return "a topic's name is cut off";
  }
  view->topic = header;
  view->topic_name = TextOf(names.first(header.topic_bytes));
  view->type_name = TextOf(names.subspan(padded));
  view->kind = header.kind;
  view->type = header.type;
  if (header.kind < FrameKind::kBytes || header.kind > FrameKind::kTypedByName) {
    return "a topic's message of no known kind";
  }
  return {};
}

// Takes the names of a message, which stand behind its frame, or behind a block's descriptor.
std::string_view ParseNames(const Frame& frame, std::span<const std::byte> names,
                            FrameView* view) noexcept {
  view->kind = frame.kind;
  view->type = frame.type;
  switch (frame.kind) {
    case FrameKind::kTopic:
      return ParseTopic(names, view);
    case FrameKind::kTypedByName:
      view->type_name = TextOf(names);
      return names.size() > kMaxTypeName ? "a type name is too long" : std::string_view();
    case FrameKind::kBytes:
    case FrameKind::kTypedById:
      return {};
    default:
      return IsRpc(frame.kind) ? std::string_view() : "a frame of no known kind";
  }
}

std::string_view ParseRest(std::span<const std::byte> rest, FrameView* view) noexcept {
  const Frame& frame = view->frame;
  switch (frame.kind) {
    case FrameKind::kFragment:
      view->fragment.emplace();
      if (!Read(&rest, &*view->fragment)) return "a fragment's header is cut off";
      view->body = rest;
      return {};
    case FrameKind::kSuccessor:
      return rest.empty() ? "" : "bytes behind a successor's frame";
    case FrameKind::kBlock: {
      Frame inner;
      view->block.emplace();
      if (!Read(&rest, &*view->block) || !Read(&rest, &inner)) return "a block's record is cut off";
      if (inner.name_bytes != rest.size()) return "a block's names are cut off";
      return ParseNames(inner, rest, view);
    }
    default: {
      const bool named = frame.kind == FrameKind::kTypedByName || frame.kind == FrameKind::kTopic;
      const std::size_t names = named ? frame.name_bytes : 0;
      if (names > rest.size()) return "a name is cut off";
      view->body = rest.subspan(names);
      return ParseNames(frame, rest.first(names), view);
    }
  }
}

}  // namespace

FrameView ParseFrame(std::span<const std::byte> record) noexcept {
  FrameView view;
  view.problem = Read(&record, &view.frame) ? ParseRest(record, &view) : "the frame is cut off";
  return view;
}

MessageReader::Took MessageReader::Lose(std::string_view why) {
  problem_ = why;
  return Took::kLost;
}

bool MessageReader::Interrupt() noexcept {
  const bool was_under_way = is_under_way();
  pieces_.clear();
  lost_ = number_;
  return was_under_way;
}

MessageReader::Took MessageReader::Take(std::span<const std::byte> record) {
  from_heap_ = false;
  const FrameView view = ParseFrame(record);
  if (!view.problem.empty()) return Lose(view.problem);
  if (view.frame.kind == FrameKind::kSuccessor) return Took::kPart;
  return view.fragment ? TakeFragment(view) : TakeMessage(view);
}

MessageReader::Took MessageReader::TakeFragment(const FrameView& view) {
  const layout::FragmentHeader& header = *view.fragment;
  const std::uint32_t number = view.frame.type;
  if (header.total == 0 && view.body.empty()) {
    // Its sender has given it up.
    const bool was_under_way = number == number_ && is_under_way();
    pieces_.clear();
    return was_under_way ? Lose("a large message that its sender gave up") : Took::kPart;
  }
  if (view.body.empty() || header.total < sizeof(Frame) || header.total > kMostBytes ||
      header.offset > header.total || view.body.size() > header.total - header.offset) {
    return Lose("a fragment that cannot be one");
  }
  if (header.offset == 0) {
    pieces_.clear();
    number_ = number;
    total_ = header.total;
  } else if (!is_under_way() || number != number_ || header.total != total_ ||
             header.offset != pieces_.size()) {
    pieces_.clear();
    if (number == lost_) return Took::kPart;
    lost_ = number;
    return Lose("a large message without its beginning");
  }
  pieces_.insert(pieces_.end(), view.body.begin(), view.body.end());
  if (pieces_.size() < total_) return Took::kPart;
  const std::vector<std::byte> whole = std::move(pieces_);
  pieces_.clear();
  const FrameView inner = ParseFrame(whole);
  if (!inner.is_message() || inner.block) return Lose("a large message that is none");
  return TakeMessage(inner);
}

MessageReader::Took MessageReader::TakeMessage(const FrameView& view) {
  std::span<const std::byte> payload = view.body;
  if (view.block) {
    const auto block = BlockOf(region_, producer_, *view.block);
    if (!block) return Lose("a block that is in no heap");
    if (block->size() > kMostBytes) return Lose("a message that is too large");
    if (heap_budget_ != nullptr) {
      if (block->size() > *heap_budget_) return Lose("more blocks than the heaps can hold");
      *heap_budget_ -= block->size();
    }
    payload = *block;
    from_heap_ = true;
  }
  message_.kind = view.kind;
  message_.type = view.type;
  message_.type_name = view.type_name;
  message_.topic = view.topic_name;
  message_.sequence = view.topic ? view.topic->sequence : 0;
  message_.is_history = view.topic && (view.topic->flags & layout::kTopicHistory) != 0;
  message_.payload.assign(payload.begin(), payload.end());
  return Took::kMessage;
}

}  // namespace ivmq::inspect
