// The tools look at a region that anybody scribbled over: they end, and read nothing outside of it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/region.h"
#include "ivmq/node.h"

#include "common/region_sample.h"
#include "common/ring_follower.h"
#include "output.h"
#include "region_report.h"
#include "salvage.h"
#include "support/node_pair.h"
#include "support/random.h"
#include "support/region_copy.h"
#include "support/sizes.h"
#include "top_view.h"

namespace ivmq::tool {
namespace {

using testing::Below;
using testing::kKiB;
using testing::kMiB;
using testing::Random;

// On the heap, where the address sanitizer guards its ends.
class Memory {
 public:
  explicit Memory(std::size_t bytes)
      : size_(bytes), base_(static_cast<std::byte*>(::operator new(bytes, kAlignment))) {}
  ~Memory() { ::operator delete(base_, kAlignment); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {base_, size_}; }

 private:
  static constexpr std::align_val_t kAlignment{layout::kPage};
  std::size_t size_;
  std::byte* base_;
};

class HostileLookTest : public testing::NodePairTest {
 protected:
  static constexpr std::size_t kRegion = 8 * kMiB;

  HostileLookTest() : NodePairTest(kRegion, {.max_peers = 4, .ring_capacity = 32 * kKiB}) {
    // Every kind of frame.
    EXPECT_TRUE(b_->SetServices({"pkg.Service"}).ok());
    subscription_.emplace(*b_->Subscribe("**", [](const TopicMessage&) {}));
    topic_.emplace(*a_->Advertise("a/topic", {.history = 4}));
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(topic_->Publish("published"), SendResult::kOk);
      EXPECT_EQ(a_->Send(b_->id(), "bytes"), SendResult::kOk);
      EXPECT_EQ(b_->Send(a_->id(), {.kind = FrameKind::kTypedByName, .name = "pkg.T"},
                         std::as_bytes(std::span("x", 1))),
                SendResult::kOk);
    }
    EXPECT_EQ(b_->Send(a_->id(), std::string(20'000, 'x')), SendResult::kOk);
    Result<Sender> sender = a_->OpenSender("b");
    Loan loan = sender->Loan(64 * kKiB);
    EXPECT_EQ(loan.result(), SendResult::kOk);
    EXPECT_EQ(loan.Publish(), SendResult::kOk);
    // Where something stands: the words that matter are a small part of the region.
    const std::vector<std::byte> bytes = testing::CopyOfRegion(hub_.memory());
    for (std::size_t at = layout::kPage; at < bytes.size(); at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, 8);
      if (word != 0) used_.push_back(at);
    }
  }

  // Looks at it in every way, as the tools do.
  static void UseTools(const Region& region) {
    const inspect::RegionSample sample = inspect::Sample(region);
    Heartbeats heartbeats;
    heartbeats.Add(sample);
    TopView view = MakeTopView("address", &sample, sample, heartbeats, {});
    TopStyle style;
    SortTopView(style, &view);
    for (const std::size_t width : {20U, 60U, 200U}) (void)TopScreen(view, width, 24, &style);
    style.shows_pairs = true;
    (void)TopScreen(view, 60, 4, &style);
    (void)JsonText(TopJson(view));

    RegionReport report(region);
    Json document;
    document["header"] = RawHeaderJson(region.header());
    document["slots"] = report.Slots();
    document["rings"] = report.Rings(100);
    document["heaps"] = report.Heaps();
    (void)JsonText(document);
    (void)Outline(document);

    std::uint64_t budget = region.geometry().region_size;
    std::uint64_t salvaged = 0;
    for (std::uint32_t from = 0; from < region.max_peers(); ++from) {
      for (std::uint32_t to = 0; to < region.max_peers(); ++to) {
        (void)SalvageRing(region, from, to, &budget, [&](const inspect::RingMessage& message) {
          salvaged += message.payload.size();
        });
        inspect::RingFollower follower(region, from, to);
        for (int look = 0; look < 2; ++look) {
          (void)follower.Look([](const inspect::RingMessage&) {});
        }
      }
    }
    // Each byte of the region is a part of one message at most, or, in a heap, was counted.
    EXPECT_LE(salvaged, 2 * region.geometry().region_size);
  }

  std::optional<Subscription> subscription_;
  std::optional<Topic> topic_;
  std::vector<std::size_t> used_;  // offsets of words that are not zero
};

TEST_F(HostileLookTest, WithoutDamageThereAreNoProblems) {
  RegionReport report(region());
  (void)report.Slots();
  (void)report.Rings(1000);
  (void)report.Heaps();
  EXPECT_EQ(report.problems(), std::vector<std::string>());
  UseTools(region());
}

TEST_F(HostileLookTest, ToolsSurviveAnyBytes) {
  Random random(testing::TestSeed());
  const Memory copy(kRegion);
  const auto bytes = copy.bytes();
  std::memcpy(bytes.data(), testing::CopyOfRegion(hub_.memory()).data(), kRegion);
  const Result<Region> region = Region::Attach(bytes);
  ASSERT_TRUE(region.ok());
  const std::string intact(reinterpret_cast<const char*>(bytes.data()), kRegion);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::size_t> changed;
    for (std::uint64_t patches = 1 + Below(random, 12); patches != 0; --patches) {
      const std::size_t at = used_[Below(random, used_.size())];
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, 8);
      switch (Below(random, 4)) {
        case 0:
          word = random();
          break;
        case 1:
          word ^= std::uint64_t{1} << Below(random, 64);
          break;
        case 2:  // what stands elsewhere
          std::memcpy(&word, bytes.data() + used_[Below(random, used_.size())], 8);
          break;
        default:
          word += Below(random, 32) - 16;
          break;
      }
      std::memcpy(bytes.data() + at, &word, 8);
      changed.push_back(at);
    }
    UseTools(*region);
    if (Below(random, 4) != 0) continue;
    for (const std::size_t at : changed) std::memcpy(bytes.data() + at, intact.data() + at, 8);
    if (Below(random, 8) == 0) std::memcpy(bytes.data(), intact.data(), kRegion);
  }
}

// Every pair and every heap names the same units.
TEST_F(HostileLookTest, ToolsEndWhereEverythingIsTheSameRing) {
  const Memory copy(kRegion);
  std::memcpy(copy.bytes().data(), testing::CopyOfRegion(hub_.memory()).data(), kRegion);
  const Result<Region> region = Region::Attach(copy.bytes());
  ASSERT_TRUE(region.ok());
  const layout::Cell cell = CellOf(a_->id(), b_->id());
  for (std::uint32_t index = 0; index < region->geometry().cells(); ++index) {
    region->cell(index).store(cell.ToWord());
  }
  UseTools(*region);
}

// Record after record names the same block: what is salvaged does not grow without bound.
TEST_F(HostileLookTest, OneBlockIsNotSalvagedForEver) {
  const RingView ring = RingOf(a_->id(), b_->id());
  inspect::RingCursor cursor(ring, 0);
  std::vector<std::byte> block;
  for (;;) {
    ASSERT_EQ(cursor.Next(), inspect::RingCursor::Step::kRecord);
    if (cursor.payload()[0] != static_cast<std::byte>(FrameKind::kBlock)) continue;
    block.assign(cursor.payload().begin(), cursor.payload().end());
    break;
  }
  std::uint64_t at = 0;
  const std::uint64_t size = layout::RecordSize(block.size());
  for (; at + 2 * size < ring.capacity; at += size) {
    std::memcpy(ring.DataAt(at) + layout::kRecordHeader, block.data(), block.size());
    ring.CommitWordAt(at).store(layout::CommitWord(at, layout::RecordKind::kData,
                                                   static_cast<std::uint32_t>(block.size())));
  }
  ring.CommitWordAt(at).store(0);
  std::uint64_t budget = region().geometry().region_size;
  std::uint64_t bytes = 0;
  const Salvaged salvaged =
      SalvageRing(region(), a_->id().slot, b_->id().slot, &budget,
                  [&](const inspect::RingMessage& message) { bytes += message.payload.size(); });
  EXPECT_LE(bytes, region().geometry().region_size);
  EXPECT_NE(salvaged.lost_messages, 0U);
}

}  // namespace
}  // namespace ivmq::tool
