// A node's name, whom it finds, and what its watcher hears.
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::NodeTest;
using testing::PollUntil;

TEST_F(NodeTest, ANameIsHeldWhileItsNodeLives) {
  auto a = Open("a");
  Result<std::unique_ptr<Node>> second = Node::Open(MakeTransport(hub_, 9), {.name = "a"});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kAlreadyExists);
  EXPECT_THAT(second.status().message(), HasSubstr("test:9"));
  EXPECT_THAT(second.status().message(), HasSubstr(std::to_string(getpid())));
  a.reset();
  EXPECT_EQ(Open("a")->name(), "a");
}

TEST_F(NodeTest, AnonymousNodesHaveNamesOfTheirOwn) {
  auto a = Open("");
  auto b = Open("");
  EXPECT_THAT(a->name(), ::testing::StartsWith("anonymous-"));
  EXPECT_NE(a->name(), b->name());
}

TEST_F(NodeTest, LookupAndAwaitSayWhoIsMissing) {
  auto a = Open("a");
  EXPECT_EQ(a->Lookup("b").status().code(), StatusCode::kNotFound);
  EXPECT_THAT(a->Lookup("b").status().message(), HasSubstr("'b'"));
  const Result<PeerInfo> none = a->Await("b", milliseconds(1));
  EXPECT_EQ(none.status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(none.status().message(), HasSubstr("'b'"));
}

TEST_F(NodeTest, AwaitFindsAPeerThatComesLater) {
  auto a = Open("a");
  std::unique_ptr<Node> b;
  std::thread later([&] { b = Open("b"); });
  const Result<PeerInfo> found = a->Await("b", testing::kPatience);
  later.join();
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_EQ(found->id, b->id());
}

TEST_F(NodeTest, OpenRefusesWhatIsNoRegion) {
  Hub broken(kMiB);
  broken.memory()[0] ^= std::byte{1};
  Result<std::unique_ptr<Node>> node = Node::Open(MakeTransport(broken, 3), {.name = "a"});
  ASSERT_FALSE(node.ok());
  EXPECT_EQ(node.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(node.status().message(), HasSubstr("test:3"));
}

TEST_F(NodeTest, OptionsThatContradictEachOtherAreRefused) {
  Result<std::unique_ptr<Node>> node = Node::Open(
      MakeTransport(hub_, 3), {.name = "a", .max_message_bytes = 1000, .reassembly_bytes = 999});
  EXPECT_EQ(node.status().code(), StatusCode::kInvalidArgument);
}

// ---- Watching ----

TEST_F(NodeTest, TheWatcherIsCalledOnceAtFirstAndForEventsThatCoalesced) {
  auto a = Open("a");
  std::vector<PeerSnapshot> seen;
  a->SetPeerWatcher([&](const PeerSnapshot& snapshot) { seen.push_back(snapshot); });
  (void)a->Poll(kIgnore);
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].peers.size(), 1U);
  (void)a->Poll(kIgnore);
  EXPECT_EQ(seen.size(), 1U) << "nothing had changed";

  auto b = Open("b");
  Open("c").reset();
  (void)a->Poll(kIgnore);
  ASSERT_EQ(seen.size(), 2U) << "several events, one call";
  EXPECT_NE(seen[1].generation, seen[0].generation);
  std::set<std::string> names;
  for (const PeerInfo& peer : seen[1].peers) names.insert(peer.name);
  EXPECT_EQ(names, (std::set<std::string>{"a", "b"}));

  // A peer that left and came back in between is another incarnation.
  const PeerId old = b->id();
  b.reset();
  b = Open("b");
  (void)a->Poll(kIgnore);
  ASSERT_EQ(seen.size(), 3U);
  for (const PeerInfo& peer : seen[2].peers) {
    if (peer.name == "b") {
      EXPECT_NE(peer.id, old);
    }
  }
}

TEST_F(NodeTest, AWaitingWatcherIsWokenByAPeerThatComes) {
  auto a = Open("a");
  std::size_t peers = 0;
  a->SetPeerWatcher([&](const PeerSnapshot& snapshot) { peers = snapshot.peers.size(); });
  std::unique_ptr<Node> b;
  std::thread later([&] { b = Open("b"); });
  EXPECT_TRUE(PollUntil(*a, kIgnore, [&] { return peers == 2; }));
  later.join();
}

TEST_F(NodeTest, AWaitingWatcherHearsWhatPeersOffer) {
  auto a = Open("a");
  auto b = Open("b");
  std::vector<std::string> services{"not called yet"};
  a->SetPeerWatcher([&](const PeerSnapshot& snapshot) {
    for (const PeerInfo& peer : snapshot.peers) {
      if (peer.name == "b") services = peer.services;
    }
  });
  (void)a->Poll(kIgnore);
  EXPECT_TRUE(services.empty());
  const std::vector<std::string> offered{"pkg.Echo", "pkg.Other"};
  std::thread later([&] { EXPECT_TRUE(b->SetServices(offered).ok()); });
  EXPECT_TRUE(PollUntil(*a, kIgnore, [&] { return services == offered; }));
  later.join();
  later = std::thread([&] { EXPECT_TRUE(b->SetServices({}).ok()); });
  EXPECT_TRUE(PollUntil(*a, kIgnore, [&] { return services.empty(); }));
  later.join();
}

TEST_F(NodeTest, ServicesThatAreRefusedLeaveThoseOfBefore) {
  auto a = Open("a");
  ASSERT_TRUE(a->SetServices({"pkg.Echo"}).ok());
  EXPECT_EQ(a->SetServices({"no name"}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(a->SetServices({std::string(layout::kServiceTextBytes, 'x')}).code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(a->Lookup("a")->services, std::vector<std::string>{"pkg.Echo"});
}

TEST_F(NodeTest, DamageToServicesDoesNotLast) {
  auto a = Open("a");
  auto b = Open("b");
  ASSERT_TRUE(b->SetServices({"pkg.Echo"}).ok());
  std::vector<std::string> services;
  a->SetPeerWatcher([&](const PeerSnapshot&) { services = a->Lookup("b")->services; });
  layout::PeerSlot& slot = hub_.region().slot(b->id().slot);
  slot.services_text[0].store(0);
  slot.services.sequence.fetch_add(1);
  EXPECT_TRUE(
      PollUntil(*a, kIgnore, [&] { return services == std::vector<std::string>{"pkg.Echo"}; }));
}

}  // namespace
}  // namespace ivmq
