// The driver in real guests, on both kernels, with ivmqd and a client of it on the host.
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"

#include "fake_ivshmem_server.h"
#include "fixture.h"
#include "ivmq.h"
#include "region.h"

namespace ivmq::testing {
namespace {

using layout::Header;
using layout::Life;
using layout::PeerSlot;
using layout::PeerState;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// driver/region.h repeats what the driver needs of the layout.
static_assert(IVMQ_REGION_MAGIC == layout::kMagic);
static_assert(IVMQ_REGION_VERSION_MAJOR == layout::kVersionMajor);
static_assert(IVMQ_HEADER_BYTES == sizeof(Header) && IVMQ_SLOT_BYTES == sizeof(PeerSlot));
static_assert(IVMQ_HEADER_MAGIC == offsetof(Header, magic));
static_assert(IVMQ_HEADER_VERSION == offsetof(Header, version));
static_assert(IVMQ_HEADER_MAX_PEERS == offsetof(Header, max_peers));
static_assert(IVMQ_HEADER_PEER_STRIDE == offsetof(Header, peer_stride));
static_assert(IVMQ_HEADER_PEER_TABLE == offsetof(Header, peer_table_offset));
static_assert(IVMQ_HEADER_SERVER_EPOCH == offsetof(Header, server_epoch));
static_assert(IVMQ_HEADER_SERVER_VECTORS == offsetof(Header, server_vectors));
static_assert(IVMQ_HEADER_GENERATION == offsetof(Header, peers_generation));
static_assert(IVMQ_MAX_PEERS == layout::kLimitMaxPeers);
static_assert(IVMQ_SLOT_LIFE == offsetof(PeerSlot, life));
static_assert(IVMQ_SLOT_BOOT_ID == offsetof(PeerSlot, boot_id));
static_assert(IVMQ_SLOT_VECTOR == offsetof(PeerSlot, vector));
static_assert(IVMQ_SLOT_NAME_INCARNATION == offsetof(PeerSlot, name_incarnation));
static_assert(IVMQ_STATE_CLAIMING == static_cast<int>(PeerState::kClaiming));
static_assert(IVMQ_STATE_LIVE == static_cast<int>(PeerState::kLive));
static_assert(IVMQ_STATE_DEAD == static_cast<int>(PeerState::kDead));
static_assert(IVMQ_PEER_FLAGS == (layout::kPeerDurable | layout::kPeerCanRing |
                                  layout::kPeerWakeable | layout::kPeerResumed));
static_assert(IVMQ_PEER_WAKEABLE == layout::kPeerWakeable);
static_assert(Life{0x12345678, 0x9abc, 0xde, PeerState::kDead}.ToWord() ==
              IVMQ_LIFE_WITH_STATE(0x12345678'9abc'deffULL, IVMQ_STATE_DEAD));

TEST_P(DriverTest, EveryVectorRingsBothWaysWithOneEightAndSixtyFourOfThem) {
  std::vector<std::unique_ptr<Host>> hosts;
  std::vector<IvshmemDevice> devices;
  for (const int vectors : {1, 8, 64}) {
    hosts.push_back(std::make_unique<Host>(folder_, vectors, "s" + std::to_string(vectors)));
    devices.push_back(hosts.back()->Device());
  }
  const auto guest = Start("vm", devices);
  ASSERT_NE(guest, nullptr);
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    Host& host = *hosts[i];
    const std::string device = "/dev/ivmq" + std::to_string(i);
    const std::string count = std::to_string(host.vectors);
    host.client->ReadUntilKnown({1, 2});
    EXPECT_EQ(guest->Run("driver_guest info " + device).output,
              "api 3 doorbell 1 size 1048576 ivposition 2 vectors " + count + " server " + count +
                  " unused " + count + " interrupts 0\n");
    for (const int vector : std::set<int>{0, host.vectors / 2, host.vectors - 1}) {
      const std::string number = std::to_string(vector);
      const std::string how = vector == 0                  ? "eventfd"
                              : vector == host.vectors - 1 ? "read"
                                                           : "poll";
      const auto job =
          guest->Start("driver_guest hear " + device + " " + how + " " + number + " 1");
      ASSERT_TRUE(guest->WaitForOutput(job, "vector " + number + " users 1\n"));
      host.client->Ring(2, static_cast<std::uint32_t>(vector));
      EXPECT_THAT(guest->Wait(job).output, HasSubstr("heard 1\n")) << how << " " << number;
      EXPECT_EQ(guest->Run("driver_guest ring " + device + " 1 " + number).status, 0);
      EXPECT_GE(host.client->AwaitRing(static_cast<std::uint32_t>(vector)), 1U);
    }
    if (host.vectors != 8) {  // 8: BadInputIsRefusedWithoutAWord
      EXPECT_EQ(guest->Run("driver_guest check " + device + " doorbell").output, "ok\n");
    }
  }
  ExpectQuiet(*guest);
}

// A device may have more vectors than its server gives it doorbells for, or fewer.
TEST_P(DriverTest, OnlyVectorsThatDeviceAndServerHaveAreHandedOut) {
  const Host host(folder_);
  const auto guest = Start(
      "vm", {IvshmemDevice::Doorbell(host.socket, 16), IvshmemDevice::Doorbell(host.socket, 1)});
  ASSERT_NE(guest, nullptr);
  EXPECT_THAT(guest->Run("driver_guest info /dev/ivmq0").output,
              HasSubstr("ivposition 2 vectors 16 server 8 unused 8 "));
  EXPECT_THAT(guest->Run("driver_guest info /dev/ivmq1").output,
              HasSubstr("ivposition 3 vectors 1 server 8 unused 1 "));
  for (const std::string device : {"/dev/ivmq0", "/dev/ivmq1"}) {
    const Result refused = guest->Run("driver_guest hear " + device + " read 8 1");
    EXPECT_THAT(refused.output, HasSubstr("Invalid argument"));
  }
  // What the region says is anybody's word.
  for (const auto& [server, unused] : std::vector<std::pair<std::uint32_t, std::string>>{
           {0, "16"}, {3, "3"}, {0xffffffff, "16"}}) {
    host.memory.header().server_vectors = server;
    EXPECT_THAT(guest->Run("driver_guest info /dev/ivmq0").output,
                HasSubstr("server " + std::to_string(server) + " unused " + unused + " "));
  }
  host.memory.header().server_vectors = 8;
  EXPECT_EQ(guest->Run("driver_guest check /dev/ivmq0 doorbell").output, "ok\n");
  ExpectQuiet(*guest);
}

TEST_P(DriverTest, WithoutMsiXADeviceRingsAndIsNotRung) {
  const Host host(folder_);
  const auto guest =
      Load(Guest::Boot({.devices = {host.Device()}, .kernel = GetParam(), .append = "pci=nomsi"}));
  ASSERT_NE(guest, nullptr);
  EXPECT_THAT(guest->Run("driver_guest info /dev/ivmq0").output,
              HasSubstr("doorbell 1 size 1048576 ivposition 2 vectors 0 server 8 unused 0 "));
  host.client->ReadUntilKnown({1, 2});
  EXPECT_EQ(guest->Run("driver_guest ring /dev/ivmq0 1 5").status, 0);
  EXPECT_GE(host.client->AwaitRing(5), 1U);
  EXPECT_THAT(guest->Run("driver_guest hear /dev/ivmq0 read any 1").output,
              HasSubstr("Operation not supported"));
  ExpectQuiet(*guest);
}

TEST_P(DriverTest, AVectorThatIsRungWithoutEndRestsAndLosesNoRing) {
  const Host host(folder_);
  const auto guest = Start("vm", {host.Device()});
  ASSERT_NE(guest, nullptr);
  host.client->ReadUntilKnown({1, 2});
  // An emulated machine does not reach the limit that others have.
  guest->Run("echo 500 > /sys/module/ivmq/parameters/interrupt_limit");
  {
    const std::jthread storm([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) host.client->Ring(2, 3);
    });
    EXPECT_EQ(guest->Run("until dmesg | grep 'vector 3 is rung without end'; do usleep 10000; done")
                  .status,
              0);
    // It goes on hearing.
    EXPECT_EQ(guest->Run("driver_guest hear /dev/ivmq0 eventfd 3 50").status, 0);
  }
  // The last ring is heard, also when it came in a rest.
  for (int i = 0; i < 5; ++i) {
    const auto hears = guest->Start("driver_guest hear /dev/ivmq0 read 3 1");
    ASSERT_TRUE(guest->WaitForOutput(hears, "vector 3"));
    for (int k = 0; k < 10; ++k) host.client->Ring(2, 3);
    EXPECT_THAT(guest->Wait(hears).output, HasSubstr("heard "));
  }
  // A device may go in a rest.
  std::jthread storm([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) host.client->Ring(2, 3);
  });
  EXPECT_EQ(guest
                ->Run("cd /sys/bus/pci/drivers/ivmq && d=$(ls -d 0000:*) && for i in 1 2; do "
                      "echo $d > unbind && echo $d > bind || exit 1; done")
                .status,
            0);
  storm.request_stop();
  storm.join();
  ExpectQuiet(*guest);
}

