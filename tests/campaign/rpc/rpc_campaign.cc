// A mesh of five members that call each other in all ways, while they are killed, stopped, and
// leave and return; over file: and over unix: at once. Each call ends once, in time, with a status
// that docs/guarantees.md allows; a handler whose client no longer waits is told so.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "common/arguments.h"
#include "common/mortals.h"
#include "common/place.h"
#include "common/process.h"
#include "common/table.h"
#include "rpc/book.h"
#include "rpc/worker.h"

namespace ivmq::campaign {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMeshes = 2;
constexpr milliseconds kTick{2};
// Everything behind the last fault has an end, well below this.
constexpr seconds kAfterwards{200};

struct Outcome {
  Book book;
  Deaths deaths;
  bool judged = false;
  std::array<char, 256> kept{};  // where to look
};
using Outcomes = std::array<Outcome, kMeshes>;

class Referee {
 public:
  Referee(bool over_unix, const Arguments& arguments, Outcome& outcome)
      : arguments_(arguments),
        outcome_(outcome),
        book_(outcome.book),
        place_({.over_unix = over_unix, .max_peers = 16}),
        random_(arguments.seed) {}

  void Run();

 private:
  pid_t Start(std::uint32_t index);
  // A call that has not ended in time is a fault, and so is a member that does not leave.
  void Watch();
  void Fail(std::uint32_t index, Fault fault, const std::string& text) {
    book_.faults.Add(fault, fmt::format("{}, life {}: {}", NameOfMember(index),
                                        book_.members.at(index).life.load(), text));
  }
  bool Until(milliseconds limit, const std::function<bool()>& done);
  void End();

