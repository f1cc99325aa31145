#include "ivmq/topic.h"

#include <array>
#include <utility>

#include "ivmq/internal/keep_forever.h"

#include "src/publications.h"
#include "src/subscriptions.h"
#include "src/topic_core.h"

namespace ivmq {

// ---- Topic ----

Topic::Topic(std::shared_ptr<TopicCore> core) noexcept : core_(std::move(core)) {}
Topic::Topic(Topic&&) noexcept = default;

Topic& Topic::operator=(Topic&& other) noexcept {
  const Topic former(std::exchange(core_, std::move(other.core_)));
  return *this;
}

Topic::~Topic() {
  if (core_ == nullptr) return;
  if (core_->context().is_forked_copy()) {
    KeepForever(std::move(core_));
  } else {
    core_->publications().Close(*core_);
  }
}

const std::string& Topic::name() const noexcept { return core_->topic().name; }
std::size_t Topic::subscribers() const { return core_->subscribers(); }
std::uint64_t Topic::published() const noexcept { return core_->published(); }
std::uint64_t Topic::dropped() const noexcept { return core_->dropped(); }
Status Topic::Explain(SendResult result) const { return core_->Explain(result); }

SendResult Topic::PublishTyped(const MessageType& type, std::span<const std::byte> bytes) {
  return core_->Publish(type, bytes);
}

SendResult Topic::Flush(std::chrono::nanoseconds timeout) { return core_->Flush(timeout); }

SendResult Topic::PublishWritten(const MessageType& type, std::uint64_t bytes, WriteFunction write,
                                 const void* value) {
  constexpr std::size_t kSmall = 1024;
  if (bytes <= kSmall) {
    std::array<std::byte, kSmall> small;
    const std::span<std::byte> payload(small.data(), bytes);
    write(value, payload);
    return core_->Publish(type, payload);
  }
  TopicLoan loan = core_->Lend(type, bytes);
  if (loan.result() != SendResult::kOk) return loan.result();
  write(value, loan.payload());
  return loan.Publish();
}

TopicLoan Topic::Loan(std::uint64_t bytes, const MessageType& type) {
  return core_->Lend(type, bytes);
}

// ---- TopicLoan ----

TopicLoan::TopicLoan(TopicLoan&& other) noexcept
    : core_(std::exchange(other.core_, nullptr)),
      type_(other.type_),
      result_(other.result_),
      payload_(std::exchange(other.payload_, {})),
      block_(std::move(other.block_)),
      buffer_(std::move(other.buffer_)),
      buffer_bytes_(other.buffer_bytes_) {}

TopicLoan::~TopicLoan() { End(); }

void TopicLoan::End() noexcept {
  TopicCore* const core = std::exchange(core_, nullptr);
  if (core != nullptr && buffer_) core->Return(std::move(buffer_), buffer_bytes_);
  block_.reset();
  payload_ = {};
}

SendResult TopicLoan::Publish() {
  if (core_ == nullptr || result_ != SendResult::kOk) {
    return result_ == SendResult::kOk ? SendResult::kBusy : result_;
  }
  const SendResult result = core_->Publish(type_, payload_, std::move(block_));
  End();
  return result;
}

// ---- Subscription ----

Subscription::Subscription(Subscription&& other) noexcept
    : subscriptions_(std::exchange(other.subscriptions_, nullptr)), core_(other.core_) {}

Subscription& Subscription::operator=(Subscription&& other) noexcept {
  if (this == &other) return *this;
  End();
  subscriptions_ = std::exchange(other.subscriptions_, nullptr);
  core_ = other.core_;
  return *this;
}

Subscription::~Subscription() { End(); }

void Subscription::End() noexcept {
  if (subscriptions_ != nullptr) std::exchange(subscriptions_, nullptr)->Close(*core_);
}

const std::string& Subscription::pattern() const noexcept { return core_->pattern(); }
std::uint64_t Subscription::received() const noexcept { return core_->received(); }
std::uint64_t Subscription::missed() const noexcept { return core_->missed(); }

}  // namespace ivmq
