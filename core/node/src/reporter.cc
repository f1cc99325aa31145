#include "src/reporter.h"

#include <system_error>
#include <utility>

#include "ivmq/internal/str_cat.h"

namespace ivmq {

void Reporter::Report(const Status& status) {
  if (!on_report_) return;
  {
    const std::lock_guard lock(mutex_);
    if (finishing_) return;
    if (queue_.size() >= kMostQueued) {
      ++missing_;
      return;
    }
    queue_.push_back(status);
    if (!thread_.joinable()) {
      try {
        thread_ = std::thread([this] { Run(); });
      } catch (const std::system_error&) {
        // No thread to be had now: the next report tries again, Finish() tells what is left.
      }
    }
  }
  changed_.notify_one();
}

void Reporter::Finish() {
  {
    const std::lock_guard lock(mutex_);
    finishing_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  } else {
    Run();
  }
}

void Reporter::Run() {
  std::vector<Status> batch;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return finishing_ || !queue_.empty(); });
    if (queue_.empty()) return;
    batch.clear();
    batch.swap(queue_);
    std::uint64_t missing = std::exchange(missing_, 0);
    lock.unlock();
    for (const Status& status : batch) {
      if (!Tell(status)) ++missing;
    }
    // What did not fit the queue came behind all that was in it.
    if (missing != 0 &&
        Tell(Status(StatusCode::kResourceExhausted,
                    StrCat(missing,
                           " reports are missing: on_report was too slow for them, or "
                           "threw")))) {
      missing = 0;
    }
    lock.lock();
    missing_ += missing;
  }
}

bool Reporter::Tell(const Status& status) const noexcept {
  try {
    on_report_(status);
  } catch (...) {
    return false;
  }
  return true;
}

}  // namespace ivmq
