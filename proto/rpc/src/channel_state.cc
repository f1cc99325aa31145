// How a call of a channel would fare, and waiting for it.
#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

#include "ivmq/rpc/client.h"

#include "src/call_client.h"
#include "src/pool.h"

namespace ivmq::rpc {
namespace {

// Pauses between two looks: they double.
constexpr std::chrono::microseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{5};

}  // namespace

grpc_connectivity_state Channel::GetState(bool /*try_to_connect*/) const {
  const Node& node = endpoint_->node();
  if (!node.status().ok()) return GRPC_CHANNEL_SHUTDOWN;
  return ClientForStream(false).IsReachable(*this) ? GRPC_CHANNEL_READY
                                                   : GRPC_CHANNEL_TRANSIENT_FAILURE;
}

bool Channel::AwaitState(const std::function<bool(grpc_connectivity_state)>& is_wanted,
                         std::chrono::steady_clock::time_point deadline) const {
  using internal::Clock;
  const internal::Pool::Wait wait;
  for (std::chrono::nanoseconds pause = kFirstPause; !is_wanted(GetState(true));
       pause = std::min<std::chrono::nanoseconds>(2 * pause, kLongestPause)) {
    const Clock::time_point now = Clock::now();
    if (now >= deadline || ClientForStream(false).polling().InPoll()) return false;
    std::this_thread::sleep_until(std::min(deadline, now + pause));
  }
  return true;
}

}  // namespace ivmq::rpc
