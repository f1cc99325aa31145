#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "ivmq/rpc/reactor.h"

namespace ivmq::rpc {
namespace {

using Clock = std::chrono::steady_clock;

// So that the sum of now and a sleep never overflows.
constexpr std::chrono::hours kLongestSleep{1};

void RunCallback(const std::function<void(bool)>& callback, bool ok) {
  std::string what = "something that is no std::exception";
  try {
    return callback(ok);
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {
  }
  (void)std::fprintf(stderr, "ivmq: the callback of an Alarm has thrown: %s\n", what.c_str());
}

}  // namespace

struct Alarm::State {
  class Clockwork;

  Clockwork* clockwork = nullptr;
  std::function<void(bool)> callback;
  bool waits = false;                                                     // guarded by its mutex_
  std::multimap<Clock::time_point, std::shared_ptr<State>>::iterator at;  // while it waits
};

// The thread that serves all alarms. Thread-safe.
class Alarm::State::Clockwork {
 public:
  // That of this process: a forked child has no thread of its parent's, nor can it trust its locks.
  // Never destroyed, since alarms may outlive main().
  static Clockwork& Get() {
    static std::atomic<Clockwork*> here{nullptr};
    Clockwork* found = here.load(std::memory_order_acquire);
    if (found != nullptr && found->process_ == getpid()) [[likely]]
      return *found;
    auto* const made = new Clockwork;
    if (here.compare_exchange_strong(found, made, std::memory_order_acq_rel)) {
      std::thread([made] { made->Run(); }).detach();
      return *made;
    }
    delete made;
    return *found;
  }

  void Add(const std::shared_ptr<State>& state, Clock::time_point when) {
    const std::lock_guard lock(mutex_);
    state->at = waiting_.emplace(when, state);
    state->waits = true;
    changed_.notify_one();
  }
  void Cancel(State& state) {
    // In a forked child nobody serves it.
    if (process_ != getpid()) return;
    const std::lock_guard lock(mutex_);
    if (!std::exchange(state.waits, false)) return;
    cancelled_.push_back(std::move(state.at->second));
    waiting_.erase(state.at);
    changed_.notify_one();
  }

 private:
  Clockwork() = default;

  // Also what the callback holds goes without the lock.
  static void RunUnlocked(std::unique_lock<std::mutex>& lock, std::shared_ptr<State> state,
                          bool ok) {
    lock.unlock();
    RunCallback(state->callback, ok);
    state.reset();
    lock.lock();
  }
  void Run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (!cancelled_.empty()) {
        std::shared_ptr<State> state = std::move(cancelled_.front());
        cancelled_.pop_front();
        RunUnlocked(lock, std::move(state), false);
        continue;
      }
      const Clock::time_point now = Clock::now();
      const auto first = waiting_.begin();
      if (first == waiting_.end()) {
        changed_.wait(lock);
      } else if (first->first > now) {
        // A copy: the entry may go meanwhile.
        const Clock::time_point until = std::min(first->first, now + kLongestSleep);
        changed_.wait_until(lock, until);
      } else {
        std::shared_ptr<State> due = std::move(first->second);
        due->waits = false;
        waiting_.erase(first);
        RunUnlocked(lock, std::move(due), true);
      }
    }
  }

  const pid_t process_ = getpid();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<Clock::time_point, std::shared_ptr<State>> waiting_;  // guarded by mutex_
  std::deque<std::shared_ptr<State>> cancelled_;                      // guarded by mutex_
};

Alarm::Alarm() = default;
Alarm::~Alarm() { Cancel(); }
Alarm::Alarm(Alarm&& other) noexcept = default;
Alarm& Alarm::operator=(Alarm&& other) noexcept {
  if (this != &other) {
    Cancel();
    state_ = std::move(other.state_);
  }
  return *this;
}

void Alarm::SetAt(Clock::time_point when, std::function<void(bool)> callback) {
  Cancel();
  state_ = std::make_shared<State>();
  state_->clockwork = &State::Clockwork::Get();
  state_->callback = std::move(callback);
  state_->clockwork->Add(state_, when);
}

void Alarm::Cancel() {
  if (state_ == nullptr) return;
  state_->clockwork->Cancel(*state_);
  state_.reset();
}

}  // namespace ivmq::rpc