TEST_P(DriverTest, TheInterruptsOfOneVectorDoNotMakeAnotherRest) {
  const Host host(folder_, 64);
  const auto guest = Start("vm", {host.Device()});
  ASSERT_NE(guest, nullptr);
  host.client->ReadUntilKnown({1, 2});
  // One interrupt of a vector in 10 ms is no storm; each vector gets one altogether.
  guest->Run("echo 100 > /sys/module/ivmq/parameters/interrupt_limit");
  for (std::uint32_t vector = 0; vector < 64; ++vector) host.client->Ring(2, vector);
  EXPECT_EQ(guest
                ->Run("until driver_guest info /dev/ivmq0 | grep 'interrupts 64$'; do "
                      "usleep 10000; done")
                .status,
            0);
  EXPECT_THAT(guest->Run("dmesg | grep 'rung without end'").output, IsEmpty());
}

// By its bus, as a user of the PCI layer does it. The device stays what it was for those who use
// it.
TEST_P(DriverTest, AResetInterruptsNothing) {
  const Host host(folder_);
  const auto guest = Load(Guest::Boot(
      {.machine = "q35",
       .kernel = GetParam(),
       .arguments = {"-device", "pcie-root-port,id=rp0,chassis=1,slot=1,pref64-reserve=32M",
                     "-chardev", "socket,id=iv,path=" + host.socket, "-device",
                     "ivshmem-doorbell,chardev=iv,vectors=8,bus=rp0"}}));
  ASSERT_NE(guest, nullptr);
  host.client->ReadUntilKnown({1, 2});
  const auto owner = guest->Start("exec driver_guest live /dev/ivmq0 4 1");
  ASSERT_TRUE(guest->WaitForOutput(owner, "live\n"));
  EXPECT_EQ(guest->Run("cd /sys/bus/pci/drivers/ivmq/0000:* && cat reset_method && echo 1 > reset")
                .output,
            "bus\n");
  // It has been told to look, since rings may have been lost; and it hears the next one.
  ASSERT_TRUE(guest->WaitForOutput(owner, "rung\n"));
  host.client->Ring(2, 0);
  ASSERT_TRUE(guest->WaitForOutput(owner, "rung\nrung\n"));
  EXPECT_EQ(host.memory.state(4), PeerState::kLive);
  EXPECT_EQ(guest->Run("driver_guest poke /dev/ivmq0 1048568 7").status, 0);
  std::uint64_t seen = 0;
  std::memcpy(&seen, &host.memory.bytes()[kSize - 8], sizeof seen);
  EXPECT_EQ(seen, 7U);
  guest->Signal(owner, "KILL");
  EXPECT_TRUE(host.memory.AwaitState(4, PeerState::kDead));
  ExpectQuiet(*guest);
}

