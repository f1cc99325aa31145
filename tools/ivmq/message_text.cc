#include "message_text.h"

#include <cstddef>

#include <fmt/format.h>

#include "text.h"

namespace ivmq::tool {
namespace {

constexpr std::size_t kHexLimit = 64;

}  // namespace

std::string TypeText(const Message& message) {
  switch (message.kind) {
    case FrameKind::kTypedByName:
      return Printable(message.type_name);
    case FrameKind::kTypedById:
      return fmt::format("id {}", message.type);
    default:
      return fmt::format("type {}", message.type);
  }
}

std::string PayloadText(const Message& message) {
  return IsText(message.text()) ? Printable(message.text())
                                : "hex " + HexText(message.payload, kHexLimit);
}

void AddContent(const Message& message, Json* json) {
  (*json)["kind"] = message.kind == FrameKind::kBytes       ? "bytes"
                    : message.kind == FrameKind::kTypedById ? "typed_by_id"
                                                            : "typed_by_name";
  if (message.kind == FrameKind::kTypedByName) {
    (*json)["type_name"] = message.type_name;
  } else {
    (*json)["type"] = message.type;
  }
  (*json)["size"] = message.payload.size();
  if (IsText(message.text())) {
    (*json)["text"] = message.text();
  } else {
    (*json)["hex"] = HexDigits(message.payload);
  }
}

}  // namespace ivmq::tool
