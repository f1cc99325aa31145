// The subscriptions of a node, and how the messages of topics get to their handlers.
#ifndef IVMQ_SUBSCRIPTIONS_H_
#define IVMQ_SUBSCRIPTIONS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ivmq/internal/spin_lock.h"
#include "ivmq/status.h"
#include "ivmq/topic.h"

#include "src/node_context.h"
#include "src/ring_lock.h"
#include "src/topic_board.h"

namespace ivmq {

// One topic of one publisher, as a subscription knows it.
struct TopicSource {
  std::uint32_t incarnation = 0;  // of the publisher
  std::string name;
  std::uint64_t last = 0;  // the sequence number of the last message; 0: none
};

class SubscriptionCore {
 public:
  SubscriptionCore(std::uint32_t id, std::string_view pattern, TopicHandler handler)
      : id_(id), pattern_(pattern), handler_(std::move(handler)) {}

  [[nodiscard]] std::uint32_t id() const noexcept { return id_; }
  [[nodiscard]] const std::string& pattern() const noexcept { return pattern_; }
  [[nodiscard]] const TopicHandler& handler() const noexcept { return handler_; }
  [[nodiscard]] std::uint64_t received() const noexcept {
    return received_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t missed() const noexcept {
    return missed_.load(std::memory_order_relaxed);
  }

  // For the poller: the source of a message; nullptr: it is no topic of this subscription.
  TopicSource* Find(PeerId publisher, std::uint32_t topic, std::string_view name);
  // The message was handled.
  void Count(std::uint64_t missed) noexcept {
    received_.store(received() + 1, std::memory_order_relaxed);
    missed_.store(this->missed() + missed, std::memory_order_relaxed);
  }

 private:
  // More sources than a slot can name are none of a correct publisher's.
  static constexpr std::size_t kMostSources = 4096;

  const std::uint32_t id_;
  const std::string pattern_;
  const TopicHandler handler_;
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> missed_{0};
  std::map<std::pair<std::uint32_t, std::uint32_t>, TopicSource> sources_;  // by slot and topic
};

// Thread-safe, except Running, which is the poller's.
class Subscriptions {
 public:
  Subscriptions(NodeContext& context, TopicBoard& board) : context_(context), board_(board) {}
  Subscriptions(const Subscriptions&) = delete;
  Subscriptions& operator=(const Subscriptions&) = delete;

  // As Node::Subscribe.
  Result<SubscriptionCore*> Open(std::string_view pattern, TopicHandler handler,
                                 const SubscribeOptions& options);
  // Ends it: as ~Subscription().
  void Close(SubscriptionCore& subscription) noexcept;

  // While one lives, the poller uses the subscription. It runs on no lock.
  class Running {
   public:
    Running(Subscriptions& subscriptions, std::uint32_t id);
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    // nullptr: there is none of that id.
    [[nodiscard]] SubscriptionCore* get() const noexcept { return subscription_; }

   private:
    Subscriptions& subscriptions_;
    SubscriptionCore* subscription_ = nullptr;
  };

  [[nodiscard]] NodeContext& context() const noexcept { return context_; }

 private:
  // Takes it off the list. nullptr: its own handler ends it, and Running keeps it till then.
  std::unique_ptr<SubscriptionCore> Take(SubscriptionCore& subscription) noexcept;

  NodeContext& context_;
  TopicBoard& board_;
  SpinLock lock_;
  std::vector<std::unique_ptr<SubscriptionCore>> subscriptions_;  // guarded by lock_
  // What the poller uses, and on which thread. Set with the lock held.
  std::atomic<SubscriptionCore*> running_{nullptr};
  Owner running_on_ = nullptr;  // guarded by lock_
  // What was ended by its own handler. The poller's.
  std::unique_ptr<SubscriptionCore> ended_;
};

}  // namespace ivmq

#endif  // IVMQ_SUBSCRIPTIONS_H_
