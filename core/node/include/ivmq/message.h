// Messages: what is sent with their bytes, and what a handler gets.
#ifndef IVMQ_MESSAGE_H_
#define IVMQ_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "ivmq/internal/layout.h"
#include "ivmq/peer.h"

namespace ivmq {

using layout::FrameKind;

// What precedes a message's bytes on the wire; see layout::Frame.
struct MessageType {
  FrameKind kind = FrameKind::kBytes;
  std::uint32_t type = 0;
  std::string_view name{};  // kTypedByName: at most 1024 bytes
};
inline constexpr std::size_t kMaxTypeName = 1024;

struct Message;

namespace internal {

// How Message::Keep() does it; the library's own.
class Keeper {
 public:
  virtual Message Keep(const Message& message) = 0;

 protected:
  ~Keeper() = default;
};

}  // namespace internal

// What a handler gets. References live until it returns, unless it is kept.
struct Message {
  PeerId from;
  FrameKind kind = FrameKind::kBytes;  // any but kFragment
  std::uint32_t type = 0;  // the sender's choice, the registered id of a protobuf type, or a call
  std::string_view type_name;  // kTypedByName only
  std::span<const std::byte> payload;
  // The message may have been handled before: its consumer died, or its handler threw, after it was
  // handed out and before the handler returned.
  bool redelivered = false;

  // Within its handler, and on the handler's thread: the same message, which outlives the handler.
  // Its bytes stay until the last copy of what this returns is gone, on any thread; then its lease
  // ends. What was copied out of the shared memory goes over into the lease, or is copied once
  // more if it is small beside its buffer. What is handled in place (NodeOptions::trust_peers)
  // stays in the ring, whose sender does not get that room back meanwhile; where half of the ring is
  // kept, it is copied.
  //
  // A record counts as acknowledged when its handler has returned and its lease has ended: a durable
  // node that ends before gets it again. So it too holds back the room in the ring; an ephemeral one
  // does so in place only. Leases of what lies in place must end before the node is destroyed.
  //
  // NodeOptions::kept_bytes bounds them: beyond it the message is not kept, is_kept() is false, and
  // Counter::kKeepsRefused grows.
  [[nodiscard]] Message Keep() const;
  [[nodiscard]] bool is_kept() const noexcept { return lease != nullptr; }

  // The payload as text.
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(payload.data()), payload.size()};
  }

  // The library's own.
  internal::Keeper* keeper = nullptr;
  std::shared_ptr<const void> lease{};
};

}  // namespace ivmq

#endif  // IVMQ_MESSAGE_H_
