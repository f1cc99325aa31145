// The queues a C++ programmer would reach for.
#ifndef IVMQ_BENCH_CANDIDATES_BOOST_QUEUES_H_
#define IVMQ_BENCH_CANDIDATES_BOOST_QUEUES_H_

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>

#include "ivmq/internal/fence.h"

#include "drive.h"

namespace ivmq::bench {

// boost::lockfree::spsc_queue in shared memory. Its elements have one size, known when it is
// compiled. `kFences`: with what a receiver that may sleep needs after each message, as
// RingUse::kFences.
template <std::size_t kBytes, bool kFences = false>
class BoostSpsc {
 public:
  static constexpr bool kBare = false;

  explicit BoostSpsc(const Slot& slot) : memory_(2 * sizeof(Queue)) {
    if (slot.ring_bytes != kRingBytes)
      Fail("BoostSpsc: ring_bytes is not what it was compiled for");
    for (std::size_t i = 0; i < 2; ++i) new (At(i)) Queue;
  }
  void Open(Side side) {
    out_ = At(static_cast<std::size_t>(side));
    in_ = At(static_cast<std::size_t>(Other(side)));
  }
  bool TrySend(Message message) {
    const bool sent = out_->push(*reinterpret_cast<const Element*>(message.data()));
    if constexpr (kFences) FullFence();
    return sent;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    return in_->consume_one(
        [&](const Element& element) { use(Message(element.bytes.data(), kBytes)); });
  }
  void Wait() { SpinOnce(); }

  static constexpr std::size_t kRingBytes = QueueBytes(kBytes);

 private:
  struct Element {
    std::array<std::byte, kBytes> bytes;
  };
  using Queue =
      boost::lockfree::spsc_queue<Element, boost::lockfree::capacity<kRingBytes / kBytes>>;

  [[nodiscard]] Queue* At(std::size_t i) const {
    return reinterpret_cast<Queue*>(memory_.data()) + i;
  }

  SharedMemory memory_;
  Queue* out_ = nullptr;
  Queue* in_ = nullptr;
};

// Calls measure.template operator()<BoostSpsc<bytes, kFences>>().
template <bool kFences = false, typename Measure>
auto WithBoostSpsc(std::size_t bytes, Measure&& measure) {
  switch (bytes) {
    case 8:
      return measure.template operator()<BoostSpsc<8, kFences>>();
    case 64:
      return measure.template operator()<BoostSpsc<64, kFences>>();
    case 1U << 10:
      return measure.template operator()<BoostSpsc<1U << 10, kFences>>();
    case 16U << 10:
      return measure.template operator()<BoostSpsc<16U << 10, kFences>>();
    case 128U << 10:
      return measure.template operator()<BoostSpsc<128U << 10, kFences>>();
    case 1U << 20:
      return measure.template operator()<BoostSpsc<1U << 20, kFences>>();
    case 16U << 20:
      return measure.template operator()<BoostSpsc<16U << 20, kFences>>();
    default:
      Fail("boost::lockfree::spsc_queue: no such size was compiled");
  }
}

// Boost.Interprocess message_queue.
template <bool kSleeps>
class BoostMessageQueue {
 public:
  static constexpr bool kBare = false;

  explicit BoostMessageQueue(const Slot& slot) : buffer_(slot.bytes) {
    static int count = 0;
    for (auto& queue : queues_) {
      const std::string name =
          "ivmq_bench-" + std::to_string(getpid()) + "-" + std::to_string(++count);
      queue = std::make_unique<Queue>(boost::interprocess::create_only, name.c_str(),
                                      slot.ring_bytes / slot.bytes, slot.bytes);
      Queue::remove(name.c_str());  // the mapping stays
    }
  }
  void Open(Side side) {
    out_ = queues_[static_cast<std::size_t>(side)].get();
    in_ = queues_[static_cast<std::size_t>(Other(side))].get();
  }
  bool TrySend(Message message) {
    if constexpr (kSleeps) {
      out_->send(message.data(), message.size(), 0);
      return true;
    } else {
      return out_->try_send(message.data(), message.size(), 0);
    }
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    std::size_t bytes = 0;
    unsigned priority = 0;
    if constexpr (kSleeps) {
      in_->receive(buffer_.data(), buffer_.size(), bytes, priority);
    } else if (!in_->try_receive(buffer_.data(), buffer_.size(), bytes, priority)) {
      return 0;
    }
    use(Message(buffer_.data(), bytes));
    return 1;
  }
  void Wait() { SpinOnce(); }

 private:
  using Queue = boost::interprocess::message_queue;

  std::array<std::unique_ptr<Queue>, 2> queues_;
  Queue* out_ = nullptr;
  Queue* in_ = nullptr;
  std::vector<std::byte> buffer_;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_BOOST_QUEUES_H_
