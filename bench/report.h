// What is printed: Markdown.
#ifndef IVMQ_BENCH_REPORT_H_
#define IVMQ_BENCH_REPORT_H_

#include <string>
#include <string_view>
#include <vector>

namespace ivmq::bench {

[[nodiscard]] double Median(std::vector<double> values);
[[nodiscard]] double Largest(const std::vector<double>& values);

// "0.42", "12.3", "1234": three digits that mean something.
std::string Short(double value);
// "75.3 M", "607 k", "8.5 k".
std::string PerSecond(double rate);
// "64 B", "16 KiB", "1 MiB".
std::string Bytes(std::size_t bytes);

class Table {
 public:
  explicit Table(std::vector<std::string> head) : rows_{std::move(head)} {}
  void Row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // The first column is aligned left, the others right.
  void Print() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// The figures that the project promises, beside what was measured. Nothing fails because of them.
class Promises {
 public:
  void AtMost(std::string what, double figure, double limit);
  void AtLeast(std::string what, double figure, double limit);
  void Print() const;

 private:
  void Add(std::string what, double figure, std::string_view relation, double limit, bool holds);

  std::vector<std::vector<std::string>> rows_;
};

// Title, processor, kernel, compiler, date and command.
void PrintHead(int argc, char** argv);
void PrintSection(std::string_view title, std::string_view text);
// On the terminal, what runs now.
void Progress(std::string_view what);

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_REPORT_H_
