// Rings eventfds that are shared with those who would have the ringer wait.
#ifndef IVMQ_TOOLS_IVMQD_EVENTFD_SIGNAL_H_
#define IVMQ_TOOLS_IVMQD_EVENTFD_SIGNAL_H_

#include <linux/aio_abi.h>

#include "src/unique_fd.h"

namespace ivmq::server {

// A write to an eventfd waits while the counter is full, unless O_NONBLOCK is set, and that flag
// belongs to all who have the eventfd. Neither does writing know RWF_NOWAIT. What never waits is
// the kernel's own signal: here that of a read of nothing by io_submit(2). It takes two system
// calls. Thread-compatible.
class EventfdSignal {
 public:
  EventfdSignal();
  ~EventfdSignal();
  EventfdSignal(const EventfdSignal&) = delete;
  EventfdSignal& operator=(const EventfdSignal&) = delete;

  // Adds one to what the eventfd counts, as far as it goes, and wakes who waits for it. Never
  // blocks; but where the kernel lends no context (fs.aio-max-nr, a sandbox), it is as good as
  // looking first whether a write would.
  void Send(int eventfd) noexcept;

 private:
  [[nodiscard]] bool Submit(int eventfd) noexcept;

  UniqueFd nothing_;
  aio_context_t context_ = 0;  // 0: none
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_EVENTFD_SIGNAL_H_
