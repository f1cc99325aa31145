// What a node reported.
#ifndef IVMQ_TESTS_SUPPORT_REPORTS_H_
#define IVMQ_TESTS_SUPPORT_REPORTS_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "ivmq/status.h"

namespace ivmq::testing {

// Thread-safe; must outlive the node.
class Reports {
 public:
  // For NodeOptions::on_report.
  [[nodiscard]] std::function<void(const Status&)> Sink() {
    return [this](const Status& status) {
      {
        const std::lock_guard lock(mutex_);
        texts_.push_back(status.ToString());
      }
      changed_.notify_all();
    };
  }

  [[nodiscard]] std::vector<std::string> All() const {
    const std::lock_guard lock(mutex_);
    return texts_;
  }
  // Those so far, at least `count` unless patience runs out.
  [[nodiscard]] std::vector<std::string> Await(std::size_t count) {
    std::unique_lock lock(mutex_);
    (void)changed_.wait_for(lock, std::chrono::seconds(30), [&] { return texts_.size() >= count; });
    return texts_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> texts_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_REPORTS_H_
