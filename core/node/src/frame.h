// The bytes that a node writes before a message: see layout::Frame.
#ifndef IVMQ_FRAME_H_
#define IVMQ_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ivmq/internal/layout.h"
#include "ivmq/message.h"

namespace ivmq {

// Bytes of the frame and the type name.
[[nodiscard]] inline std::size_t HeadBytes(const MessageType& type) noexcept {
  return sizeof(layout::Frame) + type.name.size();
}

// Writes HeadBytes(type) bytes.
inline void WriteHead(const MessageType& type, std::byte* to) noexcept {
  const layout::Frame frame{.kind = type.kind,
                            .name_bytes = static_cast<std::uint16_t>(type.name.size()),
                            .type = type.type};
  std::memcpy(to, &frame, sizeof(frame));
  if (!type.name.empty()) std::memcpy(to + sizeof(frame), type.name.data(), type.name.size());
}

// Of the record of a message in a heap, before which `head` bytes would stand in a record.
[[nodiscard]] constexpr std::size_t BlockRecordBytes(std::size_t head) noexcept {
  return sizeof(layout::Frame) + sizeof(layout::BlockDescriptor) + head;
}

}  // namespace ivmq

#endif  // IVMQ_FRAME_H_
