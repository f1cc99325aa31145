// Who is let in: users, the descriptor budget, and a server that has run out of descriptors itself.
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raw_client.h"
#include "server_process.h"
#include "support/child.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;

void LimitDescriptors(rlim_t soft) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = soft;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
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
  TemporaryFolder folder_;
};

// ---- Users
// ----------------------------------------------------------------------------------------

TEST_F(AdmissionTest, OnlyAllowedUsersRootAndItsOwnMayConnect) {
  ASSERT_EQ(geteuid(), 0U) << "this test acts as several users: run it as root";
  ServerProcess server(folder_.Path("s"), {"--size", "1M", "--vectors", "1", "--mode", "0666",
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
  ServerProcess server(folder_.Path("s"), {"--size", "1M", "--vectors", "64", "--mode", "0666"},
                       [] {
                         if (setgid(54321) != 0 || setuid(54321) != 0) _exit(126);
                       });
  server.AwaitReady();
  EXPECT_EQ(Child::Fork([&] {
              LimitDescriptors(192);
              RawClient client(server.socket());
              client.ExpectRefusal();
            }).Wait(),
            0);
  EXPECT_THAT(server.AwaitLog("refused"), HasSubstr("may open 192 only"));
}

// ---- The descriptor budget
// ------------------------------------------------------------------------

TEST_F(AdmissionTest, AClientWhoseOwnLimitIsTooLowIsRefused) {
  ServerProcess server(folder_.Path("s"), {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  // One id with 64 vectors and 128 to spare is 192, and must stay below the limit.
  EXPECT_EQ(Child::Fork([&] {
              LimitDescriptors(192);
              RawClient client(server.socket());
              client.ExpectRefusal();
            }).Wait(),
            0);
  EXPECT_THAT(server.AwaitLog("refused"), HasSubstr("may open 192 only"));
  EXPECT_EQ(Child::Fork([&] {
              LimitDescriptors(193);
              RawClient client(server.socket());
              EXPECT_TRUE(client.Greet(64));
            }).Wait(),
            0);
}

TEST_F(AdmissionTest, ANewcomerIsRefusedIfAnAttachedClientCouldNotTakeItsDoorbells) {
  ServerProcess server(folder_.Path("s"), {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  SteppedChild small([&](const std::function<void()>& step) {
    LimitDescriptors(256);
    RawClient client(server.socket());
    EXPECT_TRUE(client.Greet(64));
    step();
    // Nothing was announced to it.
    EXPECT_FALSE(client.HasUnread());
    LimitDescriptors(257);
    step();
    client.ReadUntilKnown({1, 2});
  });
  small.AwaitStep();
  RawClient refused(server.socket());
  refused.ExpectRefusal();
  const std::string line = server.AwaitLog("refused");
  EXPECT_THAT(line, HasSubstr("pid " + std::to_string(small.child().pid())));
  EXPECT_THAT(line, HasSubstr("may open 256 only"));
  // Its limit counts as it is now, not as it was when it came.
  small.Continue();
  small.AwaitStep();
  RawClient welcome(server.socket());
  ASSERT_TRUE(welcome.Greet(64));
  small.Continue();
  EXPECT_EQ(small.child().Wait(), 0);
}

TEST_F(AdmissionTest, AParkedIdCountsInTheBudgetAndALentOneCostsNothing) {
  ServerProcess server(folder_.Path("s"), {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  Child holder = Child::Fork([&] {
    {
      RawClient client(server.socket());
      EXPECT_TRUE(client.Greet(64));
    }
    pause();
  });
  server.AwaitLog("id 1 has gone");
  const auto connect = [&](bool welcome) {
    return Child::Fork([&, welcome] {
             LimitDescriptors(256);
             RawClient client(server.socket());
             if (welcome) {
               EXPECT_TRUE(client.Greet(64));
             } else {
               client.ExpectRefusal();
             }
           })
        .Wait();
  };
  EXPECT_EQ(connect(false), 0);
  holder.Kill();
  server.AwaitLog("id 1 can be lent");
  EXPECT_EQ(connect(true), 0);
}

TEST_F(AdmissionTest, TheServersOwnLimitIsRaisedAndThenObeyed) {
  ServerProcess server(folder_.Path("s"), {"--size", "1M", "--vectors", "64"}, [] {
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
  EXPECT_THAT(server.AwaitLog("refused"), HasSubstr("this server may open 300 only"));
}

// ---- accept() fails
// -------------------------------------------------------------------------------

class ExhaustedServerTest : public AdmissionTest {
 protected:
  ExhaustedServerTest() : server_(folder_.Path("s"), {"--size", "1M", "--vectors", "1"}) {
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
