// Every byte that peers look at while they talk, overwritten one at a time.
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using testing::kMiB;
using testing::OpenNode;

class HostileBytesTest : public testing::NodeTest {
 protected:
  HostileBytesTest() : NodeTest(kMiB, {.max_peers = 4}) { OpenBoth(); }

  void OpenBoth() {
    b_.reset();
    a_.reset();
    NodeOptions options;
    options.on_report = [this](const Status& status) {
      EXPECT_FALSE(status.ok());
      ++reports_;
    };
    options.name = "a";
    a_ = OpenNode(hub_, 1, options);
    options.name = "b";
    b_ = OpenNode(hub_, 2, options);
  }

  // Both send and poll a little. Returns whether both heard each other.
  bool Exchange() {
    (void)a_->Send(b_->id(), "to b");
    (void)b_->Send(a_->id(), "to a");
    bool a_heard = false;
    bool b_heard = false;
    for (int i = 0; i < 3; ++i) {
      (void)a_->Poll(
          [&](const Message& message) { a_heard = testing::AsText(message.payload) == "to a"; });
      (void)b_->Poll(
          [&](const Message& message) { b_heard = testing::AsText(message.payload) == "to b"; });
    }
    return a_heard && b_heard;
  }

  // Overwrites each byte of [begin, end) with several values while both talk, and puts it back.
  void Overwrite(std::size_t begin, std::size_t end) {
    const auto bytes = hub_.memory();
    for (std::size_t at = begin; at < end; ++at) {
      for (const unsigned flip : {0x01U, 0x04U, 0x80U, 0xffU}) {
        const std::atomic_ref byte(bytes[at]);
        const std::byte before = byte.load();
        byte.store(before ^ static_cast<std::byte>(flip));
        (void)Exchange();
        (void)a_->Peers();
        (void)a_->Lookup("b");
        (void)b_->Arm();
        (void)b_->Poll([](const Message&) {});
        byte.store(before);
      }
    }
  }

  // A pair that opens now can talk, whatever happened to the last one.
  void ExpectNewPairTalks() {
    OpenBoth();
    bool heard = false;
    for (int i = 0; i < 100 && !heard; ++i) heard = Exchange();
    EXPECT_TRUE(heard);
  }

  std::atomic<int> reports_{0};
  std::unique_ptr<Node> a_;
  std::unique_ptr<Node> b_;
};

TEST_F(HostileBytesTest, OfTheHeader) {
  ASSERT_TRUE(Exchange());
  Overwrite(0, 300);
  ExpectNewPairTalks();
}

TEST_F(HostileBytesTest, OfThePeerTable) {
  const Geometry& g = hub_.region().geometry();
  ASSERT_TRUE(Exchange());
  for (const std::uint32_t slot : {a_->id().slot, b_->id().slot, 3U}) {
    const std::size_t begin = g.peer_table_offset + slot * sizeof(layout::PeerSlot);
    Overwrite(begin, begin + 400);
    Overwrite(begin + offsetof(layout::PeerSlot, services), begin + 800);
    Overwrite(begin + offsetof(layout::PeerSlot, topics), begin + 2080);
  }
  ExpectNewPairTalks();
}

TEST_F(HostileBytesTest, OfTheDirectoryAndTheOwners) {
  const Geometry& g = hub_.region().geometry();
  ASSERT_TRUE(Exchange());
  Overwrite(g.directory_offset, g.owners_offset + 16 * sizeof(std::uint64_t));
  ExpectNewPairTalks();
}

TEST_F(HostileBytesTest, OfRingHeaders) {
  const Geometry& g = hub_.region().geometry();
  ASSERT_TRUE(Exchange());
  for (const auto& [from, to] : {std::pair{b_->id(), a_->id()}, std::pair{a_->id(), b_->id()}}) {
    const layout::Cell cell = CellOf(from, to);
    ASSERT_EQ(cell.state, layout::CellState::kLive);
    const std::size_t begin = g.arena_offset + std::uint64_t{cell.first_unit} * g.unit_size;
    Overwrite(begin, begin + 400);
  }
  ExpectNewPairTalks();
}

// Of a record that waits to be read: its commit word, frame and payload.
TEST_F(HostileBytesTest, OfRecords) {
  const auto bytes = hub_.memory();
  int heard = 0;
  for (std::size_t offset = 0; offset < 24; ++offset) {
    for (unsigned flip = 1; flip < 256; flip += 6) {
      ASSERT_EQ(a_->Send(b_->id(), "0123456"), SendResult::kOk);
      const RingView ring = RingOf(a_->id(), b_->id());
      const std::size_t at = static_cast<std::size_t>(ring.data - bytes.data()) +
                             (ring.header->acked.load() & (ring.capacity - 1)) + offset;
      bytes[at] ^= static_cast<std::byte>(flip);
      std::size_t handled = 0;
      for (int i = 0; i < 3; ++i) {
        (void)b_->Poll([&](const Message& message) {
          ++handled;
          EXPECT_LE(message.payload.size(), ring.capacity);
        });
      }
      heard += handled != 0 ? 1 : 0;
      EXPECT_LE(handled, 1U);
      // Where it waits for the rest of a record that never comes, a new pair begins afresh.
      if (handled == 0) OpenBoth();
    }
  }
  EXPECT_GT(heard, 0);
  ExpectNewPairTalks();  // the former pairs have told all by then
  EXPECT_GT(reports_, 0) << "no damage was ever reported";
}

}  // namespace
}  // namespace ivmq
