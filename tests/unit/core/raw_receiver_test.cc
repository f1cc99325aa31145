// What a node sends of a large message: the test reads each piece, and may ask for all of it again.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"
#include "ivmq/transport.h"

#include "support/arena_check.h"
#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"
#include "support/still_peer.h"

namespace ivmq {
namespace {

using layout::Counter;
using layout::FragmentHeader;
using layout::Frame;
using layout::FrameKind;
using testing::kMiB;
using testing::kWait;

// The ring of the cell, once its producer has made it live.
RingView AwaitRing(const Region& region, const layout::Word& cell) {
  for (;;) {
    const layout::Cell value = layout::Cell::FromWord(cell.load());
    if (value.state == layout::CellState::kLive) return *region.RingOf(value);
    std::this_thread::yield();
  }
}

// Takes fragments out of a ring, and rings `doorbell` for a producer that waits for room.
class FragmentReader {
 public:
  FragmentReader(const RingView& ring, Doorbell& doorbell)
      : ring_(ring), doorbell_(doorbell), consumer_(*Consumer::Open(ring)) {}

  // False: none waits.
  bool TakeOne() {
    std::span<const std::byte> record;
    if (consumer_.Peek(&record) != PeekResult::kRecord) return false;
    Frame frame;
    FragmentHeader header;
    std::memcpy(&frame, record.data(), sizeof(frame));
    std::memcpy(&header, record.data() + sizeof(frame), sizeof(header));
    EXPECT_EQ(frame.kind, FrameKind::kFragment);
    if (first_ == 0) first_ = frame.type;
    last_ = frame.type;
    begun_before_ = frame.name_bytes;
    total_ = header.total;
    if (header.offset == 0) got_.clear();
    EXPECT_EQ(header.offset, got_.size());
    const auto piece = record.subspan(sizeof(frame) + sizeof(header));
    got_.insert(got_.end(), piece.begin(), piece.end());
    consumer_.Release();
    consumer_.PublishReleased();
    if (consumer_.TakeWakeRequest()) doorbell_.Ring(1, 0);
    return true;
  }
  // Takes all of one message.
  void TakeMessage() {
    while (got_.empty() || got_.size() < total_) {
      if (!TakeOne()) std::this_thread::yield();
    }
  }
  // Says that message `number` has to be begun anew.
  void Drop(std::uint32_t number) { ring_.header->dropped.store(number); }

  [[nodiscard]] std::uint32_t first() const { return first_; }
  [[nodiscard]] std::uint32_t last() const { return last_; }
  [[nodiscard]] std::uint32_t begun_before() const { return begun_before_; }
  [[nodiscard]] std::span<const std::byte> message() const {
    return std::span(got_).subspan(sizeof(Frame));
  }

 private:
  RingView ring_;
  Doorbell& doorbell_;
  Consumer consumer_;
  std::uint32_t first_ = 0;
  std::uint32_t last_ = 0;
  std::uint32_t begun_before_ = 0;
  std::uint64_t total_ = 0;
  std::vector<std::byte> got_;
};

// A node that sends to a peer whose rings the test reads.
class RawReceiverTest : public testing::NodeTest {
 protected:
  RawReceiverTest() = default;
  explicit RawReceiverTest(const FormatOptions& format) : NodeTest(4 * kMiB, format) {}

  [[nodiscard]] layout::Word& cell() const { return CellWordOf(node_->id(), raw_.id()); }

