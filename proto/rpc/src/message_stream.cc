#include "src/message_stream.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "ivmq/internal/serialize.h"

namespace ivmq::rpc::internal {

MessageStream::Attempt MessageStream::Take(const Incoming& message, PollWaiter* waiter) {
  if (reading_.empty()) {
    const std::lock_guard lock(lock_);
    if (received_.empty()) {
      if (!MayCome()) return Attempt::kEnd;
      reader_ = waiter;
      return Attempt::kNotYet;
    }
    reading_.Swap(received_);
  }
  const std::string_view bytes = reading_.Front();
  const bool parsed = message.Parse(bytes);
  consumed_ += bytes.size() + kMessageCost;
  reading_.Pop();
  if (consumed_ + kWindow - granted_ >= kWindow / 2) [[unlikely]] {
    granted_ = consumed_ + kWindow;
    std::unique_lock lock(lock_);
    const bool wants_more = MayCome();
    lock.unlock();
    if (wants_more) outbox_.SendNote(to_, {kinds_.credit, id_, granted_});
  }
  return parsed ? Attempt::kDone : Attempt::kNotParsed;
}

MessageStream::Outcome MessageStream::Read(const Incoming& message, const CallLife& life) {
  Attempt attempt = Take(message, nullptr);
  while (attempt == Attempt::kNotYet) {
    PollWaiter waiter;
    attempt = Take(message, &waiter);
    if (attempt != Attempt::kNotYet || polling_.Await(waiter, life.deadline())) continue;
    std::unique_lock lock(lock_);
    if (std::exchange(reader_, nullptr) == &waiter) {
      // What comes until the call has been ended is not to be read after this.
      state_.Set(MessageStreamEvent::kDiscard);
      return Outcome::kUnwanted;
    }
    lock.unlock();
    // Somebody is about to complete it.
    (void)polling_.Await(waiter, Clock::time_point::max());
  }
  switch (attempt) {
    case Attempt::kDone:
      return Outcome::kMessage;
    case Attempt::kNotParsed:
      (void)DropReceived();
      return Outcome::kNotParsed;
    default:
      return Outcome::kEnd;
  }
}

CallHeader MessageStream::HeaderOf(std::string_view metadata) const {
  return {.sender = node_.id().incarnation,
          .receiver = to_.incarnation,
          .call_high = static_cast<std::uint32_t>(id_ >> 32),
          .metadata_bytes = static_cast<std::uint32_t>(metadata.size())};
}

std::span<const std::byte> MessageStream::Head(const CallHeader& header, std::string_view metadata,
                                               std::string* longer) {
  if (metadata.empty()) [[likely]]
    return std::as_bytes(std::span(&header, 1));
  longer->assign(reinterpret_cast<const char*>(&header), sizeof(header));
  *longer += metadata;
  return std::as_bytes(std::span(*longer));
}

bool MessageStream::DropReceived() {
  reading_.Clear();
  const std::lock_guard lock(lock_);
  received_.Clear();
  state_.Set(MessageStreamEvent::kDiscard);
  return MayCome();
}

void MessageStream::Discard() {
  if (!DropReceived()) return;
  constexpr std::uint64_t kEverything = ~std::uint64_t{0} / 2;
  outbox_.SendNote(to_, {kinds_.credit, id_, kEverything});
}

SendResult MessageStream::Write(Outgoing message, std::string_view metadata, const CallLife& life) {
  while (!MayWrite()) {
    PollWaiter waiter;
    {
      const std::lock_guard lock(lock_);
      if (HasEnded()) return SendResult::kStopped;
      if (MayWrite()) break;
      writer_ = &waiter;
    }
    if (!polling_.Await(waiter, life.deadline())) {
      std::unique_lock lock(lock_);
      if (std::exchange(writer_, nullptr) == &waiter) return SendResult::kTimedOut;
      lock.unlock();
      (void)polling_.Await(waiter, Clock::time_point::max());
    }
  }
  if (HasEnded()) return SendResult::kStopped;
  message.Measure();
  const CallHeader header = HeaderOf(metadata);
  std::string longer;
  const SendResult result = outbox_.SendPatiently(to_, TypeOf(kinds_.message),
                                                  Head(header, metadata, &longer), message, life);
  sent_ += message.size() + kMessageCost;
  return result;
}

MessageStream::Attempt MessageStream::TryWrite(const Outgoing& message, std::string_view metadata,
                                               SendResult* result) {
  *result = SendResult::kStopped;
  if (HasEnded()) return Attempt::kEnd;
  if (!MayWrite()) return Attempt::kNotYet;
  const CallHeader header = HeaderOf(metadata);
  std::string longer;
  *result =
      TrySendWithHead(node_, to_, TypeOf(kinds_.message), Head(header, metadata, &longer), message);
  if (*result == SendResult::kFull || *result == SendResult::kBusy) return Attempt::kFull;
  if (*result == SendResult::kTooLarge) [[unlikely]]
    return Attempt::kLarge;
  sent_ += message.size() + kMessageCost;
  return *result == SendResult::kOk ? Attempt::kDone : Attempt::kEnd;
}

std::optional<std::string> MessageStream::LargeFrameOf(const Outgoing& message,
                                                       std::string_view metadata) {
  const CallHeader header = HeaderOf(metadata);
  std::string longer;
  std::optional<std::string> bytes =
      SerializeWithHead(node_, Head(header, metadata, &longer), message);
  if (message.has_value()) sent_ += message.size() + kMessageCost;
  return bytes;
}

SendResult MessageStream::SendFrame(CallFrameKind kind, std::string_view metadata,
                                    const CallLife& life) {
  const CallHeader header = HeaderOf(metadata);
  std::string longer;
  return outbox_.SendPatiently(to_, TypeOf(kind), Head(header, metadata, &longer), {}, life);
}

MessageStream::Attempt MessageStream::TrySendFrame(CallFrameKind kind, std::string_view metadata) {
  const CallHeader header = HeaderOf(metadata);
  std::string longer;
  const SendResult result =
      TrySendWithHead(node_, to_, TypeOf(kind), Head(header, metadata, &longer), {});
  if (result == SendResult::kTooLarge) [[unlikely]]
    return Attempt::kLarge;
  return result == SendResult::kOk || result == SendResult::kPeerGone ? Attempt::kDone
                                                                      : Attempt::kFull;
}

bool MessageStream::OnMessage(std::string_view message) {
  PollWaiter* reader = nullptr;
  {
    const std::lock_guard lock(lock_);
    if (state_.Get() != MessageStreamState::kOpen) return true;
    // A correct sender is at most one message beyond the window.
    if (received_.size() > kWindow) return false;
    received_.Push(message);
    reader = std::exchange(reader_, nullptr);
  }
  if (reader != nullptr) polling_.Complete(*reader);
  return true;
}

void MessageStream::OnCredit(std::uint64_t total) {
  PollWaiter* writer = nullptr;
  {
    const std::lock_guard lock(lock_);
    may_send_.store(std::max(may_send_.load(std::memory_order_relaxed), total),
                    std::memory_order_relaxed);
    writer = std::exchange(writer_, nullptr);
  }
  if (writer != nullptr) polling_.Complete(*writer);
}

void MessageStream::OnLast() {
  PollWaiter* reader = nullptr;
  {
    const std::lock_guard lock(lock_);
    state_.Set(MessageStreamEvent::kLast);
    reader = std::exchange(reader_, nullptr);
  }
  if (reader != nullptr) polling_.Complete(*reader);
}

void MessageStream::OnEnd() {
  PollWaiter* reader = nullptr;
  PollWaiter* writer = nullptr;
  {
    const std::lock_guard lock(lock_);
    state_.Set(MessageStreamEvent::kEnd);
    reader = std::exchange(reader_, nullptr);
    writer = std::exchange(writer_, nullptr);
  }
  if (reader != nullptr) polling_.Complete(*reader);
  if (writer != nullptr) polling_.Complete(*writer);
}

}  // namespace ivmq::rpc::internal
