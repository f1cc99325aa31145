// Who is let in: users, the descriptor budget, and a server that has run out of descriptors itself.
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raw_client.h"
#include "server_process.h"
#include "src/ivshmem_protocol.h"
#include "support/child.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void LimitDescriptors(rlim_t soft) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = soft;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}
// A client with that limit is refused, and the log names it.
void ExpectRefusalOfLimit(ServerProcess& server, rlim_t soft) {
  EXPECT_EQ(RunInChild([&] {
              LimitDescriptors(soft);
              RawClient client(server.socket());
              client.ExpectRefusal();
            }),
            0);
  EXPECT_THAT(server.AwaitLog("refused"), HasSubstr("may open only " + std::to_string(soft)));
}

// A child process that is told when to go on.
class SteppedChild {
 public:
  // `body` calls the function it gets to say that a step is done, and waits in it for Continue().
  explicit SteppedChild(const std::function<void(const std::function<void()>&)>& body) {
    if (pipe(up_.data()) != 0 || pipe(down_.data()) != 0) std::abort();
    child_.emplace(Child::Fork([&] {
      body([&] {
        char byte = 0;
        EXPECT_EQ(write(up_[1], "x", 1), 1);
        EXPECT_EQ(read(down_[0], &byte, 1), 1);
      });
    }));
    close(up_[1]);
    close(down_[0]);
  }
  ~SteppedChild() {
    close(up_[0]);
    close(down_[1]);
  }
  SteppedChild(const SteppedChild&) = delete;
  SteppedChild& operator=(const SteppedChild&) = delete;

  void AwaitStep() {
    char byte = 0;
    ASSERT_EQ(read(up_[0], &byte, 1), 1) << "the child ended first";
  }
  void Continue() { ASSERT_EQ(write(down_[1], "x", 1), 1); }
  Child& child() { return *child_; }

 private:
  std::array<int, 2> up_{};
  std::array<int, 2> down_{};
  std::optional<Child> child_;
};

class AdmissionTest : public ::testing::Test {
 protected:
  TempFolder folder_;
};

// ---- Users ----

TEST_F(AdmissionTest, OnlyAllowedUsersRootAndItsOwnMayConnect) {
  ASSERT_EQ(geteuid(), 0U) << "this test acts as several users: run it as root";
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "1", "--mode", "0666",
                                       "--allow-uid", "54321", "--allow-uid", "54322"});
  server.AwaitReady();
  const auto connect_as = [&](uid_t uid, bool welcome) {
    return Child::Fork([&, uid, welcome] {
             ASSERT_EQ(setuid(uid), 0);
             RawClient client(server.socket());
             if (welcome) {
               EXPECT_TRUE(client.Greet(1));
             } else {
               client.ExpectRefusal();
             }
           })
        .Wait();
  };
  EXPECT_EQ(connect_as(0, true), 0);
  EXPECT_EQ(connect_as(54321, true), 0);
  EXPECT_EQ(connect_as(54322, true), 0);
  EXPECT_EQ(connect_as(54323, false), 0);
  EXPECT_THAT(server.AwaitLog("refused"),
              HasSubstr("uid 54323: its user is not among --allow-uid"));
}

TEST_F(AdmissionTest, AServerWithoutPrivilegesReadsTheLimitsOfOtherUsers) {
  ASSERT_EQ(geteuid(), 0U) << "this test acts as several users: run it as root";
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "64", "--mode", "0666"}, [] {
    if (setgid(54321) != 0 || setuid(54321) != 0) _exit(126);
  });
  server.AwaitReady();
  ExpectRefusalOfLimit(server, 192);
}

// ---- The descriptor budget ----

TEST_F(AdmissionTest, AClientWhoseOwnLimitIsTooLowIsRefused) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  // One id with 64 vectors and 128 to spare is 192, and must stay below the limit.
  ExpectRefusalOfLimit(server, 192);
  EXPECT_EQ(RunInChild([&] {
              LimitDescriptors(193);
              RawClient client(server.socket());
              EXPECT_TRUE(client.Greet(64));
            }),
            0);
}

