// Aligned columns.
#ifndef IVMQ_TOOLS_IVMQ_TABLE_H_
#define IVMQ_TOOLS_IVMQ_TABLE_H_

#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace ivmq::tool {

// Thread-compatible.
class Table {
 public:
  enum class Align : bool { kLeft, kRight };
  struct Column {
    std::string title;  // the key of its values in JSON, in capitals and with blanks for "_"
    Align align = Align::kLeft;
    // Where there is too little room, columns of higher ranks are left out first; 0: never.
    int rank = 0;
  };
  static constexpr std::size_t kAnyWidth = std::numeric_limits<std::size_t>::max();

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: one cell a column; each well-formed UTF-8.
  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  // The titles (unless all are empty) and the rows, each ending with a line end. What is wider than
  // `width` goes on in the next line, or its column is left out, and the last line says so.
  [[nodiscard]] std::string Render(std::size_t width) const;
  // The same for standard output: as wide as it is if it is a terminal.
  [[nodiscard]] std::string Render() const;

 private:
  using Lines = std::vector<std::vector<std::string>>;

  [[nodiscard]] std::vector<std::size_t> FitWidths(const Lines& lines,
                                                   const std::vector<std::size_t>& shown,
                                                   std::size_t width) const;

  std::vector<Column> columns_;
  Lines rows_;
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_TABLE_H_
