// Tells NodeOptions::on_report what no call returns. User code runs on a thread of its own, which
// the first report starts: whoever reports may hold locks, and on_report may block, send and throw.
#ifndef IVMQ_REPORTER_H_
#define IVMQ_REPORTER_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "ivmq/status.h"

namespace ivmq {

// Thread-safe, except Finish().
class Reporter {
 public:
  // `on_report` may be empty: nothing is reported.
  explicit Reporter(std::function<void(const Status&)> on_report)
      : on_report_(std::move(on_report)) {}
  ~Reporter() { Finish(); }
  Reporter(const Reporter&) = delete;
  Reporter& operator=(const Reporter&) = delete;

  // Reports arrive one at a time, in order. One that finds kMostQueued before it is counted only,
  // and so is one at which on_report throws: a report says how many are missing.
  void Report(const Status& status);

  // Returns when all that was reported has been told. Nothing is told afterwards.
  void Finish();

 private:
  static constexpr std::size_t kMostQueued = 1024;

  void Run();
  // Returns whether on_report took it.
  [[nodiscard]] bool Tell(const Status& status) const noexcept;

  const std::function<void(const Status&)> on_report_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Status> queue_;
  std::uint64_t missing_ = 0;  // reports that were not told
  bool finishing_ = false;
  std::thread thread_;
};

}  // namespace ivmq

#endif  // IVMQ_REPORTER_H_
