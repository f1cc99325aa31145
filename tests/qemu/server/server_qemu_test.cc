// ivmqd with real QEMUs.
#include <sys/resource.h>
#include <unistd.h>

#include <deque>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "qemu_device.h"
#include "raw_client.h"
#include "server_process.h"
#include "support/child.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;

// A QEMU that works a register has not necessarily read what the server told it before.
void RingUntilHeard(QemuDevice& qemu, const RawClient& client, std::uint16_t vector) {
  while (client.TakeRings(vector) == 0 && !::testing::Test::HasFailure()) {
    qemu.Ring(client.id(), vector);
  }
}

class ServerQemuTest : public ::testing::Test {
 protected:
  TempFolder folder_;
  std::string socket_ = folder_ / "s";
};

TEST_F(ServerQemuTest, QemuGetsItsIdAndRingsAHostProcess) {
  ServerProcess server(socket_, {"--size", "1M", "--vectors", "8"});
  server.AwaitReady();
  RawClient host(socket_);
  ASSERT_TRUE(host.Greet(8));
  QemuDevice qemu(socket_, 8);
  ASSERT_TRUE(qemu.Attach());
  EXPECT_EQ(qemu.ReadIvposition(), 2);
  host.ReadUntilKnown({1, 2});
  // Others are announced to QEMU after its own doorbells.
  RingUntilHeard(qemu, host, 5);
  RawClient late(socket_);
  ASSERT_TRUE(late.Greet(8));
  RingUntilHeard(qemu, late, 7);
  EXPECT_EQ(host.TakeRings(7), 0U);
}

TEST_F(ServerQemuTest, ARefusedQemuEndsWithACleanError) {
  ServerProcess server(socket_, {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  QemuDevice qemu(socket_, 64, [] {
    const rlimit limit{150, 150};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(126);
  });
  EXPECT_EQ(qemu.Wait(), 1);
  EXPECT_THAT(qemu.Errors(), HasSubstr("server sent version 1, expecting 0"));
  EXPECT_THAT(server.AwaitLog("refused"), HasSubstr("may open only 150"));
}

// QEMU migrates a device with master=on only, and lets that have id 0 only.
TEST_F(ServerQemuTest, AMasterStartsWhereTheFirstIdIsZeroAndMayStartAgain) {
  ServerProcess server(socket_, {"--size", "1M", "--vectors", "4", "--first-id", "0"});
  server.AwaitReady();
  for (int i = 0; i < 2; ++i) {
    QemuDevice master(socket_, 4, {}, ",master=on");
    ASSERT_TRUE(master.Attach());
    EXPECT_EQ(master.ReadIvposition(), 0);
    RawClient host(socket_);
    ASSERT_TRUE(host.Greet(4));
    EXPECT_TRUE(host.Knows(0));
    RingUntilHeard(master, host, 3);
    master.Kill();
    server.AwaitLog("id 0 has gone");
    host.Close();
    server.AwaitLog("has gone");
  }
}

TEST_F(ServerQemuTest, AMasterIsRefusedByQemuItselfWhereTheFirstIdIsOne) {
  ServerProcess server(socket_, {"--size", "1M", "--vectors", "4"});
  server.AwaitReady();
  QemuDevice master(socket_, 4, {}, ",master=on");
  EXPECT_EQ(master.Wait(), 1);
  EXPECT_THAT(master.Errors(), HasSubstr("master must connect to the server before any peers"));
}

// With one descriptor less than it needs QEMU corrupts its heap.
TEST_F(ServerQemuTest, AQemuWithoutDescriptorsForNewcomersGoesOnAndHearsOfThemWhenItHas) {
  ServerProcess server(socket_, {"--size", "1M", "--vectors", "64"});
  server.AwaitReady();
  QemuDevice qemu(socket_, 64, [] {
    const rlimit limit{400, 4096};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(126);
  });
  ASSERT_TRUE(qemu.Attach());
  EXPECT_EQ(qemu.ReadIvposition(), 1);
  std::deque<RawClient> clients;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(clients.emplace_back(socket_).Greet(64));
  server.AwaitLog("may open 400 files");
  RingUntilHeard(qemu, clients.front(), 5);
  const rlimit more{4096, 4096};
  ASSERT_EQ(prlimit(qemu.pid(), RLIMIT_NOFILE, &more, nullptr), 0);
  RingUntilHeard(qemu, clients.back(), 63);
}

TEST_F(ServerQemuTest, AKilledQemusIdIsLentToTheNextOneAndAThirdOneGoesOn) {
  ServerProcess server(socket_, {"--size", "1M", "--vectors", "4"});
  server.AwaitReady();
  QemuDevice witness(socket_, 4);
  ASSERT_TRUE(witness.Attach());
  EXPECT_EQ(witness.ReadIvposition(), 1);
  for (int i = 0; i < 3; ++i) {
    QemuDevice passing(socket_, 4);
    ASSERT_TRUE(passing.Attach());
    EXPECT_EQ(passing.ReadIvposition(), 2);
    witness.Ring(2, 1);
    passing.Kill();
    server.AwaitLog("id 2 has gone");
  }
  // The witness was never told of an end, and reaches the next holder through the same doorbells.
  RawClient next(socket_);
  ASSERT_TRUE(next.Greet(4));
  EXPECT_EQ(next.id(), 2);
  EXPECT_EQ(next.TakeRings(1), 0U);
  witness.Ring(2, 3);
  EXPECT_EQ(next.AwaitRing(3), 1U);
}

TEST_F(ServerQemuTest, QemuTakesPeersThatComeAndGoUnderBothPolicies) {
  for (const std::string policy : {"lend", "unique"}) {
    ServerProcess server(socket_, {"--size", "1M", "--vectors", "16", "--id-policy", policy});
    server.AwaitReady();
    QemuDevice qemu(socket_, 16);
    ASSERT_TRUE(qemu.Attach());
    for (int i = 0; i < 40; ++i) {
      ASSERT_EQ(Child::Fork([&] {
                  std::deque<RawClient> clients;
                  for (int k = 0; k < 3; ++k) EXPECT_TRUE(clients.emplace_back(socket_).Greet(16));
                }).Wait(),
                0);
      for (int k = 0; k < 3; ++k) server.AwaitLog("has gone");
    }
    RawClient last(socket_);
    ASSERT_TRUE(last.Greet(16));
    RingUntilHeard(qemu, last, 15);
    EXPECT_EQ(qemu.ReadIvposition(), 1);
    EXPECT_EQ(server.Terminate(), 0);
    // It goes on without the server.
    qemu.Ring(last.id(), 3);
    EXPECT_EQ(last.AwaitRing(3), 1U);
  }
}

}  // namespace
}  // namespace ivmq::testing
