// A callback at a point of time, for later steps of a reactor. Names are gRPC's.
#ifndef IVMQ_RPC_ALARM_H_
#define IVMQ_RPC_ALARM_H_

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "ivmq/rpc/deadline.h"

namespace ivmq::rpc {

// Thread-compatible.
class Alarm {
 public:
  Alarm();
  // Cancels it; does not wait for a callback that runs, which may be the one that destroys it.
  ~Alarm();
  Alarm(Alarm&& other) noexcept;
  Alarm& operator=(Alarm&& other) noexcept;

  // Calls `callback` once: with true when `deadline`, a time point of any clock of std::chrono, has
  // come; with false if the alarm is cancelled, destroyed or set again before. Never inside a
  // member of this class, but on a thread that serves all alarms of the process: it may make calls
  // of any kind, but delays other alarms while it runs. What it throws is printed to stderr.
  template <typename ClockType, typename Duration>
  void Set(const std::chrono::time_point<ClockType, Duration>& deadline,
           std::function<void(bool)> callback) {
    const std::chrono::steady_clock::time_point when = internal::ToSteady(deadline);
    SetAt(when, std::move(callback));
  }
  // Does nothing if the alarm is not set, or its time has come.
  void Cancel();

 private:
  struct State;
  void SetAt(std::chrono::steady_clock::time_point when, std::function<void(bool)> callback);

  std::shared_ptr<State> state_;  // nullptr: it is not set
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_ALARM_H_
