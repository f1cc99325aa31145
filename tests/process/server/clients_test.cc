// What clients see: greetings, announcements, the ids of those who have gone.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raw_client.h"
#include "server_process.h"
#include "src/ivshmem_socket.h"
#include "support/child.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

class ClientsTest : public ::testing::Test {
 protected:
  TempFolder folder_;
};

TEST_F(ClientsTest, TheGreetingIsWhatQemuExpects) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "4"});
  server.AwaitReady();
  RawClient first(server.socket());
  ASSERT_TRUE(first.Greet(4));
  EXPECT_EQ(first.id(), 1);
  EXPECT_EQ(first.known(), (std::set<std::uint16_t>{1}));

  RawClient second(server.socket());
  ASSERT_TRUE(second.Greet(4));
  EXPECT_EQ(second.id(), 2);
  EXPECT_EQ(second.known(), (std::set<std::uint16_t>{1, 2}));
  first.ReadUntilKnown({1, 2});
  EXPECT_FALSE(first.HasUnread());
  EXPECT_FALSE(second.HasUnread());
  for (std::uint32_t vector = 0; vector < 4; ++vector) {
    EXPECT_NE(fcntl(second.doorbell(1, vector), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(fcntl(second.doorbell(2, vector), F_GETFL) & O_NONBLOCK, 0);
  }
}

TEST_F(ClientsTest, DoorbellsReachTheirPeerAndVectorAndNobodyElse) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "3"});
  server.AwaitReady();
  RawClient a(server.socket());
  RawClient b(server.socket());
  ASSERT_TRUE(a.Greet(3));
  ASSERT_TRUE(b.Greet(3));
  a.ReadUntil([&] { return a.Knows(b.id()); });
  a.Ring(b.id(), 2);
  b.Ring(a.id(), 0);
  EXPECT_EQ(b.AwaitRing(2), 1U);
  EXPECT_EQ(a.AwaitRing(0), 1U);
  for (const std::uint32_t vector : {0U, 1U}) EXPECT_EQ(b.TakeRings(vector), 0U);
  for (const std::uint32_t vector : {1U, 2U}) EXPECT_EQ(a.TakeRings(vector), 0U);
}

// Otherwise they would ring it in vain when they answer.
TEST_F(ClientsTest, OthersHaveHeardOfANewcomerBeforeItCanSayAnything) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "4"});
  server.AwaitReady();
  RawClient first(server.socket());
  ASSERT_TRUE(first.Greet(4));
  for (int i = 0; i < 50; ++i) {
    RawClient newcomer(server.socket());
    ASSERT_TRUE(newcomer.Greet(4));
    while (first.HasUnread()) ASSERT_TRUE(first.ReadUpdate());
    ASSERT_TRUE(first.Knows(newcomer.id())) << "newcomer " << i;
  }
}

TEST_F(ClientsTest, TheDefaultRegionIsSealedPreallocatedAndShared) {
  ServerProcess server(folder_ / "s", {"--size", "1M"});
  server.AwaitReady();
  RawClient client(server.socket());
  ASSERT_TRUE(client.Greet(8));
  struct stat file {};
  ASSERT_EQ(fstat(client.memory(), &file), 0);
  EXPECT_EQ(file.st_size, 1 << 20);
  EXPECT_GE(file.st_blocks * 512, 1 << 20);
  EXPECT_EQ(ftruncate(client.memory(), 4096), -1);
  EXPECT_EQ(ftruncate(client.memory(), 2 << 20), -1);
  EXPECT_EQ(fcntl(client.memory(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
  void* const memory =
      mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, client.memory(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  munmap(memory, 1 << 20);
}

TEST_F(ClientsTest, SixtyFourVectorsForEachOfTwentyClients) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  std::deque<RawClient> clients;
  std::set<std::uint16_t> ids;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(clients.emplace_back(server.socket()).Greet(64));
    ids.insert(clients.back().id());
    // So that the descriptors of all this process's clients stay few.
    for (std::size_t k = 0; k + 2 < clients.size(); ++k) clients[k].Disconnect();
  }
  EXPECT_EQ(ids.size(), 20U);
  clients[18].ReadUntil([&] { return clients[18].Knows(clients[19].id()); });
  clients[18].Ring(clients[19].id(), 63);
  EXPECT_EQ(clients[19].AwaitRing(63), 1U);
}

TEST_F(ClientsTest, AHundredMayConnectAndSaySomethingOrNothing) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "1"});
  server.AwaitReady();
  std::deque<RawClient> silent;
  for (int i = 0; i < 100; ++i) silent.emplace_back(server.socket());
  RawClient last(server.socket());
  ASSERT_TRUE(last.Greet(1));
  EXPECT_EQ(last.known().size(), 101U);
  // The first one has not read a message yet and still gets everything.
  ASSERT_TRUE(silent[0].Greet(1));
  silent[0].ReadUntil([&] { return silent[0].known().size() == 101; });
  EXPECT_EQ(server.Terminate(), 0);
}

