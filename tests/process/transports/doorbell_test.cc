// Two processes ring each other through the eventfds that an ivshmem server gave them.
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/address.h"
#include "ivmq/ivshmem_client.h"

#include "fake_ivshmem_server.h"
#include "src/ivshmem_protocol.h"
#include "support/child.h"

namespace ivmq::testing {
namespace {

constexpr int kRounds = 2000;
constexpr std::size_t kSize = 1 << 20;

UniqueFd MakeRegion() {
  UniqueFd memory = MakeMemory(kSize);
  const auto region =
      OpenRegion("file:/proc/self/fd/" + std::to_string(memory.get()), Access::kReadWrite);
  EXPECT_TRUE(region.ok() && Format(region->memory, {.max_peers = 4}).ok());
  return memory;
}

// Sleeps until this process is rung; announcements that come meanwhile are handled.
void AwaitRing(Transport& transport) {
  for (;;) {
    std::array<pollfd, 2> waits = {pollfd{transport.wake_fd(), POLLIN, 0},
                                   pollfd{transport.control_fd(), POLLIN, 0}};
    ASSERT_GT(poll(waits.data(), waits.size(), -1), 0);
    if (waits[1].revents != 0) {
      ASSERT_TRUE(transport.HandleControl());
    }
    if (Drain(transport.wake_fd()) != 0) return;
  }
}

// Takes turns with the other one, of ids 1 and 2; 1 begins, also if it does not know 2 yet.
void PlayDoorbellPingPong(const std::string& address) {
  const auto opened = OpenTransport(address);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  Transport& transport = **opened;
  const std::uint16_t own = transport.info().ivposition;
  for (int round = 0; round < kRounds; ++round) {
    if (own == 1) transport.Ring(2, 0);
    AwaitRing(transport);
    if (own == 2) transport.Ring(1, 0);
  }
}

TEST(DoorbellTest, TwoProcessesWakeEachOtherThroughEventfds) {
  const Listener listener;
  const std::string address = "unix:" + listener.path();
  Child a = Child::Fork([&] { PlayDoorbellPingPong(address); });
  Child b = Child::Fork([&] { PlayDoorbellPingPong(address); });

  const UniqueFd memory = MakeRegion();
  const std::array<UniqueFd, 3> bells = {UniqueFd(), MakeEventfd(), MakeEventfd()};
  const UniqueFd first = listener.Accept();
  Conversation(first.get()).Greet(1, memory.get(), {bells[1].get()});
  const UniqueFd second = listener.Accept();
  const Conversation to_second(second.get());
  to_second.Send(ivshmem::kVersion);
  to_second.Send(2);
  to_second.Send(ivshmem::kSharedMemory, memory.get());
  to_second.Send(1, bells[1].get());
  to_second.Send(2, bells[2].get());
  Conversation(first.get()).Send(2, bells[2].get());

  EXPECT_EQ(a.Wait(), 0);
  EXPECT_EQ(b.Wait(), 0);
}

TEST(DoorbellTest, OneProcessWaitsForAnotherOnAnyVectorWithoutARegion) {
  const Listener listener;
  Child waiter = Child::Fork([&] {
    const auto client = IvshmemClient::Connect(listener.path());
    ASSERT_TRUE(client.ok()) << client.status().ToString();
    const auto rung = (*client)->Wait(std::chrono::steady_clock::time_point::max());
    ASSERT_TRUE(rung.ok()) << rung.status().ToString();
    EXPECT_EQ(rung->vector, 2U);
    EXPECT_EQ(rung->count, 1U);
  });
  const UniqueFd memory = MakeMemory(kSize);
  const std::array<UniqueFd, 3> bells = {MakeEventfd(), MakeEventfd(), MakeEventfd()};
  const std::vector<int> vectors = {bells[0].get(), bells[1].get(), bells[2].get()};
  const UniqueFd connection = listener.Accept();
  Conversation(connection.get()).Greet(7, memory.get(), vectors);

  Child ringer = Child::Fork([&] {
    const auto client = IvshmemClient::Connect(listener.path());
    ASSERT_TRUE(client.ok()) << client.status().ToString();
    EXPECT_EQ((*client)->Ring(7, 2), IvshmemClient::RingResult::kRung);
  });
  const UniqueFd other = listener.Accept();
  const Conversation to_ringer(other.get());
  to_ringer.Send(ivshmem::kVersion);
  to_ringer.Send(8);
  to_ringer.Send(ivshmem::kSharedMemory, memory.get());
  for (const int fd : vectors) to_ringer.Send(7, fd);
  const UniqueFd own = MakeEventfd();
  to_ringer.Send(8, own.get());

  EXPECT_EQ(ringer.Wait(), 0);
  EXPECT_EQ(waiter.Wait(), 0);
}

TEST(DoorbellTest, KilledServerLeavesItsClientsTheirEventfds) {
  const Listener listener;
  SharedCounter attached;
  // The server is the process that dies: of this test's ends only the eventfd stays.
  const UniqueFd bell = MakeEventfd();
  Child server = Child::Fork([&] {
    const UniqueFd memory = MakeRegion();
    const UniqueFd client = listener.Accept();
    Conversation(client.get()).Greet(1, memory.get(), {bell.get()});
    for (;;) pause();
  });
  Child client = Child::Fork([&] {
    const auto transport = OpenTransport("unix:" + listener.path());
    ASSERT_TRUE(transport.ok()) << transport.status().ToString();
    attached.Add();
    pollfd gone{(*transport)->control_fd(), POLLIN, 0};
    ASSERT_EQ(poll(&gone, 1, -1), 1);
    EXPECT_FALSE((*transport)->HandleControl());
    attached.Add();
    pollfd rung{(*transport)->wake_fd(), POLLIN, 0};
    ASSERT_EQ(poll(&rung, 1, -1), 1);
    (*transport)->memory().back() = std::byte{1};
  });
  attached.AwaitAtLeast(1);
  server.Kill();
  attached.AwaitAtLeast(2);
  const std::uint64_t one = 1;
  ASSERT_EQ(write(bell.get(), &one, sizeof(one)), 8);
  EXPECT_EQ(client.Wait(), 0);
}

}  // namespace
}  // namespace ivmq::testing
