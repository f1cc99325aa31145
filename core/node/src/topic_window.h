// How many messages of a topic are on their way to one subscriber: sent, and not handled.
#ifndef IVMQ_TOPIC_WINDOW_H_
#define IVMQ_TOPIC_WINDOW_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace ivmq {

// Counts by the ends of the messages in the ring, whose consumer says up to where it has handled
// everything. Its memory grows to what was on its way at once, and no further. Thread-compatible.
class TopicWindow {
 public:
  // `depth`: how many may be on their way, at least 1.
  explicit TopicWindow(std::uint32_t depth) noexcept : depth_(depth) {}

  [[nodiscard]] bool is_full() const noexcept { return count_ == depth_ || block_ != 0; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }

  // Memory for what Sent() notes next. False: there is none.
  [[nodiscard]] bool Reserve() noexcept { return count_ < ends_.size() || is_full() || Grow(); }
  // A message was sent that ends at `position` of the ring. REQUIRES: !is_full(), Reserve();
  // positions grow
  void Sent(std::uint64_t position) noexcept {
    ends_[Wrap(first_ + count_)] = position;
    ++count_;
  }
  // Nothing more is to be sent until all before `position` is handled.
  void Block(std::uint64_t position) noexcept { block_ = std::max(block_, position); }
  // All before `position` is handled.
  void Handled(std::uint64_t position) noexcept {
    while (count_ != 0 && ends_[first_] <= position) {
      first_ = Wrap(first_ + 1);
      --count_;
    }
    if (block_ <= position) block_ = 0;
  }
  // There is another ring.
  void Clear() noexcept { first_ = count_ = block_ = 0; }

 private:
  [[nodiscard]] std::size_t Wrap(std::size_t index) const noexcept {
    return index < ends_.size() ? index : index - ends_.size();
  }
  [[gnu::noinline]] bool Grow() noexcept {
    std::rotate(ends_.begin(), ends_.begin() + static_cast<std::ptrdiff_t>(first_), ends_.end());
    first_ = 0;
    try {
      ends_.resize(std::min<std::size_t>(depth_, std::max<std::size_t>(8, 2 * count_)));
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  std::uint32_t depth_;
  std::vector<std::uint64_t> ends_;  // those from first_ on, round
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::uint64_t block_ = 0;  // 0: none
};

}  // namespace ivmq

#endif  // IVMQ_TOPIC_WINDOW_H_
