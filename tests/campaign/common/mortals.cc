#include "common/mortals.h"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <thread>
#include <utility>

#include "common/process.h"

namespace ivmq::campaign {
namespace {

// A pause or a stop in so many is a long one.
constexpr std::uint32_t kLongPause = 200;
constexpr std::uint32_t kLongStop = 150;
constexpr std::uint32_t kLong = 3000;  // ms

}  // namespace

Mortals::Mortals(Options options, std::uint64_t seed, Deaths& deaths)
    : options_(std::move(options)), random_(seed), deaths_(deaths), processes_(options_.count) {
  for (std::uint32_t index = 0; index < options_.count; ++index) Start(index);
}

Mortals::~Mortals() {
  for (const Process& process : processes_) {
    if (process.pid > 0) KillAndWait(process.pid);
  }
}

bool Mortals::IsRunning(std::uint32_t index) const {
  return processes_[index].state == State::kRunning;
}
Mortals::Clock::time_point Mortals::since(std::uint32_t index) const {
  return processes_[index].since;
}
bool Mortals::WasAsked(std::uint32_t index) const { return processes_[index].leaves; }

void Mortals::Start(std::uint32_t index) {
  processes_[index] = {
      .pid = options_.start(index), .state = State::kRunning, .since = Clock::now(), .until = {}};
}

void Mortals::Kill(std::uint32_t index, milliseconds pause) {
  KillAndWait(processes_[index].pid);
  IsKilled(index, pause);
}

void Mortals::IsKilled(std::uint32_t index, milliseconds pause) {
  ++deaths_.killed;
  processes_[index] = {.state = State::kDead, .since = Clock::now(), .until = Clock::now() + pause};
}

Mortals::milliseconds Mortals::SomePause() {
  const bool is_long = Below(kLongPause) == 0;
  return milliseconds(
      Below(is_long ? kLong : static_cast<std::uint32_t>(options_.most_away.count())));
}

void Mortals::Stop(std::uint32_t index) {
  Process& process = processes_[index];
  kill(process.pid, SIGSTOP);
  ++deaths_.stopped;
  process.state = State::kStopped;
  process.since = Clock::now();
  const bool is_long = Below(kLongStop) == 0;
  process.until =
      process.since +
      milliseconds(is_long ? kLong
                           : 1 + Below(static_cast<std::uint32_t>(options_.most_stopped.count())));
  process.dies = Below(4) == 0;  // some never go on
}

void Mortals::Disturb() {
  const auto down = std::ranges::count_if(
      processes_, [](const Process& process) { return process.state != State::kRunning; });
  const std::uint32_t index = Below(options_.count);
  Process& process = processes_[index];
  if (down >= options_.most_down || process.state != State::kRunning) return;
  if (Below(3) == 0) {
    Stop(index);
  } else if (Below(4) == 0 && !process.leaves && options_.ask_to_leave(index)) {
    process.leaves = true;
    process.since = Clock::now();
  } else {
    Kill(index, SomePause());
  }
}

void Mortals::GoOn(bool all) {
  for (std::uint32_t index = 0; index < options_.count; ++index) {
    Process& process = processes_[index];
    if (process.state == State::kRunning || (!all && Clock::now() < process.until)) continue;
    if (process.state == State::kStopped && process.dies) {
      Kill(index, milliseconds(Below(20)));
      if (!all) continue;
    }
    if (process.state == State::kDead) {
      Start(index);
    } else {
      kill(process.pid, SIGCONT);
      process.state = State::kRunning;
      process.since = Clock::now();
    }
  }
}

void Mortals::LetGoOn() { GoOn(true); }

void Mortals::Attend() {
  for (std::uint32_t index = 0; index < options_.count; ++index) {
    Process& process = processes_[index];
    if (process.state != State::kRunning) continue;
    const std::optional<int> end = EndOf(process.pid);
    if (!end) continue;
    if (process.leaves && *end == 0) {
      ++deaths_.left;
    } else if (options_.on_end(index, process.pid, *end)) {
      IsKilled(index, SomePause());
      continue;
    }
    process = {.state = State::kDead, .since = Clock::now(), .until = Clock::now()};
  }
  GoOn(false);
}

std::optional<int> Mortals::AwaitEnd(std::uint32_t index, Clock::time_point until) {
  Process& process = processes_[index];
  std::optional<int> end;
  while (!(end = EndOf(process.pid)) && Clock::now() < until) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  if (!end) KillAndWait(process.pid);
  process = {};
  return end;
}

}  // namespace ivmq::campaign
