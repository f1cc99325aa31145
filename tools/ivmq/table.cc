#include "table.h"

#include <algorithm>
#include <cstddef>

#include "text.h"

namespace ivmq::tool {

std::string Table::Render() const {
  std::vector<std::vector<std::string>> lines;
  std::vector<std::string> titles;
  bool titled = false;
  for (const Column& column : columns_) {
    titles.push_back(column.title);
    titled = titled || !column.title.empty();
  }
  if (titled) lines.push_back(std::move(titles));
  lines.insert(lines.end(), rows_.begin(), rows_.end());

  std::vector<std::size_t> widths(columns_.size());
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], Width(line[i]));
  }
  std::string result;
  for (const auto& line : lines) {
    std::string text;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string gap(widths[i] - Width(line[i]), ' ');
      if (i != 0) text += "  ";
      text += columns_[i].align == Align::kRight ? gap + line[i] : line[i] + gap;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    result += text + "\n";
  }
  return result;
}

}  // namespace ivmq::tool
