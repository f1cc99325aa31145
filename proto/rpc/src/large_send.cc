#include "src/large_send.h"

#include <algorithm>
#include <span>

#include "src/patient_send.h"

namespace ivmq::rpc::internal {
namespace {

using std::chrono::nanoseconds;

// What may wait for one peer; the last frame may go beyond it.
constexpr std::size_t kMostWaiting = std::size_t{64} << 20;
// A frame that was begun is not to be stopped, so a receiver gets this long for all of it, and more
// for each MiB. Then it begins again, with twice the time, unless it is to be given up.
constexpr std::chrono::seconds kFirstPatience{1};
constexpr std::chrono::milliseconds kPatiencePerMiB{50};

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

SendResult LargeSender::SendOne(const LargeFrame& frame) {
  const auto given_up = [&] {
    return frame.is_unwanted() || stopped_.load(std::memory_order_relaxed);
  };
  nanoseconds patience = kFirstPatience + kPatiencePerMiB * (frame.bytes_.size() >> 20);
  if (frame.is_unwanted()) return SendResult::kTimedOut;
  for (;;) {
    // A durable peer's ring takes messages after its death; but this is for that life.
    if (!node_.IsLive(frame.to_)) return SendResult::kPeerGone;
    const SendResult result =
        node_.Send(frame.to_, frame.type_, std::as_bytes(std::span(frame.bytes_)),
                   {.when_full = WhenFull::kFail, .timeout = patience});
    if (result == SendResult::kTimedOut) {
      patience = std::min<nanoseconds>(2 * patience, kLargePatience);
    } else if (result != SendResult::kFull) {
      return result;
    }
    if (given_up()) return SendResult::kTimedOut;
    const SendResult room = node_.AwaitRoom(
        frame.to_, sizeof(layout::Frame) + node_.MaxRecordMessage(frame.to_, frame.type_),
        {.when_full = WhenFull::kWait, .timeout = kPatienceSlice});
    if (room != SendResult::kOk && room != SendResult::kTimedOut) return room;
    if (given_up()) return SendResult::kTimedOut;
  }
}

void LargeSender::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_.store(true, std::memory_order_relaxed);
  }
  // Waits for the jobs.
  pool_.reset();
  // Those that no thread was there for.
  for (const std::unique_ptr<Queue>& queue : queues_) {
    while (queue != nullptr && !queue->frames.empty()) (void)Finish(*queue, SendResult::kTimedOut);
  }
}

}  // namespace ivmq::rpc::internal
