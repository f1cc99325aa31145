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

// The figures that the project aims at, beside what was measured. Nothing fails because of them.
class Aims {
 public:
  // `figure`: a ratio, or in the unit that `work` names; 0: it was not measured, and is left out.
  void AtMost(std::string work, double figure, double limit);
  void AtLeast(std::string work, double figure, double limit);
  // One that another command measures.
  void Elsewhere(std::string work, std::string aim, std::string_view command);
  // Work, what was measured, aim, whether it is met.
  void Print() const;

  struct Row {
    std::string work, measured, aim;
    bool is_met = false;
  };
  // Without those that are measured elsewhere.
  [[nodiscard]] const std::vector<Row>& rows() const noexcept { return rows_; }

 private:
  void Add(std::string work, double figure, std::string_view relation, double limit, bool is_met);

  std::vector<Row> rows_;
  std::vector<Row> elsewhere_;  // `measured`: by what
};

// Every figure, for programs.
class Results {
 public:
  // `candidate` as in the tables, `figures` e.g. {"bytes", 64}, {"p50_us", 0.3}.
  void Add(std::string_view suite, std::string_view candidate,
           const std::vector<std::pair<std::string, double>>& figures);
  void Write(const std::string& path, int argc, char** argv, const Aims& aims) const;

 private:
  nlohmann::ordered_json figures_ = nlohmann::ordered_json::array();
};

// What a run found.
struct Outcome {
  Aims aims;
  Results results;
};

// Title, processor, kernel, compiler, date and command.
void PrintHead(int argc, char** argv);
void PrintSection(std::string_view title, std::string_view text);
// On the terminal, what runs now.
void Progress(std::string_view what);

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_REPORT_H_
