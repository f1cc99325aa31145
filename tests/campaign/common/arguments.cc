#include "common/arguments.h"

#include <charconv>
#include <cstdio>
#include <optional>
#include <random>
#include <string_view>

#include <fmt/format.h>

namespace ivmq::campaign {
namespace {

using std::chrono::seconds;

std::optional<Arguments> Parse(int argc, char** argv) {
  Arguments arguments{.seed = std::random_device()()};
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string_view text = i + 1 < argc ? argv[i + 1] : "";
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
    if (name == "--minutes" && value >= 1 && value <= 24 * 60) {
      arguments.duration = std::chrono::minutes(value);
    } else if (name == "--seconds" && value >= 1 && value <= 24 * 3600) {
      arguments.duration = seconds(value);
    } else if (name == "--seed") {
      arguments.seed = value;
    } else {
      return {};
    }
  }
  return arguments;
}

}  // namespace

int Main(int argc, char** argv, bool (*run)(const Arguments&)) {
  const std::optional<Arguments> arguments = Parse(argc, argv);
  if (!arguments) {
    fmt::print(stderr, "usage: {} [--minutes N | --seconds N] [--seed S]\n", argv[0]);
    return 2;
  }
  fmt::print("{} s, --seed {}\n", arguments->duration.count(), arguments->seed);
  (void)std::fflush(nullptr);
  const bool holds = run(*arguments);
  fmt::print("{}\n", holds ? "All promises were kept." : "FAILED: promises were broken.");
  return holds ? 0 : 1;
}

}  // namespace ivmq::campaign
