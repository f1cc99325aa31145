// The lock on a slot's byte says whether the slot's process lives, however it ends.
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"
#include "ivmq/node.h"

#include "support/child.h"
#include "support/temp_folder.h"

namespace ivmq::testing {
namespace {

constexpr std::uint32_t kSlot = 5;

class SlotLockTest : public ::testing::Test {
 protected:
  SlotLockTest() {
    EXPECT_TRUE(CreateRegionFile(address_, 1 << 20, {.format = {.max_peers = 8}}).ok());
  }
  // A process that holds the lock of kSlot until a signal ends it.
  Child Holder() {
    const unsigned before = held_.value();
    Child child = Child::Fork([this] {
      const auto transport = OpenTransport(address_);
      ASSERT_TRUE(transport.ok()) << transport.status().ToString();
      ASSERT_TRUE((*transport)->LockSlot(kSlot).ok());
      held_.Add();
      for (;;) pause();
    });
    held_.AwaitAtLeast(before + 1);
    return child;
  }

  TempFolder folder_;
  std::string address_ = "file:" + folder_ / "region";
  SharedCounter held_;
};

TEST_F(SlotLockTest, KilledProcessReleasesItsSlot) {
  Child holder = Holder();
  const auto transport = OpenTransport(address_);
  ASSERT_TRUE(transport.ok()) << transport.status().ToString();
  EXPECT_TRUE((*transport)->IsSlotLocked(kSlot));
  EXPECT_EQ((*transport)->LockSlot(kSlot).code(), StatusCode::kAborted);
  holder.Kill();
  EXPECT_FALSE((*transport)->IsSlotLocked(kSlot));
  EXPECT_TRUE((*transport)->LockSlot(kSlot).ok());
}

TEST_F(SlotLockTest, StoppedProcessKeepsItsSlot) {
  Child holder = Holder();
  const auto transport = OpenTransport(address_);
  ASSERT_TRUE(transport.ok());
  holder.Stop();
  EXPECT_TRUE((*transport)->IsSlotLocked(kSlot));
}

// Daemons close descriptors that they do not know. While the region is mapped it can be written, so
// the slot's owner lives.
TEST_F(SlotLockTest, TheLockGoesWithTheLastMapping) {
  SharedCounter closed;
  SharedCounter unmap;
  SharedCounter unmapped;
  Child holder = Child::Fork([&] {
    const auto transport = OpenTransport(address_);
    ASSERT_TRUE(transport.ok()) << transport.status().ToString();
    ASSERT_TRUE((*transport)->LockSlot(kSlot).ok());
    closefrom(3);
    closed.Add();
    unmap.AwaitAtLeast(1);
    const std::span<std::byte> memory = (*transport)->memory();
    EXPECT_EQ(munmap(memory.data(), memory.size()), 0);
    unmapped.Add();
    for (;;) pause();
  });
  closed.AwaitAtLeast(1);
  const auto transport = OpenTransport(address_);
  ASSERT_TRUE(transport.ok()) << transport.status().ToString();
  EXPECT_TRUE((*transport)->IsSlotLocked(kSlot));
  unmap.Add();
  unmapped.AwaitAtLeast(1);
  EXPECT_FALSE((*transport)->IsSlotLocked(kSlot));
}

TEST_F(SlotLockTest, LockDomainIsTheSameInBothProcesses) {
  const auto transport = OpenTransport(address_);
  ASSERT_TRUE(transport.ok());
  Child child = Child::Fork([&] {
    const auto other = OpenTransport(address_);
    ASSERT_TRUE(other.ok());
    EXPECT_EQ((*other)->lock_domain(), (*transport)->lock_domain());
  });
  EXPECT_EQ(child.Wait(), 0);
}

// They choose the same free slot; whoever finds it locked takes another one.
TEST_F(SlotLockTest, ProcessesThatAttachAtOnceAllGetASlot) {
  for (int round = 0; round < 30; ++round) {
    SharedCounter ready;
    SharedCounter opened;
    std::vector<Child> children;
    for (unsigned i = 0; i < 4; ++i) {
      children.push_back(Child::Fork([&, i] {
        ready.Add();
        ready.AwaitAtLeast(4);
        const auto node = Node::Open(address_, {.name = "peer" + std::to_string(i)});
        opened.Add();  // a child that failed must not keep the others waiting
        ASSERT_TRUE(node.ok()) << node.status().ToString();
        opened.AwaitAtLeast(4);
      }));
    }
    for (Child& child : children) ASSERT_EQ(child.Wait(), 0) << "round " << round;
  }
}

TEST_F(SlotLockTest, RegionIsFormattedAnewOnlyAfterTheLastProcessEnded) {
  Child holder = Holder();
  const CreateOptions options = {.format = {.max_peers = 8}, .replace = true};
  EXPECT_EQ(CreateRegionFile(address_, 0, options).code(), StatusCode::kFailedPrecondition);
  holder.Kill();
  EXPECT_TRUE(CreateRegionFile(address_, 0, options).ok());
}

}  // namespace
}  // namespace ivmq::testing
