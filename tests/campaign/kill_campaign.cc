// A mesh of eight processes, half of them durable, that send each other messages of 0 to 300 KiB
// while they are killed, stopped, and leave and return at random; over file: and over unix: at
// once. Afterwards each message is held against docs/guarantees.md.
//
//   kill_campaign [--minutes N | --seconds N] [--seed S]
//
// Exit status: 0 if all promises were kept, else 1.
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>

#include <fmt/format.h>

#include "referee.h"

namespace ivmq::campaign {
namespace {

using std::chrono::seconds;

constexpr std::size_t kMeshes = 2;
using Outcomes = std::array<Outcome, kMeshes>;

// Everything behind the last fault has an end, well below this.
constexpr seconds kAfterwards{150};

struct Arguments {
  seconds duration{600};
  std::uint64_t seed = std::random_device()();
};

std::optional<Arguments> Parse(int argc, char** argv) {
  Arguments arguments;
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

void PrintTable(const Outcomes& outcomes) {
  const auto row = [&](std::string_view what, auto value) {
    fmt::print("{:<62}{:>12}{:>12}\n", what, value(outcomes[0]), value(outcomes[1]));
  };
  const auto figure = [&](std::string_view what, std::uint64_t Verdict::*member) {
    row(what, [&](const Outcome& outcome) { return outcome.verdict.*member; });
  };
  const auto fault = [&](std::string_view what, Fault kind) {
    row(what, [&](const Outcome& outcome) {
      return outcome.verdict.faults.at(static_cast<std::size_t>(kind));
    });
  };
  fmt::print("\n{:<62}{:>12}{:>12}\n", "8 processes, 4 of them durable, over", "file:", "unix:");
  row("killed", [](const Outcome& outcome) { return outcome.killed; });
  row("stopped", [](const Outcome& outcome) { return outcome.stopped; });
  row("left in order", [](const Outcome& outcome) { return outcome.left; });
  figure("messages sent", &Verdict::ok);
  figure("  of them larger than a record", &Verdict::ok_large);
  figure("messages handled", &Verdict::handled);
  fmt::print("not promised\n");
  figure("  refused: full, timed out, peer gone", &Verdict::refused);
  figure("  their sender was killed in the call", &Verdict::unfinished);
  figure("  unread by an ephemeral receiver that ended", &Verdict::excused_unread);
  figure("  large, and their durable receiver ended midway in them", &Verdict::excused_cut);
  figure("  handled again, marked as redelivered", &Verdict::marked);
  fmt::print("promised: none\n");
  figure("  lost", &Verdict::lost);
  figure("  handled twice, unmarked", &Verdict::twice_unmarked);
  fault("  out of order", Fault::kOutOfOrder);
  fault("  changed", Fault::kChanged);
  fault("  from another life than Message::from says", Fault::kWrongLife);
  figure("  handled though the send was refused", &Verdict::refused_yet_handled);
  figure("  stuck: pairs without progress after the last fault", &Verdict::stuck);
  fault("  stuck: calls that did not end", Fault::kNotEnded);
  fault("  declared dead while it lived", Fault::kDeclaredDead);
  fault("  could not open its node again", Fault::kCannotOpen);
  fault("  ended by itself", Fault::kCrashed);
  figure("  rings given up", &Verdict::rings_given_up);
}

pid_t ForkReferee(Mesh mesh, const CampaignOptions& options, Outcome* outcome) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == parent) RunMesh(mesh, options, outcome);
  (void)std::fflush(nullptr);
  _exit(0);
}

int Run(const Arguments& arguments) {
  fmt::print("{} s of kills and stops, --seed {}\n", arguments.duration.count(), arguments.seed);
  (void)std::fflush(nullptr);
  void* const memory =
      mmap(nullptr, sizeof(Outcomes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    return 1;
  }
  Outcomes& outcomes = *new (memory) Outcomes;
  std::array<pid_t, kMeshes> referees{};
  for (std::size_t i = 0; i < kMeshes; ++i) {
    referees.at(i) =
        ForkReferee(static_cast<Mesh>(i),
                    {.duration = arguments.duration, .seed = arguments.seed + i}, &outcomes.at(i));
  }
  const auto until = std::chrono::steady_clock::now() + arguments.duration + kAfterwards;
  for (const pid_t referee : referees) {
    while (waitpid(referee, nullptr, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > until) kill(referee, SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  PrintTable(outcomes);
  bool holds = true;
  for (const Outcome& outcome : outcomes) {
    holds &= outcome.judged && outcome.verdict.holds() && outcome.killed != 0;
    if (!outcome.judged) fmt::print("A referee did not come to a verdict.\n");
    fmt::print("{}", outcome.texts.data());
  }
  fmt::print("{}\n", holds ? "All promises were kept." : "FAILED: promises were broken.");
  return holds ? 0 : 1;
}

}  // namespace
}  // namespace ivmq::campaign

int main(int argc, char** argv) {
  const auto arguments = ivmq::campaign::Parse(argc, argv);
  if (!arguments) {
    (void)std::fprintf(stderr, "usage: kill_campaign [--minutes N | --seconds N] [--seed S]\n");
    return 2;
  }
  return ivmq::campaign::Run(*arguments);
}
