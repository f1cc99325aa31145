// Bytes, sizes and durations as people read them.
#ifndef IVMQ_TOOLS_IVMQ_TEXT_H_
#define IVMQ_TOOLS_IVMQ_TEXT_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ivmq::tool {

// `text` with everything escaped, as \n, \t, \r or \xHH, that is no well-formed UTF-8 or that a terminal might
// obey or hide: control characters, line and paragraph separators, direction and zero-width
// characters.
std::string Printable(std::string_view text);

// The same for a name in a column: blanks are escaped as well, and an empty name is "-".
std::string PrintableName(std::string_view name);

// True if Printable() would leave `text` as it is, tabs and line ends aside.
bool IsText(std::string_view text);

// Columns that well-formed text takes, at one a character.
std::size_t Width(std::string_view text);

// "68 65 6c", at most `limit` bytes of it, then "... and 12 bytes more".
std::string HexText(std::span<const std::byte> bytes, std::size_t limit);

// "68656c".
std::string HexDigits(std::span<const std::byte> bytes);

// "64 MiB", "1.5 KiB", "20 bytes".
std::string SizeText(std::uint64_t bytes);

// Three digits and the unit that fits: "850 ns", "1.23 us", "45.6 ms", "2 s".
std::string DurationText(std::chrono::nanoseconds duration);

// "2025-01-31T12:00:00Z" (RFC 3339) of nanoseconds since the Unix epoch.
std::string TimeText(std::uint64_t unix_ns);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_TEXT_H_
