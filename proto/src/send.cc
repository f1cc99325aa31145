#include <cassert>
#include <chrono>
#include <limits>
#include <memory>
#include <new>

#include "ivmq/proto.h"

namespace ivmq {
namespace {

using Clock = std::chrono::steady_clock;

// Of the buffer that a thread keeps for messages larger than a record.
constexpr std::size_t kMostBuffered = std::size_t{8} << 20;

class Buffer {
 public:
  // Memory for `size` bytes, or nullptr. Valid until Trim() or the next call.
  std::byte* Get(std::size_t size) noexcept {
    if (size > size_) {
      bytes_.reset();
      size_ = 0;
      bytes_.reset(new (std::nothrow) std::byte[size]);
      if (bytes_) size_ = size;
    }
    return bytes_.get();
  }
  void Trim() noexcept {
    if (size_ <= kMostBuffered) return;
    bytes_.reset();
    size_ = 0;
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::size_t size_ = 0;
};

// REQUIRES: ByteSizeLong() was called, and gave `size`.
void Serialize(const google::protobuf::Message& message, std::byte* out,
               [[maybe_unused]] std::size_t size) {
  auto* const begin = reinterpret_cast<std::uint8_t*>(out);
  [[maybe_unused]] const std::uint8_t* const end = message.SerializeWithCachedSizesToArray(begin);
  assert(end == begin + size);
}

SendResult SendLarge(Node& node, PeerId to, const MessageType& type,
                     const google::protobuf::Message& message, std::size_t size,
                     const SendOptions& options) {
  thread_local Buffer buffer;
  std::byte* const bytes = buffer.Get(size);
  if (bytes == nullptr) return SendResult::kTooLarge;
  Serialize(message, bytes, size);
  const SendResult result = node.Send(to, type, {bytes, size}, options);
  buffer.Trim();
  return result;
}

SendResult SendTyped(Node& node, PeerId to, const MessageType& type,
                     const google::protobuf::Message& message, SendOptions options) {
  assert(message.IsInitialized());
  const std::size_t size = message.ByteSizeLong();
  // Protobuf's own limit, and the node's: refused before it is serialized.
  if (size > static_cast<std::size_t>(std::numeric_limits<int>::max()) ||
      size > node.max_message_bytes()) {
    return SendResult::kTooLarge;
  }
  std::optional<Clock::time_point> deadline;
  for (;;) {
    {
      Batch batch = node.StartBatch(to);
      std::span<std::byte> room;
      const SendResult result = batch.TryClaim(type, size, &room);
      if (result == SendResult::kOk) [[likely]] {
        Serialize(message, room.data(), size);
        batch.Commit();
        return SendResult::kOk;
      }
      if (result == SendResult::kTooLarge) break;
      if (result != SendResult::kFull) return result;
    }
    if (options.when_full == WhenFull::kWait) {
      const Clock::time_point now = Clock::now();
      if (!deadline) deadline = now + options.timeout;
      options.timeout = *deadline - now;
    }
    // Room for a moment may be taken by another sending thread: claim again.
    const std::uint64_t record = sizeof(layout::Frame) + type.name.size() + size;
    if (const SendResult result = node.AwaitRoom(to, record, options); result != SendResult::kOk) {
      return result;
    }
  }
  return SendLarge(node, to, type, message, size, options);
}

MessageType ByName(const google::protobuf::Message& message) {
  return {.kind = layout::FrameKind::kTypedByName, .name = message.GetDescriptor()->full_name()};
}

}  // namespace

SendResult Send(Node& node, PeerId to, const google::protobuf::Message& message,
                const SendOptions& options) {
  return SendTyped(node, to, ByName(message), message, options);
}

SendResult Send(Node& node, PeerId to, const google::protobuf::Message& message, const TypeIds& ids,
                const SendOptions& options) {
  if (const auto id = ids.IdOf(*message.GetDescriptor())) {
    const MessageType type{.kind = layout::FrameKind::kTypedById, .type = *id, .name = {}};
    return SendTyped(node, to, type, message, options);
  }
  return SendTyped(node, to, ByName(message), message, options);
}

}  // namespace ivmq
