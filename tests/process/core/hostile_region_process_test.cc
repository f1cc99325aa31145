// A process overwrites the region while others use it: they may lose messages and peers, and say
// so; they never crash and never hang.
#include <sched.h>

#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/child.h"
#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using std::chrono::milliseconds;
using testing::Child;
using testing::Hub;
using testing::kMiB;
using testing::Random;

// Uses everything a node offers, on whatever the region says now.
void UseNode(Hub& hub, std::uint16_t ivposition, std::uint64_t seed, int steps) {
  Random random(seed);
  std::size_t sum = 0;
  const auto handler = [&](const Message& message) {
    for (const std::byte byte : message.payload) sum += std::to_integer<std::size_t>(byte);
    sum += message.type_name.size();
  };
  std::unique_ptr<Node> node;
  PeerId to;
  const std::vector<std::byte> large(100000);
  SendOptions brief;
  brief.when_full = WhenFull::kWait;
  brief.timeout = milliseconds(2);
  for (int step = 0; step < steps; ++step) {
    if (node == nullptr) {
      NodeOptions options;
      options.name = "n" + std::to_string(ivposition) + "-" + std::to_string(step);
      options.trust_peers = ivposition % 2 == 0;
      options.max_message_bytes = kMiB;
      options.reassembly_bytes = kMiB;
      Result<std::unique_ptr<Node>> opened =
          Node::Open(testing::MakeTransport(hub, ivposition), std::move(options));
      if (!opened.ok()) {
        EXPECT_FALSE(opened.status().message().empty());
        continue;
      }
      node = *std::move(opened);
    }
    if (step % 50 == 0) {
      for (const PeerInfo& peer : node->Peers().peers) {
        if (peer.id.slot != node->id().slot) to = peer.id;
      }
      (void)node->Lookup("n1-0");
    }
    const auto size = static_cast<std::size_t>(testing::Below(random, 500));
    switch (testing::Below(random, 40)) {
      case 0:
        (void)node->Send(to, large, brief);
        break;
      case 1:
        (void)node->Wait(milliseconds(1));
        break;
      case 2: {
        Batch batch = node->StartBatch(to);
        std::span<std::byte> payload;
        for (int i = 0; i < 3; ++i) {
          if (batch.TryClaim({}, size, &payload) != SendResult::kOk) break;
          std::fill(payload.begin(), payload.end(), std::byte{1});
        }
        (void)batch.Commit();
        break;
      }
      case 3:
        if (node->Arm()) node->Wake();
        break;
      case 4:
        if (testing::Below(random, 40) == 0) node.reset();
        break;
      default:
        (void)node->Send(to, std::span(large).first(size));
    }
    if (node != nullptr) (void)node->Poll(handler);
  }
}

class HostileRegionTest : public ::testing::TestWithParam<const char*> {};

TEST_P(HostileRegionTest, NobodyCrashesOrHangsWhileBytesAreOverwritten) {
  Random random(testing::TestSeed());
  const std::string part = GetParam();
  for (int round = 0; round < 4; ++round) {
    Hub hub(kMiB, {.max_peers = 8});
    const Geometry& g = hub.region().geometry();
    const std::uint64_t seed = random();
    std::vector<Child> users;
    for (std::uint16_t i = 1; i <= 2; ++i) {
      users.push_back(Child::Fork([&, i] { UseNode(hub, i, seed + i, 4000); }));
    }
    Child vandal = Child::Fork([&] {
      Random own(seed);
      const auto bytes = hub.memory();
      const auto somewhere = [&]() -> std::size_t {
        if (part == "header") return testing::Below(own, 512);
        if (part == "peers") {
          return g.peer_table_offset + testing::Below(own, 4 * sizeof(layout::PeerSlot));
        }
        if (part == "directory") {
          return g.directory_offset + testing::Below(own, g.arena_offset - g.directory_offset);
        }
        if (part == "rings") {
          const std::size_t unit = testing::Below(own, 8) * 5;  // where rings begin
          return g.arena_offset + unit * g.unit_size + testing::Below(own, 512);
        }
        return g.arena_offset + testing::Below(own, 40 * std::size_t{g.unit_size});
      };
      for (;;) {
        const std::size_t at = somewhere();
        const_cast<volatile std::byte&>(bytes[at]) = static_cast<std::byte>(own());
        // Rarely enough that something still works, often enough that it does not for long.
        for (std::uint64_t i = testing::Below(own, 20000); i > 0; --i) SpinPause();
        if (testing::Below(own, 4) == 0) sched_yield();
      }
    });
    for (Child& user : users) EXPECT_EQ(user.Wait(), 0) << part;
  }
}

INSTANTIATE_TEST_SUITE_P(Parts, HostileRegionTest,
                         ::testing::Values("header", "peers", "rings", "records"));
#ifndef __SANITIZE_THREAD__  // A damaged directory lets rings overlap: their bytes do race then.
INSTANTIATE_TEST_SUITE_P(Directory, HostileRegionTest, ::testing::Values("directory"));
#endif

}  // namespace
}  // namespace ivmq
