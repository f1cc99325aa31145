// Blocks of a node's heap, one of which may go to several rings.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/node.h"

#include "src/frame.h"
#include "src/heap.h"
#include "src/node_context.h"
#include "src/send_call.h"
#include "src/sleeper.h"
#include "src/writers.h"
#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using testing::kIgnore;
using testing::kKiB;
using testing::kMiB;
using testing::kWait;
using testing::PollUntil;

// The producer's half of a node, without threads: the test does its housekeeping.
class Producing {
 public:
  Producing(testing::Hub& hub, std::uint16_t ivposition, const std::string& name, bool durable)
      : context(MakeTransport(hub, ivposition), hub.region(), {.name = name, .durable = durable}) {
    context.sleeper = *Sleeper::Create(*context.transport);
    context.identity = {.name = name, .durable = durable};
    context.BeginLife(*context.table.Claim(context.identity, *context.transport));
    writers.emplace(context);
    heap.emplace(context, *writers);
  }
  ~Producing() { context.table.Leave(context.self, *context.transport); }
  Producing(const Producing&) = delete;
  Producing& operator=(const Producing&) = delete;

  NodeContext context;
  std::optional<Writers> writers;
  std::optional<Heap> heap;
};

class BlockTest : public testing::NodeTest {
 protected:
  BlockTest()
      : NodeTest(32 * kMiB, {.max_peers = 8, .ring_capacity = 64 * kKiB}),
        b_(Open("b")),
        c_(Open("c")) {
    OpenProducer(false);
  }

  void OpenProducer(bool durable) {
    a_.reset();
    a_ = std::make_unique<Producing>(hub_, 5, "a", durable);
  }
  std::shared_ptr<Block> Fill(std::uint32_t number, std::uint64_t bytes = kMiB) {
    std::shared_ptr<Block> block = a_->heap->Allocate(bytes);
    EXPECT_NE(block, nullptr);
    if (block != nullptr) testing::FillPattern(block->bytes(), number);
    return block;
  }
  SendResult Send(Block& block, PeerId to, std::uint32_t number, const SendOptions& options = {}) {
    const MessageType type{.type = number};
    std::array<std::byte, sizeof(layout::Frame)> head;
    WriteHead(type, head.data());
    return SendCall(*a_->writers->Find(to.slot), to, options, nullptr).SendBlock(head, block);
  }
  // Receives one message.
  static void Take(Node& node, std::uint32_t number) {
    const auto check = [&](const Message& message) {
      EXPECT_EQ(message.type, number);
      EXPECT_TRUE(testing::HasPattern(message.payload, number));
    };
    while (node.Poll(check, 1) == 0) (void)node.Wait(testing::kPatience);
  }
  // Whether the next block of that size is where this one was.
  bool IsFree(const std::byte* place, std::uint64_t bytes = kMiB) {
    const std::shared_ptr<Block> next = a_->heap->Allocate(bytes);
    return next != nullptr && next->bytes().data() == place;
  }
  [[nodiscard]] ArenaStats stats() const { return Arena(region()).Stats(); }

  std::unique_ptr<Node> b_;
  std::unique_ptr<Node> c_;
  std::unique_ptr<Producing> a_;
};

TEST_F(BlockTest, OneBlockGoesToSeveralRingsAndIsFreeWhenAllHaveReleasedIt) {
  std::shared_ptr<Block> block = Fill(7);
  const std::byte* const place = block->bytes().data();
  EXPECT_EQ(Send(*block, b_->id(), 7), SendResult::kOk);
  EXPECT_EQ(Send(*block, c_->id(), 7), SendResult::kOk);
  EXPECT_EQ(Send(*block, b_->id(), 7), SendResult::kOk) << "also twice";
  Take(*b_, 7);
  Take(*c_, 7);
  EXPECT_FALSE(IsFree(place)) << "its owner has it";
  block.reset();
  EXPECT_FALSE(IsFree(place)) << "it waits in a ring";
  Take(*b_, 7);
  EXPECT_TRUE(IsFree(place));
}

TEST_F(BlockTest, ARingThatHasNoRoomDoesNotKeepTheOthersFromTheBlock) {
  std::shared_ptr<Block> block = Fill(1);
  const std::byte* const place = block->bytes().data();
  while (Send(*block, b_->id(), 1) == SendResult::kOk) {
  }
  EXPECT_EQ(Send(*block, b_->id(), 1), SendResult::kFull);
  EXPECT_EQ(Send(*block, c_->id(), 1), SendResult::kOk);
  block.reset();
  Take(*c_, 1);
  EXPECT_FALSE(IsFree(place));
  // Its life ends, and with it all that it had not read.
  b_.reset();
  a_->writers->FreeUnread();
  EXPECT_TRUE(IsFree(place));
}

TEST_F(BlockTest, ABlockThatIsSentToNobodyIsFreeAtOnce) {
  std::shared_ptr<Block> block = Fill(1);
  const std::byte* const place = block->bytes().data();
  EXPECT_EQ(Send(*block, {c_->id().slot, c_->id().incarnation + 1}, 1), SendResult::kPeerGone);
  block.reset();
  EXPECT_TRUE(IsFree(place));
}

