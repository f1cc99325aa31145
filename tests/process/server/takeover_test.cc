// A server that is killed, at any instruction, and the next one: clients do not notice.
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/layout.h"

#include "raw_client.h"
#include "server_process.h"
#include "service_manager.h"
#include "slot_owner.h"
#include "src/ivshmem_socket.h"
#include "succession.h"
#include "support/huge_pages.h"
#include "support/program.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::uint32_t kVectors = 3;

using Clients = std::vector<std::unique_ptr<RawClient>>;

// Each reaches each, by each vector, and nobody else. Reads what they have not read yet.
void ExpectAllReachAll(const Clients& clients) {
  for (const auto& from : clients) {
    from->ReadUntil([&] {
      return std::all_of(clients.begin(), clients.end(),
                         [&](const auto& to) { return from->Knows(to->id()); });
    });
  }
  for (const auto& from : clients) {
    for (const auto& to : clients) {
      for (std::uint32_t vector = 0; vector < kVectors; ++vector) {
        from->Ring(to->id(), vector);
        EXPECT_EQ(to->AwaitRing(vector), 1U) << from->id() << " to " << to->id();
      }
    }
  }
}

class TakeoverTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string Log() const {
    std::ifstream file(log_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // Connects and reads the greeting. The id must be nobody's who has the region.
  void Connect(Clients& clients) {
    auto client = std::make_unique<RawClient>(socket_);
    ASSERT_TRUE(client->Greet(kVectors)) << Log();
    for (const auto& other : clients) ASSERT_NE(client->id(), other->id());
    clients.push_back(std::move(client));
  }

  // Whatever a failed test left.
  void TearDown() override { EndKeeper(socket_); }

  TempFolder folder_;
  std::string socket_ = folder_ / "s";
  std::string log_ = folder_ / "log";
};

// All that changes what a server knows: greetings, announcements, an observer, a refusal, ends.
class StepTest : public TakeoverTest, public ::testing::WithParamInterface<std::string> {
 protected:
  // The clients are there until the servers have ended.
  void Work(Clients& clients, std::deque<RawClient>& more) {
    const auto connect_until = [&](std::size_t count) {
      while (clients.size() < count && !HasFailure()) Connect(clients);
    };
    connect_until(6);
    if (HasFailure()) return;
    ExpectAllReachAll(clients);
    clients.erase(clients.begin(), clients.begin() + 4);
    connect_until(4);
    if (HasFailure()) return;
    ExpectAllReachAll(clients);
    const auto memory =
        ivshmem::FetchSharedMemory(socket_, ivshmem::Clock::now() + std::chrono::seconds(30));
    EXPECT_TRUE(memory.ok()) << memory.status().ToString();
    // One process may have three quarters of a user's ids.
    bool is_refused = false;
    while (!is_refused && more.size() < 12 && !HasFailure()) {
      const auto version = more.emplace_back(socket_).Read();
      ASSERT_TRUE(version) << "closed without a word";
      is_refused = version->value == 1;
    }
    EXPECT_TRUE(is_refused);
    EXPECT_FALSE(more.back().Read()) << "something follows the refusal";
  }

