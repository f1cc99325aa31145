// What a client says about one call, and hears of it beside the response.
#ifndef IVMQ_RPC_CLIENT_CONTEXT_H_
#define IVMQ_RPC_CLIENT_CONTEXT_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/spin_lock.h"
#include "ivmq/rpc/metadata.h"

namespace ivmq::rpc {

namespace internal {
class Client;
struct CallAccess;
}  // namespace internal

// For one call; must outlive it, and whoever is in TryCancel.
// TryCancel may be called from any thread at any time: before the call, while it runs, after its
// end, also when stub, channel and endpoint are gone. Everything else is thread-compatible: what is
// said, before the call; what was heard, after it (initial metadata: once it is there).
class ClientContext {
 public:
  ClientContext() = default;
  ~ClientContext() = default;
  ClientContext(const ClientContext&) = delete;
  ClientContext& operator=(const ClientContext&) = delete;

  // A point of any of std::chrono's clocks. It travels as the time that is left.
  template <typename ClockType, typename Duration>
  void set_deadline(const std::chrono::time_point<ClockType, Duration>& deadline) {
    const auto left = deadline - ClockType::now();
    const auto now = std::chrono::steady_clock::now();
    using Steady = std::chrono::steady_clock::duration;
    // Far away means none: the sum must not overflow.
    deadline_ = left > std::chrono::hours(24 * 365)
                    ? std::chrono::steady_clock::time_point::max()
                    : now + std::chrono::duration_cast<Steady>(left);
  }
  [[nodiscard]] std::chrono::system_clock::time_point deadline() const;

  // Keys: a-z 0-9 - _ . and values: printable ASCII, or any bytes if the key ends with "-bin"; at
  // most 64 KiB together. Otherwise the call ends with INVALID_ARGUMENT.
  void AddMetadata(const std::string& key, const std::string& value) {
    valid_ = metadata_.Add(key, value) && valid_;
  }

  // Waits for a server that is not there, or shows no sign of life, until the deadline or
  // TryCancel(). The thread that begins the call waits, whatever kind of call it is. Otherwise, and
  // on the thread that polls, where nothing waits: UNAVAILABLE at once.
  void set_wait_for_ready(bool wait) noexcept { wait_for_ready_ = wait; }

  // Ends the call with CANCELLED if it has not ended, whatever it waits for. Before the call: it
  // will not begin. Does not wait. Within a callback of the endpoint, that of the call may run
  // before this returns.
  void TryCancel();

  [[nodiscard]] const Metadata& GetServerInitialMetadata() const { return initial_.map(); }
  [[nodiscard]] const Metadata& GetServerTrailingMetadata() const { return trailing_.map(); }
  // The name of the peer that the call went to; not an identity, see docs/guarantees.md.
  [[nodiscard]] std::string peer() const { return {peer_.data(), peer_bytes_}; }

 private:
  friend struct internal::CallAccess;

  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::time_point::max();
  internal::MetadataBytes metadata_;
  bool valid_ = true;
  bool wait_for_ready_ = false;
  internal::ReceivedMetadata initial_;
  internal::ReceivedMetadata trailing_;
  std::array<char, layout::kNameBytes> peer_;
  std::size_t peer_bytes_ = 0;

  SpinLock lock_;
  std::atomic<bool> cancelled_{false};  // written under lock_
  internal::Client* client_ = nullptr;  // guarded by lock_; of the call that runs
  std::uint64_t call_ = 0;              // guarded by lock_
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_CLIENT_CONTEXT_H_