  const Arguments arguments_;
  Outcome& outcome_;
  Book& book_;
  Place place_;
  std::mt19937_64 random_;
  std::optional<Mortals> mortals_;
};

pid_t Referee::Start(std::uint32_t index) {
  Member& member = book_.members.at(index);
  ++member.life;
  member.ready = member.leaves = member.done = false;
  for (Flight& flight : member.flights) flight.call = 0;
  const std::uint64_t seed = random_();
  return Fork([&] { return RunWorker(book_, place_.address(), index, seed); });
}

void Referee::Watch() {
  const std::int64_t now = MonotonicNanoseconds();
  constexpr std::int64_t kLimit = std::chrono::nanoseconds(kSlack).count();
  for (std::uint32_t index = 0; index < kMembers; ++index) {
    if (!mortals_->IsRunning(index)) continue;
    const std::int64_t since = mortals_->since(index).time_since_epoch().count();
    const Member& member = book_.members.at(index);
    if (mortals_->WasAsked(index) && now - since > 2 * kLimit) {
      Fail(index, Fault::kNotLeft, "it was asked to leave, and did not");
      mortals_->Kill(index);
      continue;
    }
    for (const Flight& flight : member.flights) {
      const std::uint64_t call = flight.call;
      const std::int64_t latest = std::max<std::int64_t>(flight.deadline, since) + kLimit;
      if (call == 0 || now < latest || flight.call != call) continue;
      Fail(index, Fault::kNotEnded,
           fmt::format("call {}: {}", call,
                       kOpNames.at(static_cast<std::size_t>(flight.op.load()))));
      mortals_->Kill(index);
      break;
    }
  }
}

bool Referee::Until(milliseconds limit, const std::function<bool()>& done) {
  return campaign::Until(
      limit, done,
      [this] {
        mortals_->Attend();
        Watch();
      },
      kTick);
}

void Referee::End() {
  book_.phase = Phase::kEnd;
  const Clock::time_point until = Clock::now() + 2 * kSlack;
  for (std::uint32_t index = 0; index < kMembers; ++index) {
    const std::optional<int> end = mortals_->AwaitEnd(index, until);
    if (!end) {
      Fail(index, Fault::kNotLeft, "it did not leave at the end");
    } else if (*end != 0) {
      Fail(index, Fault::kCrashed, TextOfEnd(*end));
    }
  }
  mortals_.reset();
  if (const Status status = place_.EndServer(); !status.ok()) {
    book_.faults.Add(Fault::kCrashed, status.ToString());
  }
}

void Referee::Run() {
  if (!place_.status().ok()) return;
  mortals_.emplace(Mortals::Options{.count = kMembers,
                                    .most_down = 2,
                                    .most_away = milliseconds(20),
                                    .most_stopped = milliseconds(100),
                                    .start = [this](std::uint32_t index) { return Start(index); },
                                    .ask_to_leave =
                                        [this](std::uint32_t index) {
                                          Member& member = book_.members.at(index);
                                          if (member.ready) member.leaves = true;
                                          return member.ready.load();
                                        },
                                    .on_end =
                                        [this](std::uint32_t index, pid_t /*pid*/, int status) {
                                          Fail(index, Fault::kCrashed, TextOfEnd(status));
                                          return false;
                                        }},
                   random_(), outcome_.deaths);
  Clock::time_point next = Clock::now();
  (void)Until(arguments_.duration, [&] {
    if (Clock::now() < next) return false;
    mortals_->Disturb();
    next = Clock::now() + milliseconds(1 + random_() % 80);
    return false;
  });
  mortals_->LetGoOn();
  book_.phase = Phase::kFinal;
  const auto done = [](const Member& member) { return member.done.load(); };
  if (!Until(3 * kSlack, [&] { return std::ranges::all_of(book_.members, done); })) {
    for (std::uint32_t index = 0; index < kMembers; ++index) {
      if (!book_.members.at(index).done) Fail(index, Fault::kStuck, "its last calls");
    }
  }
  End();
  if (!book_.faults.Texts().empty()) {
    const std::string kept = place_.Keep();
    std::copy_n(kept.begin(), std::min(kept.size(), outcome_.kept.size() - 1),
                outcome_.kept.begin());
  }
  outcome_.judged = true;
}

Table Tabulate(const Outcomes& outcomes) {
  Table table("5 members that call each other, over", {"file:", "unix:"});
  const auto values = [&](auto value) {
    return Table::Values{value(outcomes[0]), value(outcomes[1])};
  };
  table.Needed("killed", values([](const Outcome& outcome) { return outcome.deaths.killed; }));
  table.Figure("stopped", values([](const Outcome& outcome) { return outcome.deaths.stopped; }));
  table.Figure("left in order", values([](const Outcome& outcome) { return outcome.deaths.left; }));
  for (std::size_t op = 0; op < kOps; ++op) {
    std::uint64_t all = 0;
    table.Figure(fmt::format("calls: {}", kOpNames.at(op)), values([&](const Outcome& outcome) {
                   all = 0;
                   for (const auto& ends : outcome.book.ends.at(op)) all += ends;
                   return all;
                 }));
  }
  constexpr std::array<std::string_view, 17> kCodes{"OK",
                                                    "CANCELLED",
                                                    "UNKNOWN",
                                                    "",
                                                    "DEADLINE_EXCEEDED",
                                                    "",
                                                    "",
                                                    "",
                                                    "RESOURCE_EXHAUSTED",
                                                    "",
                                                    "",
                                                    "",
                                                    "UNIMPLEMENTED",
                                                    "",
                                                    "UNAVAILABLE",
                                                    "",
                                                    ""};
  for (std::size_t code = 0; code < kCodes.size(); ++code) {
    if (kCodes.at(code).empty()) continue;
    table.Figure(fmt::format("  ended with {}", kCodes.at(code)),
                 values([&](const Outcome& outcome) {
                   std::uint64_t sum = 0;
                   for (const auto& ends : outcome.book.ends) sum += ends.at(code);
                   return sum;
                 }));
  }
  table.Needed("messages of streams",
               values([](const Outcome& outcome) { return outcome.book.stream_messages.load(); }));
  table.Needed("handlers run",
               values([](const Outcome& outcome) { return outcome.book.handlers.load(); }));
  table.Needed("  of them told that they are cancelled",
               values([](const Outcome& outcome) { return outcome.book.cancels_seen.load(); }));
  table.Heading("promised: none");
  const auto promise = [&](std::string_view what, Fault fault) {
    table.Promise(what,
                  values([&](const Outcome& outcome) { return outcome.book.faults.count(fault); }));
  };
  promise("  calls that did not end", Fault::kNotEnded);
  promise("  ended twice", Fault::kEndedTwice);
  promise("  handled twice", Fault::kRanTwice);
  promise("  statuses that are not allowed", Fault::kStatus);
  promise("  OK with another response", Fault::kResponse);
  promise("  streams with a gap, or OK before their end", Fault::kStream);
  promise("  DEADLINE_EXCEEDED before the deadline", Fault::kEarly);
  promise("  handlers that were not told", Fault::kNotCancelled);
  promise("  stuck: members without an answer after the last fault", Fault::kStuck);
  promise("  could not open a node again", Fault::kCannotOpen);
  promise("  did not leave", Fault::kNotLeft);
  promise("  ended by themselves", Fault::kCrashed);
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
      Referee(i == 1, own, outcomes->at(i)).Run();
    });
  }
  RunBeside(meshes, arguments.duration + kAfterwards);
  const Table table = Tabulate(*outcomes);
  table.Print();
  for (const Outcome& outcome : *outcomes) {
    fmt::print("{}{}", outcome.book.faults.Texts(), outcome.kept.data());
  }
  return table.holds();
}

}  // namespace
}  // namespace ivmq::campaign

int main(int argc, char** argv) { return ivmq::campaign::Main(argc, argv, ivmq::campaign::Run); }