TEST_F(AdmissionTest, AClientWithoutRoomForANewcomersDoorbellsHearsOfItLaterAndHoldsNobodyUp) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  SteppedChild small([&](const std::function<void()>& step) {
    LimitDescriptors(256);
    RawClient client(server.socket());
    EXPECT_TRUE(client.Greet(64));
    step();
    // Nothing was announced to it.
    EXPECT_FALSE(client.HasUnread());
    LimitDescriptors(257);
    client.ReadUntilKnown({1, 2});
    EXPECT_FALSE(client.HasUnread());
    LimitDescriptors(1024);
    client.ReadUntilKnown({1, 2, 3});
  });
  small.AwaitStep();
  RawClient second(server.socket());
  RawClient third(server.socket());
  ASSERT_TRUE(second.Greet(64));
  ASSERT_TRUE(third.Greet(64));
  const std::string line = server.AwaitLog("id 1: ");
  EXPECT_THAT(line, HasSubstr("pid " + std::to_string(small.child().pid())));
  EXPECT_THAT(line, HasSubstr("may open 256 files"));
  // Its limit counts as it is now, not as it was when it came.
  small.Continue();
  EXPECT_EQ(small.child().Wait(), 0);
}

TEST_F(AdmissionTest, ANewcomerWithoutRoomForAllIsToldOfSomeAfterItsOwnDoorbells) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  SteppedChild small([&](const std::function<void()>& step) {
    step();
    LimitDescriptors(257);
    RawClient client(server.socket());
    EXPECT_TRUE(client.Greet(64));
    EXPECT_EQ(client.known(), (std::set<std::uint16_t>{1, 4}));
    LimitDescriptors(1024);
    client.ReadUntilKnown({1, 2, 3, 4});
  });
  small.AwaitStep();
  std::deque<RawClient> others;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(others.emplace_back(server.socket()).Greet(64));
  small.Continue();
  EXPECT_EQ(small.child().Wait(), 0);
}

// All its connections have one limit.
TEST_F(AdmissionTest, TheDescriptorsOfAllConnectionsOfAProcessCount) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  EXPECT_EQ(RunInChild([&] {
              // Three ids fit.
              LimitDescriptors(128 + 3 * 64 + 1);
              RawClient first(server.socket());
              EXPECT_TRUE(first.Greet(64));
              RawClient second(server.socket());
              EXPECT_TRUE(second.Greet(64));
              while (first.HasUnread()) ASSERT_TRUE(first.ReadUpdate());
              EXPECT_EQ(first.known().size() + second.known().size(), 3U);
              RawClient third(server.socket());
              third.ExpectRefusal();
            }),
            0);
  server.AwaitLog("refused");
}

// Its limit says nothing about the process that has the connection now.
TEST_F(AdmissionTest, OfAConnectionWhoseLauncherHasEndedAUsualLimitIsAssumed) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  std::array<int, 2> passed{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, passed.data()), 0);
  Child launcher = Child::Fork([&] {
    const RawClient client(server.socket());
    EXPECT_EQ(ivshmem::SendMessage(passed[1], 7, client.socket()), ivshmem::SendResult::kSent);
  });
  const pid_t launchers_pid = launcher.pid();
  ASSERT_EQ(launcher.Wait(), 0);
  ivshmem::MessageReader reader;
  ivshmem::Message message;
  ASSERT_EQ(reader.Read(passed[0], &message), ivshmem::ReadResult::kMessage);
  // (1024 - 128) / 64 is 14, and that must stay below the limit.
  std::deque<RawClient> others;
  for (int i = 0; i < 14; ++i) ASSERT_TRUE(others.emplace_back(server.socket()).Greet(64));
  RawClient client(std::move(message.fd));
  ASSERT_TRUE(client.Greet(64));
  client.ReadUntil([&] { return client.known().size() == 13; });
  EXPECT_THAT(
      server.AwaitLog("may open 1024 files (assumed"),
      AllOf(HasSubstr("id 1: pid " + std::to_string(launchers_pid)), HasSubstr("told 13 ids")));
  for (const int fd : passed) close(fd);
}

// ---- What one may take from the others

