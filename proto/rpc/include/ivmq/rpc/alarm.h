// A point of time that calls back: for steps of a reactor that come later. Names are gRPC's.
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

  // Has `callback` called once: with true when `deadline`, a point of any of std::chrono's clocks,
  // has come; with false when the alarm is cancelled, destroyed or set anew before. Never within a
  // member of this class, but on a thread that serves all alarms of the process: it may make calls
  // of any kind, and holds up other alarms meanwhile. What it throws goes to stderr.
  template <typename ClockType, typename Duration>
  void Set(const std::chrono::time_point<ClockType, Duration>& deadline,
           std::function<void(bool)> callback) {
    const std::chrono::steady_clock::time_point when = internal::ToSteady(deadline);
    SetAt(when, std::move(callback));
  }
  // Nothing if it is not set, or its time has come.
  void Cancel();

 private:
  struct State;
  void SetAt(std::chrono::steady_clock::time_point when, std::function<void(bool)> callback);

  std::shared_ptr<State> state_;  // nullptr: it is not set
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_ALARM_H_