TEST_P(DriverTest, GuestsRingEachOtherAndIvpcisProgramCompletesItsDialogue) {
  const Host host(folder_);
  const auto one = Start("one", {host.Device()});
  const auto two = Start("two", {host.Device()}, "6.1");
  ASSERT_TRUE(one != nullptr && two != nullptr);
  const auto answer = two->Start("driver_guest pingpong /dev/ivmq0 2 5 3 200");
  ASSERT_TRUE(two->WaitForOutput(answer, "vector 3"));
  EXPECT_THAT(one->Run("driver_guest pingpong /dev/ivmq0 3 3 5 200 first").output,
              HasSubstr("done"));
  EXPECT_THAT(two->Wait(answer).output, HasSubstr("done"));

  EXPECT_EQ(one->Run("ivpci_ioctl /dev/ivmq0 ivposition").output, "IVPOSITION: 2\n");
  for (const std::string vector : {"1", "7"}) {
    const auto waiting = one->Start("ivpci_ioctl /dev/ivmq0 wait");
    // Its output comes at its end, so that it is asleep in the wait is what the kernel says.
    EXPECT_EQ(one->Run("until grep -q '^16 0x[0-9a-f]* 0x6602 ' /proc/$(pidof ivpci_ioctl)/syscall;"
                       " do usleep 10000; done")
                  .status,
              0);
    EXPECT_EQ(
        two->Run("ivpci_ioctl /dev/ivmq0 ring 2 " + vector).output,
        "IVPOSITION: 3\nring:\narg: 0x2000" + vector + "\nioctl finished, returned value: 0\n");
    EXPECT_EQ(one->Wait(waiting).output,
              "IVPOSITION: 2\nwait:\nioctl finished, returned value: 0\n");
  }
}

