// Clients that do not read: nobody waits for them, and nothing is lost for them.
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raw_client.h"
#include "server_process.h"
#include "src/ivshmem_protocol.h"
#include "support/child.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

class SlowClientTest : public ::testing::Test {
 protected:
  TempFolder folder_;
};

TEST_F(SlowClientTest, TwoHundredUniquePeersComeAndGoBeforeItReadsAWord) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "8", "--id-policy", "unique"});
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
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "8"});
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
    server.AwaitLog("has gone");
    server.AwaitLog("has gone");
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
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "64"});
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
class InFlightTest : public SlowClientTest {
 protected:
  // An account that has nothing else in flight.
  static constexpr uid_t kUser = 54321;

  InFlightTest()
      : server_(folder_ / "s",
                {"--size", "1M", "--vectors", "8", "--mode", "0666", "--ids-per-uid", "400",
                 "--handshake-timeout", "2"},
                [] {
                  const rlimit limit{600, 600};
                  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(126);
                  if (setgid(kUser) != 0 || setuid(kUser) != 0) _exit(126);
                }) {
    server_.AwaitReady();
  }
  void SetUp() override {
    ASSERT_EQ(geteuid(), 0U) << "this test acts as several users: run it as root";
  }

  // Whom this process holds up, if anybody, is itself.
  void ExpectOthersAreServed() {
    EXPECT_NE(server_.AwaitLog("refused").find("do not read"), std::string::npos);
    EXPECT_EQ(RunInChild([&] {
                RawClient other(server_.socket());
                EXPECT_TRUE(other.Greet(8));
              }),
              0);
  }
  // Connections of which only the first message was read, as many as the server takes.
  std::deque<RawClient> ConnectUntilRefused(const std::function<RawClient()>& connect) {
    std::deque<RawClient> silent;
    for (;;) {
      RawClient client = connect();
      const auto version = client.Read();
      if (!version || version->value != 0) return silent;
      silent.push_back(std::move(client));
    }
  }

  ServerProcess server_;
};

TEST_F(InFlightTest, AProcessThatDoesNotReadHoldsOnlyItselfUp) {
  std::deque<RawClient> silent;
  for (int i = 0; i < 5; ++i) silent.emplace_back(server_.socket());
  server_.AwaitLog("too many descriptors are on their way");
  RawClient refused(server_.socket());
  refused.ExpectRefusal();
  ExpectOthersAreServed();

  for (RawClient& client : silent) {
    ASSERT_TRUE(client.Greet(8));
    client.ReadUntil([&] { return client.known().size() >= 5; });
  }
  RawClient welcome(server_.socket());
  ASSERT_TRUE(welcome.Greet(8));
}

// The connection has ended, and what was sent by it is still on its way.
TEST_F(InFlightTest, WhatNobodyReadsCountsAlsoWhenTheConnectionHasEnded) {
  const auto silent = ConnectUntilRefused([&] {
    RawClient client(server_.socket());
    EXPECT_EQ(shutdown(client.socket(), SHUT_WR), 0);
    return client;
  });
  ExpectOthersAreServed();
}

// Else whoever asks again and again would use up what the kernel passes on for all.
TEST_F(InFlightTest, WhatAnIdleObserverDoesNotReadStillCounts) {
  const auto observers = ConnectUntilRefused([&] { return ConnectObserver(server_.socket()); });
  for (std::size_t i = 0; i < observers.size(); ++i) {
    server_.AwaitLog("asked for the region and has not read it");
  }
  RawClient refused(server_.socket());
  refused.ExpectRefusal();
  ExpectOthersAreServed();
}

TEST_F(InFlightTest, WhenTheKernelPassesNothingOnNewcomersAreRefusedAndTheOthersWait) {
  RawClient first(server_.socket());
  ASSERT_TRUE(first.Greet(8));
  std::array<int, 2> go{};
  ASSERT_EQ(pipe(go.data()), 0);
  std::array<int, 2> full{};
  ASSERT_EQ(pipe(full.data()), 0);
  // Another program of the server's user.
  Child other = Child::Fork([&] {
    ASSERT_EQ(setuid(kUser), 0);
    std::array<int, 2> pair{};
    for (int i = 0; i < 700; ++i) {
      // A buffer takes some hundred.
      if (i % 100 == 0) {
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()), 0);
      }
      ASSERT_EQ(ivshmem::SendMessage(pair[0], 1, go[0]), ivshmem::SendResult::kSent);
    }
    EXPECT_EQ(write(full[1], "x", 1), 1);
    char byte = 0;
    EXPECT_EQ(read(go[0], &byte, 1), 1);
  });
  char byte = 0;
  ASSERT_EQ(read(full[0], &byte, 1), 1);
  RawClient refused(server_.socket());
  refused.ExpectRefusal();
  server_.AwaitLog("refused");
  ASSERT_EQ(write(go[1], "x", 1), 1);
  EXPECT_EQ(other.Wait(), 0);
  RawClient welcome(server_.socket());
  ASSERT_TRUE(welcome.Greet(8));
  for (const int fd : {go[0], go[1], full[0], full[1]}) close(fd);
}

}  // namespace
}  // namespace ivmq::testing
