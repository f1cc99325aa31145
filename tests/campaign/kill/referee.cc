#include "kill/referee.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "ivmq/address.h"

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
constexpr std::uint32_t kMostDown = 3;
// Messages of a pair: three times as many as a quiet machine sends.
constexpr std::uint32_t kMessagesPerSecond = 600;

// Between two faults that are no crash points; some of these are reached only by who lives on.
constexpr std::uint32_t kMostCalm = kHasCrashPoints ? 80 : 10;  // ms
// An armed crash point that nobody passes within this time makes room for another.
constexpr milliseconds kPatience{100};
// Beyond its duration a campaign goes on until a process has died at each.
constexpr seconds kMoreForPoints{60};

int RunServer(const std::string& socket, const std::string& log) {
  if (std::freopen(log.c_str(), "a", stderr) == nullptr) return 1;
  const std::string size = fmt::format("{}M", kRegionBytes >> 20);
  const std::string ring = fmt::format("{}K", kRingBytes >> 10);
  const std::string peers = std::to_string(kSlots);
  execl(IVMQD_PATH, IVMQD_PATH, "--socket", socket.c_str(), "--size", size.c_str(), "--ring-size",
        ring.c_str(), "--max-peers", peers.c_str(), nullptr);
  std::perror(IVMQD_PATH);
  return 1;
}

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
  enum class State : std::uint8_t { kRunning, kStopped, kDead };
  struct Child {
    pid_t pid = -1;
    State state = State::kDead;
    Clock::time_point since;  // of the state
    Clock::time_point until;  // when a stopped or dead one goes on
    bool dies = false;        // a stopped one is killed instead of going on
    bool leaves = false;      // a running one was asked to end
  };

  bool Prepare();
  void Start(std::uint32_t index);
  void Kill(std::uint32_t index, milliseconds pause);
  void Stop(std::uint32_t index);
  // Has the process down for a while that was killed.
  void IsKilled(std::uint32_t index, milliseconds pause);
  // Arms a crash point, if none is: one at which few have died.
  void ArmPoint();
  // One more fault, unless too many are down.
  void Disturb();
  // Lets go on what has waited long enough, or `all`.
  void GoOn(bool all);
  // Restarts what has ended by itself; a call that does not return is a fault.
  void Watch();
  void Hang(std::uint32_t index, const std::string& what);
  // Ticks until `done` says so; false if `limit` has passed.
  bool Until(milliseconds limit, const std::function<bool()>& done);
  void End();
  // How long a process is away.
  milliseconds SomePause() { return milliseconds(Below(200) == 0 ? Below(3000) : Below(8)); }
  std::uint32_t Below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }

  const Mesh mesh_;
  const Arguments arguments_;
  Outcome& outcome_;
  const Ledger ledger_;
  std::mt19937_64 random_;
  std::string folder_;
  std::string address_;
  pid_t server_ = -1;
  std::array<Child, kProcesses> children_;
  std::size_t next_point_ = 0;
  Clock::time_point armed_until_;  // when another crash point is to be armed
};

bool Referee::Prepare() {
  folder_ = (std::filesystem::temp_directory_path() / "ivmq-campaign-XXXXXX").string();
  if (mkdtemp(folder_.data()) == nullptr) {
    std::perror("mkdtemp");
    return false;
  }
  if (mesh_ == Mesh::kUnix) {
    const std::string socket = folder_ + "/socket";
    address_ = "unix:" + socket;
    server_ = Fork([&] { return RunServer(socket, folder_ + "/ivmqd.log"); });
    return true;
  }
  address_ = "file:" + folder_ + "/region";
  const Status status = CreateRegionFile(
      address_, kRegionBytes, {.format = {.max_peers = kSlots, .ring_capacity = kRingBytes}});
  if (!status.ok()) (void)std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok();
}

void Referee::Start(std::uint32_t index) {
  Process& process = ledger_.process(index);
  process.life = process.life + 1;
  process.ready = false;
  process.done = false;
  process.sending_since = 0;
  process.leaves = false;
  const std::uint64_t seed = random_();
  Child& child = children_.at(index);
  child.pid = Fork([&] {
    return RunWorker(ledger_, address_, index, seed, folder_ + "/" + NameOf(index) + ".log");
  });
  child.state = State::kRunning;
  child.since = Clock::now();
  child.leaves = false;
}

void Referee::Kill(std::uint32_t index, milliseconds pause) {
  KillAndWait(children_.at(index).pid);
  IsKilled(index, pause);
}

void Referee::IsKilled(std::uint32_t index, milliseconds pause) {
  ++outcome_.killed;
  children_.at(index) = {
      .state = State::kDead, .since = Clock::now(), .until = Clock::now() + pause};
}

void Referee::ArmPoint() {
  CrashSchedule& schedule = outcome_.crash_schedule;
  // The death of the last one is seen before another one is armed.
  if (Clock::now() < armed_until_) return;
  if (schedule.is_armed() && !schedule.Disarm()) return;
  // One after the other, and in between the one at which the fewest have died.
  std::size_t point = next_point_++ / 2 % kCrashPoints.size();
  if (next_point_ % 2 == 0) {
    for (std::size_t other = 0; other < kCrashPoints.size(); ++other) {
      if (IsPassed(other, mesh_) && schedule.kills(other) < schedule.kills(point)) point = other;
    }
  }
  schedule.Arm(point, 1 + Below(2));
  armed_until_ = Clock::now() + kPatience;
}

