#include <limits>

#include "ivmq/internal/str_cat.h"
#include "ivmq/proto.h"

namespace ivmq {
namespace {

// A message that is used again keeps its memory. Looked at each time this much was parsed ...
constexpr std::size_t kLookEvery = std::size_t{1} << 20;
// ... and replaced if it holds more than this.
constexpr std::size_t kMostKept = std::size_t{8} << 20;
// Of a type name from the wire, in a report.
constexpr std::size_t kMostShown = 128;

// The sender chose these bytes. A protobuf name has letters, digits, '_' and '.' only.
std::string Printable(std::string_view name) {
  std::string text(name.substr(0, kMostShown));
  for (char& c : text) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '.';
    if (!fine) c = '?';
  }
  if (name.size() > kMostShown) {
    text += "... (" + std::to_string(name.size()) + " bytes)";
  }
  return text;
}

}  // namespace

struct Dispatcher::Type {
  std::unique_ptr<google::protobuf::Message> message;
  Handler handler;
  std::size_t parsed = 0;  // bytes since the last look at its memory

  // False if the bytes are no message of this type.
  [[nodiscard]] bool Parse(std::span<const std::byte> payload) {
    if (payload.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) return false;
    // Partial and then IsInitialized(): the full call logs what a peer lets it.
    return message->ParsePartialFromArray(payload.data(), static_cast<int>(payload.size())) &&
           message->IsInitialized();
  }
  void Trim(std::size_t bytes) {
    parsed += bytes;
    if (parsed < kLookEvery) [[likely]]
      return;
    parsed = 0;
    if (message->SpaceUsedLong() > kMostKept) message.reset(message->New());
  }
};

Dispatcher::Dispatcher(Node& node, TypeIds ids) : node_(node), ids_(std::move(ids)) {}
Dispatcher::~Dispatcher() = default;

void Dispatcher::Register(const google::protobuf::Message& prototype, Handler handler) {
  const google::protobuf::Descriptor& descriptor = *prototype.GetDescriptor();
  std::unique_ptr<Type>& type = by_name_[descriptor.full_name()];
  if (!type) type = std::make_unique<Type>();
  type->message.reset(prototype.New());
  type->handler = std::move(handler);
  if (const auto id = ids_.IdOf(descriptor)) by_id_[*id] = type.get();
}

void Dispatcher::OnUnhandled(std::function<void(const Message&)> handler) {
  unhandled_ = std::move(handler);
}

void Dispatcher::operator()(const Message& message) {
  Type* const type = Find(message);
  if (type == nullptr) return Unhandled(message);
  if (type->Parse(message.payload)) [[likely]] {
    try {
      type->handler(*type->message, message);
    } catch (...) {
      type->Trim(message.payload.size());
      throw;
    }
  } else {
    node_.Count(layout::Counter::kUnparsable);
    node_.Report(Status(StatusCode::kDataLoss,
                        Describe(message) + " is dropped: its bytes are not a complete message of "
                                            "that type; do both peers have the same .proto?"));
  }
  type->Trim(message.payload.size());
}

Dispatcher::Type* Dispatcher::Find(const Message& message) noexcept {
  if (message.kind == layout::FrameKind::kTypedById) {
    const auto found = by_id_.find(message.type);
    return found == by_id_.end() ? nullptr : found->second;
  }
  if (message.kind == layout::FrameKind::kTypedByName) {
    const auto found = by_name_.find(message.type_name);
    return found == by_name_.end() ? nullptr : found->second.get();
  }
  return nullptr;
}

void Dispatcher::Unhandled(const Message& message) {
  node_.Count(layout::Counter::kUnhandled);
  if (unhandled_) return unhandled_(message);
  node_.Report(Status(StatusCode::kUnimplemented, Describe(message) +
                                                      " is dropped: it has no handler here; see "
                                                      "Dispatcher::On and OnUnhandled"));
}

std::string Dispatcher::Describe(const Message& message) const {
  std::string text = "a message of ";
  if (message.kind == layout::FrameKind::kTypedByName) {
    text += "type '" + Printable(message.type_name) + "'";
  } else if (message.kind == layout::FrameKind::kTypedById) {
    const google::protobuf::Descriptor* const type = ids_.TypeOf(message.type);
    text += "type id " + std::to_string(message.type) +
            (type != nullptr ? " (" + type->full_name() + ")" : " (not registered)");
  } else {
    text += "no protobuf type";
  }
  return text + ", " + BytesText(message.payload.size()) + ", from slot " +
         std::to_string(message.from.slot) + ", incarnation " +
         std::to_string(message.from.incarnation) + ",";
}

}  // namespace ivmq
