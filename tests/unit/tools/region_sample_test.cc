#include "common/region_sample.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/peer_table.h"

#include "support/arena_check.h"
#include "support/header_crc.h"
#include "support/node_pair.h"
#include "support/random.h"
#include "support/region_copy.h"
#include "support/sizes.h"

namespace ivmq::inspect {
namespace {

using layout::Counter;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Below;
using testing::kMiB;
using testing::NodePairTest;

class SampleTest : public NodePairTest {
 protected:
  RegionSample Take() const { return Sample(region()); }
};

TEST_F(SampleTest, ShowsPeersAndWhatWaitsBetweenThem) {
  for (int i = 0; i < 3; ++i) ASSERT_EQ(a_->Send(b_->id(), "hello"), SendResult::kOk);
  const RegionSample sample = Take();
  ASSERT_EQ(sample.peers.size(), 2U);
  EXPECT_EQ(sample.peers[0].name, "a");
  EXPECT_EQ(sample.PeerAt(b_->id().slot)->name, "b");
  EXPECT_EQ(sample.PeerAt(7), nullptr);
  ASSERT_EQ(sample.rings.size(), 1U);
  const RingSample* const ring = sample.RingFrom(a_->id().slot, b_->id().slot);
  ASSERT_NE(ring, nullptr);
  EXPECT_EQ(ring->unread.messages, 3U);
  EXPECT_EQ(ring->unread.problem, "");
  EXPECT_GT(ring->fill(), 0.0);
  EXPECT_LT(ring->fill(), 1.0);
  EXPECT_EQ(sample.RingFrom(b_->id().slot, a_->id().slot), nullptr);
  EXPECT_EQ(sample.arena.rings, 1U);
  EXPECT_TRUE(sample.heaps.empty());
}

TEST_F(SampleTest, AFullRingIsFull) {
  const std::string message(1000, 'x');
  while (a_->Send(b_->id(), message) == SendResult::kOk) {
  }
  EXPECT_GT(Take().rings.at(0).fill(), 0.9);
  while (b_->Poll(testing::kIgnore) != 0) {
  }
  EXPECT_EQ(Take().rings.at(0).fill(), 0.0);
}

// With rings that are too small for large messages.
class HeapSampleTest : public NodePairTest {
 protected:
  HeapSampleTest() : NodePairTest(32 * kMiB, {.max_peers = 8, .ring_capacity = 64 << 10}) {}
};

TEST_F(HeapSampleTest, ShowsHeaps) {
  Result<Sender> sender = a_->OpenSender("b");
  ASSERT_TRUE(sender.ok());
  Loan loan = sender->Loan(256 << 10);
  ASSERT_EQ(loan.result(), SendResult::kOk);
  ASSERT_EQ(loan.Publish(), SendResult::kOk);
  const RegionSample sample = Sample(region());
  ASSERT_EQ(sample.heaps.size(), 1U);
  EXPECT_EQ(sample.heaps[0].slot, a_->id().slot);
  EXPECT_GE(sample.heaps[0].bytes, 256U << 10);
}

TEST_F(SampleTest, ACellThatLeadsAstrayHasAProblem) {
  ASSERT_EQ(a_->Send(b_->id(), "hello"), SendResult::kOk);
  const layout::Cell cell = CellOf(a_->id(), b_->id());
  layout::Cell outside = cell;
  outside.first_unit = 0xffffff;
  region().cell(region().CellIndex(3, 4)).store(cell.ToWord());
  region().cell(region().CellIndex(3, 5)).store(outside.ToWord());
  const RegionSample sample = Take();
  EXPECT_NE(sample.RingFrom(4, 3)->unread.problem, "");
  EXPECT_NE(sample.RingFrom(5, 3)->unread.problem, "");
  EXPECT_EQ(sample.RingFrom(a_->id().slot, b_->id().slot)->unread.problem, "");
}

TEST_F(SampleTest, NeedsNoRightToWrite) {
  ASSERT_EQ(a_->Send(b_->id(), "hello"), SendResult::kOk);
  const auto memory = hub_.memory();
  void* const copy =
      mmap(nullptr, memory.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(copy, MAP_FAILED);
  std::memcpy(copy, testing::CopyOfRegion(memory).data(), memory.size());
  ASSERT_EQ(mprotect(copy, memory.size(), PROT_READ), 0);
  const Result<Region> read_only = Region::Attach({static_cast<std::byte*>(copy), memory.size()});
  ASSERT_TRUE(read_only.ok());
  EXPECT_EQ(Sample(*read_only).rings.size(), 1U);
  EXPECT_EQ(munmap(copy, memory.size()), 0);
}

// ---- Rates ----

RegionSample MadeSample(seconds taken, std::uint64_t heartbeat, std::uint64_t messages) {
  RegionSample sample;
  sample.taken = std::chrono::steady_clock::time_point(taken);
  PeerInfo peer;
  peer.id = {3, 1};
  peer.heartbeat = heartbeat;
  peer.counters[static_cast<std::size_t>(Counter::kMessagesSent)] = messages;
  sample.peers = {peer};
  return sample;
}

TEST(RatesTest, AreThoseOfASecond) {
  const Rates rates =
      RatesBetween(MadeSample(seconds(1), 10, 500), MadeSample(seconds(3), 18, 900));
  ASSERT_EQ(rates.peers.size(), 1U);
  EXPECT_TRUE(rates.peers[0].moves);
  EXPECT_DOUBLE_EQ(rates.peers[0].Of(Counter::kMessagesSent), 200);
}

// Counters that were published five times in a second cover five quarters of it.
TEST(RatesTest, FollowTheHeartbeats) {
  const Rates rates = RatesBetween(MadeSample(seconds(1), 10, 0), MadeSample(seconds(2), 15, 500));
  EXPECT_DOUBLE_EQ(rates.peers[0].Of(Counter::kMessagesSent), 400);
}

TEST(RatesTest, BelieveNoHeartbeatThatRaces) {
  const Rates rates =
      RatesBetween(MadeSample(seconds(1), 10, 0), MadeSample(seconds(2), 1'000'000, 500));
  EXPECT_DOUBLE_EQ(rates.peers[0].Of(Counter::kMessagesSent), 400);
}

TEST(RatesTest, AreNoneForANewLifeAndForWhatShrinks) {
  const RegionSample before = MadeSample(seconds(1), 10, 500);
  RegionSample after = MadeSample(seconds(2), 14, 400);
  EXPECT_EQ(RatesBetween(before, after).peers[0].Of(Counter::kMessagesSent), 0);
  after = MadeSample(seconds(2), 14, 900);
  after.peers[0].id.incarnation = 2;
  EXPECT_EQ(RatesBetween(before, after).peers[0].Of(Counter::kMessagesSent), 0);
  EXPECT_FALSE(RatesBetween(before, after).peers[0].moves);
  EXPECT_TRUE(RatesBetween(before, RegionSample{}).peers.empty());
}

TEST(RatesTest, OfARingAreWhatItsConsumerHandled) {
  RegionSample before;
  before.rings = {{.producer = 1, .consumer = 2, .generation = 1, .acked = 100}};
  RegionSample after = before;
  after.taken += seconds(2);
  after.rings[0].acked = 900;
  EXPECT_DOUBLE_EQ(RatesBetween(before, after).rings.at(0).bytes, 400);
  after.rings[0].generation = 2;
  EXPECT_EQ(RatesBetween(before, after).rings.at(0).bytes, 0);
}

// ---- Any bytes at all ----

// A region on the heap, where the address sanitizer guards its ends.
class Copy {
 public:
  explicit Copy(std::span<const std::byte> bytes)
      : size_(bytes.size()),
        base_(static_cast<std::byte*>(::operator new(bytes.size(), kAlignment))) {
    std::memcpy(base_, bytes.data(), size_);
  }
  ~Copy() { ::operator delete(base_, kAlignment); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {base_, size_}; }

 private:
  static constexpr std::align_val_t kAlignment{layout::kPage};
  std::size_t size_;
  std::byte* base_;
};

TEST_F(SampleTest, OfARegionThatAnybodyScribbledOver) {
  for (int i = 0; i < 30; ++i) ASSERT_EQ(a_->Send(b_->id(), "hello"), SendResult::kOk);
  for (int i = 0; i < 30; ++i) ASSERT_EQ(b_->Send(a_->id(), "hello"), SendResult::kOk);
  testing::Random random(testing::TestSeed());
  const Geometry g = region().geometry();
  std::optional<RegionSample> last;
  const std::vector<std::byte> intact = testing::CopyOfRegion(hub_.memory());
  for (int round = 0; round < 300; ++round) {
    const Copy copy(intact);
    const auto bytes = copy.bytes();
    // What is looked at lies before the data of the first rings.
    const std::size_t end = std::min<std::size_t>(bytes.size(), g.arena_offset + 2 * 4096 + 65536);
    for (std::uint64_t patches = 1 + Below(random, 200); patches != 0; --patches) {
      const std::size_t at = layout::kPage + Below(random, end - layout::kPage) / 8 * 8;
      std::uint64_t word = random();
      if (Below(random, 2) == 0) std::memcpy(&word, bytes.data() + Below(random, end / 8) * 8, 8);
      if (Below(random, 4) == 0) word &= 0xff;
      std::memcpy(bytes.data() + at, &word, sizeof(word));
    }
    const Result<Region> scribbled = Region::Attach(bytes);
    ASSERT_TRUE(scribbled.ok());
    RegionSample sample = Sample(*scribbled);
    for (const RingSample& ring : sample.rings) {
      EXPECT_LE(ring.unread.bytes, ring.capacity);
      EXPECT_LE(ring.fill(), 1.0);
    }
    if (last) (void)RatesBetween(*last, sample);
    last = std::move(sample);
  }
}

// Every cell leads to the same full ring: looking takes no longer for it than for one.
TEST_F(SampleTest, CountsNoRingAgainAndAgain) {
  while (a_->Send(b_->id(), "x") == SendResult::kOk) {
  }
  const layout::Cell cell = CellOf(a_->id(), b_->id());
  for (std::uint32_t index = 0; index < region().geometry().pair_cells(); ++index) {
    region().cell(index).store(cell.ToWord());
  }
  const RegionSample sample = Take();
  EXPECT_EQ(std::count_if(sample.rings.begin(), sample.rings.end(),
                          [](const RingSample& ring) { return ring.unread.messages != 0; }),
            1);
}

}  // namespace
}  // namespace ivmq::inspect
