#include "src/publications.h"

#include <new>
#include <utility>

#include "ivmq/internal/str_cat.h"
#include "ivmq/internal/topic_name.h"

namespace ivmq {

Publications::Publications(NodeContext& context, Writers& writers, Heap& heap, TopicBoard& board)
    : context_(context),
      writers_(writers),
      heap_(heap),
      board_(board),
      known_(context.region.max_peers()) {}

Result<std::shared_ptr<TopicCore>> Publications::Open(std::string_view name,
                                                      const TopicOptions& options) {
  if (Status status = CheckTopicName(name); !status.ok()) return status;
  if (options.history > kMaxTopicDepth) {
    return Status(StatusCode::kInvalidArgument,
                  StrCat("the topic '", name, "' cannot keep ", options.history,
                         " messages of history: at most ", kMaxTopicDepth));
  }
  PeerTopic topic{.id = board_.NewId(), .name = std::string(name), .history = options.history};
  if (Status status = board_.Add(topic); !status.ok()) return status;
  auto core = std::make_shared<TopicCore>(context_, *this, std::move(topic), options);
  const std::lock_guard lock(mutex_);
  topics_.push_back(core);
  count_.store(topics_.size(), std::memory_order_relaxed);
  return core;
}

void Publications::Close(TopicCore& topic) noexcept {
  board_.Remove(topic.topic().id);
  topic.Close();
  const std::lock_guard lock(mutex_);
  std::erase_if(topics_, [&](const auto& other) { return other.get() == &topic; });
  count_.store(topics_.size(), std::memory_order_relaxed);
}

void Publications::Attend(bool sleeps) noexcept {
  // The life before the lock: a forked child might never get it.
  if (count_.load(std::memory_order_relaxed) == 0 || !context_.IsMyLife()) return;
  try {
    const std::lock_guard lock(mutex_);
    for (const auto& topic : topics_) topic->Attend(sleeps);
  } catch (const std::bad_alloc&) {  // perhaps there is memory next time
  }
}

void Publications::ReadSlot(std::uint32_t s, Known& known) const {
  const layout::PeerSlot& slot = context_.region.slot(s);
  const auto life = layout::Life::FromWord(slot.life.load(std::memory_order_acquire));
  if (life.state != layout::PeerState::kLive) {
    known = Known{};
    return;
  }
  const std::uint64_t sequence = slot.topics.sequence.load(std::memory_order_acquire);
  if (known.incarnation == life.incarnation && known.sequence == sequence) return;
  const std::vector<std::string> texts = context_.table.ReadTopics({s, life.incarnation});
  const bool is_changing =
      (sequence & 1) != 0 || slot.topics.sequence.load(std::memory_order_acquire) != sequence;
  // Who changes it says so afterwards; until then it says what it said before.
  if (is_changing && known.incarnation == life.incarnation) return;
  known = Known{.incarnation = life.incarnation, .sequence = sequence, .topics = {}};
  for (const std::string& text : texts) {
    if (auto topic = ParseTopicText(text); topic && topic->is_subscription) {
      known.topics.push_back(*std::move(topic));
    }
  }
}

Publications::Subscribers Publications::FindSubscribers() {
  const std::lock_guard lock(known_mutex_);
  // Read first: a change during the walk shows as another generation at the next look.
  const std::uint64_t generation = context_.table.generation();
  if (subscribers_ && subscribers_->generation == generation) return subscribers_;
  auto found = std::make_shared<SubscriberList>();
  found->generation = generation;
  for (std::uint32_t s = 0; s < known_.size(); ++s) {
    ReadSlot(s, known_[s]);
    for (const PeerTopic& topic : known_[s].topics) {
      found->list.push_back({.peer = {s, known_[s].incarnation}, .topic = topic});
    }
  }
  subscribers_ = std::move(found);
  return subscribers_;
}

}  // namespace ivmq
