// The messages of a topic that a publisher still needs: its history, and those that some subscriber
// has yet to get.
#ifndef IVMQ_TOPIC_LOG_H_
#define IVMQ_TOPIC_LOG_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>

#include "ivmq/message.h"

namespace ivmq {

class Block;

// A message outside of any ring: in the heap, or in private memory. Constant once it is made.
struct StoredMessage {
  layout::FrameKind kind = layout::FrameKind::kBytes;
  std::uint32_t type = 0;
  std::string type_name;
  std::shared_ptr<Block> block;
  std::unique_ptr<std::byte[]> memory;  // unless there is a block
  std::span<const std::byte> bytes;

  [[nodiscard]] MessageType Type() const noexcept {
    return {.kind = kind, .type = type, .name = type_name};
  }
};

// A run of messages by their sequence numbers, without gaps. Thread-compatible.
class TopicLog {
 public:
  using Stored = std::shared_ptr<const StoredMessage>;

  [[nodiscard]] bool empty() const noexcept { return messages_.empty(); }
  // The first one, and the one after the last. REQUIRES: !empty()
  [[nodiscard]] std::uint64_t first() const noexcept { return first_; }
  [[nodiscard]] std::uint64_t end() const noexcept { return first_ + messages_.size(); }
  [[nodiscard]] bool Has(std::uint64_t sequence) const noexcept {
    return sequence >= first_ && sequence - first_ < messages_.size();
  }
  // REQUIRES: Has(sequence)
  [[nodiscard]] const Stored& At(std::uint64_t sequence) const noexcept {
    return messages_[sequence - first_];
  }
  // Of all messages.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  // Appends a message; nullptr, or one for which there is no memory, forgets what was before it
  // too, and so does one that does not follow: there are no gaps.
  void Append(std::uint64_t sequence, Stored message) noexcept {
    if (!messages_.empty() && sequence != end()) Trim(end());
    if (messages_.empty()) first_ = sequence;
    try {
      if (message != nullptr) {
        const std::uint64_t bytes = message->bytes.size();
        messages_.push_back(std::move(message));
        bytes_ += bytes;
        return;
      }
    } catch (const std::bad_alloc&) {
    }
    Trim(sequence);
  }
  // The same message, elsewhere. REQUIRES: Has(sequence)
  void Replace(std::uint64_t sequence, Stored message) noexcept {
    messages_[sequence - first_] = std::move(message);
  }
  // Forgets those before `sequence`.
  void Trim(std::uint64_t sequence) noexcept {
    while (!messages_.empty() && first_ < sequence) {
      bytes_ -= messages_.front()->bytes.size();
      messages_.pop_front();
      ++first_;
    }
  }

 private:
  std::deque<Stored> messages_;
  std::uint64_t first_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace ivmq

#endif  // IVMQ_TOPIC_LOG_H_