  // Of one server that is killed at `step`, and those after it. Whether it got there.
  bool Try(const std::deque<std::string>& steps) {
    std::deque<Succession::Command> commands;
    for (const std::string& step : steps) commands.push_back(Command(step));
    std::filesystem::remove(log_);
    Succession servers(socket_, std::move(commands), Command("-"), log_);
    Clients clients;
    std::deque<RawClient> more;
    Work(clients, more);
    EXPECT_EQ(servers.Terminate(), 0) << Log();
    EXPECT_FALSE(std::filesystem::exists(socket_));
    EXPECT_FALSE(std::filesystem::exists(socket_ + ".keeper"));
    return servers.killed() == static_cast<int>(steps.size());
  }
  Succession::Command Command(const std::string& step) {
    return SteppingIvmqd(socket_, {GetParam(), step, "1.0"});
  }
};

INSTANTIATE_TEST_SUITE_P(Policies, StepTest, ::testing::Values("lend", "unique"),
                         [](const auto& policy) { return policy.param; });

TEST_P(StepTest, NobodyNoticesAServerThatIsKilledAtAnyStep) {
  std::vector<std::string> steps{
      "accept.after", "connect.before",    "connect.after",    "send.before", "send.after",
      "send.applied", "disconnect.before", "disconnect.after", "end.before",  "refuse.ended",
  };
  steps.emplace_back(GetParam() == "lend" ? "end.lent" : "end.retired");
  for (const std::string& step : steps) {
    int pass = 1;
    while (!HasFailure() && Try({step + ":" + std::to_string(pass)})) pass += 1 + pass / 2;
    EXPECT_GT(pass, 1) << step << " is never passed";
    if (HasFailure()) FAIL() << "killed at pass " << pass << " of " << step << "\n" << Log();
  }
}

TEST_P(StepTest, NobodyNoticesASuccessorThatIsKilledAtAnyStepOfItsTakeover) {
  for (const std::string step : {"takeover.asked", "takeover.received", "takeover.before",
                                 "takeover.committed", "takeover.after"}) {
    for (const std::string first : {"connect.after:2", "send.after:3", "send.before:6"}) {
      EXPECT_TRUE(Try({first, step + ":1", step + ":1"}));
      if (HasFailure()) FAIL() << "killed at " << step << " after " << first << "\n" << Log();
    }
  }
}

// ---- At any instruction

// Kills servers at random moments.
class Killer {
 public:
  Killer(Succession& servers, int kills, unsigned seed)
      : thread_([this, &servers, kills, seed] {
          std::mt19937 random(seed);
          while (servers.killed() < kills && is_at_work_) {
            // As long as a few system calls, or as a start.
            std::this_thread::sleep_for(
                std::chrono::microseconds(random() % (1U << random() % 16)));
            servers.Kill();
          }
          is_at_work_ = false;
        }) {}
  ~Killer() { End(); }
  Killer(const Killer&) = delete;
  Killer& operator=(const Killer&) = delete;

