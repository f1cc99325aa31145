// A client's forked children do not keep its id and its name.
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "server_process.h"
#include "support/child.h"
#include "support/node_pair.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

TEST(ServerForkTest, AKilledClientsNameIsFreeThoughItsChildLives) {
  TempFolder folder;
  ServerProcess server(folder / "s", {"--size", "1M"});
  server.AwaitReady();
  const std::string address = "unix:" + server.socket();
  ProcessWithChild parent([&] {
    auto node = Node::Open(address, {.name = "name"});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *std::move(node);
  });
  const auto observer = Node::Open(address, {.name = "observer"});
  ASSERT_TRUE(observer.ok()) << observer.status().ToString();
  EXPECT_TRUE((*observer)->Lookup("name").ok());
  bool is_there = true;
  (*observer)->SetPeerWatcher(
      [&](const PeerSnapshot&) { is_there = (*observer)->Lookup("name").ok(); });
  parent.Kill();
  EXPECT_TRUE(PollUntil(**observer, kIgnore, [&] { return !is_there; }));
  const auto next = Node::Open(address, {.name = "name"});
  EXPECT_TRUE(next.ok()) << next.status().ToString();
}

}  // namespace
}  // namespace ivmq::testing
