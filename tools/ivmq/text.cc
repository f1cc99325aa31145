#include "text.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace ivmq::tool {
namespace {

struct Character {
  char32_t value = 0;
  std::size_t bytes = 0;  // 0: not well-formed
};

// The first character of `text`, which is not empty.
Character Decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  const std::size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < bytes) return {};
  char32_t value = first & (0xffU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3fU);
  }
  constexpr std::array<char32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < kSmallest[bytes] || value > 0x10ffff || surrogate) return {};
  return {value, bytes};
}

bool IsHarmless(char32_t c) {
  const auto within = [c](char32_t low, char32_t high) { return c >= low && c <= high; };
  return c >= 0x20 && !within(0x7f, 0x9f) && c != 0xad && c != 0x61c && !within(0x200b, 0x200f) &&
         !within(0x2028, 0x202e) && !within(0x2060, 0x206f) && c != 0xfeff &&
         !within(0xfff9, 0xfffb) && !within(0xe0000, 0xe0fff);
}

// As in C where that has a letter for it.
std::string EscapedByte(char c) {
  constexpr std::string_view kLetters = "ntr";
  constexpr std::string_view kBytes = "\n\t\r";
  if (const std::size_t at = kBytes.find(c); at != std::string_view::npos) {
    return fmt::format("\\{}", kLetters[at]);
  }
  return fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
}

std::string Escape(std::string_view text, bool blanks) {
  std::string result;
  while (!text.empty()) {
    const Character character = Decode(text);
    const std::size_t bytes = std::max<std::size_t>(character.bytes, 1);
    const std::string_view piece = text.substr(0, bytes);
    if (character.bytes != 0 && IsHarmless(character.value) && !(blanks && piece == " ")) {
      result += piece;
    } else {
      for (const char c : piece) result += EscapedByte(c);
    }
    text.remove_prefix(bytes);
  }
  return result;
}

}  // namespace

std::string Printable(std::string_view text) { return Escape(text, /*blanks=*/false); }

std::string PrintableName(std::string_view name) {
  return name.empty() ? "-" : Escape(name, /*blanks=*/true);
}

bool IsText(std::string_view text) {
  while (!text.empty()) {
    const Character character = Decode(text);
    if (character.bytes == 0) return false;
    const bool blank =
        character.value == '\t' || character.value == '\n' || character.value == '\r';
    if (!blank && !IsHarmless(character.value)) return false;
    text.remove_prefix(character.bytes);
  }
  return true;
}

std::size_t Width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string HexText(std::span<const std::byte> bytes, std::size_t limit) {
  std::string result;
  for (const std::byte byte : bytes.first(std::min(limit, bytes.size()))) {
    fmt::format_to(std::back_inserter(result), "{}{:02x}", result.empty() ? "" : " ",
                   std::to_integer<unsigned>(byte));
  }
  if (bytes.size() > limit) {
    fmt::format_to(std::back_inserter(result), " ... and {} bytes more", bytes.size() - limit);
  }
  return result;
}

std::string HexDigits(std::span<const std::byte> bytes) {
  std::string result;
  result.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    fmt::format_to(std::back_inserter(result), "{:02x}", std::to_integer<unsigned>(byte));
  }
  return result;
}

std::string SizeText(std::uint64_t bytes) {
  constexpr std::array<const char*, 4> kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} byte{}", bytes, bytes == 1 ? "" : "s");
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.4g} {}", value, kUnits[unit]);
}

std::string DurationText(std::chrono::nanoseconds duration) {
  constexpr std::array<const char*, 4> kUnits = {"ns", "us", "ms", "s"};
  auto value = static_cast<double>(duration.count());
  std::size_t unit = 0;
  // 999.5 would become 1e+03.
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  return value >= 999.5 ? fmt::format("{:.0f} {}", value, kUnits[unit])
                        : fmt::format("{:.3g} {}", value, kUnits[unit]);
}

std::string TimeText(std::uint64_t unix_ns) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(static_cast<std::time_t>(unix_ns / 1'000'000'000)));
}

}  // namespace ivmq::tool
