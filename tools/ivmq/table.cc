#include "table.h"

#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <string_view>

#include <fmt/format.h>

#include "terminal.h"
#include "text.h"

namespace ivmq::tool {
namespace {

constexpr std::size_t kBetween = 2;
constexpr std::size_t kNarrow = 12;  // a column of text that is wider can go on in the next line

std::size_t TotalOf(const std::vector<std::size_t>& widths) {
  return std::accumulate(widths.begin(), widths.end(), kBetween * (widths.size() - 1));
}

// The bytes of the first `width` characters.
std::size_t BytesOf(std::string_view text, std::size_t width) {
  std::size_t bytes = 0;
  while (bytes < text.size() && (width != 0 || (text[bytes] & 0xc0) == 0x80)) {
    if ((text[bytes++] & 0xc0) != 0x80) --width;
  }
  return bytes;
}

// `text` in pieces of at most `width` characters, cut at blanks where there are any.
std::vector<std::string> Wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> pieces;
  while (Width(text) > width) {
    std::size_t end = BytesOf(text, width);
    const std::size_t blank = text.substr(0, end + 1).rfind(' ');
    const bool has_blank = blank != std::string_view::npos && blank != 0;
    if (has_blank) end = blank;
    pieces.emplace_back(text.substr(0, end));
    text.remove_prefix(end + (has_blank ? 1 : 0));
  }
  pieces.emplace_back(text);
  return pieces;
}

}  // namespace

std::vector<std::size_t> Table::FitWidths(const Lines& lines, const std::vector<std::size_t>& shown,
                                          std::size_t width) const {
  std::vector<std::size_t> widths;
  std::vector<std::size_t> least;
  for (const std::size_t column : shown) {
    std::size_t most = 0;
    for (const auto& line : lines) most = std::max(most, Width(line[column]));
    widths.push_back(most);
    const bool can_wrap = columns_[column].align == Align::kLeft;
    least.push_back(can_wrap ? std::max(kNarrow, Width(columns_[column].title)) : most);
  }
  // The widest first.
  for (std::size_t total = TotalOf(widths); total > width; --total) {
    std::size_t widest = widths.size();
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const bool can_shrink = widths[i] > least[i];
      if (can_shrink && (widest == widths.size() || widths[i] > widths[widest])) widest = i;
    }
    if (widest == widths.size()) break;
    --widths[widest];
  }
  return widths;
}

std::string Table::Render(std::size_t width) const {
  Lines lines;
  std::vector<std::string> titles;
  bool titled = false;
  for (const Column& column : columns_) {
    titles.push_back(column.title);
    titled = titled || !column.title.empty();
  }
  if (titled) lines.push_back(std::move(titles));
  lines.insert(lines.end(), rows_.begin(), rows_.end());

  std::vector<std::size_t> shown(columns_.size());
  std::iota(shown.begin(), shown.end(), 0);
  std::vector<std::size_t> widths = FitWidths(lines, shown, width);
  std::string missing;
  while (TotalOf(widths) > width) {
    const auto last = std::max_element(shown.begin(), shown.end(), [&](auto a, auto b) {
      return columns_[a].rank < columns_[b].rank;
    });
    if (columns_[*last].rank == 0) break;
    missing = columns_[*last].title + (missing.empty() ? "" : ", ") + missing;
    shown.erase(last);
    widths = FitWidths(lines, shown, width);
  }

  std::string result;
  for (const auto& line : lines) {
    std::vector<std::vector<std::string>> cells;
    std::size_t height = 1;
    for (std::size_t i = 0; i < shown.size(); ++i) {
      cells.push_back(Wrap(line[shown[i]], widths[i]));
      height = std::max(height, cells.back().size());
    }
    for (std::size_t row = 0; row < height; ++row) {
      std::string text;
      for (std::size_t i = 0; i < shown.size(); ++i) {
        const std::string cell = row < cells[i].size() ? cells[i][row] : "";
        const std::string blanks(widths[i] - Width(cell), ' ');
        if (i != 0) text += std::string(kBetween, ' ');
        text += columns_[shown[i]].align == Align::kRight ? blanks + cell : cell + blanks;
      }
      text.erase(text.find_last_not_of(' ') + 1);
      result += text + "\n";
    }
  }
  if (missing.empty()) return result;
  for (const std::string& line :
       Wrap(fmt::format("(no room for {}; --json has all)", missing), std::max(width, kNarrow))) {
    result += line + "\n";
  }
  return result;
}

std::string Table::Render() const {
  return Render(isatty(STDOUT_FILENO) == 1 ? SizeOfTerminal().columns : kAnyWidth);
}

}  // namespace ivmq::tool
