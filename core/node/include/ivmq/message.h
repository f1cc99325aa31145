// Messages: what is sent with their bytes, and what a handler gets.
#ifndef IVMQ_MESSAGE_H_
#define IVMQ_MESSAGE_H_

#include <cstddef>
#include <cstdint>
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

// What a handler gets. References live until it returns.
struct Message {
  PeerId from;
  FrameKind kind = FrameKind::kBytes;  // any but kFragment
  std::uint32_t type = 0;  // the sender's choice, the registered id of a protobuf type, or a call
  std::string_view type_name;  // kTypedByName only
  std::span<const std::byte> payload;
  // The message may have been handled before: its consumer died, or its handler threw, after it was
  // handed out and before the handler returned.
  bool redelivered = false;

  // The payload as text.
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(payload.data()), payload.size()};
  }
};

}  // namespace ivmq

#endif  // IVMQ_MESSAGE_H_
