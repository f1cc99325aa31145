#include "src/subscriptions.h"

#include <algorithm>
#include <mutex>

#include "ivmq/internal/str_cat.h"
#include "ivmq/internal/topic_name.h"

#include "src/wait_strategy.h"

namespace ivmq {

TopicSource* SubscriptionCore::Find(PeerId publisher, std::uint32_t topic, std::string_view name) {
  const auto key = std::pair(publisher.slot, topic);
  auto at = sources_.find(key);
  if (at == sources_.end() || at->second.incarnation != publisher.incarnation ||
      at->second.name != name) {
    if (!CheckTopicName(name).ok() || !TopicMatches(pattern_, name)) return nullptr;
    if (sources_.size() == kMostSources) sources_.clear();
    at = sources_
             .insert_or_assign(
                 key, TopicSource{.incarnation = publisher.incarnation, .name = std::string(name)})
             .first;
  }
  return &at->second;
}

Result<SubscriptionCore*> Subscriptions::Open(std::string_view pattern, TopicHandler handler,
                                              const SubscribeOptions& options) {
  if (Status status = CheckTopicPattern(pattern); !status.ok()) return status;
  if (options.depth == 0 || options.depth > kMaxTopicDepth || options.history > kMaxTopicDepth) {
    return Status(StatusCode::kInvalidArgument,
                  StrCat("a subscription's depth is 1 to ", kMaxTopicDepth,
                         " and its history 0 to ", kMaxTopicDepth, "; that to '", pattern,
                         "' asks for ", options.depth, " and ", options.history));
  }
  if (!handler) {
    return Status(StatusCode::kInvalidArgument,
                  StrCat("the subscription to '", pattern, "' has no handler"));
  }
  // Before the lock too: a forked child might never get it.
  if (Status over = context_.LifeStatus(); !over.ok()) return over;
  PeerTopic topic{.is_subscription = true,
                  .id = board_.NewId(),
                  .name = std::string(pattern),
                  .history = options.history,
                  .when_slow = options.when_slow,
                  .depth = options.depth};
  auto added = std::make_unique<SubscriptionCore>(topic.id, pattern, std::move(handler));
  SubscriptionCore* const core = added.get();
  {
    // Messages may come as soon as the slot says so.
    const std::lock_guard lock(lock_);
    subscriptions_.push_back(std::move(added));
  }
  if (Status status = board_.Add(std::move(topic)); !status.ok()) {
    (void)Take(*core);
    return status;
  }
  return core;
}

std::unique_ptr<SubscriptionCore> Subscriptions::Take(SubscriptionCore& subscription) noexcept {
  const std::lock_guard lock(lock_);
  const auto at = std::find_if(subscriptions_.begin(), subscriptions_.end(),
                               [&](const auto& other) { return other.get() == &subscription; });
  std::unique_ptr<SubscriptionCore> taken = std::move(*at);
  subscriptions_.erase(at);
  // Of what the poller uses this thread may be the poller.
  if (running_.load(std::memory_order_relaxed) == &subscription && running_on_ == ThisThread()) {
    ended_ = std::move(taken);
  }
  return taken;
}

void Subscriptions::Close(SubscriptionCore& subscription) noexcept {
  if (context_.is_forked_copy()) return;
  board_.Remove(subscription.id());
  const std::unique_ptr<SubscriptionCore> taken = Take(subscription);
  if (taken == nullptr) return;
  // Nothing says when a handler returns, so that it costs nothing.
  WaitStrategy wait(*context_.sleeper, {}, context_.options.spin_budget);
  while (running_.load(std::memory_order_acquire) == &subscription) {
    wait.BeginLook();
    (void)wait.Pause(wait.Growing());
  }
}

Subscriptions::Running::Running(Subscriptions& subscriptions, std::uint32_t id)
    : subscriptions_(subscriptions) {
  const std::lock_guard lock(subscriptions_.lock_);
  const auto& list = subscriptions_.subscriptions_;
  const auto at =
      std::find_if(list.begin(), list.end(), [id](const auto& other) { return other->id() == id; });
  if (at == list.end()) return;
  subscription_ = at->get();
  subscriptions_.running_on_ = ThisThread();
  subscriptions_.running_.store(subscription_, std::memory_order_relaxed);
}

Subscriptions::Running::~Running() {
  subscriptions_.running_.store(nullptr, std::memory_order_release);
  subscriptions_.ended_.reset();
}

}  // namespace ivmq
