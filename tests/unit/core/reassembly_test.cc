// Large messages piece by piece, against a peer whose every record the test writes or reads.
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/arena_check.h"
#include "support/eventfd_transport.h"
#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using layout::FragmentHeader;
using layout::Frame;
using layout::FrameKind;
using testing::Hub;
using testing::kIgnore;
using testing::kMiB;
using testing::kWait;
using testing::OpenNode;
using testing::PollUntil;

constexpr std::uint64_t kPiece = 5000;
constexpr std::uint64_t kPieces = 4;
constexpr std::uint64_t kTotal = kPiece * kPieces;

class ReassemblyTest : public ::testing::Test {
 protected:
  ReassemblyTest()
      : hub_(4 * kMiB, {.max_peers = 8}), table_(hub_.region()), raw_transport_(hub_, 2) {
    const Result<ClaimedSlot> claimed = table_.Claim({.name = "raw"}, raw_transport_);
    EXPECT_TRUE(claimed.ok()) << claimed.status().ToString();
    raw_ = claimed->id;
    // Memory for one message of the raw peer's, and for nothing beside it.
    NodeOptions options{.name = "node", .max_message_bytes = kMiB, .reassembly_bytes = kMiB};
    options.on_report = [this](const Status& status) {
      EXPECT_EQ(status.code(), StatusCode::kDataLoss);
      ++losses_;
    };
    node_ = OpenNode(hub_, 1, std::move(options));
  }

  // ---- The raw peer as sender ----

  void OpenRingToNode() {
    const Result<CarvedRing> carved =
        Arena(hub_.region())
            .Carve(node_->id().slot, raw_.slot, raw_.incarnation, node_->id().incarnation);
    ASSERT_TRUE(carved.ok()) << carved.status().ToString();
    ring_ = carved->ring;
    producer_ = Producer(ring_);
  }
  void SendRecord(const Frame& frame, std::span<const std::byte> rest) {
    std::span<std::byte> record;
    ASSERT_EQ(producer_.TryClaim(sizeof(frame) + rest.size(), &record), ClaimResult::kOk);
    std::memcpy(record.data(), &frame, sizeof(frame));
    if (!rest.empty()) std::memcpy(record.data() + sizeof(frame), rest.data(), rest.size());
    producer_.Commit();
  }
  // Piece `piece` of message `number`, whose content is `content`.
  void SendPiece(std::uint32_t number, std::uint64_t piece, std::uint32_t content,
                 std::uint16_t begun_before = 0, std::uint64_t total = kTotal) {
    std::vector<std::byte> inner(sizeof(Frame));
    const Frame inner_frame{.type = content};
    std::memcpy(inner.data(), &inner_frame, sizeof(inner_frame));
    const auto pattern = testing::Pattern(total - sizeof(Frame), content);
    inner.insert(inner.end(), pattern.begin(), pattern.end());
    const FragmentHeader header{.total = total, .offset = piece * kPiece};
    std::vector<std::byte> rest(sizeof(header));
    std::memcpy(rest.data(), &header, sizeof(header));
    const auto begin = inner.begin() + static_cast<std::ptrdiff_t>(piece * kPiece);
    rest.insert(rest.end(), begin, begin + kPiece);
    SendRecord({.kind = FrameKind::kFragment, .name_bytes = begun_before, .type = number}, rest);
  }
  void SendWhole(std::uint32_t number, std::uint32_t content, std::uint16_t begun_before = 0) {
    for (std::uint64_t piece = 0; piece < kPieces; ++piece) {
      SendPiece(number, piece, content, begun_before);
    }
  }
  // Polls until a small message, which the raw peer sends now, has come: then all before it has
  // been handled. Returns what came of the large ones.
  std::vector<std::uint32_t> Received() {
    SendRecord({.kind = FrameKind::kBytes, .type = 0}, {});
    bool marked = false;
    EXPECT_TRUE(PollUntil(
        *node_,
        [&](const Message& message) {
          if (message.payload.empty()) {
            marked = true;
            return;
          }
          EXPECT_TRUE(testing::HasPattern(message.payload, message.type));
          received_.push_back(message.type);
        },
        [&] { return marked; }));
    return std::exchange(received_, {});
  }

