// The steps of core at which a process can be made to die. In a build whose IVMQ_CRASH_POINTS names
// this header, a process that passes the armed one kills itself; in others nothing passes any.
#ifndef IVMQ_TESTS_CAMPAIGN_KILL_CRASH_POINTS_H_
#define IVMQ_TESTS_CAMPAIGN_KILL_CRASH_POINTS_H_

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ivmq::campaign {

#ifdef IVMQ_CRASH_POINTS
inline constexpr bool kHasCrashPoints = true;
#else
inline constexpr bool kHasCrashPoints = false;
#endif

// All labels of core; another one does not compile.
inline constexpr std::array kCrashPoints = std::to_array<std::string_view>({
    "attach.claimed",
    "attach.built",
    "attach.beating",
    "attach.announced",
    "block.sent",
    "carve.begun",
    "carve.unit_taken",
    "carve.described",
    "carve.initialized",
    "carve.live",
    "carve.told",
    "claim.held",
    "claim.claiming",
    "claim.named",
    "claim.compared",
    "claim.live",
    "commit.padded",
    "commit.begun",
    "commit.next_cleared",
    "commit.published",
    "death.partner_told",
    "extent.described",
    "extent.live",
    "fragment.sent",
    "heap.grown",
    "heap.taken_over",
    "identity.half",
    "identity.written",
    "leave.begun",
    "leave.published",
    "leave.dead",
    "leave.let_go",
    "leave.reclaimed",
    "life.changed",
    "publish.consumer_sleeps",
    "read.opened",
    "read.ring_freed",
    "read.successor_noted",
    "reclaim.ring_freed",
    "reclaim.rings_freed",
    "reclaim.extent_freed",
    "release.delivered",
    "release.handled",
    "release.acked",
    "release.step_published",
    "release.published",
    "release.pad_delivered",
    "release.block_copied",
    "release.block_released",
    "takeover.units_held",
    "takeover.mark_claimed",
    "takeover.marked",
    "takeover.told",
    "text.odd",
    "write.ring_freed",
});

constexpr std::size_t CrashPointNumber(std::string_view label) {
  std::size_t number = 0;
  while (number < kCrashPoints.size() && kCrashPoints.at(number) != label) ++number;
  return number;
}

// In memory that the processes share. One of them dies for each Arm(). Thread-safe.
class CrashSchedule {
 public:
  // The process that passes the point as the `passes`-th one from now on dies. REQUIRES: disarmed.
  void Arm(std::size_t point, std::uint32_t passes) noexcept {
    passes_ = passes;
    armed_ = static_cast<std::uint32_t>(point) + 1;
  }
  // False: nothing was armed, or a process dies of it now.
  bool Disarm() noexcept { return armed_.exchange(0) != 0; }
  [[nodiscard]] bool is_armed() const noexcept { return armed_ != 0; }
  // Whether this process was one of the last to die.
  [[nodiscard]] bool HasKilled(pid_t pid) const noexcept {
    return std::ranges::any_of(victims_, [pid](const auto& victim) { return victim == pid; });
  }
  // How many died at a point.
  [[nodiscard]] std::uint64_t kills(std::size_t point) const { return kills_.at(point); }

  void Pass(std::size_t point) noexcept {
    auto armed = static_cast<std::uint32_t>(point) + 1;
    if (armed_.load(std::memory_order_relaxed) != armed || passes_.fetch_sub(1) != 1) return;
    if (!armed_.compare_exchange_strong(armed, 0)) return;
    victims_[deaths_++ % victims_.size()] = getpid();
    ++kills_[point];
    (void)kill(getpid(), SIGKILL);
  }

 private:
  std::atomic<std::uint32_t> armed_{0};  // 1 + the number of the point
  std::atomic<std::uint32_t> passes_{0};
  std::array<std::atomic<pid_t>, 64> victims_{};
  std::atomic<std::uint32_t> deaths_{0};
  std::array<std::atomic<std::uint64_t>, kCrashPoints.size()> kills_{};
};

// What this process obeys; nullptr: it passes all points.
inline std::atomic<CrashSchedule*> crash_schedule{nullptr};

template <std::size_t kPoint>
void PassCrashPoint() noexcept {
  static_assert(kPoint < kCrashPoints.size(), "not in the list");
  if (CrashSchedule* const schedule = crash_schedule.load(std::memory_order_relaxed)) {
    schedule->Pass(kPoint);
  }
}

}  // namespace ivmq::campaign

#ifdef IVMQ_CRASH_POINTS
#define IVMQ_CRASH_POINT(label) \
  ::ivmq::campaign::PassCrashPoint<::ivmq::campaign::CrashPointNumber(label)>()
#endif

#endif  // IVMQ_TESTS_CAMPAIGN_KILL_CRASH_POINTS_H_
