#include "src/pool.h"

#include <algorithm>
#include <system_error>

namespace ivmq::rpc::internal {

Pool::Pool(std::size_t threads, std::size_t most) : most_(std::max(threads, most)) {
  const std::lock_guard lock(mutex_);
  threads_.reserve(most_);
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

Pool::~Pool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Pool::Submit(Job& job) {
  Queue hopeless;
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(job);
    hopeless = TakeHopeless();
  }
  if (!hopeless.empty()) [[unlikely]]
    return Refuse(std::move(hopeless));
  work_.notify_one();
}

Pool::Queue Pool::TakeHopeless() {
  Queue hopeless;
  if (queue_.empty() || waiting_ != threads_.size()) return hopeless;
  if (threads_.size() < most_) {
    try {
      threads_.emplace_back([this] { Work(); });
      return hopeless;
    } catch (const std::system_error&) {  // the system has no more
    }
  }
  hopeless.swap(queue_);
  return hopeless;
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

void Pool::Work() {
  pool_here = this;
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Job& job = queue_.front();
    queue_.pop_front();
    lock.unlock();
    job.Run();
    lock.lock();
  }
}

}  // namespace ivmq::rpc::internal
