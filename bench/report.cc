#include "report.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>

#include <fmt/chrono.h>
#include <fmt/core.h>

#include "process_pair.h"

namespace ivmq::bench {
namespace {

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) {
      return line.substr(std::min(line.size(), line.find(':') + 2));
    }
  }
  return "unknown processor";
}

constexpr const char* kCompiler =
#if defined(__clang__)
    "clang " __clang_version__;
#else
    "g++ " __VERSION__;
#endif

std::string Command(int argc, char** argv) {
  std::string command;
  for (int i = 0; i < argc; ++i) {
    std::string_view word = argv[i];
    if (i == 0) word.remove_prefix(word.find_last_of('/') + 1);
    command += (i == 0 ? "" : " ") + std::string(word);
  }
  return command;
}

}  // namespace

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double MedianRatio(const std::vector<double>& of, const std::vector<double>& to) {
  if (of.size() != to.size()) return 0;
  std::vector<double> ratios;
  for (std::size_t i = 0; i < of.size(); ++i) ratios.push_back(of[i] / to[i]);
  return Median(ratios);
}

double Largest(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

std::string Short(double value) {
  return value < 10 ? fmt::format("{:.2f}", value)
                    : fmt::format("{:.{}f}", value, value < 100 ? 1 : 0);
}

std::string PerSecond(double rate) {
  if (rate >= 1e6) return Short(rate / 1e6) + " M";
  if (rate >= 1e3) return Short(rate / 1e3) + " k";
  return Short(rate);
}

std::string Bytes(std::size_t bytes) {
  if (bytes >= 1U << 20) return fmt::format("{} MiB", bytes >> 20);
  if (bytes >= 1U << 10) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} B", bytes);
}

void Table::Print() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string cell = i < rows_[r].size() ? rows_[r][i] : "";
      if (i == 0) {
        fmt::print("| {:<{}} |", cell, widths[i]);
      } else {
        fmt::print(" {:>{}} |", cell, widths[i]);
      }
    }
    fmt::print("\n");
    if (r != 0) continue;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      fmt::print("{}{}{}|", i == 0 ? "|" : "", std::string(widths[i] + 1, '-'), i == 0 ? "-" : ":");
    }
    fmt::print("\n");
  }
  fmt::print("\n");
  std::fflush(stdout);
}

void Aims::AtMost(std::string work, double figure, double limit) {
  Add(std::move(work), figure, "at most", limit, figure <= limit);
}

void Aims::AtLeast(std::string work, double figure, double limit) {
  Add(std::move(work), figure, "at least", limit, figure >= limit);
}

void Aims::Elsewhere(std::string work, std::string aim, std::string_view command) {
  elsewhere_.push_back({std::move(work), fmt::format("by `{}`", command), std::move(aim), false});
}

void Aims::Add(std::string work, double figure, std::string_view relation, double limit,
               bool is_met) {
  if (figure == 0) return;
  rows_.push_back({std::move(work), fmt::format("{:.3g}", figure),
                   fmt::format("{} {:.4g}", relation, limit), is_met});
}

void Aims::Print() const {
  PrintSection("Aims",
               "What the project aims at. Ratios, round by round, of p50 or of rates, unless there "
               "is a unit. A busy machine, or one whose two cores share little, misses some.");
  Table table({"work", "measured", "aim", "met"});
  for (const Row& row : rows_) {
    table.Row({row.work, row.measured, row.aim, row.is_met ? "met" : "**not met**"});
  }
  for (const Row& row : elsewhere_) table.Row({row.work, row.measured, row.aim, ""});
  table.Print();
}

void Results::Add(std::string_view suite, std::string_view candidate,
                  const std::vector<std::pair<std::string, double>>& figures) {
  std::string name(candidate);
  std::erase(name, '*');
  std::erase(name, '`');
  nlohmann::ordered_json entry{{"suite", suite}, {"candidate", name}};
  for (const auto& [key, value] : figures) entry[key] = value;
  figures_.push_back(std::move(entry));
}

void Results::Write(const std::string& path, int argc, char** argv, const Aims& aims) const {
  utsname system{};
  uname(&system);
  nlohmann::ordered_json all{
      {"processor", ProcessorName()},
      {"cores", sysconf(_SC_NPROCESSORS_ONLN)},
      {"pair", Cores() == 2 ? "pinned to cores 0 and 1" : "sharing one core"},
      {"kernel", std::string(system.sysname) + " " + system.release},
      {"compiler", kCompiler},
      {"date", fmt::format("{:%Y-%m-%dT%H:%MZ}", fmt::gmtime(std::time(nullptr)))},
      {"command", Command(argc, argv)},
      {"figures", figures_},
      {"aims", nlohmann::ordered_json::array()}};
  for (const Aims::Row& row : aims.rows()) {
    all["aims"].push_back(
        {{"work", row.work}, {"measured", row.measured}, {"aim", row.aim}, {"met", row.is_met}});
  }
  std::ofstream file(path);
  file << all.dump(1) << std::endl;
  if (!file) Fail("cannot write " + path);
}

void PrintHead(int argc, char** argv) {
  utsname system{};
  uname(&system);
  fmt::print("# ivmq benchmarks\n\n");
  fmt::print("- processor: {}, {} cores; the pair {}\n", ProcessorName(),
             sysconf(_SC_NPROCESSORS_ONLN),
             Cores() == 2 ? "is pinned to cores 0 and 1" : "shares one core");
  fmt::print("- kernel: {} {}; compiler: {}\n", system.sysname, system.release, kCompiler);
  fmt::print("- date: {:%Y-%m-%d %H:%M} UTC; command: `{}`\n\n", fmt::gmtime(std::time(nullptr)),
             Command(argc, argv));
}

void PrintSection(std::string_view title, std::string_view text) {
  fmt::print("## {}\n\n{}\n\n", title, text);
}

void Progress(std::string_view what) {
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\r\033[K{}", what);
  std::fflush(stderr);
}

}  // namespace ivmq::bench