TEST_P(DriverTest, ProcessesOfOneGuestHaveDoorbellsOfTheirOwn) {
  const Host host(folder_);
  const auto guest = Start("vm", {host.Device()});
  ASSERT_NE(guest, nullptr);
  host.client->ReadUntilKnown({1, 2});
  const auto first = guest->Start("driver_guest hear /dev/ivmq0 eventfd any 1");
  ASSERT_TRUE(guest->WaitForOutput(first, "vector 0 users 1"));
  const auto second = guest->Start("driver_guest hear /dev/ivmq0 read any 2");
  ASSERT_TRUE(guest->WaitForOutput(second, "vector 1 users 1"));
  host.client->Ring(2, 1);
  ASSERT_TRUE(guest->WaitForOutput(second, "heard 1"));
  host.client->Ring(2, 0);
  EXPECT_EQ(guest->Wait(first).output, "vector 0 users 1\nheard 1\n");
  // A process rings the other one, and its own guest's ivposition is no exception.
  EXPECT_EQ(guest->Run("driver_guest ring /dev/ivmq0 2 1").status, 0);
  EXPECT_EQ(guest->Wait(second).output, "vector 1 users 1\nheard 1\nheard 2\n");
  EXPECT_THAT(guest->Run("driver_guest info /dev/ivmq0").output,
              HasSubstr("unused 8 interrupts 3"));
}

TEST_P(DriverTest, EndOfAProcessMarksItsSlotDeadAndRingsWhoCanBeWoken) {
  const Host host(folder_);
  const auto guest = Start("vm", {host.Device()});
  ASSERT_NE(guest, nullptr);
  host.client->ReadUntilKnown({1, 2});
  host.Sleep(0, 6);
  const auto witness = guest->Start("driver_guest live /dev/ivmq0 5 1");
  ASSERT_TRUE(guest->WaitForOutput(witness, "live\n"));

  // However it ends, and how far its claim had got.
  std::uint32_t incarnation = 3;
  for (const auto& [how, signal] : std::vector<std::pair<std::string, std::string>>{
           {"", "KILL"}, {"", "TERM"}, {" claiming", "SEGV"}, {"", "ABRT"}}) {
    const std::uint64_t generation = host.memory.header().peers_generation;
    const auto job =
        guest->Start("exec driver_guest live /dev/ivmq0 4 " + std::to_string(++incarnation) + how);
    ASSERT_TRUE(guest->WaitForOutput(job, "live\n"));
    EXPECT_EQ(host.memory.state(4), how.empty() ? PeerState::kLive : PeerState::kClaiming);
    EXPECT_EQ(host.client->TakeRings(6), 0U);
    guest->Signal(job, signal);
    host.client->AwaitRing(6);
    EXPECT_EQ(
        host.memory.life(4),
        (Life{incarnation, 2, layout::kPeerCanRing | layout::kPeerWakeable, PeerState::kDead}));
    EXPECT_EQ(host.memory.header().peers_generation, generation + 1);
    guest->Wait(job);
  }
  ASSERT_TRUE(guest->WaitForOutput(witness, "rung\n"));
  EXPECT_EQ(host.memory.state(5), PeerState::kLive);

  // A child that keeps the file open does not keep the slot alive.
  const auto parent =
      guest->Start("driver_guest live /dev/ivmq0 4 20 fork & echo $! > /tmp/parent; wait $!");
  ASSERT_TRUE(guest->WaitForOutput(parent, "child ready\n"));
  ASSERT_TRUE(guest->WaitForOutput(parent, "live\n"));
  EXPECT_EQ(host.memory.state(4), PeerState::kLive);
  EXPECT_EQ(guest->Run("kill -9 $(cat /tmp/parent)").status, 0);
  host.client->AwaitRing(6);
  EXPECT_EQ(host.memory.state(4), PeerState::kDead);
  EXPECT_THAT(guest->Run("pidof driver_guest | wc -w").output, "2\n");  // witness and child
  guest->Run("kill -9 $(pidof driver_guest)");
  host.client->AwaitRing(6);
  EXPECT_EQ(host.memory.state(5), PeerState::kDead);

  // One whose slot is not armed may sleep all the same, until a ring has space. One that cannot be
  // woken is left alone.
  host.memory.slot(0).armed = 2;
  for (const bool wakeable : {true, false}) {
    if (!wakeable) host.memory.slot(0).life = Life{2, 1, 0, PeerState::kLive}.ToWord();
    const auto last =
        guest->Start(std::string("exec driver_guest live /dev/ivmq0 4 3") + (wakeable ? "0" : "1"));
    ASSERT_TRUE(guest->WaitForOutput(last, "live\n"));
    guest->Signal(last, "KILL");
    EXPECT_TRUE(host.memory.AwaitState(4, PeerState::kDead));
    guest->Wait(last);
    EXPECT_EQ(host.client->TakeRings(6), wakeable ? 1U : 0U);
  }
  ExpectQuiet(*guest);
}