TEST_F(ClientsTest, ClientsThatDieAmidTheGreetingLeaveTheServerUnharmed) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "16"});
  server.AwaitReady();
  RawClient watcher(server.socket());
  ASSERT_TRUE(watcher.Greet(16));
  for (int i = 0; i < 60; ++i) {
    Child::Fork([&] {
      RawClient client(server.socket());
      for (int k = 0; k < i % 7; ++k) (void)client.Read();
      // Some processes end at once, some by closing first.
      if (i % 2 == 0) client.Close();
    }).Wait();
    server.AwaitLog("has gone");
  }
  RawClient after(server.socket());
  ASSERT_TRUE(after.Greet(16));
  watcher.ReadUntil([&] { return watcher.Knows(after.id()); });
  watcher.Ring(after.id(), 15);
  EXPECT_EQ(after.AwaitRing(15), 1U);
  EXPECT_EQ(watcher.disconnects(), 0U);
}

TEST_F(ClientsTest, WhatAClientSendsIsNotReadAndHurtsNobody) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "1"});
  server.AwaitReady();
  RawClient rude(server.socket());
  ASSERT_TRUE(rude.Greet(1));
  const std::string noise(4096, 'x');
  std::size_t sent = 0;
  for (ssize_t n = 1; n > 0; sent += n > 0 ? static_cast<std::size_t>(n) : 0) {
    n = send(rude.socket(), noise.data(), noise.size(), MSG_DONTWAIT);
  }
  EXPECT_GT(sent, 0U);
  server.AwaitLog("sends data");
  // It goes on being a client.
  RawClient other(server.socket());
  ASSERT_TRUE(other.Greet(1));
  rude.ReadUntilKnown({1, 2});
  rude.Close();
  server.AwaitLog("id 1 has gone");
  EXPECT_EQ(server.Terminate(), 0);
  const std::string log = server.Log();
  EXPECT_EQ(log.find("sends data"), log.rfind("sends data")) << "logged for each byte";
}

TEST_F(ClientsTest, AHalfClosedClientHasNoConnectionAnyMore) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "1"});
  server.AwaitReady();
  RawClient client(server.socket());
  ASSERT_TRUE(client.Greet(1));
  ASSERT_EQ(shutdown(client.socket(), SHUT_WR), 0);
  EXPECT_FALSE(client.Read());
  server.AwaitLog("id 1: pid " + std::to_string(getpid()));
  client.Close();
  server.AwaitLog("id 1 has gone");
}

TEST_F(ClientsTest, ARefusalOfDataInsteadOfAnEndIsNoticedAtTheNextMessage) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "1"});
  server.AwaitReady();
  RawClient deaf(server.socket());
  ASSERT_TRUE(deaf.Greet(1));
  ASSERT_EQ(shutdown(deaf.socket(), SHUT_RD), 0);
  RawClient other(server.socket());
  ASSERT_TRUE(other.Greet(1));
  deaf.Close();
  server.AwaitLog("id 1 has gone");
  EXPECT_EQ(server.Terminate(), 0);
}

TEST_F(ClientsTest, AnObserverGetsTheRegionAndTakesNoId) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "1", "--id-policy", "unique"});
  server.AwaitReady();
  RawClient first(server.socket());
  ASSERT_TRUE(first.Greet(1));
  for (int i = 0; i < 3; ++i) {
    const auto memory = ivshmem::FetchSharedMemory(
        server.socket(), ivshmem::Clock::now() + std::chrono::seconds(30));
    ASSERT_TRUE(memory.ok()) << memory.status().ToString();
    struct stat seen {};
    struct stat own {};
    ASSERT_EQ(fstat(memory->get(), &seen), 0);
    ASSERT_EQ(fstat(first.memory(), &own), 0);
    EXPECT_EQ(seen.st_ino, own.st_ino);
  }
  RawClient second(server.socket());
  ASSERT_TRUE(second.Greet(1));
  EXPECT_EQ(second.id(), 2);
  first.ReadUntilKnown({1, 2});
  EXPECT_EQ(first.disconnects(), 0U);
}

// ---- --id-policy lend ----

