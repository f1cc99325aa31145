#include "comments.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ivmq::plugin {
namespace {

// A character and its length in bytes, or 0 if there is none.
struct Character {
  std::uint32_t code = 0;
  std::size_t size = 0;
};

// REQUIRES: text is not empty.
Character FirstOf(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::uint32_t first = at(0);
  if (first < 0x80) return {first, 1};
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  constexpr std::uint32_t kLeast[] = {0x80, 0x800, 0x10000};  // or it has a shorter form
  if (first < 0xc0 || first >= 0xf8 || text.size() < size) return {};
  std::uint32_t code = first & (0x7fU >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xc0U) != 0x80) return {};
    code = (code << 6U) | (at(i) & 0x3fU);
  }
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  if (code < kLeast[size - 2] || code > 0x10ffff || surrogate) return {};
  return {code, size};
}

bool IsText(std::uint32_t code) {
  const bool control = (code < 0x20 && code != '\t') || (code >= 0x7f && code < 0xa0);
  const bool separator = code == 0x2028 || code == 0x2029;
  const bool direction = code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
                         (code >= 0x2066 && code <= 0x2069);
  return !control && !separator && !direction;
}

std::string Clean(std::string_view line) {
  // Compilers look through blanks for a backslash at the end, which goes on in the next line.
  const std::size_t last = line.find_last_not_of(" \t\r\v\f");
  line = line.substr(0, last == std::string_view::npos ? 0 : last + 1);
  std::string clean;
  while (!line.empty()) {
    const Character first = FirstOf(line);
    if (first.size != 0 && IsText(first.code)) {
      clean += line.substr(0, first.size);
    } else {
      clean += '?';
    }
    line.remove_prefix(first.size != 0 ? first.size : 1);
  }
  // "??/" is an older spelling of a backslash.
  if (clean.ends_with('\\') || clean.ends_with("?\?/")) clean += '.';
  return clean;
}

}  // namespace

std::vector<std::string> CommentLines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.push_back(Clean(text.substr(0, end)));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

}  // namespace ivmq::plugin
