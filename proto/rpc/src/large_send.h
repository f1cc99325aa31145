// Frames larger than a record, which go in pieces while the receiver takes them out: on threads
// that may wait for that, so that the thread that polls does not.
#ifndef IVMQ_RPC_LARGE_SEND_H_
#define IVMQ_RPC_LARGE_SEND_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <boost/intrusive/slist.hpp>

#include "ivmq/node.h"

#include "src/polling.h"
#include "src/pool.h"

namespace ivmq::rpc::internal {

// A frame on its way. Deletes itself when it has been sent, or never will be.
class LargeFrame : public boost::intrusive::slist_base_hook<>, private Task {
 public:
  LargeFrame(PeerId to, MessageType type, std::string bytes)
      : to_(to), type_(type), bytes_(std::move(bytes)) {}
  ~LargeFrame() override = default;

  // Nobody wants it any more: it may have been sent all the same. Thread-safe.
  void GiveUp() noexcept { unwanted_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool is_unwanted() const noexcept {
    return unwanted_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] PeerId to() const noexcept { return to_; }
  [[nodiscard]] const MessageType& type() const noexcept { return type_; }

 protected:
  // How it went, by the thread that polls. kStopped: it was given up.
  virtual void OnSent(SendResult result) = 0;
  // For OnSent(): to be sent another time.
  [[nodiscard]] std::string TakeBytes() noexcept { return std::move(bytes_); }

 private:
  friend class LargeSender;
  void Run() final {
    const std::unique_ptr<LargeFrame> self(this);
    OnSent(result_);
  }

  const PeerId to_;
  const MessageType type_;
  std::string bytes_;
  std::atomic<bool> unwanted_{false};
  SendResult result_ = SendResult::kStopped;
};

// Thread-safe. One thread for each peer that keeps a frame waiting: a peer takes one large frame at
// a time.
class LargeSender {
 public:
  LargeSender(Node& node, Polling& polling);
  ~LargeSender() { Stop(); }
  LargeSender(const LargeSender&) = delete;
  LargeSender& operator=(const LargeSender&) = delete;

  // Whether another frame to the peer may wait. Otherwise try later.
  [[nodiscard]] bool HasRoom(PeerId to);
  // Behind those that were given before. Whatever is sent otherwise may overtake it.
  void Send(LargeFrame& frame);
  // Gives frames that peers take in this second time for it, and gives up the others. Returns when
  // all are posted to the thread that polls. REQUIRES: nobody polls or sends meanwhile.
  void Stop();

 private:
  using Frames = boost::intrusive::slist<LargeFrame, boost::intrusive::cache_last<true>>;

  // The frames to one slot, as a job while there are some.
  class Queue final : public Pool::Job {
   public:
    explicit Queue(LargeSender& sender) : sender_(sender) {}
    void Run() override { sender_.SendAll(*this); }
    // The system has no more threads now.
    void Refuse() override { sender_.polling_.Post(resubmit_, /*later=*/true); }

    Frames frames;          // guarded by mutex_ of the sender
    std::size_t bytes = 0;  // guarded by mutex_ of the sender

   private:
    class Resubmit final : public Task {
     public:
      explicit Resubmit(Queue& queue) : queue_(queue) {}
      void Run() override { queue_.sender_.Submit(queue_); }

     private:
      Queue& queue_;
    };

    LargeSender& sender_;
    Resubmit resubmit_{*this};
  };

  void Submit(Queue& queue);
  void SendAll(Queue& queue);
  [[nodiscard]] SendResult SendOne(const LargeFrame& frame);
  [[nodiscard]] bool IsGivenUp(const LargeFrame& frame) const noexcept;
  // Takes the first frame out. Whether there are more.
  [[nodiscard]] bool Finish(Queue& queue, SendResult result);

  Node& node_;
  Polling& polling_;
  std::atomic<bool> stopped_{false};  // written under mutex_
  Clock::time_point last_moment_;     // behind it all is given up; written before stopped_
  std::mutex mutex_;
  std::vector<std::unique_ptr<Queue>> queues_;  // guarded by mutex_; by slot
  std::unique_ptr<Pool> pool_;                  // made under mutex_, with the first frame
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_LARGE_SEND_H_
