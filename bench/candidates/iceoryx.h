// iceoryx: a publisher and a subscriber on each side, who polls; a sender waits for a full queue.
#ifndef IVMQ_BENCH_CANDIDATES_ICEORYX_H_
#define IVMQ_BENCH_CANDIDATES_ICEORYX_H_

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include <iceoryx_hoofs/log/logmanager.hpp>
#include <iceoryx_posh/popo/untyped_publisher.hpp>
#include <iceoryx_posh/popo/untyped_subscriber.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>

#include "drive.h"

namespace ivmq::bench {

class Iceoryx {
 public:
  static constexpr bool kBare = false;
  static constexpr std::size_t kMostBytes = 1U << 20;  // of the daemon's default pools

  explicit Iceoryx(const Slot& slot)
      : bytes_(slot.bytes),
        depth_(std::clamp<std::size_t>(slot.ring_bytes / slot.bytes, 1, kMostDepth)) {}

  void Open(Side side) {
    const bool is_client = side == Side::kClient;
    iox::log::LogManager::GetLogManager().SetDefaultLogLevel(
        iox::log::LogLevel::kOff, iox::log::LogLevelOutput::kHideLogLevel);
    iox::runtime::PoshRuntime::initRuntime(is_client ? "ivmq_bench_client" : "ivmq_bench_server");
    iox::popo::SubscriberOptions in;
    in.queueCapacity = depth_;
    in.queueFullPolicy = iox::popo::QueueFullPolicy::BLOCK_PRODUCER;
    iox::popo::PublisherOptions out;
    out.subscriberTooSlowPolicy = iox::popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
    const char* const mine = is_client ? "client" : "server";
    const char* const theirs = is_client ? "server" : "client";
    subscriber_ = std::make_unique<iox::popo::UntypedSubscriber>(
        iox::capro::ServiceDescription{"ivmq", "bench", Text(theirs)}, in);
    publisher_ = std::make_unique<iox::popo::UntypedPublisher>(
        iox::capro::ServiceDescription{"ivmq", "bench", Text(mine)}, out);
    while (!publisher_->hasSubscribers() ||
           subscriber_->getSubscriptionState() != iox::SubscribeState::SUBSCRIBED) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  bool TrySend(Message message) {
    bool sent = false;
    publisher_->loan(static_cast<std::uint32_t>(bytes_)).and_then([&](void* room) {
      std::copy(message.begin(), message.end(), static_cast<std::byte*>(room));
      publisher_->publish(room);
      sent = true;
    });
    return sent;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    std::size_t count = 0;
    subscriber_->take().and_then([&](const void* message) {
      use(Message(static_cast<const std::byte*>(message), bytes_));
      subscriber_->release(message);
      count = 1;
    });
    return count;
  }
  void Wait() { SpinOnce(); }
  // Its daemon aborts at its end if a process went without a word.
  [[noreturn]] void EndServer() {
    subscriber_.reset();
    publisher_.reset();
    std::exit(0);
  }

 private:
  static constexpr std::size_t kMostDepth = 128;
  static iox::capro::IdString_t Text(const std::string& text) {
    return iox::capro::IdString_t(iox::cxx::TruncateToCapacity, text);
  }

  std::size_t bytes_;
  std::size_t depth_;
  std::unique_ptr<iox::popo::UntypedSubscriber> subscriber_;
  std::unique_ptr<iox::popo::UntypedPublisher> publisher_;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_ICEORYX_H_