TEST_F(ClientsTest, AnIdIsLentOnlyWhenNobodyCanWriteTheRegionByItAndNoEndIsEverAnnounced) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "2"});
  server.AwaitReady();
  RawClient watcher(server.socket());
  RawClient holder(server.socket());
  ASSERT_TRUE(watcher.Greet(2));
  ASSERT_TRUE(holder.Greet(2));
  EXPECT_EQ(holder.id(), 2);
  watcher.ReadUntilKnown({1, 2});
  holder.Disconnect();
  server.AwaitLog("id 2: pid " + std::to_string(getpid()));

  RawClient meanwhile(server.socket());
  ASSERT_TRUE(meanwhile.Greet(2));
  EXPECT_EQ(meanwhile.id(), 3) << "id 2 was lent although its holder has the region";
  EXPECT_EQ(meanwhile.known(), (std::set<std::uint16_t>{1, 3})) << "an idle id is announced";

  // Rings for the former holder, before and after its end.
  watcher.Ring(2, 1);
  holder.Close();
  server.AwaitLog("id 2 has gone");
  watcher.Ring(2, 1);

  RawClient next(server.socket());
  ASSERT_TRUE(next.Greet(2));
  EXPECT_EQ(next.id(), 2);
  EXPECT_EQ(next.TakeRings(1), 0U) << "the doorbells were not drained";
  // Who knew the id hears nothing and reaches the new holder; who did not is told.
  meanwhile.ReadUntilKnown({1, 2, 3});
  watcher.ReadUntilKnown({1, 2, 3});
  watcher.Ring(2, 1);
  EXPECT_EQ(next.AwaitRing(1), 1U);
  meanwhile.Ring(2, 0);
  EXPECT_EQ(next.AwaitRing(0), 1U);
  EXPECT_FALSE(watcher.HasUnread());
  EXPECT_EQ(watcher.disconnects() + meanwhile.disconnects(), 0U);
}

TEST_F(ClientsTest, AThousandClientsOneAfterTheOtherShareOneLentId) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "1"});
  server.AwaitReady();
  RawClient watcher(server.socket());
  ASSERT_TRUE(watcher.Greet(1));
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(Child::Fork([&] {
                RawClient client(server.socket());
                EXPECT_TRUE(client.Greet(1));
                EXPECT_EQ(client.id(), 2);
              }).Wait(),
              0);
    server.AwaitLog("id 2 has gone");
  }
  watcher.ReadUntilKnown({1, 2});
  EXPECT_FALSE(watcher.HasUnread());
}

// QEMU's -device ivshmem-doorbell,master=on wants it.
TEST_F(ClientsTest, TheFirstIdMayBeZeroAndComesFirstAgain) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "1", "--first-id", "0"});
  server.AwaitReady();
  RawClient second = [&] {
    RawClient first(server.socket());
    EXPECT_TRUE(first.Greet(1));
    EXPECT_EQ(first.id(), 0);
    RawClient other(server.socket());
    EXPECT_TRUE(other.Greet(1));
    EXPECT_EQ(other.id(), 1);
    other.Ring(0, 0);
    EXPECT_EQ(first.AwaitRing(0), 1U);
    return other;
  }();
  server.AwaitLog("id 0 has gone");
  RawClient first(server.socket());
  ASSERT_TRUE(first.Greet(1));
  EXPECT_EQ(first.id(), 0);
}

// ---- --id-policy unique ----

TEST_F(ClientsTest, AUniqueIdEndsOnceForEverybodyAndNeverComesBack) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "2", "--id-policy", "unique"});
  server.AwaitReady();
  RawClient a(server.socket());
  RawClient b(server.socket());
  ASSERT_TRUE(a.Greet(2));
  ASSERT_TRUE(b.Greet(2));
  for (std::uint16_t id = 3; id < 50; ++id) {
    RawClient passing(server.socket());
    ASSERT_TRUE(passing.Greet(2));
    EXPECT_EQ(passing.id(), id);
    EXPECT_EQ(passing.known(), (std::set<std::uint16_t>{1, 2, id}));
    a.ReadUntil([&] { return a.Knows(id); });
    passing.Close();
    // RawClient fails on a second end, and on an id that returns.
    a.ReadUntilKnown({1, 2});
    b.ReadUntil([&] { return b.disconnects() == id - 2U; });
  }
  EXPECT_EQ(a.disconnects(), 47U);
  EXPECT_EQ(b.known(), (std::set<std::uint16_t>{1, 2}));
  EXPECT_FALSE(a.HasUnread());
  EXPECT_FALSE(b.HasUnread());
}

}  // namespace
}  // namespace ivmq::testing
