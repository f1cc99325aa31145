// Which thread polls the node. A thread that waits for the end of a call polls by itself: handing
// the end over from another thread would cost more than the call. When several wait, one polls for
// all, and hands over to the next when its own call has ended.
#ifndef IVMQ_RPC_POLLING_H_
#define IVMQ_RPC_POLLING_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <vector>

#include "ivmq/node.h"

namespace ivmq::rpc::internal {

using Clock = std::chrono::steady_clock;

// Looks at the clock only if there is a deadline.
inline std::chrono::nanoseconds TimeLeft(Clock::time_point deadline) {
  return deadline == Clock::time_point::max() ? std::chrono::hours(24 * 365)
                                              : deadline - Clock::now();
}

// A thread that waits for something which a poll brings. One Await() at a time.
class PollWaiter {
 public:
  [[nodiscard]] bool done() const noexcept {
    return (state_.load(std::memory_order_acquire) & kDone) != 0;
  }

 private:
  friend class Polling;
  static constexpr std::uint32_t kDone = 1;
  static constexpr std::uint32_t kPromoted = 2;  // it shall poll
  static constexpr std::uint32_t kSleeps = 4;

  [[nodiscard]] bool may_go_on() const noexcept {
    return (state_.load(std::memory_order_acquire) & (kDone | kPromoted)) != 0;
  }
  // Until it may go on, or the deadline.
  void Sleep(Clock::time_point deadline) noexcept;
  // Lets it go on. Once it is done it may be gone.
  void Set(std::uint32_t why) noexcept;

  std::atomic<std::uint32_t> state_{0};  // a futex
  bool listed_ = false;                  // guarded by Polling::mutex_
};

// Something to be done by the thread that polls. Must live until it has run.
class PollTask {
 public:
  PollTask(const PollTask&) = delete;
  PollTask& operator=(const PollTask&) = delete;
  virtual void Run() = 0;

 protected:
  PollTask() = default;
  virtual ~PollTask() = default;

 private:
  friend class Polling;
  bool posted_ = false;  // guarded by Polling::tasks_mutex_
};

// Calls a member function of the object that it is a member of.
template <auto kFunction>
class MemberTask;
template <typename T, void (T::*kFunction)()>
class MemberTask<kFunction> final : public PollTask {
 public:
  explicit MemberTask(T& object) : object_(object) {}
  void Run() override { (object_.*kFunction)(); }

 private:
  T& object_;
};

class Polling;

// Whose poll the calling thread is within.
inline thread_local const Polling* polling_here = nullptr;

// Thread-safe.
class Polling {
 public:
  // `poll` looks at the node once and says how much there was. It is called by one thread at a
  // time.
  Polling(Node& node, std::function<std::size_t()> poll);

  // Waits for the waiter's end, and polls if nobody else does. False: the deadline has passed.
  bool Await(PollWaiter& waiter, Clock::time_point deadline);
  // Ends a waiter's wait; it may be gone afterwards. By `poll`, or by any other thread.
  void Complete(PollWaiter& waiter);

  // Whether the calling thread is within `poll`: it must not wait.
  [[nodiscard]] bool InPoll() const noexcept { return polling_here == this; }

  // Returns when no poll runs that began before. Not within one.
  void AwaitPollsEnd();

  // Has the task run once by whoever polls, soon; `later`: when time has passed, about a
  // millisecond, or something else has happened. False: it was posted already and did not run yet.
  bool Post(PollTask& task, bool later = false);
  // There is something to be done in `poll` at that time.
  void WakeAt(Clock::time_point when);
  // Whether it has come; then it is forgotten. For `poll`.
  [[nodiscard]] bool TakeTime();

  // ---- For an event loop beside the waiting threads ----

  // From now on somebody sleeps on Node::Fd() when nobody polls.
  void SetHasLoop() noexcept { has_loop_.store(true, std::memory_order_seq_cst); }
  // Whether something is to be done now by whoever polls.
  [[nodiscard]] bool has_tasks() const noexcept {
    return has_tasks_.load(std::memory_order_relaxed);
  }
  // Polls once unless another thread does.
  std::size_t PollOnce();
  // Polls, and sleeps when there is nothing, until `stop`. For a thread that does nothing else.
  void Loop(const std::atomic<bool>& stop);
  // True: the loop may sleep on Node::Fd().
  [[nodiscard]] bool Arm();

 private:
  [[nodiscard]] bool TryLead() noexcept {
    return !leading_.load(std::memory_order_relaxed) &&
           !leading_.exchange(true, std::memory_order_seq_cst);
  }
  std::size_t Poll();
  std::size_t RunTasks();
  // How long whoever polls may sleep.
  [[nodiscard]] std::chrono::nanoseconds MostSleep() const;
  // As leader: polls until there was nothing for the node's spin budget, until a thread that waits
  // wants to poll by itself, or until `stop`.
  void PollWhileBusy(const std::atomic<bool>& stop);
  // As leader: polls until there was nothing for a few microseconds, or until `until()`.
  template <typename Until>
  void PollTightly(Until until);
  // As leader: sleeps with the lead. Nobody else has wanted it for a while.
  void SleepLeading();
  // As leader, until the waiter's end or the deadline.
  void Lead(PollWaiter& waiter, Clock::time_point deadline);
  // Gives the lead back, and to the next waiter if there is one.
  void EndLead();
  void EndLeadUnarmed();
  // As leader: true if whoever sleeps on Node::Fd() is woken for whatever comes. False: something is
  // to be done now.
  [[nodiscard]] bool ArmNode();
  // Until the waiter's end, its promotion, or the deadline. True: it was promoted.
  bool Follow(PollWaiter& waiter, Clock::time_point deadline);
  void Promote();

  static constexpr Clock::rep kNever = Clock::time_point::max().time_since_epoch().count();

  Node& node_;
  std::function<std::size_t()> poll_;
  std::atomic<bool> leading_{false};
  std::atomic<bool> has_loop_{false};
  std::atomic<bool> loop_passed_{false};  // it found somebody leading, and sleeps
  PollWaiter* leader_ = nullptr;          // the leading thread's own
  std::mutex tasks_mutex_;
  std::vector<PollTask*> tasks_;  // guarded by tasks_mutex_
  std::vector<PollTask*> later_;  // guarded by tasks_mutex_
  std::atomic<bool> has_tasks_{false};
  std::atomic<bool> has_later_{false};
  std::vector<PollTask*> running_;  // the leader's
  std::atomic<Clock::rep> wake_at_{kNever};
  std::atomic<std::uint32_t> followers_{0};
  std::atomic<bool> sleeps_leading_{false};
  std::mutex mutex_;
  std::list<PollWaiter*> waiting_;  // guarded by mutex_
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_POLLING_H_
