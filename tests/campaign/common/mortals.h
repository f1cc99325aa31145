// Processes that are killed, stopped and asked to leave at random, and come back.
#ifndef IVMQ_TESTS_CAMPAIGN_COMMON_MORTALS_H_
#define IVMQ_TESTS_CAMPAIGN_COMMON_MORTALS_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <vector>

namespace ivmq::campaign {

// In memory that the caller shares with the process that has the Mortals.
struct Deaths {
  std::uint32_t killed = 0;
  std::uint32_t stopped = 0;
  std::uint32_t left = 0;  // ended in order, and came back
};

// For a process with one thread.
class Mortals {
 public:
  using Clock = std::chrono::steady_clock;
  using milliseconds = std::chrono::milliseconds;

  struct Options {
    std::uint32_t count = 0;
    std::uint32_t most_down = 3;  // at once
    // How long one is away or stopped at most; now and then it is up to three seconds, after which
    // others suspect it.
    milliseconds most_away{8};
    milliseconds most_stopped{40};
    // Forks the next life of a process.
    std::function<pid_t(std::uint32_t index)> start;
    // Asks a process to end in order; false: it cannot at present.
    std::function<bool(std::uint32_t index)> ask_to_leave;
    // Hears of an end that was neither a kill nor a departure. True: it counts as a kill.
    std::function<bool(std::uint32_t index, pid_t pid, int status)> on_end;
  };

  // Starts all of them.
  Mortals(Options options, std::uint64_t seed, Deaths& deaths);
  // Kills those that are left.
  ~Mortals();
  Mortals(const Mortals&) = delete;
  Mortals& operator=(const Mortals&) = delete;

  // Kills, stops or asks one of them, unless too many are down.
  void Disturb();
  // Sees who has ended, and lets go on whose time has come.
  void Attend();
  // Lets all go on at once.
  void LetGoOn();
  // Kills one that is at fault; it comes back.
  void Kill(std::uint32_t index) { Kill(index, milliseconds(0)); }
  // Waits until it has ended by itself: its status. nullopt: it has not, by then, and was killed.
  std::optional<int> AwaitEnd(std::uint32_t index, Clock::time_point until);

  [[nodiscard]] bool IsRunning(std::uint32_t index) const;
  // Since when it runs without interruption, or was asked to leave. REQUIRES: it runs.
  [[nodiscard]] Clock::time_point since(std::uint32_t index) const;
  [[nodiscard]] bool WasAsked(std::uint32_t index) const;

 private:
  enum class State : std::uint8_t { kRunning, kStopped, kDead };
  struct Process {
    pid_t pid = -1;
    State state = State::kDead;
    Clock::time_point since;  // of the state
    Clock::time_point until;  // when a stopped or dead one goes on
    bool dies = false;        // a stopped one is killed instead of going on
    bool leaves = false;      // a running one was asked to end
  };

  void Start(std::uint32_t index);
  void Kill(std::uint32_t index, milliseconds pause);
  void IsKilled(std::uint32_t index, milliseconds pause);
  void Stop(std::uint32_t index);
  void GoOn(bool all);
  milliseconds SomePause();
  std::uint32_t Below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }

  const Options options_;
  std::mt19937_64 random_;
  Deaths& deaths_;
  std::vector<Process> processes_;
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_COMMON_MORTALS_H_