TEST_P(DriverTest, LateEndDoesNotHitTheSlotsNextOwner) {
  const Host host(folder_);
  const auto guest = Start("vm", {host.Device()});
  ASSERT_NE(guest, nullptr);
  const std::uint8_t flags = layout::kPeerCanRing | layout::kPeerWakeable;
  for (const Life& other :
       {Life{8, 2, flags, PeerState::kLive}, Life{7, 9, flags, PeerState::kLive},
        Life{7, 2, 0, PeerState::kLive}, Life{7, 2, flags, PeerState::kFree}}) {
    const auto job = guest->Start("exec driver_guest registers /dev/ivmq0 4 7");
    ASSERT_TRUE(guest->WaitForOutput(job, "registered"));
    host.memory.slot(4).life = other.ToWord();
    const std::uint64_t generation = host.memory.header().peers_generation;
    guest->Signal(job, "KILL");
    guest->Wait(job);
    EXPECT_EQ(guest->Run("lsmod | grep -c '^ivmq .* 0 '").output, "1\n");  // it is closed
    EXPECT_EQ(host.memory.life(4), other);
    EXPECT_EQ(host.memory.header().peers_generation, generation);
  }
}

// It would wake up in another QEMU, with another region and id.
TEST_P(DriverTest, MachineWithADeviceDoesNotHibernate) {
  const Host host(folder_);
  const auto guest = Start("vm", {host.Device()});
  ASSERT_NE(guest, nullptr);
  const auto hibernated = guest->Run("echo disk > /sys/power/state");
  EXPECT_THAT(hibernated.output, HasSubstr("Device or resource busy"));
  EXPECT_THAT(guest->Run("dmesg | grep ivmq").output, HasSubstr("unbind it from ivmq first"));
  EXPECT_EQ(guest->Run("driver_guest info /dev/ivmq0").status, 0);
  ExpectQuiet(*guest);
}

TEST_P(DriverTest, BadInputIsRefusedWithoutAWord) {
  const Host host(folder_);
  const auto guest = Start("vm", {host.Device()});
  ASSERT_NE(guest, nullptr);
  const std::string lines = guest->Run("dmesg | wc -l").output;
  EXPECT_EQ(guest->Run("driver_guest check /dev/ivmq0 doorbell").output, "ok\n");
  EXPECT_EQ(guest->Run("dmesg | wc -l").output, lines);
  EXPECT_EQ(guest->Run("lsmod | grep -c '^ivmq .* 0 '").output, "1\n");
}