  Hub hub_;
  PeerTable table_;
  testing::EventfdTransport raw_transport_;
  PeerId raw_;
  RingView ring_;
  Producer producer_;
  std::atomic<int> losses_{0};
  std::vector<std::uint32_t> received_;
  std::unique_ptr<Node> node_;
};

TEST_F(ReassemblyTest, PiecesBecomeTheMessage) {
  OpenRingToNode();
  SendWhole(1, 11);
  SendWhole(2, 12);
  EXPECT_EQ(Received(), (std::vector<std::uint32_t>{11, 12}));
}

TEST_F(ReassemblyTest, MemoryOfAMessageThatStoppedMidwayIsGivenToOneThatNeedsIt) {
  OpenRingToNode();
  const std::uint64_t total = kMiB / kPiece * kPiece;
  SendPiece(1, 0, 11, 0, total);
  EXPECT_TRUE(Received().empty());
  auto other = OpenNode(hub_, 3, {.name = "other"});
  std::thread sender([&] {
    EXPECT_EQ(other->Send(node_->id(), testing::Pattern(kMiB, 21), kWait), SendResult::kOk);
  });
  bool received = false;
  EXPECT_TRUE(PollUntil(
      *node_,
      [&](const Message& message) {
        EXPECT_EQ(message.from, other->id());
        EXPECT_TRUE(testing::HasPattern(message.payload, 21));
        received = true;
      },
      [&] { return received; }));
  sender.join();
  EXPECT_EQ(ring_.header->dropped.load(), 1U) << "its sender was not told";
  EXPECT_TRUE(PollUntil(*node_, kIgnore, [&] { return losses_ == 1; }));
  EXPECT_EQ(node_->counter(Counter::kAssembliesLost), 1U);

  // It goes on, does not know yet, and hears it then.
  SendPiece(1, 1, 11, 0, total);
  EXPECT_TRUE(Received().empty());
  SendWhole(2, 11, 1);
  EXPECT_EQ(Received(), std::vector<std::uint32_t>{11});
  EXPECT_EQ(losses_, 1);
}

// Otherwise it would look once a second, and the looks that it counts would take eight.
TEST_F(ReassemblyTest, AReceiverThatSleepsLooksAtEachHeartbeatForAMessageThatStopped) {
  OpenRingToNode();
  SendPiece(1, 0, 11, 0, kMiB / kPiece * kPiece);
  EXPECT_TRUE(Received().empty());
  auto other = OpenNode(hub_, 3, {.name = "other"});
  std::thread sender([&] {
    EXPECT_EQ(other->Send(node_->id(), testing::Pattern(kMiB, 21), kWait), SendResult::kOk);
  });
  const auto& beat = hub_.region().slot(node_->id().slot).heartbeat;
  const std::uint64_t first_beat = beat.load();
  const std::uint64_t sleeps = node_->counter(Counter::kSleeps);
  bool received = false;
  const auto handler = [&](const Message&) { received = true; };
  while (!received) {
    if (node_->Poll(handler) == 0) {
      ASSERT_TRUE(node_->Wait(testing::kPatience));
    }
  }
  sender.join();
  EXPECT_GT(node_->counter(Counter::kSleeps), sleeps);
  EXPECT_LT(beat.load() - first_beat, 20U);
}

