// One thread, one epoll: calls back when descriptors are ready.
#ifndef IVMQ_TOOLS_IVMQD_EVENT_LOOP_H_
#define IVMQ_TOOLS_IVMQD_EVENT_LOOP_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "ivmq/status.h"

#include "src/unique_fd.h"

namespace ivmq::server {

// Names one registration. Never given twice, so that an event that was reported before its
// descriptor was closed cannot reach the next owner of that number.
using Watch = std::uint64_t;

// Thread-compatible. All members but RunOnce() may be called by callbacks, Remove() of their own
// watch included.
class EventLoop {
 public:
  using Callback = std::function<void(std::uint32_t events)>;

  static Result<EventLoop> Create();

  // Level-triggered; `events` as in epoll_ctl(2).
  Result<Watch> Add(int fd, std::uint32_t events, Callback callback);
  void Modify(Watch watch, std::uint32_t events);
  // REQUIRES: the descriptor is still open.
  void Remove(Watch watch);

  // Waits until something is ready, for `timeout` at most, and calls back for it. Negative: without
  // a limit.
  Status RunOnce(std::chrono::milliseconds timeout);

 private:
  struct Entry {
    int fd;
    Callback callback;
  };

  explicit EventLoop(UniqueFd epoll) : epoll_(std::move(epoll)) {}

  UniqueFd epoll_;
  Watch last_ = 0;
  std::unordered_map<Watch, std::shared_ptr<Entry>> entries_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_EVENT_LOOP_H_