TEST_P(DriverTest, PlainDeviceGivesMemoryAndMarksTheDead) {
  const Host host(folder_);  // for its formatted region: a plain device over the same memory
  const auto guest = Start("vm", {IvshmemDevice::Plain(host.MemoryFile(), kSize)});
  ASSERT_NE(guest, nullptr);
  EXPECT_EQ(
      guest->Run("driver_guest info /dev/ivmq0").output,
      "api 3 doorbell 0 size 1048576 ivposition 65535 vectors 0 server 8 unused 0 interrupts 0\n");
  EXPECT_EQ(guest->Run("ivpci_ioctl /dev/ivmq0 ivposition").output, "IVPOSITION: 0\n");
  for (const bool foreign : {false, true}) {
    const auto job = guest->Start("exec driver_guest live /dev/ivmq0 4 7");
    ASSERT_TRUE(guest->WaitForOutput(job, "live\n"));
    // The same word, but another guest's: its boot id says so.
    if (foreign) host.memory.slot(4).boot_id[1] += 1;
    guest->Signal(job, "KILL");
    guest->Wait(job);
    EXPECT_EQ(guest->Run("lsmod | grep -c '^ivmq .* 0 '").output, "1\n");
    EXPECT_EQ(host.memory.state(4), foreign ? PeerState::kLive : PeerState::kDead);
  }
  EXPECT_EQ(guest->Run("driver_guest check /dev/ivmq0 plain").output, "ok\n");
  ExpectQuiet(*guest);
}

TEST_P(DriverTest, DevicesComeAndGoWhileTheyAreUsed) {
  const Host host(folder_);
  const IvshmemDevice plain = IvshmemDevice::Plain(host.MemoryFile(), kSize);
  const auto guest = Start("vm", {plain});
  ASSERT_NE(guest, nullptr);
  host.Sleep(0, 6);
  for (std::uint32_t cycle = 0; cycle < 10; ++cycle) {
    const bool doorbell = cycle % 2 == 0;
    ASSERT_TRUE(guest->AddDevice(doorbell ? host.Device() : plain));
    const auto user = guest->Start(
        "until [ -c /dev/ivmq1 ]; do usleep 10000; done; exec driver_guest unplug /dev/ivmq1");
    ASSERT_TRUE(guest->WaitForOutput(user, "ready"));
    const auto owner =
        guest->Start("exec driver_guest live /dev/ivmq1 4 " + std::to_string(cycle + 1));
    ASSERT_TRUE(guest->WaitForOutput(owner, "live\n"));
    (void)host.client->TakeRings(6);
    if (cycle == 0) {
      EXPECT_NE(guest->Run("rmmod ivmq").status, 0);
    }
    ASSERT_TRUE(guest->RemoveLastDevice());
    EXPECT_THAT(guest->Wait(user).output, HasSubstr("ok\n"));
    // Who has lost the memory has lost the slot, though it lives.
    EXPECT_EQ(host.memory.state(4), PeerState::kDead);
    EXPECT_EQ(host.client->TakeRings(6) > 0, doorbell);
    EXPECT_EQ(host.memory.header().magic, layout::kMagic);  // what the user wrote is its own
    guest->Signal(owner, "KILL");
    guest->Wait(owner);
  }
  // The other one was there all the time.
  EXPECT_EQ(guest->Run("ls /dev/ivmq* && driver_guest info /dev/ivmq0").status, 0);
  ASSERT_TRUE(guest->RemoveLastDevice());
  // Unbound and bound again by hand; and a module that nobody uses can go and come back.
  ASSERT_TRUE(guest->AddDevice(host.Device()));
  EXPECT_EQ(guest
                ->Run("cd /sys/bus/pci/drivers/ivmq && d=$(ls -d 0000:*) && for i in 1 2 3; do "
                      "echo $d > unbind && [ ! -e /dev/ivmq0 ] && echo $d > bind || exit 1; done; "
                      "driver_guest info /dev/ivmq0")
                .status,
            0);
  EXPECT_EQ(guest
                ->Run("cd /sys/bus/pci/drivers/ivmq && d=$(ls -d 0000:*) && for i in 1 2; do "
                      "driver_guest stress /dev/ivmq0 $i 20 & done; "
                      "while pidof driver_guest > /dev/null; do "
                      "echo $d > unbind; echo $d > bind; usleep 50000; done")
                .output,
            "ok\nok\n");
  EXPECT_EQ(guest
                ->Run(std::string("for i in 1 2 3; do rmmod ivmq && ") + kLoad +
                      " || exit 1; done; driver_guest info /dev/ivmq0")
                .status,
            0);
  ExpectQuiet(*guest);
}

