#include "src/large_send.h"

#include <span>

namespace ivmq::rpc::internal {
namespace {

// What may wait for one peer; the last frame may go beyond it.
constexpr std::size_t kMostWaiting = std::size_t{64} << 20;
// What an endpoint's end gives them.
constexpr std::chrono::seconds kGrace{1};

}  // namespace

LargeSender::LargeSender(Node& node, Polling& polling) : node_(node), polling_(polling) {}

bool LargeSender::HasRoom(PeerId to) {
  const std::lock_guard lock(mutex_);
  return to.slot >= queues_.size() || queues_[to.slot] == nullptr ||
         queues_[to.slot]->bytes < kMostWaiting;
}

void LargeSender::Send(LargeFrame& frame) {
  Queue* queue = nullptr;
  bool is_first = false;
  {
    const std::lock_guard lock(mutex_);
    if (!stopped_.load(std::memory_order_relaxed)) {
      if (pool_ == nullptr) pool_ = std::make_unique<Pool>(0, node_.region().max_peers());
      if (frame.to().slot >= queues_.size()) queues_.resize(frame.to().slot + 1);
      std::unique_ptr<Queue>& entry = queues_[frame.to().slot];
      if (entry == nullptr) entry = std::make_unique<Queue>(*this);
      queue = entry.get();
      is_first = queue->frames.empty();
      queue->frames.push_back(frame);
      queue->bytes += frame.bytes_.size();
    }
  }
  if (queue == nullptr) {
    polling_.Post(frame);
  } else if (is_first) {
    Submit(*queue);
  }
}

void LargeSender::Submit(Queue& queue) {
  if (!stopped_.load(std::memory_order_relaxed)) pool_->Submit(queue);
}

void LargeSender::SendAll(Queue& queue) {
  // All the time: the pool grows for the next peer.
  const Pool::Wait wait;
  for (bool more = true; more;) {
    LargeFrame* frame = nullptr;
    {
      const std::lock_guard lock(mutex_);
      frame = &queue.frames.front();
    }
    const SendResult result = SendOne(*frame);
    more = Finish(queue, result);
  }
}

bool LargeSender::Finish(Queue& queue, SendResult result) {
  LargeFrame* frame = nullptr;
  bool more = false;
  {
    const std::lock_guard lock(mutex_);
    frame = &queue.frames.front();
    queue.frames.pop_front();
    queue.bytes -= frame->bytes_.size();
    more = !queue.frames.empty();
  }
  frame->result_ = result;
  polling_.Post(*frame);
  return more;
}

bool LargeSender::IsGivenUp(const LargeFrame& frame) const noexcept {
  // A durable peer's ring takes messages after its death; but this is for that life.
  return frame.is_unwanted() || !node_.IsLive(frame.to_) ||
         (stopped_.load(std::memory_order_acquire) && Clock::now() >= last_moment_);
}

SendResult LargeSender::SendOne(const LargeFrame& frame) {
  class Stop final : public StopCondition {
   public:
    Stop(const LargeSender& sender, const LargeFrame& frame) : sender_(sender), frame_(frame) {}
    [[nodiscard]] bool IsStopped() const noexcept override { return sender_.IsGivenUp(frame_); }

   private:
    const LargeSender& sender_;
    const LargeFrame& frame_;
  };
  const Stop stop(*this, frame);
  const SendResult result =
      stop.IsStopped() ? SendResult::kStopped
                       : node_.Send(frame.to_, frame.type_, std::as_bytes(std::span(frame.bytes_)),
                                    {.when_full = WhenFull::kWait,
                                     .timeout = TimeLeft(Clock::time_point::max()),
                                     .stop = &stop});
  return result == SendResult::kStopped && !node_.IsLive(frame.to_) ? SendResult::kPeerGone
                                                                    : result;
}

void LargeSender::Stop() {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_.load(std::memory_order_relaxed)) return;
    last_moment_ = Clock::now() + kGrace;
    stopped_.store(true, std::memory_order_release);
  }
  // Waits for the jobs.
  pool_.reset();
  // Those that no thread was there for.
  for (const std::unique_ptr<Queue>& queue : queues_) {
    while (queue != nullptr && !queue->frames.empty()) (void)Finish(*queue, SendResult::kStopped);
  }
}

}  // namespace ivmq::rpc::internal
