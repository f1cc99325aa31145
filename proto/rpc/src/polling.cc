#include "src/polling.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "ivmq/internal/spin.h"

#include "src/pool.h"

namespace ivmq::rpc::internal {
namespace {

// A follower looks that long before it sleeps: whoever polls may be about to end its call.
constexpr std::chrono::microseconds kFollowerSpin{20};
// So often the loop sleeps without the lead after another thread has wanted it: it takes a wake-up
// to get it from one that sleeps with it, and more system calls to sleep without.
constexpr int kSharedSleeps = 64;
// While an answer is on its way a thread polls so often for nothing before it looks at the clock,
// and between two polls only looks so often whether there is something.
constexpr int kTightPolls = 4;
constexpr int kLooks = 64;
// When a task that was to run later does, at the latest.
constexpr std::chrono::milliseconds kLater{1};

}  // namespace

void PollWaiter::Sleep(Clock::time_point deadline) noexcept {
  std::uint32_t state = state_.fetch_or(kSleeps, std::memory_order_acq_rel) | kSleeps;
  while (state == kSleeps) {
    timespec left{};
    if (deadline != Clock::time_point::max()) {
      const auto time = std::chrono::nanoseconds(deadline - Clock::now());
      if (time <= std::chrono::nanoseconds(0)) break;
      left.tv_sec = time / std::chrono::seconds(1);
      left.tv_nsec = (time % std::chrono::seconds(1)).count();
    }
    (void)syscall(SYS_futex, &state_, FUTEX_WAIT_PRIVATE, state,
                  deadline != Clock::time_point::max() ? &left : nullptr, nullptr, 0);
    state = state_.load(std::memory_order_acquire);
  }
  state_.fetch_and(~kSleeps, std::memory_order_relaxed);
}

void PollWaiter::Set(std::uint32_t why) noexcept {
  const std::uint32_t before = state_.fetch_or(why, std::memory_order_acq_rel);
  // Of one that is gone only the address is used: whoever sleeps there looks again.
  if ((before & kSleeps) != 0) {
    (void)syscall(SYS_futex, &state_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
}

Polling::Polling(Node& node, std::function<std::size_t()> poll)
    : node_(node), poll_(std::move(poll)) {}

namespace {

class CompleteTask final : public PollTask {
 public:
  CompleteTask(Polling& polling, PollWaiter& waiter) : polling_(polling), waiter_(waiter) {}
  void Run() override { polling_.Complete(waiter_); }

 private:
  Polling& polling_;
  PollWaiter& waiter_;
};

}  // namespace

void Polling::AwaitPollsEnd() {
  PollWaiter waiter;
  CompleteTask task(*this, waiter);
  Post(task);
  (void)Await(waiter, Clock::time_point::max());
}

std::size_t Polling::Poll() {
  const Polling* const outer = std::exchange(polling_here, this);
  std::size_t count = poll_();
  if (has_tasks_.load(std::memory_order_relaxed) || has_later_.load(std::memory_order_relaxed))
      [[unlikely]] {
    count += RunTasks();
  }
  polling_here = outer;
  return count;
}

std::size_t Polling::RunTasks() {
  std::size_t now = 0;
  {
    const std::lock_guard lock(tasks_mutex_);
    now = tasks_.size();
    running_.swap(tasks_);
    running_.insert(running_.end(), later_.begin(), later_.end());
    later_.clear();
    has_tasks_.store(false, std::memory_order_relaxed);
    has_later_.store(false, std::memory_order_relaxed);
    for (PollTask* const task : running_) task->posted_ = false;
  }
  for (PollTask* const task : running_) task->Run();
  running_.clear();
  return now;
}

bool Polling::Post(PollTask& task, bool later) {
  {
    const std::lock_guard lock(tasks_mutex_);
    if (std::exchange(task.posted_, true)) return false;
    (later ? later_ : tasks_).push_back(&task);
    (later ? has_later_ : has_tasks_).store(true, std::memory_order_relaxed);
  }
  if (!InPoll()) node_.Wake();
  return true;
}

void Polling::WakeAt(Clock::time_point when) {
  const Clock::rep time = when.time_since_epoch().count();
  Clock::rep current = wake_at_.load(std::memory_order_relaxed);
  while (time < current) {
    if (wake_at_.compare_exchange_weak(current, time, std::memory_order_relaxed)) {
      if (!InPoll()) node_.Wake();
      return;
    }
  }
}

bool Polling::TakeTime() {
  const Clock::rep time = wake_at_.load(std::memory_order_relaxed);
  if (time == kNever || Clock::now().time_since_epoch().count() < time) return false;
  wake_at_.store(kNever, std::memory_order_relaxed);
  return true;
}

std::chrono::nanoseconds Polling::MostSleep() const {
  if (has_later_.load(std::memory_order_relaxed)) return kLater;
  const Clock::rep time = wake_at_.load(std::memory_order_relaxed);
  if (time == kNever) return std::chrono::hours(1);
  return std::max(
      std::chrono::nanoseconds(1),
      std::chrono::nanoseconds(Clock::duration(time) - Clock::now().time_since_epoch()));
}

bool Polling::Await(PollWaiter& waiter, Clock::time_point deadline) {
  std::optional<Pool::Wait> wait;
  if (!waiter.done()) wait.emplace();
  bool promoted = false;  // and has not led since
  bool late = false;
  while (!waiter.done() && !late) {
    if (TryLead()) {
      promoted = false;
      Lead(waiter, deadline);
      EndLead();
    } else {
      promoted = Follow(waiter, deadline);
    }
    late = deadline != Clock::time_point::max() && Clock::now() >= deadline;
  }
  // Nobody else may be left who polls for the others.
  if (promoted && TryLead()) EndLead();
  return waiter.done();
}

void Polling::Complete(PollWaiter& waiter) {
  if (InPoll() && leader_ == &waiter) {
    waiter.state_.store(PollWaiter::kDone, std::memory_order_relaxed);
    return;
  }
  waiter.Set(PollWaiter::kDone);
  // It may be the leader's, who sleeps.
  if (!InPoll()) node_.Wake();
}

template <typename Until>
void Polling::PollTightly(Until until) {
  const bool spins = node_.spin_budget() > std::chrono::nanoseconds(0);
  const int polls = spins ? kTightPolls : 1;
  for (int left = polls; left > 0 && !until();) {
    for (int looks = spins ? kLooks : 0; looks > 0 && !node_.Look() && !until(); --looks) {
      SpinPause();
    }
    left = Poll() != 0 ? polls : left - 1;
  }
}

void Polling::Lead(PollWaiter& waiter, Clock::time_point deadline) {
  leader_ = &waiter;
  for (;;) {
    PollTightly([&] { return waiter.done(); });
    if (waiter.done()) break;
    const std::chrono::nanoseconds left = TimeLeft(deadline);
    if (left <= std::chrono::nanoseconds(0)) break;
    (void)node_.Wait(std::min(left, MostSleep()));
  }
  leader_ = nullptr;
}

void Polling::EndLead() {
  for (;;) {
    const bool has_loop = has_loop_.load(std::memory_order_seq_cst);
    if (has_loop) {
      while (!ArmNode()) Poll();
    }
    EndLeadUnarmed();
    // A loop that came or looked meanwhile and found us leading sleeps and counts on us; or on
    // whoever leads now, who will find the note.
    const bool again = has_loop ? loop_passed_.load(std::memory_order_seq_cst)
                                : has_loop_.load(std::memory_order_seq_cst);
    if (!again || !TryLead()) return;
    loop_passed_.store(false, std::memory_order_relaxed);
  }
}

bool Polling::ArmNode() {
  // The wake-up of a task may have gone to a thread that leads no more.
  return !has_tasks() && node_.Arm(MostSleep());
}

void Polling::EndLeadUnarmed() {
  // With the increment in Follow(): either the follower sees that nobody leads, or it is seen here.
  leading_.exchange(false, std::memory_order_seq_cst);
  if (followers_.load(std::memory_order_seq_cst) != 0) [[unlikely]]
    Promote();
}

void Polling::Promote() {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) return;
  PollWaiter& next = *waiting_.front();
  waiting_.pop_front();
  next.listed_ = false;
  followers_.fetch_sub(1);
  next.Set(PollWaiter::kPromoted);
}

bool Polling::Follow(PollWaiter& waiter, Clock::time_point deadline) {
  {
    const std::lock_guard lock(mutex_);
    waiter.state_.fetch_and(~PollWaiter::kPromoted, std::memory_order_relaxed);
    waiter.listed_ = true;
    waiting_.push_back(&waiter);
    followers_.fetch_add(1, std::memory_order_seq_cst);
  }
  if (!leading_.load(std::memory_order_seq_cst)) {
    // It ended before it could see us.
    if (TryLead()) EndLeadUnarmed();
  }
  if (sleeps_leading_.load(std::memory_order_seq_cst)) node_.Wake();
  if (const std::chrono::nanoseconds budget = node_.spin_budget();
      budget > std::chrono::nanoseconds(0)) {
    Spin spin(Clock::now() + std::min<std::chrono::nanoseconds>(budget, kFollowerSpin));
    while (!waiter.may_go_on() && spin.Pause()) {
    }
  }
  if (!waiter.may_go_on()) waiter.Sleep(deadline);
  const std::lock_guard lock(mutex_);
  if (!waiter.listed_) return true;
  waiting_.remove(&waiter);
  waiter.listed_ = false;
  followers_.fetch_sub(1);
  return false;
}

std::size_t Polling::PollOnce() {
  if (!TryLead()) return 0;
  const std::size_t count = Poll();
  EndLeadUnarmed();
  return count;
}

void Polling::Loop(const std::atomic<bool>& stop) {
  int shared = 0;  // sleeps until the lead is nobody else's again
  while (!stop.load(std::memory_order_relaxed)) {
    if (TryLead()) {
      if (followers_.load(std::memory_order_relaxed) != 0) shared = kSharedSleeps;
      if (shared == 0) {
        PollTightly([&] {
          return followers_.load(std::memory_order_relaxed) != 0 ||
                 stop.load(std::memory_order_relaxed);
        });
        SleepLeading();
        if (followers_.load(std::memory_order_relaxed) != 0) shared = kSharedSleeps;
        EndLeadUnarmed();
        continue;
      }
      --shared;
      PollWhileBusy(stop);
      EndLeadUnarmed();
    }
    // So that others can take the lead at once.
    if (!Arm()) continue;
    pollfd readable{node_.Fd(), POLLIN, 0};
    (void)::poll(&readable, 1, -1);
  }
}

void Polling::PollWhileBusy(const std::atomic<bool>& stop) {
  bool idle = false;
  Spin spin{Clock::time_point{}};
  while (!stop.load(std::memory_order_relaxed)) {
    if (Poll() != 0) {
      idle = false;
      continue;
    }
    if (followers_.load(std::memory_order_relaxed) != 0) return;
    if (!std::exchange(idle, true)) spin = Spin(Clock::now() + node_.spin_budget());
    if (!spin.Pause()) return;
  }
}

void Polling::SleepLeading() {
  // With the increment in Follow(): either the follower wakes us, or it is seen here.
  sleeps_leading_.store(true, std::memory_order_seq_cst);
  if (followers_.load(std::memory_order_seq_cst) == 0) (void)node_.Wait(MostSleep());
  sleeps_leading_.store(false, std::memory_order_relaxed);
}

bool Polling::Arm() {
  if (!TryLead()) {
    // Who leads arms when it ends. What was rung for it is not to keep the loop awake meanwhile.
    std::array<epoll_event, 4> rung;
    (void)epoll_wait(node_.Fd(), rung.data(), rung.size(), 0);
    loop_passed_.store(true, std::memory_order_seq_cst);
    return leading_.load(std::memory_order_seq_cst);
  }
  loop_passed_.store(false, std::memory_order_relaxed);
  const bool armed = ArmNode();
  EndLeadUnarmed();
  return armed;
}

}  // namespace ivmq::rpc::internal
