// Signals of the process as events of its loop.
#ifndef IVMQ_TOOLS_IVMQD_SIGNALS_H_
#define IVMQ_TOOLS_IVMQD_SIGNALS_H_

#include <sys/types.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <utility>

#include "ivmq/status.h"

#include "event_loop.h"
#include "src/unique_fd.h"

namespace ivmq::server {

// Thread-compatible.
class Signals {
 public:
  using Callback = std::function<void(int signal, pid_t sender)>;

  // Blocks the signals in the calling thread for good, and has `callback` called for each that
  // comes from now on, when the loop runs. The loop must outlive this.
  static Result<std::unique_ptr<Signals>> Take(EventLoop& loop, std::initializer_list<int> signals,
                                               Callback callback);

 private:
  Signals(UniqueFd fd, Callback callback) : fd_(std::move(fd)), callback_(std::move(callback)) {}
  void OnSignal();

  UniqueFd fd_;
  Callback callback_;
  Watch watch_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_SIGNALS_H_