TEST_F(BlockTest, AReleasedPositionBeyondWhatWasSentFreesNothing) {
  std::shared_ptr<Block> block = Fill(1);
  const std::byte* const place = block->bytes().data();
  EXPECT_EQ(Send(*block, b_->id(), 1), SendResult::kOk);
  block.reset();
  const PeerId a = a_->context.self.id;
  layout::Word& released = RingOf(a, b_->id()).header->released;
  const std::uint64_t before = released.load();
  released.store(~std::uint64_t{0} - 7);
  EXPECT_FALSE(IsFree(place));
  released.store(before);
  EXPECT_FALSE(IsFree(place));
  Take(*b_, 1);
  EXPECT_TRUE(IsFree(place));
}

TEST_F(BlockTest, ADamagedCellFreesNothing) {
  OpenProducer(true);
  std::shared_ptr<Block> block = Fill(1);
  EXPECT_EQ(Send(*block, b_->id(), 1), SendResult::kOk);
  block.reset();
  OpenProducer(true);
  const PeerId a = a_->context.self.id;
  layout::Word& cell = CellWordOf(a, b_->id());
  const std::uint64_t word = cell.load();
  for (const std::uint64_t damage : {std::uint64_t{0}, ~std::uint64_t{0}, word ^ 0x1ff}) {
    cell.store(damage);
    const std::shared_ptr<Block> other = a_->heap->Allocate(kMiB);
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(other->descriptor().extent, 1U) << std::hex << damage;
  }
  cell.store(word);
  Take(*b_, 1);
  EXPECT_EQ(a_->heap->Allocate(kMiB)->descriptor().extent, 0U);
}

TEST_F(BlockTest, BlocksLieSideBySideAndFillAnExtent) {
  std::vector<std::shared_ptr<Block>> blocks;
  for (std::uint32_t i = 0; i < 16; ++i) blocks.push_back(Fill(i, 64 * kKiB));
  EXPECT_EQ(stats().extents, 1U);
  EXPECT_EQ(stats().extent_bytes, kMiB);
  blocks[3].reset();
  blocks[4].reset();
  blocks[9].reset();
  blocks.push_back(Fill(16, 100 * kKiB));
  EXPECT_EQ(blocks.back()->descriptor().offset, 3 * 64 * kKiB);
  blocks.push_back(Fill(17, 64 * kKiB));
  EXPECT_EQ(blocks.back()->descriptor().offset, 9 * 64 * kKiB);
  EXPECT_EQ(stats().extents, 1U);
  for (std::uint32_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i] != nullptr) {
      EXPECT_TRUE(testing::HasPattern(blocks[i]->bytes(), i));
    }
  }
}

TEST_F(BlockTest, AnExtentThatWasFreeForAWhileGoesBack) {
  std::shared_ptr<Block> block = Fill(1);
  EXPECT_EQ(Send(*block, b_->id(), 1), SendResult::kOk);
  block.reset();
  for (int look = 0; look < 100; ++look) a_->heap->Housekeep();
  EXPECT_EQ(stats().extents, 1U) << "a message is unread";
  Take(*b_, 1);
  int looks = 0;
  while (stats().extents != 0 && looks < 100) {
    ++looks;
    a_->heap->Housekeep();
  }
  EXPECT_GT(looks, 8) << "so that it need not be carved for each message";
  EXPECT_LT(looks, 100);
  EXPECT_NE(Fill(2), nullptr);
}

TEST_F(BlockTest, NothingIsHadForNothingAndNothingThatNoArenaHas) {
  EXPECT_EQ(a_->heap->Allocate(0), nullptr);
  EXPECT_EQ(a_->heap->Allocate(kMiB * 257), nullptr);
  EXPECT_EQ(a_->heap->Allocate(~std::uint64_t{0}), nullptr);
  EXPECT_EQ(a_->heap->Allocate(200 * kMiB), nullptr);
  EXPECT_EQ(stats().extents, 0U);
}

TEST_F(BlockTest, ThreadsThatAllocateAndSendAtOnceNeverShareABlock) {
  std::vector<std::thread> threads;
  constexpr std::uint32_t kEach = 100;
  for (std::uint32_t thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::uint32_t i = 0; i < kEach; ++i) {
        const std::uint32_t number = thread * kEach + i;
        const std::shared_ptr<Block> block = a_->heap->Allocate(40 * kKiB + number * 8);
        if (block == nullptr) continue;
        testing::FillPattern(block->bytes(), number);
        EXPECT_EQ(Send(*block, b_->id(), number, kWait), SendResult::kOk);
      }
    });
  }
  std::uint32_t taken = 0;
  EXPECT_TRUE(PollUntil(
      *b_,
      [&](const Message& message) {
        EXPECT_TRUE(testing::HasPattern(message.payload, message.type));
        ++taken;
      },
      [&] { return taken == 3 * kEach; }));
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace ivmq
