#include "src/discovery.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "src/call_access.h"
#include "src/user_code.h"

namespace ivmq::rpc {
namespace internal {
namespace {

bool Offers(const PeerInfo& peer, std::string_view service) {
  return peer.state == layout::PeerState::kLive && !peer.suspected &&
         std::find(peer.services.begin(), peer.services.end(), service) != peer.services.end();
}

}  // namespace

void Providers::Update(const Node& node) {
  if (known_ && node.peers_generation() == generation_) [[likely]]
    return;
  PeerSnapshot snapshot = node.Peers();
  known_ = true;
  generation_ = snapshot.generation;
  peers_.clear();
  for (PeerInfo& each : snapshot.peers) {
    if (Offers(each, service_)) peers_.push_back({each.id, std::move(each.name)});
  }
}

bool Providers::HasAny(const Node& node) {
  const std::lock_guard lock(mutex_);
  Update(node);
  return std::any_of(peers_.begin(), peers_.end(), [&](const Provider& each) {
    return node.IsLive(each.id) && !node.IsSuspected(each.id);
  });
}

bool Providers::Next(const Node& node, ClientContext& context, PeerId* peer) {
  const std::lock_guard lock(mutex_);
  Update(node);
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    next_ = next_ + 1 < peers_.size() ? next_ + 1 : 0;
    const Provider& next = peers_[next_];
    if (!node.IsLive(next.id) || node.IsSuspected(next.id)) continue;
    *peer = next.id;
    CallAccess::set_peer(context, next.name);
    return true;
  }
  return false;
}

void Watches::Add(const std::shared_ptr<Watch>& watch) {
  const std::lock_guard lock(mutex_);
  std::erase_if(watches_, [](const auto& each) { return each.expired(); });
  watches_.push_back(watch);
  has_new_.store(true, std::memory_order_relaxed);
}

void Watches::OnPeers(const PeerSnapshot& snapshot) {
  std::vector<std::shared_ptr<Watch>> watches;
  {
    const std::lock_guard lock(mutex_);
    has_new_.store(false, std::memory_order_relaxed);
    for (const auto& watch : watches_) {
      if (auto held = watch.lock()) watches.push_back(std::move(held));
    }
  }
  for (const auto& watch : watches) {
    std::vector<PeerInfo> providers;
    std::vector<PeerId> ids;
    for (const PeerInfo& peer : snapshot.peers) {
      if (!Offers(peer, watch->service)) continue;
      providers.push_back(peer);
      ids.push_back(peer.id);
    }
    std::unique_lock lock(watch->mutex);
    if (watch->ended || (watch->told && watch->peers == ids)) continue;
    watch->told = true;
    watch->peers = std::move(ids);
    watch->runs_on = std::this_thread::get_id();
    lock.unlock();
    (void)RunUserCode(node_, "a service watcher", [&] { watch->watcher(providers); });
    lock.lock();
    watch->runs_on = {};
    watch->has_run.notify_all();
  }
}

}  // namespace internal

ServiceWatch::ServiceWatch(std::shared_ptr<internal::Watch> watch) : watch_(std::move(watch)) {}
ServiceWatch::~ServiceWatch() {
  // In a forked child nobody is left who would give the lock back, or calls the watcher.
  if (watch_->process != getpid()) return;
  std::unique_lock lock(watch_->mutex);
  watch_->ended = true;
  watch_->has_run.wait(lock, [&] {
    return watch_->runs_on == std::thread::id() || watch_->runs_on == std::this_thread::get_id();
  });
}

}  // namespace ivmq::rpc
