// A client's forked children do not keep its id and its name.
#include <unistd.h>

#include <array>
#include <string>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "server_process.h"
#include "support/child.h"
#include "support/node_pair.h"

namespace ivmq::testing {
namespace {

TEST(ServerForkTest, AKilledClientsNameIsFreeThoughItsChildLives) {
  TemporaryFolder folder;
  ServerProcess server(folder.Path("s"), {"--size", "1M"});
  server.AwaitReady();
  const std::string address = "unix:" + server.socket();
  SharedCounter forked;
  std::array<int, 2> childs_end{};
  ASSERT_EQ(pipe(childs_end.data()), 0);
  Child parent = Child::Fork([&] {
    const auto node = Node::Open(address, {.name = "name"});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    if (fork() == 0) {
      close(childs_end[1]);
      forked.Add();
      char byte = 0;
      (void)!read(childs_end[0], &byte, 1);  // until the test ends
      _exit(0);
    }
    for (;;) pause();
  });
  forked.AwaitAtLeast(1);
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
  for (const int fd : childs_end) close(fd);
}

}  // namespace
}  // namespace ivmq::testing
