// The socket, from start to end.
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <system_error>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raw_client.h"
#include "server_process.h"
#include "support/child.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class LifecycleTest : public ::testing::Test {
 protected:
  [[nodiscard]] struct stat StatSocket() const {
    struct stat found {};
    EXPECT_EQ(lstat(socket_.c_str(), &found), 0);
    return found;
  }

  TempFolder folder_;
  std::string socket_ = folder_ / "s";
};

TEST_F(LifecycleTest, SigtermAndSigintEndItWithZeroAndRemoveTheSocket) {
  for (const int signal : {SIGTERM, SIGINT}) {
    ServerProcess server(socket_, {"--size", "1M"});
    server.AwaitReady();
    RawClient client(socket_);
    ASSERT_TRUE(client.Greet(8));
    server.Signal(signal);
    EXPECT_EQ(server.Wait(), 0);
    EXPECT_FALSE(std::filesystem::exists(socket_));
    EXPECT_FALSE(client.Read());
  }
}

TEST_F(LifecycleTest, WhoWaitsToBeAcceptedWhenItEndsIsRefusedInOrder) {
  ServerProcess server(socket_, {"--size", "1M"});
  server.AwaitReady();
  server.Freeze();
  // More than it accepts at once.
  std::deque<RawClient> clients;
  for (int i = 0; i < 60; ++i) clients.emplace_back(socket_);
  server.Signal(SIGTERM);
  server.Signal(SIGCONT);
  EXPECT_EQ(server.Wait(), 0);
  for (RawClient& client : clients) {
    const auto version = client.Read();
    ASSERT_TRUE(version) << "closed without a word";
    if (version->value == 0) {
      EXPECT_TRUE(client.Read());
      const auto memory = client.Read();
      ASSERT_TRUE(memory);
      EXPECT_TRUE(memory->fd.valid());
    } else {
      EXPECT_EQ(version->value, 1);
    }
  }
}

TEST_F(LifecycleTest, ItOutlivesTheReaderOfItsLog) {
  std::array<int, 2> log{};
  ASSERT_EQ(pipe(log.data()), 0);
  ServerProcess server(socket_, {"--size", "1M"}, [&] {
    dup2(log[1], STDERR_FILENO);
    close(log[0]);
    close(log[1]);
  });
  close(log[1]);
  char byte = 0;
  ASSERT_EQ(read(log[0], &byte, 1), 1);
  close(log[0]);
  for (int i = 0; i < 3; ++i) {
    RawClient client(socket_);
    ASSERT_TRUE(client.Greet(8));
  }
  EXPECT_EQ(server.Terminate(), 0);
}

TEST_F(LifecycleTest, ALogThatNobodyReadsHoldsNobodyUpAndSaysWhatItDropped) {
  ServerProcess server(socket_, {"--size", "1M", "--vectors", "1", "--id-policy", "unique"});
  server.AwaitReady();
  // Two lines each, of which the pipe takes about 700.
  for (int i = 0; i < 1000; ++i) {
    RawClient client(socket_);
    ASSERT_TRUE(client.Greet(1));
  }
  (void)server.Log();
  // Once the log is read again, the next line says that some are missing.
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(1));
  server.AwaitLog("lines of this log were dropped");
}

TEST_F(LifecycleTest, AStaleSocketIsReplaced) {
  {
    ServerProcess server(socket_, {"--size", "1M"});
    server.AwaitReady();
    server.Kill();
  }
  ASSERT_TRUE(std::filesystem::exists(socket_));
  ServerProcess server(socket_, {"--size", "1M"});
  server.AwaitReady();
  RawClient client(socket_);
  EXPECT_TRUE(client.Greet(8));
}

TEST_F(LifecycleTest, ASocketOfALivingServerIsRefusedAndThatServerNoticesNothing) {
  ServerProcess server(socket_, {"--size", "1M", "--id-policy", "unique"});
  server.AwaitReady();
  ServerProcess second(socket_, {"--size", "1M"});
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_THAT(second.Log(),
              AllOf(HasSubstr(socket_), HasSubstr("a running process has this socket")));
  RawClient client(socket_);
  ASSERT_TRUE(client.Greet(8));
  EXPECT_EQ(client.id(), 1);
  EXPECT_THAT(server.Log(), Not(HasSubstr("refused")));
}

