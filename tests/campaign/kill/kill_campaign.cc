// A mesh of eight processes, half of them durable, that send each other messages of 0 to 300 KiB
// while they are killed, stopped, and leave and return at random; over file: and over unix: at
// once. In the build with crash points, they are also killed at each of these. Afterwards each message is held against docs/guarantees.md.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "common/arguments.h"
#include "common/process.h"
#include "common/table.h"
#include "kill/referee.h"

namespace ivmq::campaign {
namespace {

using std::chrono::seconds;

constexpr std::size_t kMeshes = 2;
using Outcomes = std::array<Outcome, kMeshes>;

// Everything behind the last fault has an end, well below this.
constexpr seconds kAfterwards{250};

Table Tabulate(const Outcomes& outcomes) {
  Table table("8 processes, 4 of them durable, over", {"file:", "unix:"});
  const auto values = [&](auto value) {
    return Table::Values{value(outcomes[0]), value(outcomes[1])};
  };
  const auto of = [&](std::uint64_t Verdict::*member) {
    return values([&](const Outcome& outcome) { return outcome.verdict.*member; });
  };
  const auto fault = [&](std::string_view what, Fault kind) {
    table.Promise(what, values([&](const Outcome& outcome) {
                    return outcome.verdict.faults.at(static_cast<std::size_t>(kind));
                  }));
  };
  table.Needed("killed", values([](const Outcome& outcome) { return outcome.deaths.killed; }));
  for (std::size_t point = 0; kHasCrashPoints && point < kCrashPoints.size(); ++point) {
    table.Figure(
        fmt::format("  at {}", kCrashPoints.at(point)),
        values([&](const Outcome& outcome) { return outcome.crash_schedule.kills(point); }));
  }
  table.Figure("stopped", values([](const Outcome& outcome) { return outcome.deaths.stopped; }));
  table.Figure("left in order", values([](const Outcome& outcome) { return outcome.deaths.left; }));
  table.Needed("messages sent", of(&Verdict::ok));
  table.Figure("  of them larger than a record", of(&Verdict::ok_large));
  table.Figure("messages handled", of(&Verdict::handled));
  table.Heading("not promised");
  table.Figure("  refused: full, timed out, peer gone", of(&Verdict::refused));
  table.Figure("  their sender was killed in the call", of(&Verdict::unfinished));
  table.Figure("  unread by an ephemeral receiver that ended", of(&Verdict::excused_unread));
  table.Figure("  large, and their durable receiver ended midway in them",
               of(&Verdict::excused_cut));
  table.Figure("  handled again, marked as redelivered", of(&Verdict::marked));
  table.Heading("promised: none");
  table.Promise("  lost", of(&Verdict::lost));
  table.Promise("  handled twice, unmarked", of(&Verdict::twice_unmarked));
  fault("  out of order", Fault::kOutOfOrder);
  fault("  changed", Fault::kChanged);
  fault("  from another life than Message::from says", Fault::kWrongLife);
  table.Promise("  handled though the send was refused", of(&Verdict::refused_yet_handled));
  table.Promise("  stuck: pairs without progress after the last fault", of(&Verdict::stuck));
  fault("  stuck: calls that did not end", Fault::kNotEnded);
  fault("  declared dead while it lived", Fault::kDeclaredDead);
  fault("  could not open its node again", Fault::kCannotOpen);
  fault("  ended by itself", Fault::kCrashed);
  table.Promise("  rings given up", of(&Verdict::rings_given_up));
  if constexpr (kHasCrashPoints) {
    table.Promise("  crash points at which nobody died",
                  {outcomes[0].PointsWithoutDeath(Mesh::kFile).size(),
                   outcomes[1].PointsWithoutDeath(Mesh::kUnix).size()});
  }
  table.Promise("  meshes without a verdict",
                values([](const Outcome& outcome) { return outcome.judged ? 0U : 1U; }));
  return table;
}

bool Run(const Arguments& arguments) {
  const Shared<Outcomes> outcomes;
  std::vector<std::function<void()>> meshes;
  for (std::size_t i = 0; i < kMeshes; ++i) {
    meshes.emplace_back([&, i] {
      const Arguments own{.duration = arguments.duration, .seed = arguments.seed + i};
      RunMesh(static_cast<Mesh>(i), own, &outcomes->at(i));
    });
  }
  RunBeside(meshes, arguments.duration + kAfterwards);
  const Table table = Tabulate(*outcomes);
  table.Print();
  for (const Outcome& outcome : *outcomes) fmt::print("{}", outcome.texts.data());
  return table.holds();
}

}  // namespace
}  // namespace ivmq::campaign

int main(int argc, char** argv) { return ivmq::campaign::Main(argc, argv, ivmq::campaign::Run); }
