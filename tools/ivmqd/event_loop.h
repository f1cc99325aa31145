// One thread, one epoll: calls back when descriptors are ready.
#ifndef IVMQ_TOOLS_IVMQD_EVENT_LOOP_H_
#define IVMQ_TOOLS_IVMQD_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

#include "ivmq/status.h"

#include "src/unique_fd.h"

namespace ivmq::server {

class EventLoop;

// Has a descriptor watched for as long as it lives. It ends before the descriptor is closed, and
// before the loop. Thread-compatible; movable.
class Watch {
 public:
  Watch() = default;
  Watch(Watch&& other) noexcept
      : loop_(std::exchange(other.loop_, nullptr)), number_(other.number_) {}
  Watch& operator=(Watch&& other) noexcept {
    if (this == &other) return *this;
    Reset();
    loop_ = std::exchange(other.loop_, nullptr);
    number_ = other.number_;
    return *this;
  }
  ~Watch() { Reset(); }

  // Watches for other events, as in epoll_ctl(2). Does nothing if nothing is watched.
  void Modify(std::uint32_t events) const;
  void Reset() noexcept;

 private:
  friend class EventLoop;
  Watch(EventLoop* loop, std::uint64_t number) : loop_(loop), number_(number) {}

  EventLoop* loop_ = nullptr;
  std::uint64_t number_ = 0;
};

// Thread-compatible, except for Stop(). Callbacks may call everything but Run(), and may end
// watches, their own included.
class EventLoop {
 public:
  using Callback = std::function<void(std::uint32_t events)>;

  static Result<std::unique_ptr<EventLoop>> Create();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Level-triggered; `events` as in epoll_ctl(2).
  Result<Watch> Add(int fd, std::uint32_t events, Callback callback);

  // Waits and calls back until Stop() or Fail(). Call it once. What Fail() said, or what epoll did.
  // An exception of a callback ends the process: were it to unwind, what a keeper shares with this
  // process would be closed.
  Status Run();
  // Ends Run(), also one that has not begun. From any thread or signal handler, at any time.
  void Stop() noexcept;
  // Ends Run() with a reason. From callbacks.
  void Fail(Status status);

 private:
  friend class Watch;
  struct Entry {
    int fd;
    Callback callback;
  };

  EventLoop(UniqueFd epoll, UniqueFd stop) : epoll_(std::move(epoll)), stop_(std::move(stop)) {}
  Status RunOnce() noexcept;

  UniqueFd epoll_;
  UniqueFd stop_;
  bool stopping_ = false;
  Status failure_;
  // A number is never given twice, so that an event that was reported before its descriptor was
  // closed cannot reach the next owner of that descriptor's number.
  std::uint64_t last_ = 0;
  std::unordered_map<std::uint64_t, std::shared_ptr<Entry>> entries_;
  Watch stop_watch_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_EVENT_LOOP_H_
