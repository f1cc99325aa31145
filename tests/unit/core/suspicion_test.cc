// Peers that show no sign of life.
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"
#include "support/still_peer.h"

namespace ivmq {
namespace {

using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::OpenNode;
using testing::PollUntil;
using testing::StillPeer;

// Peers come and go all the time, and the watcher takes each change in at once: the last one before
// the suspicion must not stand for it.
TEST(SuspicionTest, AWatcherHearsOfASuspicionBesideOtherChanges) {
  const testing::EventfdTransportOptions no_locks{.locks = false};
  Hub hub(4 * kMiB, {.max_peers = 8});
  const StillPeer still(MakeTransport(hub, 2, no_locks), "still");
  const auto node = OpenNode(hub, 1, {.name = "watcher"}, no_locks);
  bool heard = false;
  node->SetPeerWatcher([&](const PeerSnapshot& snapshot) {
    for (const PeerInfo& peer : snapshot.peers) heard |= peer.id == still.id() && peer.suspected;
  });
  std::thread changes([&] {
    while (!node->IsSuspected(still.id())) {
      hub.region().header().peers_generation.fetch_add(1);
      node->Wake();
      std::this_thread::yield();
    }
  });
  EXPECT_TRUE(PollUntil(*node, kIgnore, [&] { return heard; }));
  changes.join();
}

}  // namespace
}  // namespace ivmq
