#include "src/topic_core.h"

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <utility>

#include "ivmq/internal/copy.h"
#include "ivmq/internal/str_cat.h"
#include "ivmq/internal/topic_name.h"

#include "src/publications.h"
#include "src/wait_strategy.h"

namespace ivmq {
namespace {

using layout::Counter;

// A message from here on goes to several subscribers by a block: one copy more, and then none for
// any of them.
constexpr std::uint64_t kLeastShared = std::uint64_t{32} << 10;
// One from here on always does, and is copied before any lock is taken.
constexpr std::uint64_t kLeastLarge = std::uint64_t{256} << 10;

// With its block, or with a copy of its bytes; nullptr: there is no memory.
TopicLog::Stored StoredOf(const Outgoing& message) {
  try {
    auto stored = std::make_shared<StoredMessage>();
    stored->kind = message.type.kind;
    stored->type = message.type.type;
    stored->type_name = message.type.name;
    stored->block = message.block;
    stored->bytes = message.bytes;
    if (stored->block == nullptr) {
      stored->memory.reset(new std::byte[message.bytes.size()]);
      CopyBlock(stored->memory.get(), message.bytes.data(), message.bytes.size());
      stored->bytes = {stored->memory.get(), message.bytes.size()};
    }
    return stored;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

}  // namespace

TopicCore::TopicCore(NodeContext& context, Publications& publications, PeerTopic topic,
                     const TopicOptions& options)
    : context_(context),
      publications_(publications),
      topic_(std::move(topic)),
      options_(options),
      is_wanted_(options.history != 0),
      generation_seen_(context.table.generation() - 1) {}

// ---- Subscribers ----

void TopicCore::FindSubscribers() {
  if (!HaveSubscribersChanged() || is_closed_) [[likely]]
    return;
  const Publications::Subscribers subscribers = publications_.FindSubscribers();
  const std::uint64_t end = sequence_ + 1;
  const std::uint64_t kept = log_.empty() ? 0 : end - log_.first();
  // What may throw comes first: then nothing has changed.
  constexpr std::size_t kNew = ~std::size_t{0};
  std::vector<std::unique_ptr<TopicFlow>> flows;
  std::vector<std::size_t> former;  // of each of them: its place in flows_
  std::size_t next = 0;             // they are in the same order there, as a rule
  for (const Subscriber& subscriber : subscribers->list) {
    if (!TopicMatches(subscriber.topic.name, topic_.name)) continue;
    std::size_t place = 0;
    while (place < flows_.size() && !flows_[(next + place) % flows_.size()]->IsOf(subscriber)) {
      ++place;
    }
    if (place < flows_.size()) {
      place = (next + place) % flows_.size();
      next = place + 1;
      former.push_back(place);
      flows.emplace_back();
      continue;
    }
    RingWriter* const writer = publications_.writers().Find(subscriber.peer.slot);
    if (writer == nullptr) continue;
    const std::uint64_t history =
        std::min({std::uint64_t{options_.history}, kept, std::uint64_t{subscriber.topic.history},
                  std::uint64_t{subscriber.topic.depth}});
    former.push_back(kNew);
    flows.push_back(
        std::make_unique<TopicFlow>(context_, *writer, subscriber, topic_, end - history, end));
  }
  for (std::size_t i = 0; i < flows.size(); ++i) {
    // A slot that says the same twice means it once.
    if (former[i] != kNew) flows[i] = std::move(flows_[former[i]]);
  }
  std::erase(flows, nullptr);
  flows_ = std::move(flows);
  is_wanted_.store(options_.history != 0 || !flows_.empty(), std::memory_order_relaxed);
  generation_seen_.store(subscribers->generation, std::memory_order_relaxed);
  for (const auto& flow : flows_) {
    if (flow->next() < end && !flow->is_lagging()) (void)Follow(*flow);  // its history
  }
}

// ---- Publishing ----

TopicCore::Progress TopicCore::Advance(TopicFlow& flow) {
  while (flow.next() <= sequence_) {
    SendResult result = SendResult::kOk;
    if (flow.next() == sequence_ && current_ != nullptr) {
      result = flow.TrySend(*current_);
    } else if (log_.Has(flow.next())) {
      const StoredMessage& message = *log_.At(flow.next());
      result =
          flow.TrySend({.type = message.Type(), .bytes = message.bytes, .block = message.block});
    } else {
      // There was too little memory for it.
      CountDropped(
          flow.SkipTo(log_.empty() || flow.next() >= log_.end() ? sequence_ + 1 : log_.first()));
    }
    switch (result) {
      case SendResult::kOk:
        break;
      case SendResult::kPeerGone:
        (void)flow.SkipTo(sequence_ + 1);
        break;
      case SendResult::kTooLarge:
        if (!MoveToHeap(flow.next())) return Progress::kLarge;
        break;
      default:
        CountDropped(flow.Settle(sequence_ + 1));
        return flow.next() <= sequence_ ? Progress::kLags : Progress::kDone;
    }
  }
  return Progress::kDone;
}

TopicCore::Progress TopicCore::Follow(TopicFlow& flow) {
  const std::uint64_t before = flow.next();
  Progress progress = Advance(flow);
  if (progress != Progress::kDone && !flow.is_lagging()) {
    flow.BeginLag();
    progress = Advance(flow);  // what was handled before that rings nobody
  }
  if (progress == Progress::kDone) flow.EndLag();
  // Whoever sleeps until it has its message need not be rung any more.
  if (sleepers_ != 0 && flow.next() != before) context_.sleeper->Notify();
  return progress;
}

SendResult TopicCore::Publish(const MessageType& type, std::span<const std::byte> bytes,
                              std::shared_ptr<Block> block) {
  if (bytes.size() > context_.options.max_message_bytes || type.name.size() > kMaxTopicTypeName)
      [[unlikely]] {
    return SendResult::kTooLarge;
  }
  // Before the lock too: a forked child might never get it.
  if (!context_.IsMyLife()) [[unlikely]]
    return SendResult::kPeerGone;
  Outgoing message{.type = type, .bytes = bytes, .block = std::move(block)};
  if (bytes.size() >= kLeastLarge && message.block == nullptr &&
      is_wanted_.load(std::memory_order_relaxed)) [[unlikely]] {
    message.block = CopyToHeap(bytes);
    if (message.block != nullptr) message.bytes = message.block->bytes();
  }
  Lock lock(lock_);
  FindSubscribers();
  // What throws leaves no message behind.
  const struct Publishing {
    ~Publishing() { current = nullptr; }
    Outgoing*& current;
  } publishing{current_};
  ++sequence_;
  current_ = &message;
  if (bytes.size() >= kLeastShared && flows_.size() > 1) [[unlikely]]
    (void)MoveToHeap(sequence_);
  bool is_done = options_.history == 0;
  for (const auto& flow : flows_) {
    is_done &= Advance(*flow) == Progress::kDone && !flow->is_lagging();
  }
  if (!is_done) [[unlikely]]
    return KeepAndFollow(lock);
  return SendResult::kOk;
}

SendResult TopicCore::KeepAndFollow(Lock& lock) {
  const std::uint64_t sequence = sequence_;
  Store();
  const Look look = LookAtFlows(sequence, Whom::kWhoAsks, /*sleeps=*/false);
  Trim();
  if (look.large == nullptr && !look.has_to_wait) return SendResult::kOk;
  const SendResult result = SendSlowly(lock, sequence, Whom::kWhoAsks, options_.timeout);
  if (result == SendResult::kTimedOut) {
    for (const auto& flow : flows_) {
      if (!IsAwaited(*flow, sequence, Whom::kWhoAsks)) continue;
      CountDropped(flow->SkipTo(sequence + 1));
      (void)Follow(*flow);
    }
  }
  Trim();
  return result;
}

SendResult TopicCore::Flush(std::chrono::nanoseconds timeout) {
  // Before the lock too: a forked child might never get it.
  if (!context_.IsMyLife()) return SendResult::kPeerGone;
  Lock lock(lock_);
  const SendResult result = SendSlowly(lock, sequence_, Whom::kAll, timeout);
  Trim();
  return result;
}

TopicCore::Look TopicCore::LookAtFlows(std::uint64_t sequence, Whom whom, bool sleeps) {
  Look look;
  for (const auto& flow : flows_) {
    if (sleeps && flow->is_lagging()) look.is_rung &= flow->Rearm();
    const Progress progress = Follow(*flow);
    if (progress == Progress::kLarge) look.large = flow.get();
    look.has_to_wait |= IsAwaited(*flow, sequence, whom);
  }
  return look;
}

SendResult TopicCore::SendSlowly(Lock& lock, std::uint64_t sequence, Whom whom,
                                 std::chrono::nanoseconds timeout) {
  const WaitLimits limits{.deadline = DeadlineAfter(timeout)};
  WaitStrategy wait(*context_.sleeper, limits, context_.options.spin_budget,
                    context_.options.max_poll_interval);
  SendResult outcome = SendResult::kOk;
  for (bool is_over = false;;) {
    wait.BeginLook();
    FindSubscribers();
    const Look look = LookAtFlows(sequence, whom, !wait.is_spinning());
    // To a life that is over all its subscribers seem to be gone.
    if (!context_.IsMyLife()) return SendResult::kPeerGone;
    if (look.large != nullptr && !is_over) {
      if (!SendFragments(lock, *look.large, timeout)) outcome = SendResult::kTimedOut;
      is_over = limits.IsOver();
      continue;
    }
    if (!look.has_to_wait) return outcome;
    if (is_over) return SendResult::kTimedOut;
    ++sleepers_;
    lock.unlock();
    is_over = wait.Pause(look.is_rung ? kNet : wait.Growing()) == Waited::kTimedOut;
    lock.lock();
    --sleepers_;
  }
}

bool TopicCore::SendFragments(Lock& lock, TopicFlow& flow, std::chrono::nanoseconds timeout) {
  const Subscriber key{.peer = flow.to(), .topic = {.id = flow.subscription(), .name = {}}};
  const std::uint64_t sequence = flow.next();
  const std::shared_ptr<const StoredMessage> message = log_.At(sequence);
  std::array<std::byte, TopicFlow::kMostHead> head;
  const MessageType type = flow.BeginFragments(message->Type(), head.data());
  RingWriter& writer = flow.writer();
  lock.unlock();
  const SendResult result =
      TopicFlow::SendFragments(writer, key.peer, type, message->bytes, timeout);
  lock.lock();
  // Another thread may have ended the flow.
  const auto same = std::find_if(flows_.begin(), flows_.end(),
                                 [&](const auto& other) { return other->IsOf(key); });
  if (same == flows_.end()) return true;
  (*same)->EndFragments(sequence, result);
  if (result == SendResult::kOk || result == SendResult::kPeerGone) return true;
  CountDropped(1);
  return (*same)->when_slow() != WhenSlow::kWait;
}

void TopicCore::Store() { log_.Append(sequence_, StoredOf(*std::exchange(current_, nullptr))); }

std::shared_ptr<Block> TopicCore::CopyToHeap(std::span<const std::byte> bytes) {
  std::shared_ptr<Block> block = publications_.heap().Allocate(bytes.size());
  if (block != nullptr) CopyBlock(block->bytes().data(), bytes.data(), bytes.size());
  return block;
}

bool TopicCore::MoveToHeap(std::uint64_t sequence) {
  const bool is_current = sequence == sequence_ && current_ != nullptr;
  Outgoing message;
  if (is_current) {
    message = *current_;
  } else {
    const StoredMessage& stored = *log_.At(sequence);
    message = {.type = stored.Type(), .bytes = stored.bytes, .block = stored.block};
  }
  if (message.block != nullptr) return false;
  message.block = CopyToHeap(message.bytes);
  if (message.block == nullptr) return false;
  message.bytes = message.block->bytes();
  if (is_current) {
    *current_ = std::move(message);
    return true;
  }
  TopicLog::Stored stored = StoredOf(message);
  if (stored == nullptr) return false;
  log_.Replace(sequence, std::move(stored));
  return true;
}

void TopicCore::Trim() noexcept {
  const std::uint64_t end = sequence_ + 1;
  std::uint64_t first = end - std::min<std::uint64_t>(options_.history, sequence_);
  std::uint64_t first_awaited = end;
  for (const auto& flow : flows_) {
    first = std::min(first, flow->next());
    if (flow->when_slow() == WhenSlow::kWait) first_awaited = std::min(first_awaited, flow->next());
  }
  log_.Trim(first);
  // A thread waits for what is awaited, and ends that itself.
  while (log_.bytes() > options_.kept_bytes && log_.first() < std::min(sequence_, first_awaited)) {
    log_.Trim(log_.first() + 1);
  }
  for (const auto& flow : flows_) {
    if (!log_.empty()) CountDropped(flow->SkipTo(std::min(log_.first(), end)));
  }
}

void TopicCore::CountDropped(std::uint64_t messages) noexcept {
  if (messages == 0) [[likely]]
    return;
  dropped_ += messages;
  context_.Count(Counter::kTopicsDropped, messages);
}

// ---- Loans ----

TopicLoan TopicCore::Lend(const MessageType& type, std::uint64_t bytes) {
  TopicLoan loan(*this, type);
  if (bytes > context_.options.max_message_bytes || type.name.size() > kMaxTopicTypeName) {
    return loan;
  }
  if (bytes >= kLeastShared) loan.block_ = publications_.heap().Allocate(bytes);
  if (loan.block_ != nullptr) {
    loan.result_ = SendResult::kOk;
    loan.payload_ = loan.block_->bytes();
    return loan;
  }
  if (!context_.is_forked_copy()) {
    const std::lock_guard lock(lock_);
    if (buffer_bytes_ >= bytes) {
      loan.buffer_bytes_ = std::exchange(buffer_bytes_, 0);
      loan.buffer_ = std::move(buffer_);
    }
  }
  if (!loan.buffer_) {
    loan.buffer_.reset(new (std::nothrow) std::byte[bytes]);
    loan.buffer_bytes_ = bytes;
    if (!loan.buffer_) return loan;
  }
  loan.result_ = SendResult::kOk;
  loan.payload_ = {loan.buffer_.get(), bytes};
  return loan;
}

void TopicCore::Return(std::unique_ptr<std::byte[]> buffer, std::uint64_t bytes) noexcept {
  if (context_.is_forked_copy()) return;
  const std::lock_guard lock(lock_);
  if (bytes <= buffer_bytes_) return;
  buffer_ = std::move(buffer);
  buffer_bytes_ = bytes;
}

// ---- The rest ----

void TopicCore::Attend(bool sleeps) {
  if (!HasToAttend()) return;
  const std::lock_guard lock(lock_);
  if (!context_.IsMyLife()) return;
  FindSubscribers();
  bool was_lagging = false;
  for (const auto& flow : flows_) {
    if (!flow->is_lagging()) continue;
    was_lagging = true;
    if (sleeps) (void)flow->Rearm();
    (void)Follow(*flow);
  }
  if (was_lagging) Trim();
}

void TopicCore::Close() noexcept {
  const std::lock_guard lock(lock_);
  is_closed_ = true;
  flows_.clear();
  log_.Trim(sequence_ + 1);
}

std::size_t TopicCore::subscribers() {
  if (context_.is_forked_copy()) return 0;
  const std::lock_guard lock(lock_);
  if (context_.IsMyLife()) FindSubscribers();
  return flows_.size();
}

std::uint64_t TopicCore::published() {
  if (context_.is_forked_copy()) return 0;
  const std::lock_guard lock(lock_);
  return sequence_;
}

std::uint64_t TopicCore::dropped() {
  if (context_.is_forked_copy()) return 0;
  const std::lock_guard lock(lock_);
  return dropped_;
}

Status TopicCore::Explain(SendResult result) const {
  const auto status = [&](StatusCode code, std::string_view what) {
    return Status(code, StrCat(context_.transport->info().address, ": a message of the topic '",
                               topic_.name, "' ", what));
  };
  switch (result) {
    case SendResult::kOk:
      return {};
    case SendResult::kTimedOut:
      return status(StatusCode::kDeadlineExceeded,
                    "was not taken within the timeout by a subscriber that is to be waited for");
    case SendResult::kTooLarge:
      return status(StatusCode::kResourceExhausted,
                    StrCat("is larger than max_message_bytes, ", context_.options.max_message_bytes,
                           ", has a type name of more than ", kMaxTopicTypeName,
                           " bytes, or finds no memory"));
    case SendResult::kPeerGone:
      if (Status over = context_.LifeStatus(); !over.ok()) return over;
      break;
    default:
      break;
  }
  return status(StatusCode::kInternal, SendResultName(result));
}

}  // namespace ivmq