// Neither has to be listening yet.
TEST_F(LifecycleTest, ABoundSocketOfAnotherProgramIsRefused) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    const UniqueFd other(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    ASSERT_EQ(bind(other.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ServerProcess server(socket_, {"--size", "1M"});
    EXPECT_EQ(server.Wait(), 1);
    EXPECT_THAT(server.Log(), HasSubstr("a running process has this socket"));
    ASSERT_EQ(unlink(socket_.c_str()), 0);
  }
}

TEST_F(LifecycleTest, AFileAtTheSocketsPathIsLeftAlone) {
  std::ofstream(socket_) << "content";
  ServerProcess server(socket_, {"--size", "1M"});
  EXPECT_EQ(server.Wait(), 1);
  EXPECT_THAT(server.Log(), HasSubstr("no socket"));
  EXPECT_EQ(std::filesystem::file_size(socket_), 7U);
}

TEST_F(LifecycleTest, AMissingFolderIsNamed) {
  ServerProcess server(folder_ / "none/s", {"--size", "1M"});
  EXPECT_EQ(server.Wait(), 1);
  EXPECT_THAT(server.Log(), HasSubstr(folder_ / "none" + " does not exist"));
}

TEST_F(LifecycleTest, BadOptionsAreExitStatusTwo) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"--size", "3M"},
                                             {"--size", "lots"},
                                             {"--size", "1M", "--vectors", "65"},
                                             {"--size", "1M", "--vectors", "0"},
                                             {"--size", "1M", "--max-peers", "1"},
                                             {"--size", "1M", "--mode", "888"},
                                             {"--size", "1M", "--id-policy", "recycle"},
                                             {"--size", "1M", "--region", "disk"},
                                             {"--size", "1M", "--ring-size", "5000"},
                                             {"--no-such-option"}}) {
    ServerProcess server(socket_, arguments);
    EXPECT_EQ(server.Wait(), 2) << arguments.back();
    EXPECT_THAT(server.Log(), Not(HasSubstr("serving")));
  }
}

// Two servers that both find a stale socket: one gets the path, the other is told.
TEST_F(LifecycleTest, OfTwoServersThatStartAtOnceOneServes) {
  for (int i = 0; i < 10; ++i) {
    {
      ServerProcess stale(socket_, {"--size", "1M"});
      stale.AwaitReady();
      stale.Kill();
    }
    ServerProcess a(socket_, {"--size", "1M"});
    ServerProcess b(socket_, {"--size", "1M"});
    // The loser ends by itself; a client of the path belongs to the winner.
    int status = 0;
    const pid_t loser = wait(&status);
    ASSERT_TRUE(loser == a.pid() || loser == b.pid());
    ServerProcess& winner = loser == a.pid() ? b : a;
    ServerProcess& other = loser == a.pid() ? a : b;
    other.Forget();
    EXPECT_EQ(WEXITSTATUS(status), 1);
    winner.AwaitReady();
    RawClient client(socket_);
    EXPECT_TRUE(client.Greet(8));
    EXPECT_EQ(winner.Terminate(), 0);
  }
}

