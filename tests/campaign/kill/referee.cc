#include "kill/referee.h"

#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <optional>
#include <random>
#include <string>

#include <fmt/format.h>

#include "common/mortals.h"
#include "common/place.h"
#include "common/process.h"
#include "kill/crash_points.h"
#include "kill/worker.h"

namespace ivmq::campaign {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

// Rings so small that many messages are larger than a record, and room for heaps beside them.
constexpr std::uint64_t kRegionBytes = std::uint64_t{32} << 20;
constexpr std::uint32_t kRingBytes = 128U << 10;
constexpr std::uint32_t kSlots = 16;
constexpr milliseconds kTick{1};
// A running process whose call or poll takes longer than this beyond its timeout hangs.
constexpr seconds kStall{20};
// For the last messages, once all processes run.
constexpr seconds kSettle{60};
// Messages of a pair: three times as many as a quiet machine sends.
constexpr std::uint32_t kMessagesPerSecond = 600;

// Between two faults that are no crash points; some of these are reached only by who lives on.
constexpr std::uint32_t kMostCalm = kHasCrashPoints ? 80 : 10;  // ms
// Some are passed only while two are down.
constexpr milliseconds kMostAway{kHasCrashPoints ? 60 : 8};
// An armed crash point that nobody passes within this time makes room for another.
constexpr milliseconds kPatience{100};
// Beyond its duration a campaign goes on until a process has died at each.
constexpr seconds kMoreForPoints{100};

// Whether processes of the mesh come to the point at all.
bool IsPassed(std::size_t point, Mesh mesh) {
  return mesh == Mesh::kUnix || kCrashPoints.at(point) != "publish.consumer_sleeps";
}

class Referee {
 public:
  Referee(Mesh mesh, const Arguments& arguments, Outcome* outcome)
      : mesh_(mesh),
        arguments_(arguments),
        outcome_(*outcome),
        ledger_(static_cast<std::uint32_t>(arguments.duration.count() + 60) * kMessagesPerSecond),
        random_(arguments.seed) {}

  void Run();

 private:
  [[nodiscard]] Mortals::Options Describe();
  pid_t Start(std::uint32_t index);
  // False: the process did not die at a crash point.
  bool Bury(std::uint32_t index, pid_t pid, int status);
  // Arms a crash point, if none is: one at which few have died.
  void ArmPoint();
  // A call that does not return is a fault.
  void Watch();
  void Hang(std::uint32_t index, const std::string& what);
  // Ticks until `done` says so; false if `limit` has passed.
  bool Until(milliseconds limit, const std::function<bool()>& done);
  void End();
  std::uint32_t Below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }

  const Mesh mesh_;
  const Arguments arguments_;
  Outcome& outcome_;
  const Ledger ledger_;
  std::mt19937_64 random_;
  std::optional<Place> place_;
  std::optional<Mortals> mortals_;
  std::size_t last_point_ = 0;
  Clock::time_point armed_until_;  // when another crash point is to be armed
};

Mortals::Options Referee::Describe() {
  return {.count = kProcesses,
          .most_away = kMostAway,
          .start = [this](std::uint32_t index) { return Start(index); },
          .ask_to_leave =
              [this](std::uint32_t index) {
                Process& process = ledger_.process(index);
                if (process.ready) process.leaves = true;
                return process.ready.load();
              },
          .on_end = [this](std::uint32_t index, pid_t pid,
                           int status) { return Bury(index, pid, status); }};
}

pid_t Referee::Start(std::uint32_t index) {
  Process& process = ledger_.process(index);
  process.life = process.life + 1;
  process.ready = false;
  process.done = false;
  process.sending_since = 0;
  process.leaves = false;
  const std::uint64_t seed = random_();
  return Fork([&] {
    return RunWorker(ledger_, place_->address(), index, seed,
                     place_->folder() + "/" + NameOf(index) + ".log");
  });
}

bool Referee::Bury(std::uint32_t index, pid_t pid, int status) {
  if (WIFSIGNALED(status) && outcome_.crash_schedule.HasKilled(pid)) {
    armed_until_ = Clock::now();
    return true;
  }
  ledger_.faults().Add(Fault::kCrashed,
                       fmt::format("{}, life {}: {}", NameOf(index),
                                   ledger_.process(index).life.load(), TextOfEnd(status)));
  return false;
}

void Referee::ArmPoint() {
  CrashSchedule& schedule = outcome_.crash_schedule;
  // The death of the last one is seen before another one is armed.
  if (Clock::now() < armed_until_) return;
  if (schedule.is_armed() && !schedule.Disarm()) return;
  // The next one at which the fewest have died; now and then any.
  std::size_t point = Below(kCrashPoints.size());
  if (Below(4) != 0) {
    for (std::size_t i = 1; i <= kCrashPoints.size(); ++i) {
      const std::size_t other = (last_point_ + i) % kCrashPoints.size();
      if (IsPassed(other, mesh_) && schedule.kills(other) < schedule.kills(point)) point = other;
    }
    last_point_ = point;
  }
  schedule.Arm(point, 1 + Below(2));
  armed_until_ = Clock::now() + kPatience;
}