  const testing::StillPeer raw_{MakeTransport(hub_, 2), "raw"};
  const std::unique_ptr<Node> node_ = Open("node");
};

TEST_F(RawReceiverTest, ASenderBeginsAnewWhatItsReceiverDropped) {
  const std::vector<std::byte> message = testing::Pattern(kMiB, 5);
  std::thread sender(
      [&] { EXPECT_EQ(node_->Send(raw_.id(), {.type = 5}, message, kWait), SendResult::kOk); });
  const RingView ring = AwaitRing(region(), cell());
  ASSERT_LT(ring.capacity, message.size()) << "all of it might be in the ring at once";
  FragmentReader reader(ring, raw_.transport());
  while (!reader.TakeOne()) std::this_thread::yield();
  reader.Drop(reader.first());
  while (reader.last() == reader.first()) (void)reader.TakeOne();
  EXPECT_EQ(reader.last(), reader.first() + 1);
  EXPECT_EQ(reader.begun_before(), 1U);
  reader.TakeMessage();
  sender.join();
  EXPECT_TRUE(testing::HasPattern(reader.message(), 5));
}

TEST_F(RawReceiverTest, ASendEndsAtItsTimeoutThoughItsReceiverDropsItAgainAndAgain) {
  // The message is larger than the ring, so that none of it goes to its end unseen.
  std::atomic<bool> begun_anew{false};
  std::atomic<bool> ended{false};
  std::thread sender([&] {
    const SendOptions patient{.when_full = WhenFull::kWait,
                              .timeout = std::chrono::milliseconds(200)};
    do {
      EXPECT_EQ(node_->Send(raw_.id(), testing::Pattern(kMiB, 5), patient), SendResult::kTimedOut);
    } while (!begun_anew);
    ended = true;
  });
  const RingView ring = AwaitRing(region(), cell());
  Consumer consumer = *Consumer::Open(ring);
  while (!ended) {
    // Nothing is copied, so that there is room whenever the sender looks.
    std::span<const std::byte> record;
    if (consumer.Peek(&record) != PeekResult::kRecord) continue;
    Frame frame;
    std::memcpy(&frame, record.data(), sizeof(frame));
    if (frame.name_bytes != 0) begun_anew = true;
    ring.header->dropped.store(frame.type);
    consumer.Release();
    consumer.PublishReleased();
    if (consumer.TakeWakeRequest()) raw_.transport().Ring(1, 0);
  }
  sender.join();
}

// The ring in which a sender waits for room is lost, and there is room for a small one only.
class SmallerRingTest : public RawReceiverTest {
 protected:
  SmallerRingTest() : RawReceiverTest({.max_peers = 64, .ring_capacity = kMiB}) {}

  RingView ReplaceRing() {
    const Arena arena(region());
    std::uint32_t producer = node_->id().slot;
    do {
      EXPECT_TRUE(arena.Carve(raw_.id().slot, ++producer, 1, raw_.id().incarnation).ok());
    } while (arena.Stats().smallest_capacity != layout::kMinRingCapacity);
    const layout::Cell stolen = layout::Cell::FromWord(cell());
    testing::StealUnits(region(), stolen, region().CellIndex(raw_.id().slot, ++producer));
    const std::uint64_t withdrawn = stolen.With(layout::CellState::kWithdrawn).ToWord();
    while (cell() != withdrawn) std::this_thread::yield();
    EXPECT_TRUE(arena.Close(region().CellIndex(raw_.id().slot, node_->id().slot), withdrawn));
    raw_.transport().Ring(1, 0);
    const RingView ring = AwaitRing(region(), cell());
    EXPECT_EQ(ring.capacity, layout::kMinRingCapacity);
    return ring;
  }
};

TEST_F(SmallerRingTest, ALargeMessageGoesInSmallerPieces) {
  std::thread sender([&] {
    EXPECT_EQ(node_->Send(raw_.id(), testing::Pattern(4 * kMiB, 5), kWait), SendResult::kOk);
  });
  (void)AwaitRing(region(), cell());
  while (node_->counter(Counter::kRingsFull) == 0) std::this_thread::yield();
  FragmentReader reader(ReplaceRing(), raw_.transport());
  reader.TakeMessage();
  sender.join();
  EXPECT_TRUE(testing::HasPattern(reader.message(), 5));
}

TEST_F(SmallerRingTest, AMessageThatWasOneRecordGoesInPieces) {
  const std::vector<std::byte> message = testing::Pattern(kMiB / 3, 5);
  while (node_->Send(raw_.id(), message) == SendResult::kOk) {
  }
  const std::uint64_t full = node_->counter(Counter::kRingsFull);
  std::thread sender([&] { EXPECT_EQ(node_->Send(raw_.id(), message, kWait), SendResult::kOk); });
  while (node_->counter(Counter::kRingsFull) == full) std::this_thread::yield();
  FragmentReader reader(ReplaceRing(), raw_.transport());
  reader.TakeMessage();
  sender.join();
  EXPECT_TRUE(testing::HasPattern(reader.message(), 5));
}

}  // namespace
}  // namespace ivmq
