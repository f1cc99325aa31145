// The reads and writes of a stream that end in callbacks instead of in a thread that waits.
#ifndef IVMQ_RPC_STEPS_H_
#define IVMQ_RPC_STEPS_H_

#include <atomic>
#include <mutex>
#include <string>
#include <utility>

#include <google/protobuf/message.h>

#include "src/polling.h"
#include "src/stream.h"

namespace ivmq::rpc::internal {

// Each callback is made by whoever polls, and one at a time. Starting a step within one does not
// deepen the stack. Start... are thread-safe; one read and one write at a time.
class Steps : private Task {
 public:
  // `open`: whether the call has begun.
  Steps(Polling& polling, Stream& stream, bool open)
      : polling_(polling), stream_(stream), open_(open) {}

  void StartRead(google::protobuf::Message* message) {
    const Reference reference(*this);
    {
      const std::lock_guard lock(steps_mutex_);
      read_ = message;
    }
    Advance();
  }
  // `metadata` goes before the message.
  void StartWrite(const google::protobuf::Message* message, std::string metadata = {}) {
    const Reference reference(*this);
    {
      const std::lock_guard lock(steps_mutex_);
      write_ = message;
      write_metadata_ = std::move(metadata);
    }
    Advance();
  }

  // The call has begun: what was started goes on.
  void Open() {
    open_.store(true, std::memory_order_release);
    Advance();
  }
  // Lets the steps that can go on do so: here, or by whoever polls.
  void Advance() {
    if (!open_.load(std::memory_order_acquire)) return;
    if (!polling_.InPoll()) {
      Post(/*later=*/false);
    } else if (!running_) {
      const Reference reference(*this);
      RunAll();
    }
  }

 protected:
  // Whoever starts something holds one meanwhile: another thread may end the call at once.
  class Reference {
   public:
    explicit Reference(Steps& steps) : steps_(steps) { steps_.AddReference(); }
    ~Reference() { steps_.DropReference(); }
    Reference(const Reference&) = delete;
    Reference& operator=(const Reference&) = delete;

   private:
    Steps& steps_;
  };

  ~Steps() override = default;

  // The stream lives while there are references.
  virtual void AddReference() = 0;
  virtual void DropReference() = 0;
  virtual void OnRead(Stream::Attempt how) = 0;
  virtual void OnWritten(bool ok) = 0;
  // What there is to do when no read or write can go on; `reads`, `writes`: one is under way.
  // kDone: something was done, look again; kFull: try later; kNotYet: nothing; kEnd: it was the
  // last step.
  virtual Stream::Attempt OnIdle(bool reads, bool writes) = 0;

 private:
  void Post(bool later) {
    AddReference();
    if (!polling_.Post(*this, later)) DropReference();
  }
  void Run() override {
    if (!running_) RunAll();
    DropReference();
  }
  void RunAll() {
    running_ = true;
    Stream::Attempt last = Stream::Attempt::kDone;
    while (last == Stream::Attempt::kDone) last = RunOne();
    running_ = false;
    if (last == Stream::Attempt::kEnd) return;
    if (!stream_.PayCredit() || last == Stream::Attempt::kFull) Post(/*later=*/true);
  }

  Stream::Attempt RunOne() {
    using Attempt = Stream::Attempt;
    google::protobuf::Message* read = nullptr;
    const google::protobuf::Message* write = nullptr;
    {
      const std::lock_guard lock(steps_mutex_);
      read = read_;
      write = write_;
    }
    if (read != nullptr) {
      const Attempt attempt = stream_.TryRead(*read);
      if (attempt != Attempt::kNotYet) {
        {
          const std::lock_guard lock(steps_mutex_);
          read_ = nullptr;
        }
        OnRead(attempt);
        return Attempt::kDone;
      }
    }
    if (write != nullptr) {
      const Attempt attempt = stream_.TryWrite(*write, write_metadata_);
      if (attempt == Attempt::kFull) return attempt;
      if (attempt != Attempt::kNotYet) {
        {
          const std::lock_guard lock(steps_mutex_);
          write_ = nullptr;
        }
        OnWritten(attempt == Attempt::kDone);
        return Attempt::kDone;
      }
    }
    return OnIdle(read != nullptr, write != nullptr);
  }

  Polling& polling_;
  Stream& stream_;
  std::atomic<bool> open_;
  bool running_ = false;  // the poller's
  std::mutex steps_mutex_;
  google::protobuf::Message* read_ = nullptr;         // guarded by steps_mutex_
  const google::protobuf::Message* write_ = nullptr;  // guarded by steps_mutex_
  std::string write_metadata_;                        // guarded by steps_mutex_
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_STEPS_H_