TEST_F(AdmissionTest, AProcessThatConnectsAndClosesAgainAndAgainLocksNobodyOut) {
  ServerProcess server(folder_ / "s", {"--size", "1M"}, [] {
    const rlimit limit{1024, 1024};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(126);
  });
  server.AwaitReady();
  for (int i = 0; i < 300; ++i) {
    RawClient client(server.socket());
    ASSERT_TRUE(client.Greet(8));
    client.Close();
    server.AwaitLog("has gone");
  }
  RawClient client(server.socket());
  ASSERT_TRUE(client.Greet(8));
  EXPECT_EQ(client.id(), 1);
}

TEST_F(AdmissionTest, AUserAndAProcessHaveSoManyIdsAtMostConnectedOrNot) {
  ServerProcess server(folder_ / "s",
                       {"--size", "1M", "--vectors", "1", "--mode", "0666", "--ids-per-uid", "4"});
  server.AwaitReady();
  SteppedChild greedy([&](const std::function<void()>& step) {
    std::deque<RawClient> clients;
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(clients.emplace_back(server.socket()).Greet(1));
    clients[1].Disconnect();
    step();
    RawClient refused(server.socket());
    refused.ExpectRefusal();
    step();
  });
  greedy.AwaitStep();
  server.AwaitLog("has no connection any more");
  greedy.Continue();
  greedy.AwaitStep();
  EXPECT_THAT(server.AwaitLog("refused"), HasSubstr("it has 3 ids already"));
  RawClient fourth(server.socket());
  ASSERT_TRUE(fourth.Greet(1));
  RawClient fifth(server.socket());
  fifth.ExpectRefusal();
  EXPECT_THAT(server.AwaitLog("refused"),
              AllOf(HasSubstr("all 4 ids"), HasSubstr("1 of them without a connection"),
                    HasSubstr("most of them, 3, has pid " + std::to_string(greedy.child().pid()))));
  EXPECT_EQ(RunInChild([&] {
              ASSERT_EQ(setuid(54321), 0);
              RawClient other(server.socket());
              EXPECT_TRUE(other.Greet(1));
            }),
            0);
  greedy.Continue();
  EXPECT_EQ(greedy.child().Wait(), 0);
  // Its three, and that of the other user.
  for (int i = 0; i < 4; ++i) server.AwaitLog("has gone");
  RawClient welcome(server.socket());
  EXPECT_TRUE(welcome.Greet(1));
}

TEST_F(AdmissionTest, AConnectionThatReadsNothingOfItsGreetingIsEnded) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--handshake-timeout", "1"});
  server.AwaitReady();
  RawClient silent(server.socket());
  RawClient other(server.socket());
  ASSERT_TRUE(other.Greet(8));
  EXPECT_THAT(server.AwaitLog("has read nothing of its greeting"), HasSubstr("id 1"));
  // What is on its way it can still take, and then it is at the end.
  ASSERT_TRUE(silent.Greet(8));
  while (silent.HasUnread() && silent.ReadUpdate()) {
  }
  silent.Close();
  server.AwaitLog("id 1 has gone");
  EXPECT_FALSE(other.HasUnread());
}

TEST_F(AdmissionTest, AnObserverThatDoesNotReadCountsAsAnIdUntilItIsIdle) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "1", "--ids-per-uid", "4",
                                       "--handshake-timeout", "2"});
  server.AwaitReady();
  std::deque<RawClient> observers;
  for (int i = 0; i < 3; ++i) observers.push_back(ConnectObserver(server.socket()));
  RawClient refused(server.socket());
  refused.ExpectRefusal();
  EXPECT_THAT(server.AwaitLog("refused"), HasSubstr("it has 3 ids already"));
  for (int i = 0; i < 3; ++i) server.AwaitLog("asked for the region and has not read it");
  RawClient welcome(server.socket());
  EXPECT_TRUE(welcome.Greet(1));
}

