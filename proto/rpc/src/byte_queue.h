// Received messages in one buffer, which grows to what it is asked to hold and stays.
#ifndef IVMQ_RPC_BYTE_QUEUE_H_
#define IVMQ_RPC_BYTE_QUEUE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace ivmq::rpc::internal {

// Thread-compatible.
class ByteQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return head_ == tail_; }
  // Of all messages that wait, with what they take beside their bytes.
  [[nodiscard]] std::size_t size() const noexcept { return tail_ - head_; }

  void Push(std::string_view message) {
    const auto size = static_cast<std::uint32_t>(message.size());
    if (capacity_ - tail_ < sizeof(size) + message.size()) MakeRoom(sizeof(size) + message.size());
    std::memcpy(&bytes_[tail_], &size, sizeof(size));
    if (!message.empty()) {
      std::memcpy(&bytes_[tail_ + sizeof(size)], message.data(), message.size());
    }
    tail_ += sizeof(size) + message.size();
  }
  // REQUIRES: !empty(). Valid until the next Push() or Pop().
  [[nodiscard]] std::string_view Front() const noexcept {
    std::uint32_t size = 0;
    std::memcpy(&size, &bytes_[head_], sizeof(size));
    return {&bytes_[head_ + sizeof(size)], size};
  }
  // REQUIRES: !empty()
  void Pop() noexcept {
    head_ += sizeof(std::uint32_t) + Front().size();
    if (empty()) Clear();
  }
  void Swap(ByteQueue& other) noexcept { std::swap(*this, other); }
  void Clear() noexcept { head_ = tail_ = 0; }

 private:
  void MakeRoom(std::size_t more) {
    const std::size_t used = size();
    if (head_ < capacity_ / 2 || capacity_ - used < more) {
      const std::size_t grown = std::max(2 * capacity_, used + more);
      std::unique_ptr<char[]> bytes(new char[grown]);  // not filled
      if (used != 0) std::memcpy(bytes.get(), &bytes_[head_], used);
      bytes_ = std::move(bytes);
      capacity_ = grown;
    } else if (used != 0) {
      std::memmove(bytes_.get(), &bytes_[head_], used);
    }
    head_ = 0;
    tail_ = used;
  }

  std::unique_ptr<char[]> bytes_;
  std::size_t capacity_ = 0;
  std::size_t head_ = 0;
  std::size_t tail_ = 0;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_BYTE_QUEUE_H_
