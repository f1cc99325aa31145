// What this node's slot says about topics: those it publishes, and its subscriptions.
#ifndef IVMQ_TOPIC_BOARD_H_
#define IVMQ_TOPIC_BOARD_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "ivmq/peer.h"
#include "ivmq/status.h"

#include "src/node_context.h"

namespace ivmq {

// Thread-safe. Other peers see a change at once: they are told.
class TopicBoard {
 public:
  explicit TopicBoard(NodeContext& context) noexcept : context_(context) {}
  TopicBoard(const TopicBoard&) = delete;
  TopicBoard& operator=(const TopicBoard&) = delete;

  // For a topic or subscription that is to be added; no other one of this life has it.
  [[nodiscard]] std::uint32_t NewId() noexcept { return ++last_id_; }
  // ALREADY_EXISTS: this node publishes that topic; RESOURCE_EXHAUSTED: the slot has no room for
  // more; FAILED_PRECONDITION: this node's life is over.
  Status Add(PeerTopic topic);
  void Remove(std::uint32_t id) noexcept;

  // Writes all of it again, in case it was damaged.
  void Restore();

 private:
  struct Entry {
    PeerTopic topic;
    std::string text;
  };

  // REQUIRES: mutex_ is held.
  [[nodiscard]] std::vector<std::string> Texts() const;
  void Tell();

  NodeContext& context_;
  std::mutex mutex_;
  std::vector<Entry> entries_;  // guarded by mutex_
  std::atomic<std::uint32_t> last_id_{0};
};

}  // namespace ivmq

#endif  // IVMQ_TOPIC_BOARD_H_
