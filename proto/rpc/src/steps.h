// The reads and writes of a stream that end in callbacks instead of in a thread that waits.
#ifndef IVMQ_RPC_STEPS_H_
#define IVMQ_RPC_STEPS_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "ivmq/internal/payload.h"

#include "src/message_stream.h"
#include "src/outbox.h"
#include "src/polling.h"

namespace ivmq::rpc::internal {

// Each callback is made by whoever polls, and one at a time. Starting a step within one does not
// deepen the stack. Start... are thread-safe; one read and one write at a time.
class Steps : private PollTask {
 public:
  // `open`: whether the call has begun.
  Steps(Polling& polling, Outbox& outbox, MessageStream& messages, bool open)
      : polling_(polling),
        outbox_(outbox),
        messages_(messages),
        step_state_(open ? StepState::kIdle : StepState::kClosed) {}

  void StartRead(const Incoming& message) {
    const Reference reference(*this);
    {
      const std::lock_guard lock(steps_mutex_);
      read_ = message;
    }
    Advance();
  }
  // `metadata` goes before the message.
  void StartWrite(Outgoing message, std::string metadata = {}) {
    // Once, however often it finds no room.
    message.Measure();
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
    StepState closed = StepState::kClosed;
    (void)step_state_.compare_exchange_strong(closed, StepState::kIdle, std::memory_order_acq_rel);
    Advance();
  }
  // Lets the steps that can go on do so: here, or by whoever polls.
  void Advance() {
    const StepState state = step_state_.load(std::memory_order_acquire);
    if (state == StepState::kClosed) return;
    if (!polling_.InPoll()) {
      Post(/*later=*/false);
    } else if (state == StepState::kIdle) {
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
  // `message`: what was read, if something was.
  virtual void OnRead(MessageStream::Attempt how, const Incoming& message) = 0;
  // kStopped: the stream has ended.
  virtual void OnWritten(SendResult result) = 0;
  // What there is to do when no read or write can go on; `reads`, `writes`: one is under way.
  // kDone: something was done, look again; kFull: try later; kNotYet: nothing; kEnd: it was the
  // last step.
  virtual MessageStream::Attempt OnIdle(bool reads, bool writes) = 0;

  // Sends a frame without a message, in front of all that follows. kDone or kFull. For OnIdle().
  MessageStream::Attempt TrySendFrame(CallFrameKind kind, std::string_view metadata) {
    const MessageStream::Attempt attempt = messages_.TrySendFrame(kind, metadata);
    if (attempt != MessageStream::Attempt::kLarge) [[likely]]
      return attempt;
    return SendLarge(kind, {}, metadata) == MessageStream::Attempt::kFull
               ? MessageStream::Attempt::kFull
               : MessageStream::Attempt::kDone;
  }

 private:
  // Only the poller changes it once it is kIdle.
  enum class StepState : std::uint8_t {
    kClosed,   // the call has not begun: what is started waits
    kIdle,     // nothing runs
    kRunning,  // a callback runs, or is about to
  };

  // The large frame that is under way, which nothing of this call overtakes.
  class Large final : public QueuedFrame {
   public:
    Large(Steps& steps, CallFrameKind kind, bool is_message, std::string bytes)
        : QueuedFrame(steps.messages_.to(), steps.messages_.TypeOf(kind), std::move(bytes)),
          steps_(&steps),
          is_message_(is_message) {}
    // The call goes on without it.
    void Leave() noexcept {
      steps_ = nullptr;
      is_wanted_.store(false, std::memory_order_relaxed);
    }

   private:
    [[nodiscard]] bool IsWanted() const noexcept override {
      return is_wanted_.load(std::memory_order_relaxed);
    }
    void OnSent(SendResult result) override {
      if (steps_ != nullptr) steps_->OnLargeSent(is_message_, result);
    }

    Steps* steps_;  // the poller's; it lives while a step is under way
    std::atomic<bool> is_wanted_{true};
    const bool is_message_;
  };
  enum class LargeState : std::uint8_t { kNone, kUnderWay, kMessageSent };

  // kNotYet, kFull, or kEnd if it is larger than the node sends.
  MessageStream::Attempt SendLarge(CallFrameKind kind, const Outgoing& message,
                                   std::string_view metadata) {
    if (!outbox_.HasRoom(messages_.to())) return MessageStream::Attempt::kFull;
    std::optional<std::string> bytes = messages_.LargeFrameOf(message, metadata);
    if (!bytes.has_value()) return MessageStream::Attempt::kEnd;
    large_ = new Large(*this, kind, message.has_value(), *std::move(bytes));
    large_state_ = LargeState::kUnderWay;
    outbox_.Queue(*large_);
    return MessageStream::Attempt::kNotYet;
  }
  void OnLargeSent(bool is_message, SendResult result) {
    large_ = nullptr;
    large_result_ = result;
    large_state_ = is_message ? LargeState::kMessageSent : LargeState::kNone;
    Advance();
  }
  // How a write goes on behind SendLarge(); `*result`: how it went.
  MessageStream::Attempt AttemptLarge(SendResult* result) {
    using Attempt = MessageStream::Attempt;
    if (large_state_ == LargeState::kMessageSent) {
      large_state_ = LargeState::kNone;
      *result = large_result_;
      return large_result_ == SendResult::kOk ? Attempt::kDone : Attempt::kEnd;
    }
    if (!messages_.HasEnded()) return Attempt::kNotYet;
    large_state_ = LargeState::kNone;
    std::exchange(large_, nullptr)->Leave();
    *result = SendResult::kStopped;
    return Attempt::kEnd;
  }
  void Post(bool later) {
    AddReference();
    if (!polling_.Post(*this, later)) DropReference();
  }
  void Run() override {
    if (step_state_.load(std::memory_order_relaxed) == StepState::kIdle) RunAll();
    DropReference();
  }
  void RunAll() {
    step_state_.store(StepState::kRunning, std::memory_order_relaxed);
    MessageStream::Attempt last = MessageStream::Attempt::kDone;
    while (last == MessageStream::Attempt::kDone) last = RunOne();
    step_state_.store(StepState::kIdle, std::memory_order_relaxed);
    if (last == MessageStream::Attempt::kFull) Post(/*later=*/true);
  }

  MessageStream::Attempt RunOne() {
    using Attempt = MessageStream::Attempt;
    Incoming read;
    Outgoing write;
    {
      const std::lock_guard lock(steps_mutex_);
      read = read_;
      write = write_;
    }
    if (read.has_value()) {
      const Attempt attempt = messages_.TryRead(read);
      if (attempt != Attempt::kNotYet) {
        {
          const std::lock_guard lock(steps_mutex_);
          read_ = {};
        }
        OnRead(attempt, read);
        return Attempt::kDone;
      }
    }
    Attempt attempt = Attempt::kNotYet;
    SendResult result = SendResult::kOk;
    if (large_state_ != LargeState::kNone) [[unlikely]] {
      attempt = AttemptLarge(&result);
      if (attempt == Attempt::kNotYet) return attempt;
    } else if (write.has_value()) {
      attempt = messages_.TryWrite(write, write_metadata_, &result);
      if (attempt == Attempt::kLarge) [[unlikely]]
        attempt = SendLarge(messages_.kinds().message, write, write_metadata_);
    }
    if (write.has_value()) {
      if (attempt == Attempt::kFull) return attempt;
      if (attempt != Attempt::kNotYet) {
        {
          const std::lock_guard lock(steps_mutex_);
          write_ = {};
        }
        OnWritten(result);
        return Attempt::kDone;
      }
    }
    return OnIdle(read.has_value(), write.has_value());
  }

  Polling& polling_;
  Outbox& outbox_;
  MessageStream& messages_;
  std::atomic<StepState> step_state_;
  LargeState large_state_ = LargeState::kNone;  // the poller's
  Large* large_ = nullptr;                      // the poller's; while kUnderWay
  SendResult large_result_ = SendResult::kOk;   // the poller's; of kMessageSent
  std::mutex steps_mutex_;
  Incoming read_;               // guarded by steps_mutex_
  Outgoing write_;              // guarded by steps_mutex_
  std::string write_metadata_;  // guarded by steps_mutex_
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_STEPS_H_
