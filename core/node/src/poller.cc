#include "src/poller.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace ivmq {
namespace {

using layout::Counter;
using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

// From a message to its doorbell, at most, if it was not forgotten.
constexpr nanoseconds kRingGrace = std::chrono::milliseconds(10);

}  // namespace

// ---- The watcher ----

void Poller::SetPeerWatcher(Watcher watcher) {
  watcher_ = watcher ? std::make_shared<const Watcher>(std::move(watcher)) : nullptr;
  generation_seen_ = context_.table.generation() - 1;
}

void Poller::TellWatcher(const PeerSnapshot& snapshot) {
  const std::uint64_t seen = std::exchange(generation_seen_, snapshot.generation);
  const Readers::Polling polling(readers_);
  const auto watcher = watcher_;  // it may set another
  try {
    (*watcher)(snapshot);
  } catch (...) {
    generation_seen_ = seen;
    throw;
  }
}

void Poller::Attend(const std::function<PeerSnapshot()>& peers) {
  if (armed_.armed()) {
    // What ended the sleep on Fd() must be taken. A request to wake up stays: what it was for may
    // be looked at only before the next sleep.
    OwnArmed().Disarm();
    context_.sleeper->Drain();
  }
  if (context_.has_lagging()) publications_.Attend(false);
  if (PeersChanged()) TellWatcher(peers());
}

// ---- Waiting ----

Armed& Poller::OwnArmed() noexcept {
  if (!context_.IsMyLife() && armed_for_nobody_.load(std::memory_order_relaxed) == 0) {
    const bool was_armed = armed_.armed();
    armed_ = Armed(armed_for_nobody_);
    if (was_armed) armed_.Arm();
  }
  return armed_;
}

bool Poller::IsRung() { return context_.sleeper->Sleep(kRingGrace, context_.sleeper->Ticket()); }

bool Poller::Sleep(WaitStrategy& wait, const WaitLimits& limits) {
  readers_.PublishReleased();
  const bool lived = context_.IsMyLife();
  for (;;) {
    readers_.Attend();
    wait.BeginLook();
    publications_.Attend(/*sleeps=*/true);
    OwnArmed().Arm();
    if (HasWork() || TakeWakeRequest()) {
      OwnArmed().Disarm();
      return true;
    }
    const Announced announced = reach_.Look();
    const nanoseconds left = limits.deadline - Clock::now();
    if (left > nanoseconds(0)) context_.CountAlone(Counter::kSleeps);
    const Waited waited = wait.Pause(LongestSleep(announced, [&] { return wait.Growing(); }));
    OwnArmed().Disarm();
    if (waited == Waited::kTimedOut) return false;
    const bool event = waited == Waited::kForEvent;
    if (event) context_.CountAlone(Counter::kWakeups);
    if (HasWork()) {
      // Who has come during the sleep may be one of those whose doorbells do not reach this node.
      if (!event && announced == Announced::kAlways && left > kNet && reach_.IsUpToDate() &&
          !IsRung()) {
        context_.CountAlone(Counter::kNetFinds);
      }
      return true;
    }
    if (TakeWakeRequest() || (lived && !context_.IsMyLife())) return true;
  }
}

bool Poller::Wait(nanoseconds timeout) {
  if (readers_.is_polling()) return false;
  const Clock::time_point start = Clock::now();
  const WaitLimits limits{.deadline = DeadlineAfter(timeout)};
  if (context_.is_forked_copy()) {
    std::this_thread::sleep_until(limits.deadline);
    return false;
  }
  const nanoseconds budget = context_.options.spin_budget;
  WaitStrategy wait(*context_.sleeper, limits, slept_long_ ? budget / 16 : budget,
                    context_.options.max_poll_interval);
  while (wait.is_spinning()) {
    if (LookSome()) {
      (void)TakeWakeRequest();
      return true;
    }
    (void)wait.Pause({});
  }
  const bool result = Sleep(wait, limits);
  if (budget > nanoseconds(0)) slept_long_ = Clock::now() - start > budget;
  return result;
}

void Poller::Wake() noexcept {
  wake_requested_.store(true, std::memory_order_release);
  context_.sleeper->Notify();
}

bool Poller::Arm(nanoseconds look_again) {
  if (readers_.is_polling()) return false;
  if (context_.is_forked_copy()) return true;
  readers_.PublishReleased();
  publications_.Attend(/*sleeps=*/true);
  OwnArmed().Arm();
  if (HasWork() || TakeWakeRequest()) {
    OwnArmed().Disarm();
    arm_backoff_.Reset();
    return false;
  }
  const nanoseconds own_look = arm_backoff_.Next();
  context_.sleeper->SetTimer(
      std::min(look_again, LongestSleep(reach_.Look(), [&] { return own_look; })));
  return true;
}

}  // namespace ivmq
