// The topics that a node publishes, and who has subscribed to topics in the region.
#ifndef IVMQ_PUBLICATIONS_H_
#define IVMQ_PUBLICATIONS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "ivmq/status.h"
#include "ivmq/topic.h"

#include "src/heap.h"
#include "src/node_context.h"
#include "src/topic_board.h"
#include "src/topic_core.h"
#include "src/writers.h"

namespace ivmq {

// Thread-safe.
class Publications {
 public:
  Publications(NodeContext& context, Writers& writers, Heap& heap, TopicBoard& board);
  Publications(const Publications&) = delete;
  Publications& operator=(const Publications&) = delete;

  // As Node::Advertise.
  Result<std::shared_ptr<TopicCore>> Open(std::string_view name, const TopicOptions& options);
  void Close(TopicCore& topic) noexcept;

  // Sends what waits to be sent to those that lag, and their history to new subscribers. `sleeps`:
  // the poller is about to sleep. For the poller and the heartbeat.
  void Attend(bool sleeps) noexcept;

  struct SubscriberList {
    std::uint64_t generation = 0;  // of the peer table
    std::vector<Subscriber> list;
  };
  using Subscribers = std::shared_ptr<const SubscriberList>;
  // All subscriptions of live peers.
  Subscribers FindSubscribers();

  [[nodiscard]] Writers& writers() const noexcept { return writers_; }
  [[nodiscard]] Heap& heap() const noexcept { return heap_; }

 private:
  // What a slot said last.
  struct Known {
    std::uint32_t incarnation = 0;
    std::uint64_t sequence = 0;
    std::vector<PeerTopic> topics;
  };
  void ReadSlot(std::uint32_t slot, Known& known) const;

  NodeContext& context_;
  Writers& writers_;
  Heap& heap_;
  TopicBoard& board_;
  std::atomic<std::size_t> count_{0};  // of topics_, so that who has none takes no lock

  std::mutex mutex_;
  std::vector<std::shared_ptr<TopicCore>> topics_;  // guarded by mutex_

  std::mutex known_mutex_;
  std::vector<Known> known_;  // by slot; guarded by known_mutex_, as what follows
  Subscribers subscribers_;
};

}  // namespace ivmq

#endif  // IVMQ_PUBLICATIONS_H_