void Referee::Hang(std::uint32_t index, const std::string& what) {
  ledger_.faults().Add(Fault::kNotEnded, fmt::format("{}, life {}: {}", NameOf(index),
                                                     ledger_.process(index).life.load(), what));
  mortals_->Kill(index);
}

void Referee::Watch() {
  const std::int64_t now = MonotonicNanoseconds();
  for (std::uint32_t index = 0; index < kProcesses; ++index) {
    if (!mortals_->IsRunning(index)) continue;
    const auto stalls = [&](std::int64_t since, nanoseconds limit) {
      const std::int64_t begin = std::max(since, mortals_->since(index).time_since_epoch().count());
      return since != 0 && now - begin > (limit + kStall).count();
    };
    const Process& process = ledger_.process(index);
    if (!process.ready) {
      if (stalls(1, kOpenTimeout)) Hang(index, "Open() did not return");
    } else if (stalls(process.sending_since, kSendTimeout)) {
      Hang(index, "a send did not end");
    } else if (stalls(process.polled_at, seconds(1))) {
      Hang(index, "Poll() or Wait() did not return");
    } else if (mortals_->WasAsked(index) && stalls(1, kSendTimeout)) {
      Hang(index, "a process did not leave");
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
  ledger_.phase() = Phase::kEnd;
  const Clock::time_point until = Clock::now() + kStall;
  for (std::uint32_t index = 0; index < kProcesses; ++index) {
    const std::optional<int> end = mortals_->AwaitEnd(index, until);
    if (!end) {
      ledger_.faults().Add(Fault::kNotEnded, NameOf(index) + " did not leave");
    } else if (*end != 0) {
      ledger_.faults().Add(Fault::kCrashed,
                           fmt::format("{}, leaving: {}", NameOf(index), TextOfEnd(*end)));
    }
  }
  mortals_.reset();
  if (const Status status = place_->EndServer(); !status.ok()) {
    ledger_.faults().Add(Fault::kCrashed, status.ToString());
  }
}

void Referee::Run() {
  place_.emplace(PlaceOptions{.over_unix = mesh_ == Mesh::kUnix,
                              .region_bytes = kRegionBytes,
                              .max_peers = kSlots,
                              .ring_bytes = kRingBytes});
  if (!place_->status().ok()) {
    (void)std::fprintf(stderr, "%s\n", place_->status().ToString().c_str());
    return;
  }
  if constexpr (kHasCrashPoints) crash_schedule = &outcome_.crash_schedule;
  mortals_.emplace(Describe(), random_(), outcome_.deaths);
  Clock::time_point next = Clock::now();
  const Clock::time_point end = Clock::now() + arguments_.duration;
  (void)Until(arguments_.duration + kMoreForPoints, [&] {
    if (ledger_.IsFull()) return true;
    if (Clock::now() >= end && outcome_.PointsWithoutDeath(mesh_).empty()) return true;
    if constexpr (kHasCrashPoints) ArmPoint();
    if (Clock::now() < next) return false;
    mortals_->Disturb();
    next = Clock::now() + milliseconds(1 + Below(kMostCalm));
    return false;
  });
  outcome_.crash_schedule.Disarm();
  mortals_->LetGoOn();
  ledger_.phase() = Phase::kFinal;
  (void)Until(kSettle, [&] {
    for (std::uint32_t index = 0; index < kProcesses; ++index) {
      if (!ledger_.process(index).done) return false;
    }
    const Verdict verdict = Judge(ledger_);
    return verdict.stuck == 0 && verdict.lost == 0;
  });
  outcome_.verdict = Judge(ledger_);
  Explain(ledger_);
  End();
  for (std::size_t i = 0; i < outcome_.verdict.faults.size(); ++i) {
    outcome_.verdict.faults.at(i) = ledger_.faults().count(static_cast<Fault>(i));
  }
  std::string texts = ledger_.faults().Texts();
  if (!outcome_.verdict.holds()) texts += place_->Keep();
  std::copy_n(texts.begin(), std::min(texts.size(), outcome_.texts.size() - 1),
              outcome_.texts.begin());
  outcome_.judged = true;
}

}  // namespace

std::vector<std::string_view> Outcome::PointsWithoutDeath(Mesh mesh) const {
  std::vector<std::string_view> labels;
  for (std::size_t point = 0; kHasCrashPoints && point < kCrashPoints.size(); ++point) {
    if (IsPassed(point, mesh) && crash_schedule.kills(point) == 0) {
      labels.push_back(kCrashPoints.at(point));
    }
  }
  return labels;
}

void RunMesh(Mesh mesh, const Arguments& arguments, Outcome* outcome) {
  Referee(mesh, arguments, outcome).Run();
}

}  // namespace ivmq::campaign
