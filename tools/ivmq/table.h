// Aligned columns.
#ifndef IVMQ_TOOLS_IVMQ_TABLE_H_
#define IVMQ_TOOLS_IVMQ_TABLE_H_

#include <string>
#include <vector>

namespace ivmq::tool {

// Thread-compatible.
class Table {
 public:
  enum class Align : bool { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: one cell a column; each well-formed UTF-8.
  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  // The titles (unless all are empty) and the rows, each ending with a line end.
  [[nodiscard]] std::string Render() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_TABLE_H_
