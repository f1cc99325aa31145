#include "common/table.h"

#include <algorithm>

#include <fmt/format.h>

namespace ivmq::campaign {

Table::Table(std::string_view title, const std::vector<std::string>& columns) {
  text_ = fmt::format("{:<62}", title);
  for (const std::string& column : columns) text_ += fmt::format("{:>12}", column);
  text_ += "\n";
}

void Table::Heading(std::string_view text) { text_ += fmt::format("{}\n", text); }

void Table::Figure(std::string_view what, const Values& values) {
  text_ += fmt::format("{:<62}", what);
  for (const std::uint64_t value : values) text_ += fmt::format("{:>12}", value);
  text_ += "\n";
}

void Table::Promise(std::string_view what, const Values& values) {
  Figure(what, values);
  holds_ &= std::ranges::all_of(values, [](std::uint64_t value) { return value == 0; });
}

void Table::Needed(std::string_view what, const Values& values) {
  Figure(what, values);
  holds_ &= std::ranges::none_of(values, [](std::uint64_t value) { return value == 0; });
}

void Table::Print() const { fmt::print("\n{}", text_); }

}  // namespace ivmq::campaign