TEST_F(ReassemblyTest, MemoryOfAMessageThatComesSlowlyIsKept) {
  OpenRingToNode();
  const std::uint64_t total = kMiB / kPiece * kPiece;
  auto other = OpenNode(hub_, 3, {.name = "other"});
  SendPiece(1, 0, 11, 0, total);
  EXPECT_TRUE(Received().empty());
  std::thread sender([&] {
    EXPECT_EQ(other->Send(node_->id(), {.type = 21}, testing::Pattern(kMiB, 21), kWait),
              SendResult::kOk);
  });
  std::vector<std::uint32_t> received;
  const auto handler = [&](const Message& message) { received.push_back(message.type); };
  const auto& beat = hub_.region().slot(node_->id().slot).heartbeat;
  for (std::uint64_t piece = 1; piece < 12; ++piece) {
    for (const std::uint64_t before = beat.load(); beat.load() == before;) {
      (void)node_->Poll(handler);
    }
    SendPiece(1, piece, 11, 0, total);
  }
  EXPECT_EQ(losses_, 0);
  EXPECT_TRUE(received.empty());
  for (std::uint64_t piece = 12; piece < total / kPiece; ++piece) {
    SendPiece(1, piece, 11, 0, total);
    (void)node_->Poll(handler);
  }
  EXPECT_TRUE(PollUntil(*node_, handler, [&] { return received.size() == 2; }));
  EXPECT_EQ(received, (std::vector<std::uint32_t>{11, 21}));
  sender.join();
  EXPECT_EQ(losses_, 0);
}

// Its sender was told to begin anew too late: the last piece had come.
TEST_F(ReassemblyTest, AMessageThatWasBegunAnewThoughItHadArrivedComesOnce) {
  OpenRingToNode();
  SendWhole(1, 11);
  SendWhole(2, 11, 1);
  SendWhole(3, 11, 2);
  SendWhole(4, 12);
  EXPECT_EQ(Received(), (std::vector<std::uint32_t>{11, 12}));
  EXPECT_EQ(losses_, 0);
}

TEST_F(ReassemblyTest, AMessageThatWasBegunAnewMidwayIsNotReported) {
  OpenRingToNode();
  SendPiece(1, 0, 11);
  SendPiece(1, 1, 11);
  SendWhole(2, 11, 1);
  EXPECT_EQ(Received(), std::vector<std::uint32_t>{11});
  EXPECT_EQ(losses_, 0);
}

TEST_F(ReassemblyTest, AMessageThatAnotherFollowsMidwayIsReported) {
  OpenRingToNode();
  SendPiece(1, 0, 11);
  SendWhole(2, 12);
  EXPECT_EQ(Received(), std::vector<std::uint32_t>{12});
  EXPECT_TRUE(PollUntil(*node_, kIgnore, [&] { return losses_ == 1; }));
}

// ---- The raw peer as receiver ----

// The ring of the cell, once its producer has made it live.
RingView AwaitRing(const Region& region, const layout::Word& cell) {
  for (;;) {
    const layout::Cell value = layout::Cell::FromWord(cell.load());
    if (value.state == layout::CellState::kLive) return *region.RingOf(value);
    std::this_thread::yield();
  }
}

// Takes fragments out of a ring.
class FragmentReader {
 public:
  explicit FragmentReader(const RingView& ring) : ring_(ring), consumer_(*Consumer::Open(ring)) {}

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
  Consumer consumer_;
  std::uint32_t first_ = 0;
  std::uint32_t last_ = 0;
  std::uint32_t begun_before_ = 0;
  std::uint64_t total_ = 0;
  std::vector<std::byte> got_;
};

class RawReceiverTest : public ReassemblyTest {
 protected:
  [[nodiscard]] std::uint32_t CellIndex() const {
    return hub_.region().CellIndex(raw_.slot, node_->id().slot);
  }
  [[nodiscard]] layout::Word& cell() const { return hub_.region().cell(CellIndex()); }
};

TEST_F(RawReceiverTest, ASenderBeginsAnewWhatItsReceiverDropped) {
  const std::vector<std::byte> message = testing::Pattern(kMiB, 5);
  std::thread sender(
      [&] { EXPECT_EQ(node_->Send(raw_, {.type = 5}, message, kWait), SendResult::kOk); });
  const RingView ring = AwaitRing(hub_.region(), cell());
  ASSERT_LT(ring.capacity, message.size()) << "all of it might be in the ring at once";
  FragmentReader reader(ring);
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
  std::atomic<bool> ended{false};
  std::thread sender([&] {
    const SendOptions patient{.when_full = WhenFull::kWait,
                              .timeout = std::chrono::milliseconds(200)};
    EXPECT_EQ(node_->Send(raw_, testing::Pattern(kMiB / 4, 5), patient), SendResult::kTimedOut);
    ended = true;
  });
  const RingView ring = AwaitRing(hub_.region(), cell());
  Consumer consumer = *Consumer::Open(ring);
  std::uint32_t last = 0;
  while (!ended) {
    // Nothing is copied, so that there is room whenever the sender looks.
    std::span<const std::byte> record;
    if (consumer.Peek(&record) != PeekResult::kRecord) continue;
    Frame frame;
    std::memcpy(&frame, record.data(), sizeof(frame));
    last = frame.type;
    ring.header->dropped.store(last);
    consumer.Release();
    consumer.PublishReleased();
  }
  sender.join();
  EXPECT_GT(last, 1U);
}

