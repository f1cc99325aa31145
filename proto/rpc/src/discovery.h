// Which peers offer a service, as their slots say.
#ifndef IVMQ_RPC_DISCOVERY_H_
#define IVMQ_RPC_DISCOVERY_H_

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ivmq/node.h"
#include "ivmq/rpc/client.h"
#include "ivmq/rpc/endpoint.h"

namespace ivmq::rpc::internal {

// The peers that a channel to a service chooses from. Thread-safe.
class Providers {
 public:
  explicit Providers(std::string service) : service_(std::move(service)) {}

  [[nodiscard]] const std::string& service() const noexcept { return service_; }
  // The next live one, whose name the context gets. False: there is none.
  [[nodiscard]] bool Next(const Node& node, ClientContext& context, PeerId* peer);
  // Whether there is one.
  [[nodiscard]] bool HasAny(const Node& node);

 private:
  struct Provider {
    PeerId id;
    std::string name;
  };

  // Looks who they are, if that may have changed. REQUIRES: mutex_ is held.
  void Update(const Node& node);

  const std::string service_;
  std::mutex mutex_;
  bool known_ = false;            // guarded by mutex_
  std::uint64_t generation_ = 0;  // guarded by mutex_; of the peers that peers_ is from
  std::vector<Provider> peers_;   // guarded by mutex_
  std::size_t next_ = 0;          // guarded by mutex_
};

// What a ServiceWatch keeps alive.
struct Watch {
  Watch(std::string service_in, ServiceWatcher watcher_in)
      : service(std::move(service_in)), watcher(std::move(watcher_in)) {}

  const std::string service;
  const ServiceWatcher watcher;
  const pid_t process = getpid();
  std::mutex mutex;
  std::condition_variable has_run;
  std::thread::id runs_on;    // guarded by mutex; who is in the watcher, which may end its watch
  bool ended = false;         // guarded by mutex
  bool told = false;          // guarded by mutex
  std::vector<PeerId> peers;  // guarded by mutex; those of the last call
};

// Thread-safe, but for OnPeers().
class Watches {
 public:
  explicit Watches(Node& node) : node_(node) {}

  void Add(const std::shared_ptr<Watch>& watch);
  // Some were added since OnPeers(), which is due.
  [[nodiscard]] bool has_new() const noexcept { return has_new_.load(std::memory_order_relaxed); }
  // For the thread that polls.
  void OnPeers(const PeerSnapshot& snapshot);

 private:
  Node& node_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<Watch>> watches_;  // guarded by mutex_
  std::atomic<bool> has_new_{false};
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_DISCOVERY_H_
