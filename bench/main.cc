// ivmq_bench: latency, rate and wake-up figures of two processes, in Markdown. See README.md.
#include <algorithm>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "report.h"
#include "rivals.h"
#include "suites.h"

namespace {

struct Suite {
  std::string name;
  void (*run)(const ivmq::bench::Plan&, ivmq::bench::Outcome&);
};

}  // namespace

int main(int argc, char** argv) {
  using namespace ivmq::bench;  // NOLINT(google-build-using-namespace)
  const std::vector<Suite> suites{
      {"roundtrip", RoundTrips}, {"rate", Rates},
      {"large", LargeMessages},  {"blocking", BlockingRoundTrips},
      {"load", UnderLoad},       {"receivers", ManyReceivers},
      {"topics", Topics},        {"doorbells", Doorbells},
      {"peers", ManyPeers},      {"idle", Idle},
  };
  std::vector<std::string> names;
  for (const Suite& suite : suites) names.push_back(suite.name);

  CLI::App app(
      "Measures ivmq beside its floor and its rivals; prints Markdown.\n"
      "Exit code 1 only if a message arrived late, damaged or not at all.\n"
      "Example: ivmq_bench --only roundtrip --rounds 21");
  bool quick = false;
  int rounds = 0;
  std::vector<std::string> only;
  Plan plan;
  std::string json;
  const std::vector<std::size_t> sizes = plan.sizes;
  app.add_flag("--quick", quick, "a fifth of the time, fewer sizes; noisier");
  app.add_option("--sizes", plan.sizes, "bytes of a message, for `roundtrip` and `rate`")
      ->delimiter(',')
      ->check(CLI::IsMember(sizes));
  app.add_option("--match", plan.match,
                 "candidates only whose name holds one of these, where it applies")
      ->delimiter(',');
  app.add_option("--json", json, "a file for all figures");
  app.add_option("--hdr", plan.folder,
                 "a folder for the histograms of `load`, HdrHistogram's format")
      ->check(CLI::ExistingDirectory);
  app.add_option("--only", only, "these tables only")->delimiter(',')->check(CLI::IsMember(names));
  app.add_option("--rounds", rounds, "how often the candidates take turns")
      ->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);

  if (quick) {
    plan.rounds = 3;
    plan.slot = std::chrono::milliseconds(25);
    plan.idle = std::chrono::milliseconds(3000);
    plan.idle_messages = 10;
    if (plan.sizes == sizes) plan.sizes = {64, 1U << 10, 16U << 10, 1U << 20};
  }
  if (rounds != 0) plan.rounds = rounds;

  PrintHead(argc, argv);
  for (const std::string& packages : MissingPackages()) {
    fmt::print("Left out, since this was built without: {}\n\n", packages);
  }
  Outcome outcome;
  for (const Suite& suite : suites) {
    if (only.empty() || std::find(only.begin(), only.end(), suite.name) != only.end()) {
      suite.run(plan, outcome);
    }
  }
  if (only.empty()) {
    outcome.aims.Elsewhere("unary calls, handled inline and in the pool", "", "./dev bench rpc");
    outcome.aims.Elsewhere("guest to guest, polling, 64 B, node / bare ring", "at most 1.5",
                           "./dev bench guests");
    outcome.aims.Elsewhere("guest to guest, sleeping, 16 KiB, node / bare doorbell", "at most 1.5",
                           "./dev bench guests");
  }
  outcome.aims.Print();
  if (!json.empty()) outcome.results.Write(json, argc, argv, outcome.aims);
  return 0;
}
