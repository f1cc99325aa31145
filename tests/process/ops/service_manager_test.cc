// What a service manager is told and asked, with a stand-in for systemd.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops_fixture.h"
#include "raw_client.h"
#include "src/unique_fd.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

UniqueFd Bind(const std::string& path, int type) {
  UniqueFd bound(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  EXPECT_EQ(bind(bound.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return bound;
}

class ServiceManagerTest : public OpsTest {
 protected:
  // The next message of the server.
  std::string Receive() const {
    std::array<char, 512> text{};
    const ssize_t size = recv(notify_.get(), text.data(), text.size(), 0);
    EXPECT_GT(size, 0);
    return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
  }
  void Notify() const { setenv("NOTIFY_SOCKET", (folder_ / "notify").c_str(), 1); }
  // In the process: passes a socket as systemd does.
  static void Pass(int socket) {
    constexpr int kFirst = 3;
    if (socket != kFirst) dup2(socket, kFirst);
    (void)fcntl(kFirst, F_SETFD, 0);
    setenv("LISTEN_FDS", "1", 1);
    setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
  }

  std::string socket_ = folder_ / "s";
  std::vector<std::string> arguments_{"--socket", socket_, "--size", "1M", "--vectors", "1"};
  UniqueFd notify_ = Bind(folder_ / "notify", SOCK_DGRAM);
};

TEST_F(ServiceManagerTest, ItIsToldOfTheStartAReloadAndTheEnd) {
  DaemonProcess daemon(arguments_, [&] { Notify(); });
  EXPECT_EQ(Receive(), "READY=1\nSTATUS=serving 1 region");
  // Ready means that a client can connect.
  RawClient client(socket_);
  EXPECT_TRUE(client.Greet(1));
  daemon.Signal(SIGHUP);
  EXPECT_THAT(Receive(), StartsWith("RELOADING=1\nMONOTONIC_USEC="));
  EXPECT_THAT(Receive(), StartsWith("READY=1"));
  daemon.Signal(SIGTERM);
  EXPECT_EQ(Receive(), "STOPPING=1");
  EXPECT_EQ(daemon.Wait(), 0);
}

TEST_F(ServiceManagerTest, AWatchdogHearsOfItAgainAndAgain) {
  DaemonProcess daemon(arguments_, [&] {
    Notify();
    setenv("WATCHDOG_USEC", "20000", 1);
  });
  EXPECT_THAT(Receive(), StartsWith("READY=1"));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Receive(), "WATCHDOG=1");
}

TEST_F(ServiceManagerTest, ASocketThatItHasOpenedIsServedAndStays) {
  const UniqueFd listening = Bind(socket_, SOCK_STREAM);
  ASSERT_EQ(listen(listening.get(), 5), 0);
  // Who comes before the server waits for it.
  RawClient early(socket_);
  {
    DaemonProcess daemon(arguments_, [&] { Pass(listening.get()); });
    EXPECT_TRUE(early.Greet(1));
    EXPECT_EQ(daemon.Terminate(), 0);
  }
  EXPECT_TRUE(std::filesystem::exists(socket_));
  RawClient next(socket_);
  DaemonProcess daemon(arguments_, [&] { Pass(listening.get()); });
  EXPECT_TRUE(next.Greet(1));
}

TEST_F(ServiceManagerTest, EachRegionFindsItsSocketByItsPath) {
  const UniqueFd listening = Bind(socket_, SOCK_STREAM);
  ASSERT_EQ(listen(listening.get(), 5), 0);
  Configure("size = 1M\nvectors = 1\n[a]\nsocket = " + folder_ / "a" +
            "\n[b]\nsocket = " + socket_ + "\n");
  DaemonProcess daemon(arguments(), [&] { Pass(listening.get()); });
  daemon.AwaitLog("[b] serving");
  RawClient a(folder_ / "a");
  RawClient b(socket_);
  EXPECT_TRUE(a.Greet(1));
  EXPECT_TRUE(b.Greet(1));
}

TEST_F(ServiceManagerTest, ASocketThatNoRegionHasIsAMistake) {
  const UniqueFd listening = Bind(folder_ / "other", SOCK_STREAM);
  ASSERT_EQ(listen(listening.get(), 5), 0);
  DaemonProcess daemon(arguments_, [&] { Pass(listening.get()); });
  EXPECT_EQ(daemon.Wait(), 2);
  EXPECT_THAT(daemon.Log(), HasSubstr(folder_ / "other"));
}

}  // namespace
}  // namespace ivmq::testing