  [[nodiscard]] bool is_at_work() const { return is_at_work_; }
  void End() {
    is_at_work_ = false;
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> is_at_work_ = true;
  std::thread thread_;
};

// Connections come and go, and greetings are read in pieces, while the server is killed at random.
class RandomKillTest : public TakeoverTest, public ::testing::WithParamInterface<std::string> {};

INSTANTIATE_TEST_SUITE_P(Policies, RandomKillTest, ::testing::Values("lend", "unique"),
                         [](const auto& policy) { return policy.param; });

TEST_P(RandomKillTest, NobodyNoticesServersThatAreKilledAtRandom) {
  constexpr int kKills = 300;
  Succession servers(socket_, {},
                     Ivmqd(socket_, {"--size", "1M", "--vectors", std::to_string(kVectors),
                                     "--id-policy", GetParam()}),
                     log_);
  Killer killer(servers, kKills, /*seed=*/1);
  std::mt19937 random(2);
  Clients clients;
  int comings = 0;
  while (killer.is_at_work() && !HasFailure()) {
    if (clients.size() == 6) {
      clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(random() % clients.size()));
    }
    Connect(clients);
    ++comings;
    if (HasFailure() || comings % 4 != 0) continue;
    ExpectAllReachAll(clients);
  }
  killer.End();
  ASSERT_FALSE(HasFailure()) << Log();
  while (clients.size() < 4) Connect(clients);
  ExpectAllReachAll(clients);
  EXPECT_EQ(servers.Terminate(), 0) << Log();
  // RawClient fails on what is sent twice.
  for (const auto& client : clients) {
    while (client->ReadUpdate()) {
    }
  }
}

// ---- The keeper

TEST_F(TakeoverTest, TheServersEpochStaysAndSoDoRegionAndConnections) {
  Succession servers(socket_, {}, Ivmqd(socket_, {"--size", "1M", "--vectors", "3"}), log_);
  Clients clients;
  Connect(clients);
  const MappedRegion region(clients.front()->memory());
  const std::uint64_t epoch = region.region().header().server_epoch.load();
  const std::uint32_t pid = region.region().header().server_pid.load();
  servers.Kill();
  Connect(clients);
  ExpectAllReachAll(clients);
  struct stat first {};
  struct stat second {};
  ASSERT_EQ(fstat(clients[0]->memory(), &first), 0);
  ASSERT_EQ(fstat(clients[1]->memory(), &second), 0);
  EXPECT_EQ(first.st_ino, second.st_ino);
  EXPECT_EQ(region.region().header().server_epoch.load(), epoch);
  EXPECT_NE(region.region().header().server_pid.load(), pid);
  EXPECT_THAT(Log(), HasSubstr("went on where the last server"));
}

TEST_F(TakeoverTest, AClientThatEndsWhileNoServerRunsIsNoticedByTheNextOne) {
  ServerProcess first(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  first.AwaitReady();
  RawClient stays(socket_);
  RawClient goes(socket_);
  ASSERT_TRUE(stays.Greet(kVectors));
  ASSERT_TRUE(goes.Greet(kVectors));
  const std::uint16_t id = goes.id();
  first.Kill();
  goes.Close();
  ServerProcess next(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  next.AwaitLog("has gone");
  RawClient newcomer(socket_);
  ASSERT_TRUE(newcomer.Greet(kVectors));
  EXPECT_EQ(newcomer.id(), id);
  EXPECT_EQ(next.Terminate(), 0);
}

TEST_F(TakeoverTest, AnIdWithoutConnectionStaysTakenWhileItsHolderHasTheRegion) {
  ServerProcess first(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  first.AwaitReady();
  RawClient holder(socket_);
  ASSERT_TRUE(holder.Greet(kVectors));
  holder.Disconnect();
  first.AwaitLog("has no connection any more");
  first.Kill();
  ServerProcess next(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  next.AwaitLog("1 ids without a connection");
  RawClient newcomer(socket_);
  ASSERT_TRUE(newcomer.Greet(kVectors));
  EXPECT_NE(newcomer.id(), holder.id());
  holder.Close();
  next.AwaitLog("has gone");
  EXPECT_EQ(next.Terminate(), 0);
}

TEST_F(TakeoverTest, AKeeperThatIsKilledIsReplaced) {
  ServerProcess first(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  const std::string line = first.AwaitLog("keeps connections and doorbells");
  first.AwaitReady();
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(kVectors));
  const pid_t keeper = std::stoi(line.substr(line.find("pid ") + 4));
  ASSERT_EQ(kill(keeper, SIGKILL), 0);
  first.AwaitLog("has ended; another one is started");
  first.AwaitLog("keeps connections and doorbells");
  first.Kill();
  ServerProcess next(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  next.AwaitLog("went on where the last server");
  RawClient newcomer(socket_);
  ASSERT_TRUE(newcomer.Greet(kVectors));
  client.ReadUntilKnown({client.id(), newcomer.id()});
  EXPECT_EQ(next.Terminate(), 0);
}

TEST_F(TakeoverTest, SigtermEndsServerAndKeeperAndTheNextOneStartsAnew) {
  ServerProcess server(socket_, {"--size", "1M", "--keep", "keeper"});
  const std::string line = server.AwaitLog("keeps connections and doorbells");
  server.AwaitReady();
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(8));
  EXPECT_EQ(server.Terminate(), 0);
  EXPECT_FALSE(client.Read());
  EXPECT_EQ(kill(std::stoi(line.substr(line.find("pid ") + 4)), 0), -1);
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(TakeoverTest, ASecondServerIsRefusedWithTheFirstOnesPid) {
  ServerProcess first(socket_, {"--size", "1M", "--keep", "keeper"});
  first.AwaitReady();
  ServerProcess second(socket_, {"--size", "1M", "--keep", "keeper"});
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_THAT(second.Log(),
              AllOf(HasSubstr("pid " + std::to_string(first.pid())), HasSubstr("--upgrade")));
  RawClient client(socket_);
  EXPECT_TRUE(client.Greet(8));
  EXPECT_EQ(first.Terminate(), 0);
}

TEST_F(TakeoverTest, OtherOptionsAreRefusedAndTheKeeperWaitsForBetterOnes) {
  ServerProcess first(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  first.AwaitReady();
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(kVectors));
  first.Kill();
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--size", "1M", "--vectors", "4"},
        {"--size", "1M", "--vectors", "3", "--id-policy", "unique"},
        {"--size", "2M", "--vectors", "3"},
        {"--size", "1M", "--vectors", "3", "--region", "file:" + (folder_ / "f")}}) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--keep", "keeper"});
    ServerProcess wrong(socket_, all);
    EXPECT_EQ(wrong.Wait(), 1);
  }
  ServerProcess next(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  next.AwaitLog("went on where the last server");
  RawClient newcomer(socket_);
  ASSERT_TRUE(newcomer.Greet(kVectors));
  client.ReadUntilKnown({client.id(), newcomer.id()});
  EXPECT_EQ(next.Terminate(), 0);
}

TEST_F(TakeoverTest, WithNoTakeoverTheLastServersClientsAreGivenUp) {
  ServerProcess first(socket_, {"--size", "1M", "--keep", "keeper"});
  first.AwaitReady();
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(8));
  first.Kill();
  ServerProcess next(socket_, {"--size", "1M", "--keep", "keeper", "--no-takeover"});
  next.AwaitReady();
  EXPECT_FALSE(client.Read());
  EXPECT_EQ(next.Terminate(), 0);
}

TEST_F(TakeoverTest, AFileIsTakenOverWithItsConnections) {
  const std::string file = folder_ / "region";
  Succession servers(socket_, {},
                     Ivmqd(socket_, {"--size", "1M", "--vectors", "3", "--region", "file:" + file}),
                     log_);
  Clients clients;
  Connect(clients);
  servers.Kill();
  Connect(clients);
  ExpectAllReachAll(clients);
  // A foreign server is kept away between the two as well.
  ServerProcess foreign(folder_ / "other", {"--size", "1M", "--region", "file:" + file});
  EXPECT_EQ(foreign.Wait(), 1);
  EXPECT_THAT(foreign.Log(), HasSubstr("another server has it, or the keeper of one"));
  EXPECT_EQ(servers.Terminate(), 0) << Log();
}

TEST_F(TakeoverTest, AMemfdOfHugePagesIsTakenOverByAServerThatWantsSuchPages) {
  const HugePages pages(2);
  const std::vector<std::string> options{"--size", "2M",     "--vectors",   "3",
                                         "--keep", "keeper", "--hugepages", "2M"};
  ServerProcess first(socket_, options);
  first.AwaitReady();
  Clients clients;
  Connect(clients);
  first.Kill();
  ServerProcess other(socket_, {"--size", "2M", "--vectors", "3", "--keep", "keeper"});
  EXPECT_EQ(other.Wait(), 1);
  EXPECT_THAT(other.Log(), HasSubstr("--hugepages 2M"));
  ServerProcess next(socket_, options);
  next.AwaitLog("went on where the last server");
  Connect(clients);
  ExpectAllReachAll(clients);
  std::vector<std::string> upgrade = options;
  upgrade.emplace_back("--upgrade");
  ServerProcess newer(socket_, upgrade);
  EXPECT_EQ(next.Wait(), 0);
  newer.AwaitLog("went on where");
  Connect(clients);
  ExpectAllReachAll(clients);
  EXPECT_EQ(newer.Terminate(), 0);
}

TEST_F(TakeoverTest, SeveralRegionsAreTakenOverTogetherAndOneThatIsGivenUpEnds) {
  const std::string config = folder_ / "config";
  const std::string other = folder_ / "other";
  const auto write = [&](bool with_other) {
    std::ofstream file(config);
    file << "size = 1M\nvectors = 3\n[first]\nsocket = " << socket_ << "\n";
    if (with_other) file << "[other]\nsocket = " << other << "\n";
  };
  write(true);
  const std::vector<std::string> arguments{"--config", config, "--keep", "keeper"};
  std::optional<ServerProcess> server(std::in_place, "", arguments);
  for (int i = 0; i < 2; ++i) server->AwaitReady();
  RawClient here(socket_);
  RawClient there(other);
  ASSERT_TRUE(here.Greet(kVectors));
  ASSERT_TRUE(there.Greet(kVectors));

  server->Kill();
  server.emplace("", arguments);
  for (int i = 0; i < 2; ++i) server->AwaitLog("1 clients, 0 ids without a connection");
  RawClient newcomer(other);
  ASSERT_TRUE(newcomer.Greet(kVectors));
  there.ReadUntilKnown({1, 2});
  there.Ring(2, 1);
  EXPECT_EQ(newcomer.AwaitRing(1), 1U);
  EXPECT_FALSE(here.HasUnread());

  server->Kill();
  write(false);
  server.emplace("", arguments);
  server->AwaitLog("1 clients, 0 ids without a connection");
  EXPECT_FALSE(there.Read());
  EXPECT_FALSE(here.HasUnread());
  EXPECT_EQ(server->Terminate(), 0);
}

// What was owed to a client that does not read is sent by the next server, from where it stopped.
TEST_F(TakeoverTest, ASlowClientGetsTheRestFromTheNextServer) {
  Succession servers(socket_, {}, Ivmqd(socket_, {"--size", "1M", "--vectors", "3"}), log_);
  Clients clients;
  Connect(clients);
  RawClient slow(socket_);
  // More than its socket takes.
  for (int i = 0; i < 60 && !HasFailure(); ++i) Connect(clients);
  ASSERT_FALSE(HasFailure());
  servers.Kill();
  Connect(clients);
  ASSERT_TRUE(slow.Greet(kVectors)) << Log();
  slow.ReadUntil([&] { return slow.known().size() == clients.size() + 1; });
  servers.Kill();
  Connect(clients);
  slow.ReadUntil([&] { return slow.Knows(clients.back()->id()); });
  EXPECT_EQ(servers.Terminate(), 0) << Log();
  EXPECT_FALSE(slow.Read()) << "something was sent twice";
}

// ---- systemd

// What systemd keeps is the same, but that a connection may be lost between its acceptance and the
// message that has it kept: its client sees the end before the first message.
class StoreTest : public TakeoverTest {
 protected:
  void ConnectUntilKept(Clients& clients) {
    for (;;) {
      auto client = std::make_unique<RawClient>(socket_);
      pollfd readable{client->socket(), POLLIN, 0};
      char byte = 0;
      ASSERT_EQ(poll(&readable, 1, 30'000), 1) << Log();
      if (recv(client->socket(), &byte, 1, MSG_PEEK) == 0) continue;
      ASSERT_TRUE(client->Greet(kVectors)) << Log();
      for (const auto& other : clients) ASSERT_NE(client->id(), other->id());
      clients.push_back(std::move(client));
      return;
    }
  }
  [[nodiscard]] Succession::Command Command() const {
    return Ivmqd(socket_, {"--size", "1M", "--vectors", std::to_string(kVectors)}, "systemd");
  }

  ServiceManager manager_{folder_ / "notify", 512};
};

TEST_F(StoreTest, NobodyNoticesServersThatAreKilledAtRandom) {
  constexpr int kKills = 150;
  Succession servers(socket_, {}, Command(), log_, &manager_);
  Killer killer(servers, kKills, /*seed=*/3);
  std::mt19937 random(4);
  Clients clients;
  while (killer.is_at_work() && !HasFailure()) {
    if (clients.size() == 6) {
      clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(random() % clients.size()));
    }
    ConnectUntilKept(clients);
    if (!HasFailure() && clients.size() % 3 == 0) ExpectAllReachAll(clients);
  }
  killer.End();
  ASSERT_FALSE(HasFailure()) << Log();
  ExpectAllReachAll(clients);
  EXPECT_EQ(servers.Terminate(), 0) << Log();
}

TEST_F(StoreTest, ARestartOfTheServiceKeepsAllAndNothingPilesUp) {
  Succession servers(socket_, {}, Command(), log_, &manager_);
  Clients clients;
  ConnectUntilKept(clients);
  ConnectUntilKept(clients);
  for (int i = 0; i < 5 && !HasFailure(); ++i) {
    servers.Restart();
    clients.erase(clients.begin());
    ConnectUntilKept(clients);
    ASSERT_FALSE(HasFailure()) << Log();
    ExpectAllReachAll(clients);
  }
  EXPECT_EQ(servers.Terminate(), 0) << Log();
  // A record, the region twice, the listener, and three ids' doorbells and two connections, one of
  // which may not have ended yet.
  EXPECT_LE(manager_.size(), 4U + 4 * kVectors + 4);
  for (const auto& client : clients) EXPECT_FALSE(client->HasUnread());
}

TEST_F(StoreTest, NobodyNoticesASuccessorThatIsKilledAtAnyStepOfItsTakeover) {
  for (const std::string step : {"takeover.before", "takeover.committed", "takeover.after"}) {
    for (const std::string first : {"connect.before:2", "connect.after:2", "send.after:3"}) {
      std::filesystem::remove(log_);
      std::deque<Succession::Command> commands;
      for (const std::string& at : {first, step + ":1", step + ":1"}) {
        commands.push_back(SteppingIvmqd(socket_, {"lend", at, "1.0"}));
      }
      const std::string path = folder_ / (first + step);
      ServiceManager manager(path, 512);
      Succession servers(socket_, commands, SteppingIvmqd(socket_, {"lend", "-", "1.0"}), log_,
                         &manager);
      Clients clients;
      for (int i = 0; i < 3; ++i) Connect(clients);
      ASSERT_FALSE(HasFailure()) << Log();
      ExpectAllReachAll(clients);
      EXPECT_EQ(servers.killed(), 3);
      EXPECT_EQ(servers.Terminate(), 0) << Log();
      ASSERT_FALSE(HasFailure()) << "killed at " << step << " after " << first << "\n" << Log();
    }
  }
}

TEST_F(StoreTest, WhatDoesNotFitIsRefused) {
  ServiceManager small(folder_ / "small", 4 + 3 * (kVectors + 1) + 1);
  Succession servers(socket_, {}, Command(), log_, &small);
  Clients clients;
  for (int i = 0; i < 3; ++i) ConnectUntilKept(clients);
  RawClient more(socket_);
  more.ExpectRefusal();
  EXPECT_EQ(servers.Terminate(), 0) << Log();
  EXPECT_THAT(Log(), HasSubstr("FileDescriptorStoreMax="));
}

TEST_F(TakeoverTest, SystemdIsNotToKeepWhatItWasNotAskedTo) {
  ServerProcess server(socket_, {"--size", "1M", "--keep", "systemd"});
  EXPECT_EQ(server.Wait(), 2);
  EXPECT_THAT(server.Log(), HasSubstr("FileDescriptorStoreMax="));
}

// ---- Upgrades

TEST_F(TakeoverTest, AnUpgradeReplacesARunningServer) {
  ServerProcess first(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  first.AwaitReady();
  Clients clients;
  Connect(clients);
  ServerProcess next(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper", "--upgrade"});
  EXPECT_EQ(first.Wait(), 0);
  Connect(clients);
  ExpectAllReachAll(clients);
  EXPECT_EQ(next.Terminate(), 0);
}

TEST_F(TakeoverTest, AnUpgradeWithOtherOptionsIsRefusedAndTheRunningServerGoesOn) {
  ServerProcess first(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  first.AwaitReady();
  ServerProcess wrong(socket_, {"--size", "2M", "--vectors", "4", "--keep", "keeper", "--upgrade"});
  EXPECT_EQ(wrong.Wait(), 1);
  EXPECT_THAT(wrong.Log(), HasSubstr("--size 1048576 --vectors 3"));
  RawClient client(socket_);
  EXPECT_TRUE(client.Greet(kVectors));
  EXPECT_EQ(first.Terminate(), 0);
}

TEST_F(TakeoverTest, AnUpgradeFindsNobodyAndStartsAnew) {
  ServerProcess server(socket_, {"--size", "1M", "--keep", "keeper", "--upgrade"});
  server.AwaitReady();
  EXPECT_EQ(server.Terminate(), 0);
}

TEST_F(TakeoverTest, ARecordOfAnotherMinorVersionIsUnderstoodBothWays) {
  std::deque<Succession::Command> versions;
  for (const std::string version : {"1.0", "1.3+24", "1.0", "1.9+8"}) {
    versions.push_back(SteppingIvmqd(socket_, {"lend", "-", version}));
  }
  Succession servers(socket_, versions, SteppingIvmqd(socket_, {"lend", "-", "1.0"}), log_);
  Clients clients;
  for (int i = 0; i < 5; ++i) {
    Connect(clients);
    ASSERT_FALSE(HasFailure()) << Log();
    ExpectAllReachAll(clients);
    servers.Kill();
  }
  EXPECT_EQ(servers.Terminate(), 0) << Log();
}

TEST_F(TakeoverTest, ARecordOfAnotherMajorVersionIsRefusedWithWhatToDo) {
  Program first(SteppingIvmqd(socket_, {"lend", "-", "2.5"}), {.errors_apart = true});
  first.AwaitLine(Stream::kErrors, "serving");
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(kVectors));
  first.Kill();
  ServerProcess next(socket_, {"--size", "1M", "--vectors", "3", "--keep", "keeper"});
  EXPECT_EQ(next.Wait(), 1);
  EXPECT_THAT(next.Log(),
              AllOf(HasSubstr("version 2.5"), HasSubstr("1.x"), HasSubstr("--no-takeover")));
  EXPECT_FALSE(client.HasUnread());
  ServerProcess anew(socket_, {"--size", "1M", "--keep", "keeper", "--no-takeover"});
  anew.AwaitReady();
  EXPECT_EQ(anew.Terminate(), 0);
}

}  // namespace
}  // namespace ivmq::testing