// Others use ivshmem devices, too. This one's memory holds no region, yet.
class DriverOwnershipTest : public DriverTest {
 protected:
  DriverOwnershipTest() { EXPECT_EQ(ftruncate(other_.get(), kSize), 0); }
  [[nodiscard]] IvshmemDevice OtherDevice() const {
    return IvshmemDevice::Plain(
        "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(other_.get()), kSize);
  }

  const UniqueFd other_{memfd_create("driver_test", MFD_CLOEXEC)};
};

TEST_P(DriverOwnershipTest, ADeviceWithoutARegionIsLeftAsItIs) {
  const Host host(folder_);
  const auto guest =
      Guest::Restore({.devices = {OtherDevice(), host.Device()}, .kernel = GetParam()});
  ASSERT_NE(guest, nullptr);
  EXPECT_EQ(guest
                ->Run("cd /sys/bus/pci/devices; for d in $(grep -l 0x1110 */device); do "
                      "od -x ${d%device}config > /tmp/${d%%/*}; done")
                .status,
            0);
  ASSERT_EQ(guest->Run(kLoad).status, 0);
  EXPECT_EQ(guest->Run("ls /dev/ivmq*").output, "/dev/ivmq0\n");
  EXPECT_THAT(guest->Run("driver_guest info /dev/ivmq0").output, HasSubstr("doorbell 1 "));
  const std::string other =
      guest
          ->Run(
              "cd /sys/bus/pci/devices; for d in $(grep -l 0x1110 */device); do "
              "[ -e ${d%device}driver ] || echo -n ${d%%/*}; done")
          .output;
  EXPECT_EQ(
      guest->Run("od -x /sys/bus/pci/devices/" + other + "/config | diff /tmp/" + other + " -")
          .output,
      "");
  EXPECT_THAT(guest->Run("dmesg | grep ivmq").output, HasSubstr(other + ": left alone"));

  const std::string bind = "echo " + other + " > /sys/bus/pci/drivers/ivmq/bind";
  EXPECT_NE(guest->Run(bind).status, 0);
  const Memory memory(other_.get());
  ASSERT_TRUE(Format(memory.bytes(), {.max_peers = 8}).ok());
  EXPECT_EQ(guest->Run(bind).status, 0);
  EXPECT_THAT(guest->Run("driver_guest info /dev/ivmq1").output, HasSubstr("doorbell 0 "));
  ExpectQuiet(*guest);
}

TEST_P(DriverOwnershipTest, ADeviceThatTheUserNamesIsTaken) {
  const auto guest = Start("vm", {OtherDevice()}, "devices=any");
  ASSERT_NE(guest, nullptr);
  EXPECT_EQ(guest
                ->Run("[ -c /dev/ivmq0 ] && rmmod ivmq && device=$(cd /sys/bus/pci/devices && "
                      "dirname $(grep -l 0x1110 */device)) && " +
                      std::string(kLoad) + " devices=0000:00:00.0,$device && [ -c /dev/ivmq0 ]")
                .status,
            0);
  EXPECT_EQ(guest
                ->Run(std::string("rmmod ivmq && ") + kLoad +
                      " devices=0000:00:00.0 && [ ! -e /dev/ivmq0 ]")
                .status,
            0);
  ExpectQuiet(*guest);
}

INSTANTIATE_TEST_SUITE_P(Linux, DriverOwnershipTest, ::testing::Values("6.1", "6.12"), KernelName);

// A server may hand out this id, which stands for "none" in the region.
TEST_P(DriverTest, DeviceWithAnIdThatStandsForNoneIsRefused) {
  const UniqueFd memory = MakeMemory(kSize);
  const UniqueFd event = MakeEventfd();
  FakeIvshmemServer server([&](const Conversation& qemu) {
    qemu.Greet(IVMQ_NO_IVPOSITION, memory.get(), {event.get()});
  });
  const auto guest = Start("vm", {IvshmemDevice::Doorbell(server.path(), 1)}, "devices=any");
  ASSERT_NE(guest, nullptr);
  EXPECT_THAT(guest->Run("dmesg | grep ivmq").output, HasSubstr("id 65535"));
  EXPECT_NE(guest->Run("ls /dev/ivmq0").status, 0);
}

// The machine is copied while it runs, as by restoring its snapshot beside it. The kernel sees by
// the generation id that it is the copy; 6.1 of Debian's cloud does not look at it.
TEST_F(DriverGuestTest, ProcessesOfACopyAreCutOffAndTheOriginalGoesOn) {
  const Host host(folder_);
  const auto machine = [](const std::string& generation) -> std::vector<std::string> {
    return {"-device", "vmgenid,guid=" + generation};
  };
  const auto original =
      Load(Guest::Boot({.name = "original",
                        .devices = {IvshmemDevice::Master(host.MemoryFile(), kSize)},
                        .kernel = "6.12",
                        .arguments = machine("11111111-1111-1111-1111-111111111111")}));
  ASSERT_NE(original, nullptr);
  const auto user = original->Start("exec driver_guest unplug /dev/ivmq0");
  ASSERT_TRUE(original->WaitForOutput(user, "ready"));
  const auto owner = original->Start("exec driver_guest live /dev/ivmq0 4 7");
  ASSERT_TRUE(original->WaitForOutput(owner, "live\n"));

  const auto copy = original->Copy(machine("22222222-2222-2222-2222-222222222222"));
  ASSERT_NE(copy, nullptr);
  EXPECT_EQ(copy->Wait(user).output, "ready\nok\n");
  // The slot is the original's: the end of the copied process does not touch it.
  copy->Signal(owner, "KILL");
  copy->Wait(owner);
  EXPECT_EQ(host.memory.state(4), PeerState::kLive);
  // The copy begins anew.
  const auto next = copy->Start("exec driver_guest live /dev/ivmq0 5 1");
  ASSERT_TRUE(copy->WaitForOutput(next, "live\n"));
  copy->Signal(next, "KILL");
  EXPECT_TRUE(host.memory.AwaitState(5, PeerState::kDead));
  copy->Wait(next);
  EXPECT_THAT(copy->Run("dmesg | grep ivmq").output, HasSubstr("this machine is a copy"));
  ExpectQuiet(*copy);
  copy->Kill();

  EXPECT_EQ(host.memory.state(4), PeerState::kLive);
  original->Signal(owner, "KILL");
  EXPECT_TRUE(host.memory.AwaitState(4, PeerState::kDead));
  original->Wait(owner);
  EXPECT_THAT(original->Run("driver_guest info /dev/ivmq0").output, HasSubstr("api 3"));
  ExpectQuiet(*original);
}

TEST(DriverMemoryTest, EightGibibytesAboveTheFourthAreMappedToTheirEnd) {
  constexpr std::size_t kHuge = std::size_t{8} << 30;
  const UniqueFd memory(memfd_create("driver_test", MFD_CLOEXEC));  // sparse
  ASSERT_EQ(ftruncate(memory.get(), kHuge), 0);
  const auto guest = Guest::Boot(
      {.devices = {IvshmemDevice::Plain(
           "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(memory.get()), kHuge)},
       .kernel = "6.12"});
  ASSERT_NE(guest, nullptr);
  ASSERT_EQ(guest->Run("insmod /lib/ivmq/6.12/ivmq.ko devices=any").status, 0);
  EXPECT_THAT(guest->Run("driver_guest info /dev/ivmq0").output, HasSubstr("size 8589934592 "));
  const auto user = guest->Start("driver_guest huge /dev/ivmq0");
  EXPECT_TRUE(guest->WaitForOutput(user, "ok\nready\n"));
  for (const std::size_t offset : {std::size_t{0}, (std::size_t{4} << 30) + 8, kHuge - 8}) {
    const std::uint64_t value = 0xfeed'0000'0000'0000 + offset;
    EXPECT_EQ(guest
                  ->Run("driver_guest poke /dev/ivmq0 " + std::to_string(offset) + " " +
                        std::to_string(value))
                  .status,
              0);
    std::uint64_t seen = 0;
    EXPECT_EQ(pread(memory.get(), &seen, sizeof seen, static_cast<off_t>(offset)), 8);
    EXPECT_EQ(seen, value);
  }
  EXPECT_EQ(guest->Run("cd /sys/bus/pci/drivers/ivmq && echo 0000:* > unbind").status, 0);
  EXPECT_EQ(guest->Wait(user).output, "ok\nready\nover\n");
  EXPECT_THAT(guest->Run("dmesg | grep -E 'WARNING|BUG|Oops|Call Trace|protection fault'").output,
              IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Linux, DriverTest, ::testing::Values("6.1", "6.12"), KernelName);

}  // namespace
}  // namespace ivmq::testing
