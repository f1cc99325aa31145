#include "json_values.h"

#include <utility>

namespace ivmq::tool {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

std::optional<std::string> JsonValues::Next(bool at_end) {
  if (scanned_ == 0) {
    std::size_t begin = 0;
    while (begin < text_.size() && IsBlank(text_[begin])) ++begin;
    text_.erase(0, begin);
  }
  for (; scanned_ < text_.size(); ++scanned_) {
    const char c = text_[scanned_];
    bool ends = false;
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
      ends = !in_string_ && depth_ == 0;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      ends = depth_ <= 1;
      if (depth_ > 0) --depth_;
    } else if (depth_ == 0) {
      // A number or a word, which ends before what is no part of it.
      const bool last = scanned_ + 1 == text_.size();
      const char next = last ? ' ' : text_[scanned_ + 1];
      ends = !last && (IsBlank(next) || next == '{' || next == '[' || next == '"');
    }
    if (!ends) continue;
    std::string value = text_.substr(0, scanned_ + 1);
    text_.erase(0, scanned_ + 1);
    scanned_ = depth_ = 0;
    return value;
  }
  if (!at_end || text_.empty()) return std::nullopt;
  scanned_ = depth_ = 0;
  in_string_ = escaped_ = false;
  return std::exchange(text_, {});
}

}  // namespace ivmq::tool
