// Where a region's memory comes from: huge pages under a guest, and the nodes of a NUMA machine.
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"

#include "guest.h"
#include "server_process.h"
#include "support/huge_pages.h"
#include "support/program.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

class HugePageGuestTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSize = std::uint64_t{8} << 20;

  // The host at `address` and a guest with the device talk, and the memory is what was wanted.
  static void ExpectTalk(const IvshmemDevice& device, const std::string& address) {
    const auto guest = Guest::Restore({.devices = {device}});
    ASSERT_NE(guest, nullptr);
    ASSERT_EQ(guest->Run("insmod /lib/ivmq/6.1/ivmq.ko").status, 0) << guest->Console();
    const auto echo = guest->Start("ivmq recv --address auto --name vm --echo");
    Program ping(
        {IVMQ_TOOL, "ping", address, "vm", "--count", "100", "--await", "60s", "--timeout", "60s"});
    EXPECT_EQ(ping.Wait(), 0) << ping.output();
    EXPECT_THAT(ping.output(), HasSubstr("100 round trips"));
    Program doctor({IVMQ_TOOL, "doctor", address});
    EXPECT_EQ(doctor.Wait(), 0);
    EXPECT_THAT(doctor.output(), HasSubstr("pages of 2 MiB"));
    guest->Signal(echo, "TERM");
    guest->Wait(echo);
  }

  HugePages pages_{4};
};

TEST_F(HugePageGuestTest, AGuestAndTheHostTalkThroughHugePagesOfAServer) {
  const TempFolder folder;
  const std::string socket = folder / "s";
  ServerProcess server(socket, {"--size", "8M", "--hugepages", "2M"});
  server.AwaitReady();
  ExpectTalk(IvshmemDevice::Doorbell(socket), "unix:" + socket);
}

TEST_F(HugePageGuestTest, AGuestAndTheHostTalkThroughAFileInHugetlbfs) {
  const HugePageFolder folder;
  const std::string address = "file:" + (folder / "region");
  const Status made = CreateRegionFile(address, kSize);
  ASSERT_TRUE(made.ok()) << made.ToString();
  ExpectTalk(IvshmemDevice::Plain(folder / "region", kSize), address);
}

// On a machine of two nodes, which a guest can be.
TEST(NumaGuestTest, ARegionHasTheMemoryOfItsNode) {
  const auto guest = Guest::Boot({.arguments = {"-object", "memory-backend-ram,id=m0,size=128M",  //
                                                "-object", "memory-backend-ram,id=m1,size=128M",  //
                                                "-numa", "node,nodeid=0,cpus=0-1,memdev=m0",      //
                                                "-numa", "node,nodeid=1,memdev=m1"},
                                  .memory_mib = 256});
  ASSERT_NE(guest, nullptr);
  // Has ivmqd serve a region, and prints how many MiB of shared memory and how many huge pages each
  // node has more then, and what ivmqd said.
  const auto serve = [&guest](const std::string& options) {
    const Result found = guest->Run(
        "used() { for n in 0 1; do cd /sys/devices/system/node/node$n; "
        "eval \"s$n=$(($(sed -n 's/.* Shmem: *\\([0-9]*\\).*/\\1/p' meminfo) / 1024))\"; "
        "eval \"h$n=$((- $(cat hugepages/hugepages-2048kB/free_hugepages)))\"; done; }; "
        "used; a0=$s0 a1=$s1 b0=$h0 b1=$h1; rm -f /tmp/s* /tmp/log; "
        "ivmqd --socket /tmp/s --no-keeper " +
        options +
        " >/tmp/log 2>&1 & server=$!; "
        "while kill -0 $server 2>/dev/null && ! grep -qs serving /tmp/log; do usleep 10000; done; "
        "used; echo shared: $((s0 - a0)) $((s1 - a1)) huge: $((h0 - b0)) $((h1 - b1)); "
        "cat /tmp/log; kill $server 2>/dev/null; wait $server");
    return found.output;
  };
  // A few pages more or less are those of others.
  EXPECT_THAT(serve("--size 16M --numa-node 0"), ContainsRegex("shared: 1[567] -?[01] huge: 0 0"));
  EXPECT_THAT(serve("--size 16M --numa-node 1"), ContainsRegex("shared: -?[01] 1[567] huge: 0 0"));
  EXPECT_THAT(serve("--size 128M --numa-node 1"), HasSubstr("of memory left"));
  EXPECT_THAT(serve("--size 1M --numa-node 2"), HasSubstr("those that have: 0-1"));
  const char* const reserve =
      "echo 4 >/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages";
  ASSERT_EQ(guest->Run(reserve).status, 0);
  EXPECT_THAT(serve("--size 8M --hugepages 2M --numa-node 1"), HasSubstr("huge: 0 4"));
  EXPECT_THAT(serve("--size 8M --hugepages 2M --numa-node 0"), HasSubstr("node0/hugepages"));
}

}  // namespace
}  // namespace ivmq::testing