void Referee::Stop(std::uint32_t index) {
  Child& child = children_.at(index);
  kill(child.pid, SIGSTOP);
  ++outcome_.stopped;
  child.state = State::kStopped;
  child.since = Clock::now();
  // Some so long that the others suspect it; some never go on.
  child.until = child.since + milliseconds(Below(150) == 0 ? 3000 : 1 + Below(40));
  child.dies = Below(4) == 0;
}

void Referee::Disturb() {
  const auto down = std::ranges::count_if(
      children_, [](const Child& child) { return child.state != State::kRunning; });
  const std::uint32_t index = Below(kProcesses);
  Child& child = children_.at(index);
  if (down >= kMostDown || child.state != State::kRunning) return;
  if (Below(3) == 0) {
    Stop(index);
  } else if (Below(4) == 0 && ledger_.process(index).ready && !child.leaves) {
    child.leaves = true;
    child.since = Clock::now();
    ledger_.process(index).leaves = true;
  } else {
    Kill(index, SomePause());
  }
}

void Referee::GoOn(bool all) {
  for (std::uint32_t index = 0; index < kProcesses; ++index) {
    Child& child = children_.at(index);
    if (child.state == State::kRunning || (!all && Clock::now() < child.until)) continue;
    if (child.state == State::kStopped && child.dies) {
      Kill(index, milliseconds(Below(20)));
      if (!all) continue;
    }
    if (child.state == State::kDead) {
      Start(index);
    } else {
      kill(child.pid, SIGCONT);
      child.state = State::kRunning;
      child.since = Clock::now();
    }
  }
}

void Referee::Hang(std::uint32_t index, const std::string& what) {
  ledger_.faults().Add(Fault::kNotEnded, fmt::format("{}, life {}: {}", NameOf(index),
                                                     ledger_.process(index).life.load(), what));
  Kill(index, milliseconds(0));
}

void Referee::Watch() {
  const std::int64_t now = MonotonicNanoseconds();
  const auto stalls = [&](const Child& child, std::int64_t since, nanoseconds limit) {
    const std::int64_t begin = std::max(since, child.since.time_since_epoch().count());
    return since != 0 && now - begin > (limit + kStall).count();
  };
  for (std::uint32_t index = 0; index < kProcesses; ++index) {
    Child& child = children_.at(index);
    if (child.state != State::kRunning) continue;
    if (const std::optional<int> end = EndOf(child.pid)) {
      if (child.leaves && *end == 0) {
        ++outcome_.left;
      } else if (WIFSIGNALED(*end) && outcome_.crash_schedule.HasKilled(child.pid)) {
        armed_until_ = Clock::now();
        IsKilled(index, SomePause());
        continue;
      } else {
        ledger_.faults().Add(Fault::kCrashed,
                             fmt::format("{}, life {}: {}", NameOf(index),
                                         ledger_.process(index).life.load(), TextOfEnd(*end)));
      }
      child = {.state = State::kDead, .since = Clock::now(), .until = Clock::now()};
      continue;
    }
    const Process& process = ledger_.process(index);
    if (!process.ready) {
      if (stalls(child, 1, kOpenTimeout)) Hang(index, "Open() did not return");
    } else if (stalls(child, process.sending_since, kSendTimeout)) {
      Hang(index, "a send did not end");
    } else if (stalls(child, process.polled_at, seconds(1))) {
      Hang(index, "Poll() or Wait() did not return");
    } else if (child.leaves && stalls(child, 1, kSendTimeout)) {
      Hang(index, "a process did not leave");
    }
  }
}

bool Referee::Until(milliseconds limit, const std::function<bool()>& done) {
  const Clock::time_point until = Clock::now() + limit;
  while (!done()) {
    if (Clock::now() >= until) return false;
    Watch();
    GoOn(false);
    std::this_thread::sleep_for(kTick);
  }
  return true;
}

void Referee::End() {
  ledger_.phase() = Phase::kEnd;
  const Clock::time_point until = Clock::now() + kStall;
  for (std::uint32_t index = 0; index < kProcesses; ++index) {
    Child& child = children_.at(index);
    std::optional<int> end;
    while (!(end = EndOf(child.pid)) && Clock::now() < until) std::this_thread::sleep_for(kTick);
    if (!end) {
      Hang(index, "a process did not leave");
    } else if (*end != 0) {
      ledger_.faults().Add(Fault::kCrashed,
                           fmt::format("{}, leaving: {}", NameOf(index), TextOfEnd(*end)));
    }
  }
  if (server_ > 0) {
    kill(server_, SIGTERM);
    waitpid(server_, nullptr, 0);
  }
}

void Referee::Run() {
  if (!Prepare()) return;
  if constexpr (kHasCrashPoints) crash_schedule = &outcome_.crash_schedule;
  for (std::uint32_t index = 0; index < kProcesses; ++index) Start(index);
  Clock::time_point next = Clock::now();
  const Clock::time_point end = Clock::now() + arguments_.duration;
  (void)Until(arguments_.duration + kMoreForPoints, [&] {
    if (ledger_.IsFull()) return true;
    if (Clock::now() >= end && outcome_.PointsWithoutDeath(mesh_).empty()) return true;
    if constexpr (kHasCrashPoints) ArmPoint();
    if (Clock::now() < next) return false;
    Disturb();
    next = Clock::now() + milliseconds(1 + Below(kMostCalm));
    return false;
  });
  outcome_.crash_schedule.Disarm();
  GoOn(true);
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
  if (outcome_.verdict.holds()) {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  } else {
    texts += "  Region and reports are kept in " + folder_ + "\n";
  }
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
