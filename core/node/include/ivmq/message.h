// Messages: their types, and what a handler receives.
#ifndef IVMQ_MESSAGE_H_
#define IVMQ_MESSAGE_H_

#include "ivmq/export.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "ivmq/internal/layout.h"
#include "ivmq/peer.h"

namespace ivmq {

using layout::FrameKind;

// The type that is sent before a message's bytes; see layout::Frame.
struct MessageType {
  FrameKind kind = FrameKind::kBytes;
  std::uint32_t type = 0;
  std::string_view name{};  // kTypedByName: at most 1024 bytes
};
inline constexpr std::size_t kMaxTypeName = 1024;

struct Message;

namespace internal {

// Implements Message::Keep(). For the library only.
class Keeper {
 public:
  virtual Message Keep(const Message& message) = 0;

 protected:
  ~Keeper() = default;
};

}  // namespace internal

// What a handler receives. References are valid until the handler returns, unless it keeps the
// message.
struct IVMQ_EXPORT Message {
  PeerId from;
  FrameKind kind = FrameKind::kBytes;  // one of a message's, so not kFragment or kBlock
  std::uint32_t type = 0;  // the sender's choice, the registered id of a protobuf type, or a call
  std::string_view type_name;  // kTypedByName only
  std::span<const std::byte> payload;
  // The message may have been handled before: its consumer died, or its handler threw, after the
  // message was handed out and before the handler returned.
  bool redelivered = false;

  // Returns the same message with a lease, so that it outlives its handler. Call it inside the
  // handler, on the handler's thread. The bytes stay until the last copy of the returned message is
  // destroyed, on any thread; then the lease ends. A message that was copied out of the shared
  // memory moves into the lease, or is copied again if it is small compared with its buffer. A
  // message that is handled in place (NodeOptions::trust_peers) stays in the ring, or in the heap of
  // its sender, who does not get that room back until the lease ends; once half of the ring is kept,
  // further messages are copied.
  //
  // A record is acknowledged when its handler has returned and its lease has ended: a durable node
  // that ends before receives it again. So a durable node always holds back the room in the ring,
  // an ephemeral one only for messages in place. Leases of messages in place must end before the
  // node is destroyed.
  //
  // NodeOptions::kept_bytes limits all leases. Beyond it a message is not kept: is_kept() is false,
  // and Counter::kKeepsRefused grows.
  [[nodiscard]] Message Keep() const;
  [[nodiscard]] bool is_kept() const noexcept { return lease != nullptr; }

  // The payload as text.
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(payload.data()), payload.size()};
  }

  // For the library only.
  internal::Keeper* keeper = nullptr;
  std::shared_ptr<const void> lease{};
};

}  // namespace ivmq

#endif  // IVMQ_MESSAGE_H_
