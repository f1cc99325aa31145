// What a Topic is: the number of its last message, the messages that are still needed, and a flow
// to each subscription.
#ifndef IVMQ_TOPIC_CORE_H_
#define IVMQ_TOPIC_CORE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "ivmq/internal/spin_lock.h"
#include "ivmq/status.h"
#include "ivmq/topic.h"

#include "src/node_context.h"
#include "src/topic_flow.h"
#include "src/topic_log.h"

namespace ivmq {

class Publications;

// Thread-safe. Its lock is not held while user code runs, nor while a thread waits; the locks of
// rings are taken under it.
class TopicCore {
 public:
  TopicCore(NodeContext& context, Publications& publications, PeerTopic topic,
            const TopicOptions& options);
  TopicCore(const TopicCore&) = delete;
  TopicCore& operator=(const TopicCore&) = delete;

  [[nodiscard]] const PeerTopic& topic() const noexcept { return topic_; }
  [[nodiscard]] NodeContext& context() const noexcept { return context_; }
  [[nodiscard]] Publications& publications() const noexcept { return publications_; }

  // `block`: where the bytes lie, if they do in the heap.
  SendResult Publish(const MessageType& type, std::span<const std::byte> bytes,
                     std::shared_ptr<Block> block = nullptr);
  TopicLoan Lend(const MessageType& type, std::uint64_t bytes);
  // Takes back a loan's buffer, to be used again.
  void Return(std::unique_ptr<std::byte[]> buffer, std::uint64_t bytes) noexcept;

  SendResult Flush(std::chrono::nanoseconds timeout);

  // Sends what waits to be sent and may go now, also to new subscribers. `sleeps`: the caller is
  // about to sleep, and those that lag are to ring.
  void Attend(bool sleeps);
  // Nothing more is sent.
  void Close() noexcept;

  [[nodiscard]] std::size_t subscribers();
  [[nodiscard]] std::uint64_t published();
  [[nodiscard]] std::uint64_t dropped();
  [[nodiscard]] Status Explain(SendResult result) const;

 private:
  using Lock = std::unique_lock<SpinLock>;

  // What a look at a flow found.
  enum class Progress : std::uint8_t {
    kDone,   // it has everything
    kLags,   // it has to handle some before
    kLarge,  // the next message has to go in fragments
  };

  [[nodiscard]] bool HaveSubscribersChanged() const noexcept {
    return context_.table.generation() != generation_seen_.load(std::memory_order_relaxed);
  }
  // Whether Attend() may have something to do. Without the lock, so that publishers seldom find it
  // taken.
  [[nodiscard]] bool HasToAttend() const noexcept {
    return context_.has_lagging() || HaveSubscribersChanged();
  }
  // A block with these bytes; nullptr: the heap has no room for it.
  [[nodiscard]] std::shared_ptr<Block> CopyToHeap(std::span<const std::byte> bytes);
  // REQUIRES, of all that follow: lock_ is held.
  // Makes and ends flows, if the subscriptions have changed.
  void FindSubscribers();
  // Sends the flow what may be sent now, and drops what its subscriber does not want then.
  Progress Advance(TopicFlow& flow);
  // The same, and what follows for a flow that lags, or does not any more.
  Progress Follow(TopicFlow& flow);
  // What Publish() does if the message is to be kept.
  [[gnu::noinline]] SendResult KeepAndFollow(Lock& lock);
  // The message that is being published goes to the log: its block, or a copy. Without memory for
  // that, nobody that lags gets it.
  void Store();
  // Has the message, which is being published or in the log, lie in a block. False: it does so
  // already, or the heap has no room for it.
  bool MoveToHeap(std::uint64_t sequence);
  void Trim() noexcept;
  // Whom a thread waits for: Publish() for those that ask for it, Flush() for all.
  enum class Whom : std::uint8_t { kWhoAsks, kAll };
  // Whether a thread that waits until `sequence` has been sent waits for the flow.
  [[nodiscard]] static bool IsAwaited(const TopicFlow& flow, std::uint64_t sequence,
                                      Whom whom) noexcept {
    return flow.next() <= sequence && (whom == Whom::kAll || flow.when_slow() == WhenSlow::kWait);
  }
  struct Look {
    TopicFlow* large = nullptr;  // one whose next message has to go in fragments
    bool has_to_wait = false;    // for a flow that is awaited
    bool is_rung = true;         // by all of those that lag, if `sleeps`
  };
  Look LookAtFlows(std::uint64_t sequence, Whom whom, bool sleeps);
  // Sends what has to go in fragments, and waits for the flows that are awaited. It gives the lock
  // up meanwhile.
  SendResult SendSlowly(Lock& lock, std::uint64_t sequence, Whom whom,
                        std::chrono::nanoseconds timeout);
  // Returns whether a subscriber that wants to be waited for has its message. It gives the lock up
  // meanwhile.
  bool SendFragments(Lock& lock, TopicFlow& flow, std::chrono::nanoseconds timeout);
  void CountDropped(std::uint64_t messages) noexcept;

  NodeContext& context_;
  Publications& publications_;
  const PeerTopic topic_;
  const TopicOptions options_;

  SpinLock lock_;
  std::atomic<bool> is_wanted_;  // somebody gets what is published; written with the lock held
  // Of the peer table, when the subscribers were looked up. Written with the lock held.
  std::atomic<std::uint64_t> generation_seen_;
  // Guarded by lock_, as what follows.
  std::vector<std::unique_ptr<TopicFlow>> flows_;
  std::uint64_t sequence_ = 0;   // of the last message
  Outgoing* current_ = nullptr;  // that one, while it is being published and not in the log
  TopicLog log_;
  std::uint64_t dropped_ = 0;
  bool is_closed_ = false;
  int sleepers_ = 0;  // threads that sleep until subscribers have their message
  std::unique_ptr<std::byte[]> buffer_;
  std::uint64_t buffer_bytes_ = 0;
};

}  // namespace ivmq

#endif  // IVMQ_TOPIC_CORE_H_
