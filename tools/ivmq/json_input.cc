#include "json_input.h"

#include "ivmq/node.h"

namespace ivmq::tool {

JsonInput::JsonInput(std::optional<std::string> text, const Interrupt& interrupt, int stop)
    : ends_(text.has_value()), lines_(interrupt, NodeOptions().max_message_bytes, stop) {
  if (text) values_.Append(*text);
}

std::optional<std::string> JsonInput::Next() {
  for (;;) {
    if (auto value = values_.Next(ends_)) return value;
    if (ends_) return std::nullopt;
    if (const auto line = lines_.Next()) {
      values_.Append(*line);
      values_.Append("\n");
    } else {
      ends_ = true;
    }
  }
}

}  // namespace ivmq::tool
