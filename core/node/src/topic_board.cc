#include "src/topic_board.h"

#include <new>
#include <utility>

#include "ivmq/internal/str_cat.h"
#include "ivmq/internal/topic_name.h"

namespace ivmq {

Status TopicBoard::Add(PeerTopic topic) {
  // Before the lock too: a forked child might never get it.
  if (Status over = context_.LifeStatus(); !over.ok()) return over;
  {
    const std::lock_guard lock(mutex_);
    if (Status over = context_.LifeStatus(); !over.ok()) return over;
    std::size_t bytes = 0;
    for (const Entry& entry : entries_) {
      bytes += entry.text.size() + 1;
      if (!topic.is_subscription && !entry.topic.is_subscription &&
          entry.topic.name == topic.name) {
        return {StatusCode::kAlreadyExists,
                StrCat("this node, '", context_.identity.name, "', publishes the topic '",
                       topic.name, "' already; share that Topic")};
      }
    }
    std::string text = TopicText(topic);
    if (bytes + text.size() + 1 > layout::kTopicTextBytes) {
      return {StatusCode::kResourceExhausted,
              StrCat("a peer's slot has room for ", layout::kTopicTextBytes,
                     " bytes about topics and subscriptions; ", bytes, " are in use, and '",
                     topic.name, "' takes ", text.size() + 1, "; use patterns, or another node")};
    }
    entries_.push_back({.topic = std::move(topic), .text = std::move(text)});
    (void)context_.table.WriteTopics(context_.self.id, Texts());
  }
  Tell();
  return {};
}

void TopicBoard::Remove(std::uint32_t id) noexcept {
  if (context_.is_forked_copy()) return;
  try {
    {
      const std::lock_guard lock(mutex_);
      std::erase_if(entries_, [id](const Entry& entry) { return entry.topic.id == id; });
      if (!context_.IsMyLife()) return;
      (void)context_.table.WriteTopics(context_.self.id, Texts());
    }
    Tell();
  } catch (const std::bad_alloc&) {  // Restore() does it
  }
}

void TopicBoard::Restore() {
  const std::lock_guard lock(mutex_);
  if (context_.IsMyLife()) (void)context_.table.WriteTopics(context_.self.id, Texts());
}

std::vector<std::string> TopicBoard::Texts() const {
  std::vector<std::string> texts;
  texts.reserve(entries_.size());
  for (const Entry& entry : entries_) texts.push_back(entry.text);
  return texts;
}

void TopicBoard::Tell() {
  context_.table.WakeAll(*context_.transport, context_.self.id.slot);
  context_.sleeper->Notify();
}

}  // namespace ivmq
