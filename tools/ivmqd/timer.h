// A time as an event of the loop.
#ifndef IVMQ_TOOLS_IVMQD_TIMER_H_
#define IVMQ_TOOLS_IVMQD_TIMER_H_

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "ivmq/status.h"

#include "event_loop.h"
#include "src/unique_fd.h"

namespace ivmq::server {

// Thread-compatible.
class Timer {
 public:
  // The loop must outlive the timer, which is not set yet.
  static Result<std::unique_ptr<Timer>> Create(EventLoop& loop, std::function<void()> callback);
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Has the callback called again and again, every `period`, until the timer is set anew. 0: not
  // any more.
  void Repeat(std::chrono::nanoseconds period);

 private:
  Timer(UniqueFd fd, std::function<void()> callback)
      : fd_(std::move(fd)), callback_(std::move(callback)) {}
  void OnExpired();

  UniqueFd fd_;
  std::function<void()> callback_;
  Watch watch_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_TIMER_H_