TEST_F(AdmissionTest, TheLogIsLimitedAndCountsWhatItLeavesOut) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "1", "--log-limit", "1"});
  server.AwaitReady();
  const std::string left_out = "lines about clients of uid " + std::to_string(geteuid());
  int connections = 0;
  while (server.Log().find(left_out) == std::string::npos) {
    RawClient client(server.socket());
    ASSERT_TRUE(client.Greet(1));
    ++connections;
  }
  const std::string log = server.Log();
  const auto lines = std::count(log.begin(), log.end(), '\n');
  EXPECT_LT(lines, 2 * connections);
}

// ---- What this server may take

TEST_F(AdmissionTest, TheServersOwnLimitIsRaisedAndThenObeyed) {
  ServerProcess server(folder_ / "s", {"--size", "1M", "--vectors", "64"}, [] {
    const rlimit limit{64, 300};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(126);
  });
  server.AwaitReady();
  // 2 * (64 + 2) + 128 = 260 fit; 3 do not.
  RawClient first(server.socket());
  RawClient second(server.socket());
  RawClient third(server.socket());
  ASSERT_TRUE(first.Greet(64));
  ASSERT_TRUE(second.Greet(64));
  third.ExpectRefusal();
  EXPECT_THAT(server.AwaitLog("refused"),
              AllOf(HasSubstr("this server may open only 300"),
                    HasSubstr("most of them, 2, has pid " + std::to_string(getpid()))));
}

// ---- accept() fails ----

class ExhaustedServerTest : public AdmissionTest {
 protected:
  ExhaustedServerTest() : server_(folder_ / "s", {"--size", "1M", "--vectors", "1"}) {
    server_.AwaitReady();
  }

  void SetServerLimit(rlim_t soft) {
    rlimit limit{};
    ASSERT_EQ(prlimit(server_.pid(), RLIMIT_NOFILE, nullptr, &limit), 0);
    limit.rlim_cur = soft == 0 ? limit.rlim_max : soft;
    ASSERT_EQ(prlimit(server_.pid(), RLIMIT_NOFILE, &limit, nullptr), 0);
  }
  [[nodiscard]] rlim_t LowestFreeDescriptor() const {
    const std::string folder = "/proc/" + std::to_string(server_.pid()) + "/fd/";
    rlim_t fd = 0;
    while (std::filesystem::is_symlink(folder + std::to_string(fd))) ++fd;
    return fd;
  }

  ServerProcess server_;
};

TEST_F(ExhaustedServerTest, WithoutADescriptorTheNewcomerIsRefusedInOrder) {
  RawClient first(server_.socket());
  ASSERT_TRUE(first.Greet(1));
  SetServerLimit(LowestFreeDescriptor());
  for (int i = 0; i < 3; ++i) {
    RawClient refused(server_.socket());
    refused.ExpectRefusal();
    EXPECT_THAT(server_.AwaitLog("refused"), HasSubstr("accept: Too many open files"));
  }
  SetServerLimit(0);
  RawClient second(server_.socket());
  ASSERT_TRUE(second.Greet(1));
  first.ReadUntilKnown({1, 2});
  first.Ring(2, 0);
  EXPECT_EQ(second.AwaitRing(0), 1U);
}

TEST_F(ExhaustedServerTest, WithoutEvenTheReserveTheNewcomerWaits) {
  RawClient first(server_.socket());
  ASSERT_TRUE(first.Greet(1));
  SetServerLimit(3);
  RawClient second(server_.socket());
  server_.AwaitLog("no clients are accepted for the moment");
  SetServerLimit(0);
  ASSERT_TRUE(second.Greet(1));
  first.ReadUntilKnown({1, 2});
}

TEST_F(ExhaustedServerTest, WithoutDescriptorsForItsDoorbellsTheNewcomerIsRefused) {
  RawClient first(server_.socket());
  ASSERT_TRUE(first.Greet(1));
  // Enough for the connection and the pidfd, not for more. The budget does not know this: the limit
  // is lowered here below what is open already.
  SetServerLimit(LowestFreeDescriptor() + 2);
  RawClient refused(server_.socket());
  refused.ExpectRefusal();
  server_.AwaitLog("refused");
  SetServerLimit(0);
  RawClient second(server_.socket());
  ASSERT_TRUE(second.Greet(1));
  EXPECT_EQ(second.id(), 2);
}

}  // namespace
}  // namespace ivmq::testing
