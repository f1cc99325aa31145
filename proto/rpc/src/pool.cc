#include "src/pool.h"

#include <algorithm>
#include <system_error>

#include "ivmq/internal/spin.h"

namespace ivmq::rpc::internal {

Pool::Pool(std::size_t threads, std::size_t most, std::chrono::nanoseconds spin_budget)
    : most_(std::max(threads, most)),
      spin_budget_(HasSeveralCores() ? spin_budget : std::chrono::nanoseconds(0)) {
  const std::lock_guard lock(mutex_);
  threads_.reserve(most_);
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

Pool::~Pool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  has_news_.store(true, std::memory_order_relaxed);
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Pool::Submit(Job& job, std::size_t flow) {
  Queue hopeless;
  bool is_awaited = false;  // by the thread that spins, which can take one
  {
    const std::lock_guard lock(mutex_);
    if (flow >= flows_.size()) flows_.resize(flow + 1);
    std::unique_ptr<Flow>& entry = flows_[flow];
    if (entry == nullptr) entry = std::make_unique<Flow>();
    is_awaited = spins_ && turns_.empty();
    if (entry->jobs.empty()) turns_.push_back(*entry);
    entry->jobs.push_back(job);
    hopeless = TakeHopeless();
  }
  if (!hopeless.empty()) [[unlikely]]
    return Refuse(std::move(hopeless));
  if (is_awaited) {
    has_news_.store(true, std::memory_order_relaxed);
  } else {
    work_.notify_one();
  }
}

Pool::Queue Pool::TakeHopeless() {
  Queue hopeless;
  if (turns_.empty() || waiting_ != threads_.size()) return hopeless;
  if (threads_.size() < most_) {
    try {
      threads_.emplace_back([this] { Work(); });
      return hopeless;
    } catch (const std::system_error&) {  // the system has no more
    }
  }
  while (!turns_.empty()) hopeless.push_back(TakeNext());
  return hopeless;
}

Pool::Job& Pool::TakeNext() {
  Flow& flow = turns_.front();
  turns_.pop_front();
  Job& job = flow.jobs.front();
  flow.jobs.pop_front();
  if (!flow.jobs.empty()) turns_.push_back(flow);
  return job;
}

void Pool::Refuse(Queue jobs) {
  while (!jobs.empty()) {
    Job& job = jobs.front();
    jobs.pop_front();
    job.Refuse();
  }
}

void Pool::BeginWait() {
  Queue hopeless;
  {
    const std::lock_guard lock(mutex_);
    ++waiting_;
    hopeless = TakeHopeless();
  }
  Refuse(std::move(hopeless));
}

void Pool::EndWait() {
  const std::lock_guard lock(mutex_);
  --waiting_;
}

void Pool::AwaitJob() const noexcept {
  Spin spin(std::chrono::steady_clock::now() + spin_budget_);
  while (!has_news_.load(std::memory_order_relaxed) && spin.Pause()) {
  }
}

void Pool::Work() {
  pool_here = this;
  std::unique_lock lock(mutex_);
  for (;;) {
    if (turns_.empty() && !stop_ && !spins_ && spin_budget_ > std::chrono::nanoseconds(0)) {
      spins_ = true;
      has_news_.store(false, std::memory_order_relaxed);
      lock.unlock();
      AwaitJob();
      lock.lock();
      spins_ = false;
    }
    work_.wait(lock, [this] { return stop_ || !turns_.empty(); });
    if (turns_.empty()) return;
    Job& job = TakeNext();
    lock.unlock();
    job.Run();
    lock.lock();
  }
}

}  // namespace ivmq::rpc::internal
