// Clients that do not read: nobody waits for them, and nothing is lost for them.
#include <sys/resource.h>
#include <unistd.h>

#include <deque>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raw_client.h"
#include "server_process.h"
#include "support/child.h"

namespace ivmq::testing {
namespace {

class SlowClientTest : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
};

TEST_F(SlowClientTest, TwoHundredUniquePeersComeAndGoBeforeItReadsAWord) {
  ServerProcess server(folder_.Path("s"),
                       {"--size", "1M", "--vectors", "8", "--id-policy", "unique"});
  server.AwaitReady();
  RawClient slow(server.socket());
  for (int i = 0; i < 200; ++i) {
    RawClient passing(server.socket());
    ASSERT_TRUE(passing.Greet(8));
    const std::string id = std::to_string(passing.id());
    passing.Close();
    server.AwaitLog("id " + id + " has gone");
  }
  std::deque<RawClient> living;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(living.emplace_back(server.socket()).Greet(8));

  ASSERT_TRUE(slow.Greet(8));
  slow.ReadUntilKnown({1, 202, 203, 204});
  EXPECT_FALSE(slow.HasUnread());
  // 200 peers make 1800 messages. It was told of those only that its socket had room for.
  EXPECT_LT(slow.messages(), 300U);
  slow.Ring(203, 7);
  EXPECT_EQ(living[1].AwaitRing(7), 1U);
}

TEST_F(SlowClientTest, TwoHundredLentIdsChangeHandsBeforeItReadsAWord) {
  ServerProcess server(folder_.Path("s"), {"--size", "1M", "--vectors", "8"});
  server.AwaitReady();
  RawClient slow(server.socket());
  for (int i = 0; i < 200; ++i) {
    // Two at a time, so that ids pass from one to the other.
    ASSERT_EQ(Child::Fork([&] {
                RawClient one(server.socket());
                RawClient two(server.socket());
                EXPECT_TRUE(one.Greet(8));
                EXPECT_TRUE(two.Greet(8));
              }).Wait(),
              0);
    server.AwaitLog("can be lent");
    server.AwaitLog("can be lent");
  }
  std::deque<RawClient> living;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(living.emplace_back(server.socket()).Greet(8));
  ASSERT_TRUE(slow.Greet(8));
  slow.ReadUntilKnown({1, 2, 3, 4});
  EXPECT_FALSE(slow.HasUnread());
  EXPECT_EQ(slow.messages(), 3U + 4 * 8);
  for (const RawClient& client : living) {
    slow.Ring(client.id(), 5);
    EXPECT_EQ(client.AwaitRing(5), 1U);
  }
}

TEST_F(SlowClientTest, AClientThatStopsAmidItsGreetingGetsTheRestLater) {
  ServerProcess server(folder_.Path("s"), {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  std::deque<RawClient> peers;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(peers.emplace_back(server.socket()).Greet(64));
  // Its greeting has 3 + 6 * 64 messages: far more than its socket takes.
  RawClient slow(server.socket());
  server.AwaitLog("does not read");
  RawClient other(server.socket());
  ASSERT_TRUE(other.Greet(64));
  ASSERT_TRUE(slow.Greet(64));
  slow.ReadUntilKnown({1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(slow.messages(), 3U + 7 * 64);
  server.AwaitLog("reads again");
}

// What is sent and not read counts against the sender's user, unless it is privileged.
TEST_F(SlowClientTest, DescriptorsInFlightAreRetriedAndNewcomersRefused) {
  const std::string socket = folder_.Path("s");
  ServerProcess server(socket, {"--size", "1M", "--vectors", "8", "--mode", "0666"}, [] {
    // 5 ids fit the budget of 128 + ids * 10, and 200 descriptors may be on their way.
    const rlimit limit{200, 200};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(126);
    // An account that has nothing else in flight.
    if (geteuid() == 0 && (setgid(54321) != 0 || setuid(54321) != 0)) _exit(126);
  });
  server.AwaitReady();
  std::deque<RawClient> silent;
  for (int i = 0; i < 5; ++i) silent.emplace_back(socket);
  server.AwaitLog("too many descriptors are on their way");
  RawClient newcomer(socket);
  newcomer.ExpectRefusal();
  server.AwaitLog("refused");

  for (RawClient& client : silent) {
    ASSERT_TRUE(client.Greet(8));
    client.ReadUntil([&] { return client.known().size() == 5; });
  }
  RawClient welcome(socket);
  ASSERT_TRUE(welcome.Greet(8));
  EXPECT_EQ(welcome.known().size(), 6U);
}

}  // namespace
}  // namespace ivmq::testing
