// The threads on which handlers run that may wait.
#ifndef IVMQ_RPC_POOL_H_
#define IVMQ_RPC_POOL_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <boost/intrusive/slist.hpp>

namespace ivmq::rpc::internal {

class Pool;

// The pool that the calling thread is one of.
inline thread_local Pool* pool_here = nullptr;

// Thread-safe. Grows when all its threads wait, so that handlers which call others, or serve a slow
// stream, hold up nobody. When it cannot grow any more and all of them wait, jobs are refused:
// whoever waits may be waiting for just these. Jobs that wait are in flows: each flow in turn, and
// within a flow the first one first.
//
// One idle thread spins for a while before it sleeps, and takes the next job with no system call.
// It looks at a flag that is set when the mutex is free again, so neither side waits for the mutex.
// A queue without a mutex would save two locked instructions, and know neither turns nor whether
// all threads wait.
class Pool {
 public:
  class Job : public boost::intrusive::slist_base_hook<> {
   public:
    virtual void Run() = 0;
    // In its place: all threads wait. Must not wait.
    virtual void Refuse() = 0;

   protected:
    ~Job() = default;
  };

  // `threads` at first, `most` at last.
  Pool(std::size_t threads, std::size_t most, std::chrono::nanoseconds spin_budget);
  // REQUIRES: there are no jobs. Not on a thread of the pool.
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Runs or refuses the job. Flows are numbered from 0, closely.
  void Submit(Job& job, std::size_t flow = 0);

  // While it lives, the calling thread waits. Of no effect on threads of no pool.
  class Wait {
   public:
    Wait() noexcept : pool_(pool_here) {
      if (pool_ != nullptr) [[unlikely]]
        pool_->BeginWait();
    }
    ~Wait() {
      if (pool_ != nullptr) [[unlikely]]
        pool_->EndWait();
    }
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;

   private:
    Pool* const pool_;
  };

 private:
  using Queue = boost::intrusive::slist<Job, boost::intrusive::cache_last<true>>;
  struct Flow : boost::intrusive::slist_base_hook<> {
    Queue jobs;
  };

  void Work();
  // As the thread that spins: until there may be a job, or the budget is used up.
  void AwaitJob() const noexcept;
  void BeginWait();
  void EndWait();
  // The jobs that nobody can run, if all threads wait and there can be no more. REQUIRES: mutex_ is
  // held.
  [[nodiscard]] Queue TakeHopeless();
  // REQUIRES: mutex_ is held, and there are jobs.
  [[nodiscard]] Job& TakeNext();
  static void Refuse(Queue jobs);

  const std::size_t most_;
  const std::chrono::nanoseconds spin_budget_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::vector<std::unique_ptr<Flow>> flows_;  // guarded by mutex_; by their numbers
  // Guarded by mutex_; those with jobs, in the order of their turns.
  boost::intrusive::slist<Flow, boost::intrusive::cache_last<true>> turns_;
  std::size_t waiting_ = 0;            // guarded by mutex_; threads with a Wait
  bool spins_ = false;                 // guarded by mutex_; a thread, which will look at the jobs
  std::atomic<bool> has_news_{false};  // for that thread
  bool stop_ = false;                  // guarded by mutex_
  std::vector<std::thread> threads_;   // guarded by mutex_
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_POOL_H_