// As another server has that starts at the same path.
class LockedPathTest : public LifecycleTest {
 protected:
  LockedPathTest()
      : lock_path_(socket_ + ".lock"),
        lock_(open(lock_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    EXPECT_EQ(flock(lock_.get(), LOCK_EX), 0);
  }

  std::string lock_path_;
  UniqueFd lock_;
};

TEST_F(LockedPathTest, AStaleSocketIsNotTouchedMeanwhile) {
  lock_.reset();
  {
    ServerProcess stale(socket_, {"--size", "1M"});
    stale.AwaitReady();
    stale.Kill();
  }
  EXPECT_FALSE(std::filesystem::exists(lock_path_));
  const ino_t before = StatSocket().st_ino;
  lock_.reset(open(lock_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(flock(lock_.get(), LOCK_EX), 0);
  ServerProcess server(socket_, {"--size", "1M"});
  const auto waits = [&] {
    const std::string fds = "/proc/" + std::to_string(server.pid()) + "/fd";
    std::error_code ended;
    for (const auto& fd : std::filesystem::directory_iterator(fds, ended)) {
      std::error_code closed;
      if (std::filesystem::read_symlink(fd, closed) == lock_path_) return true;
    }
    return false;
  };
  while (!waits()) {
    ASSERT_THAT(server.Log(), Not(HasSubstr("serving")));
    sched_yield();
  }
  EXPECT_EQ(StatSocket().st_ino, before);
  lock_.reset();
  server.AwaitReady();
}

TEST_F(LockedPathTest, WhoKeepsTheLockIsNamed) {
  ServerProcess server(socket_, {"--size", "1M"});
  EXPECT_EQ(server.Wait(), 1);
  EXPECT_THAT(server.Log(),
              AllOf(HasSubstr(lock_path_), HasSubstr("pid " + std::to_string(getpid()))));
}

TEST_F(LifecycleTest, ALockOnTheFolderHoldsNobodyUp) {
  const UniqueFd folder(open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(flock(folder.get(), LOCK_EX), 0);
  ServerProcess server(socket_, {"--size", "1M"});
  server.AwaitReady();
}

// Runs `body` in a process that sees no process of the test, and that the test's processes see.
int RunInPidNamespace(const std::function<void()>& body) {
  return Child::Fork([&] {
           ASSERT_EQ(unshare(CLONE_NEWPID), 0) << "run this test as root";
           EXPECT_EQ(Child::Fork(body).Wait(), 0);
         })
      .Wait();
}

// vm.memfd_noexec belongs to a pid namespace.
TEST_F(LifecycleTest, AMemfdIsMadeWhereOnlyThoseThatCannotBeExecutedAreAllowed) {
  if (!std::filesystem::exists("/proc/sys/vm/memfd_noexec")) return;  // before Linux 6.3
  EXPECT_EQ(RunInPidNamespace([&] {
              std::ofstream("/proc/sys/vm/memfd_noexec") << 2;
              constexpr unsigned kMfdExec = 0x10;
              ASSERT_EQ(memfd_create("x", kMfdExec), -1);
              ServerProcess server(socket_, {"--size", "1M"});
              server.AwaitReady();
              RawClient client(socket_);
              EXPECT_TRUE(client.Greet(8));
            }),
            0);
}

TEST_F(LifecycleTest, AClientOfAnotherPidNamespaceIsServedWithAUsualLimit) {
  std::array<int, 2> ready{};
  std::array<int, 2> done{};
  ASSERT_EQ(pipe(ready.data()), 0);
  ASSERT_EQ(pipe(done.data()), 0);
  Child server = Child::Fork([&] {
    EXPECT_EQ(RunInPidNamespace([&] {
                ServerProcess inner(socket_, {"--size", "1M", "--vectors", "64"});
                inner.AwaitReady();
                EXPECT_EQ(write(ready[1], "x", 1), 1);
                inner.AwaitLog("id 1 to a process of another pid namespace");
                inner.AwaitLog("may open 1024 files (assumed");
                inner.AwaitLog("id 1 has gone");
                char byte = 0;
                EXPECT_EQ(read(done[0], &byte, 1), 1);
              }),
              0);
  });
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  RawClient first(socket_);
  ASSERT_TRUE(first.Greet(64));
  std::deque<RawClient> others;
  for (int i = 0; i < 14; ++i) ASSERT_TRUE(others.emplace_back(socket_).Greet(64));
  first.ReadUntil([&] { return first.known().size() == 13; });
  first.Close();
  ASSERT_EQ(write(done[1], "x", 1), 1);
  EXPECT_EQ(server.Wait(), 0);
  for (const int fd : {ready[0], ready[1], done[0], done[1]}) close(fd);
}

TEST_F(LifecycleTest, ItDoesNotRemoveTheSocketOfASuccessor) {
  ServerProcess server(socket_, {"--size", "1M"});
  server.AwaitReady();
  ASSERT_EQ(unlink(socket_.c_str()), 0);
  ServerProcess successor(socket_, {"--size", "1M"});
  successor.AwaitReady();
  EXPECT_EQ(server.Terminate(), 0);
  RawClient client(socket_);
  EXPECT_TRUE(client.Greet(8));
}

TEST_F(LifecycleTest, TheSocketIsNotWorldWritableWhateverTheUmask) {
  ServerProcess server(socket_, {"--size", "1M"}, [] { umask(0); });
  server.AwaitReady();
  EXPECT_EQ(StatSocket().st_mode & 0777, 0660U);
}

TEST_F(LifecycleTest, GroupAndModeAreAsAsked) {
  ASSERT_EQ(geteuid(), 0U) << "this test gives a socket to another group: run it as root";
  ServerProcess server(socket_, {"--size", "1M", "--group", "daemon", "--mode", "0620"},
                       [] { umask(0777); });
  server.AwaitReady();
  const struct stat found = StatSocket();
  EXPECT_EQ(found.st_mode & 0777, 0620U);
  EXPECT_EQ(found.st_gid, getgrnam("daemon")->gr_gid);
}

TEST_F(LifecycleTest, AWorldWritableSocketIsPossibleAndLogged) {
  ServerProcess server(socket_, {"--size", "1M", "--mode", "0666"});
  server.AwaitLog("every user of this machine may connect");
  EXPECT_EQ(StatSocket().st_mode & 0777, 0666U);
}

}  // namespace
}  // namespace ivmq::testing