// The ring in which a sender waits for room is lost, and there is room for a small one only.
class SmallerRingTest : public ::testing::Test {
 protected:
  SmallerRingTest()
      : hub_(4 * kMiB, {.max_peers = 64, .ring_capacity = kMiB}), raw_transport_(hub_, 2) {
    const Result<ClaimedSlot> claimed =
        PeerTable(hub_.region()).Claim({.name = "raw"}, raw_transport_);
    EXPECT_TRUE(claimed.ok()) << claimed.status().ToString();
    raw_ = claimed->id;
    node_ = OpenNode(hub_, 1, {.name = "node"});
  }

  [[nodiscard]] std::uint32_t CellIndex() const {
    return hub_.region().CellIndex(raw_.slot, node_->id().slot);
  }
  [[nodiscard]] layout::Word& cell() const { return hub_.region().cell(CellIndex()); }

  RingView ReplaceRing() {
    const Region& region = hub_.region();
    const Arena arena(region);
    std::uint32_t producer = node_->id().slot;
    do {
      EXPECT_TRUE(arena.Carve(raw_.slot, ++producer, 1, raw_.incarnation).ok());
    } while (arena.Stats().smallest_capacity != layout::kMinRingCapacity);
    const layout::Cell stolen = layout::Cell::FromWord(cell());
    testing::StealUnits(region, stolen, region.CellIndex(raw_.slot, ++producer));
    const std::uint64_t withdrawn = stolen.With(layout::CellState::kWithdrawn).ToWord();
    while (cell() != withdrawn) std::this_thread::yield();
    EXPECT_TRUE(arena.Close(CellIndex(), withdrawn));
    raw_transport_.Ring(1, 0);
    const RingView ring = AwaitRing(region, cell());
    EXPECT_EQ(ring.capacity, layout::kMinRingCapacity);
    return ring;
  }

  Hub hub_;
  testing::EventfdTransport raw_transport_;
  PeerId raw_;
  std::unique_ptr<Node> node_;
};

TEST_F(SmallerRingTest, ALargeMessageGoesInSmallerPieces) {
  std::thread sender(
      [&] { EXPECT_EQ(node_->Send(raw_, testing::Pattern(4 * kMiB, 5), kWait), SendResult::kOk); });
  (void)AwaitRing(hub_.region(), cell());
  while (node_->counter(Counter::kRingsFull) == 0) std::this_thread::yield();
  FragmentReader reader(ReplaceRing());
  reader.TakeMessage();
  sender.join();
  EXPECT_TRUE(testing::HasPattern(reader.message(), 5));
}

TEST_F(SmallerRingTest, AMessageThatWasOneRecordGoesInPieces) {
  const std::vector<std::byte> message = testing::Pattern(kMiB / 3, 5);
  while (node_->Send(raw_, message) == SendResult::kOk) {
  }
  const std::uint64_t full = node_->counter(Counter::kRingsFull);
  std::thread sender([&] { EXPECT_EQ(node_->Send(raw_, message, kWait), SendResult::kOk); });
  while (node_->counter(Counter::kRingsFull) == full) std::this_thread::yield();
  FragmentReader reader(ReplaceRing());
  reader.TakeMessage();
  sender.join();
  EXPECT_TRUE(testing::HasPattern(reader.message(), 5));
}

}  // namespace
}  // namespace ivmq
