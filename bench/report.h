// What is printed: Markdown; and what is written: JSON.
#ifndef IVMQ_BENCH_REPORT_H_
#define IVMQ_BENCH_REPORT_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace ivmq::bench {

[[nodiscard]] double Median(std::vector<double> values);
// The median of the ratios one by one; 0 unless both have as many.
[[nodiscard]] double MedianRatio(const std::vector<double>& of, const std::vector<double>& to);
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
  // Promise, limit, figure, whether it holds.
  [[nodiscard]] const std::vector<std::vector<std::string>>& rows() const noexcept { return rows_; }

 private:
  void Add(std::string what, double figure, std::string_view relation, double limit, bool holds);

  std::vector<std::vector<std::string>> rows_;
};

// Every figure, for programs.
class Results {
 public:
  // `candidate` as in the tables, `figures` e.g. {"bytes", 64}, {"p50_us", 0.3}.
  void Add(std::string_view suite, std::string_view candidate,
           const std::vector<std::pair<std::string, double>>& figures);
  void Write(const std::string& path, int argc, char** argv, const Promises& promises) const;

 private:
  nlohmann::ordered_json figures_ = nlohmann::ordered_json::array();
};

// What a run found.
struct Outcome {
  Promises promises;
  Results results;
};

// Title, processor, kernel, compiler, date and command.
void PrintHead(int argc, char** argv);
void PrintSection(std::string_view title, std::string_view text);
// On the terminal, what runs now.
void Progress(std::string_view what);

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_REPORT_H_
