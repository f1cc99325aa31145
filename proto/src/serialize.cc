#include "ivmq/internal/serialize.h"

#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>

namespace ivmq {
namespace {

using Clock = std::chrono::steady_clock;

// Of the buffer that a thread keeps for messages larger than a record.
constexpr std::size_t kMostBuffered = std::size_t{8} << 20;

class MessageBuffer {
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

struct Parts {
  std::span<const std::byte> head;
  const Outgoing& payload;

  [[nodiscard]] std::size_t size() const noexcept { return head.size() + payload.size(); }

  // REQUIRES: `out` has size() bytes.
  void Write(std::byte* out) const {
    if (!head.empty()) std::memcpy(out, head.data(), head.size());
    payload.Write(out + head.size());
  }
};

// Larger than protobuf or the node allows.
[[gnu::always_inline]] inline bool IsTooLarge(const Node& node, const Parts& parts) noexcept {
  return parts.payload.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()) ||
         parts.size() > node.max_message_bytes();
}

SendResult SendLarge(Node& node, PeerId to, const MessageType& type, const Parts& parts,
                     const SendOptions& options) {
  thread_local MessageBuffer buffer;
  std::byte* const bytes = buffer.Get(parts.size());
  if (bytes == nullptr) return SendResult::kTooLarge;
  parts.Write(bytes);
  const SendResult result = node.Send(to, type, {bytes, parts.size()}, options);
  buffer.Trim();
  return result;
}

// kTooLarge: it does not fit one record.
[[gnu::always_inline]] inline SendResult SendRecord(Node& node, PeerId to, const MessageType& type,
                                                    const Parts& parts, SendOptions& options) {
  std::optional<Clock::time_point> deadline;
  for (;;) {
    const SendResult sent = node.SendInPlace(
        to, type, parts.size(), [&](std::span<std::byte> payload) { parts.Write(payload.data()); },
        options);
    if (sent != SendResult::kFull) [[likely]]
      return sent;
    if (options.when_full == WhenFull::kWait) {
      const Clock::time_point now = Clock::now();
      if (!deadline) deadline = now + options.timeout;
      options.timeout = *deadline - now;
    }
    // Room for a moment may be taken by another sending thread: claim again.
    if (const SendResult result = node.AwaitRoom(to, type, parts.size(), options);
        result != SendResult::kOk) {
      return result;
    }
  }
}

}  // namespace

SendResult SendWithHead(Node& node, PeerId to, const MessageType& type,
                        std::span<const std::byte> head, const Outgoing& payload,
                        SendOptions options) {
  const Parts parts{head, payload};
  if (IsTooLarge(node, parts)) return SendResult::kTooLarge;
  const SendResult result = SendRecord(node, to, type, parts, options);
  if (result != SendResult::kTooLarge) [[likely]]
    return result;
  return SendLarge(node, to, type, parts, options);
}

SendResult TrySendWithHead(Node& node, PeerId to, const MessageType& type,
                           std::span<const std::byte> head, const Outgoing& payload) {
  const Parts parts{head, payload};
  if (IsTooLarge(node, parts)) return SendResult::kTooLarge;
  SendOptions options{.when_full = WhenFull::kFail, .timeout = std::chrono::nanoseconds(0)};
  const SendResult result = SendRecord(node, to, type, parts, options);
  return result == SendResult::kTimedOut ? SendResult::kBusy : result;
}

std::optional<std::string> SerializeWithHead(const Node& node, std::span<const std::byte> head,
                                             const Outgoing& payload) {
  const Parts parts{head, payload};
  if (IsTooLarge(node, parts)) return std::nullopt;
  std::string bytes(parts.size(), '\0');
  parts.Write(reinterpret_cast<std::byte*>(bytes.data()));
  return bytes;
}

}  // namespace ivmq
