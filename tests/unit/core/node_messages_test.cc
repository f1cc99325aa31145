// What a node sends and another one receives: all kinds and sizes, in batches, written in place.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using layout::FrameKind;
using ::testing::ElementsAre;
using testing::kIgnore;
using testing::kMiB;
using testing::kWait;
using testing::NodeTest;
using testing::PollUntil;
using testing::ReceiveTexts;

TEST_F(NodeTest, MessagesReachNamedPeersInBothDirections) {
  auto a = Open("a");
  auto b = Open("b");
  const Result<PeerInfo> to_b = a->Lookup("b");
  ASSERT_TRUE(to_b.ok()) << to_b.status().ToString();
  EXPECT_EQ(to_b->id, b->id());
  ASSERT_EQ(a->Send(to_b->id, "ping"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAre("ping"));
  ASSERT_EQ(b->Send(b->Lookup("a")->id, "pong"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*a, 1), ElementsAre("pong"));
}

TEST_F(NodeTest, AMessageComesWithItsSenderKindAndType) {
  auto a = Open("a");
  auto b = Open("b");
  ASSERT_EQ(a->Send(b->id(), {.type = 77}, {}), SendResult::kOk);
  ASSERT_EQ(a->Send(b->id(), {.kind = FrameKind::kTypedById, .type = 0xdeadbeef},
                    testing::Pattern(10, 1)),
            SendResult::kOk);
  ASSERT_EQ(a->Send(b->id(), {.kind = FrameKind::kTypedByName, .name = "pkg.Type"},
                    testing::Pattern(11, 2)),
            SendResult::kOk);
  int received = 0;
  ASSERT_TRUE(PollUntil(
      *b,
      [&](const Message& message) {
        EXPECT_EQ(message.from, a->id());
        EXPECT_FALSE(message.redelivered);
        switch (received++) {
          case 0:
            EXPECT_EQ(message.kind, FrameKind::kBytes);
            EXPECT_EQ(message.type, 77U);
            EXPECT_TRUE(message.payload.empty());
            EXPECT_TRUE(message.type_name.empty());
            break;
          case 1:
            EXPECT_EQ(message.kind, FrameKind::kTypedById);
            EXPECT_EQ(message.type, 0xdeadbeefU);
            EXPECT_TRUE(testing::HasPattern(message.payload, 1));
            EXPECT_EQ(message.payload.size(), 10U);
            break;
          default:
            EXPECT_EQ(message.kind, FrameKind::kTypedByName);
            EXPECT_EQ(message.type_name, "pkg.Type");
            EXPECT_TRUE(testing::HasPattern(message.payload, 2));
            EXPECT_EQ(message.payload.size(), 11U);
        }
      },
      [&] { return received == 3; }));
}

TEST_F(NodeTest, AHandlerSeesTheRegionItselfOnlyIfItsPeersAreTrusted) {
  const std::vector<std::byte> message = testing::Pattern(1000, 1);
  for (const bool trust : {false, true}) {
    auto a = Open("a");
    auto b = Open("b", {.trust_peers = trust});
    ASSERT_EQ(a->Send(b->id(), message), SendResult::kOk);
    const std::span<const std::byte> region = hub_.memory();
    std::size_t received = 0;
    EXPECT_TRUE(PollUntil(
        *b,
        [&](const Message& got) {
          const bool is_in_region = got.payload.data() >= region.data() &&
                                    got.payload.data() < region.data() + region.size();
          EXPECT_EQ(is_in_region, trust);
          ++received;
        },
        [&] { return received == 1; }));
  }
}

// Copied or handled in place, for every size around a record's and a fragment's limits.
TEST_F(NodeTest, MessagesOfAllSizesArriveWhole) {
  for (const bool trust : {false, true}) {
    auto a = Open("a");
    auto b = Open("b", {.trust_peers = trust});
    const std::uint64_t record = a->MaxRecordMessage(b->id(), {});
    ASSERT_GT(record, 1000U);
    std::vector<std::uint64_t> sizes = {0, 1, 7, 8, 9, 1000};
    for (std::uint64_t size = record - 20; size <= record + 20; ++size) sizes.push_back(size);
    for (std::uint64_t k = 1; k <= 9; ++k) {
      for (std::uint64_t size = k * record / 2 - 40; size <= k * record / 2 + 40; size += 5) {
        sizes.push_back(size);
      }
    }
    std::thread sender([&] {
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        ASSERT_EQ(a->Send(b->id(), {.type = static_cast<std::uint32_t>(i)},
                          testing::Pattern(sizes[i], i), kWait),
                  SendResult::kOk);
      }
    });
    std::size_t received = 0;
    EXPECT_TRUE(PollUntil(
        *b,
        [&](const Message& message) {
          EXPECT_EQ(message.type, received);
          EXPECT_EQ(message.payload.size(), sizes[received]);
          EXPECT_TRUE(testing::HasPattern(message.payload, received)) << sizes[received];
          ++received;
        },
        [&] { return received == sizes.size(); }));
    sender.join();
    EXPECT_EQ(b->counter(Counter::kMessagesReceived), sizes.size());
    EXPECT_EQ(a->counter(Counter::kMessagesSent), sizes.size());
    EXPECT_EQ(a->counter(Counter::kBytesSent), b->counter(Counter::kBytesReceived));
  }
}

TEST_F(NodeTest, SizesBeyondTheLimitAreRefusedAtBothEnds) {
  auto a = Open("a");
  auto strict = Open("strict", {.max_message_bytes = 1000});
  std::vector<std::byte> bytes(64 * kMiB + 1);
  EXPECT_EQ(a->Send(strict->id(), bytes), SendResult::kTooLarge);
  EXPECT_EQ(strict->Send(a->id(), std::span(bytes).first(1001)), SendResult::kTooLarge);
  EXPECT_EQ(strict->Send(a->id(), std::span(bytes).first(1000)), SendResult::kOk);
  EXPECT_EQ(a->Send(a->id(), {.kind = FrameKind::kTypedByName, .name = std::string(1025, 'n')}, {}),
            SendResult::kTooLarge);

  // What `a` may send and `strict` does not take: dropped, counted, and the rest arrives.
  for (const std::uint64_t size : {1001U, 200000U}) {
    const std::uint64_t before =
        strict->counter(Counter::kDropped) + strict->counter(Counter::kAssembliesLost);
    std::thread sender([&] {
      EXPECT_EQ(a->Send(strict->id(), std::span(bytes).first(size), kWait), SendResult::kOk);
      EXPECT_EQ(a->Send(strict->id(), "after", kWait), SendResult::kOk);
    });
    EXPECT_THAT(ReceiveTexts(*strict, 1), ElementsAre("after"));
    sender.join();
    EXPECT_EQ(strict->counter(Counter::kDropped) + strict->counter(Counter::kAssembliesLost),
              before + 1);
  }
}

// ---- Batches ----

TEST_F(NodeTest, ABatchIsInvisibleUntilItsCommitAndDroppedWithoutOne) {
  auto a = Open("a");
  auto b = Open("b");
  for (const bool commit : {false, true}) {
    {
      Batch batch = a->StartBatch(b->id());
      for (int i = 0; i < 3; ++i) {
        std::span<std::byte> payload;
        ASSERT_EQ(batch.TryClaim({}, 1, &payload), SendResult::kOk);
        ASSERT_EQ(payload.size(), 1U);
        payload[0] = static_cast<std::byte>('0' + i);
      }
      EXPECT_EQ(b->Poll(kIgnore), 0U);
      if (commit) {
        EXPECT_EQ(batch.Commit(), SendResult::kOk);
      }
    }
    if (commit) {
      EXPECT_THAT(ReceiveTexts(*b, 3), ElementsAre("0", "1", "2"));
    } else {
      EXPECT_EQ(b->Poll(kIgnore), 0U);
    }
  }
  EXPECT_EQ(a->counter(Counter::kMessagesSent), 3U);
}

TEST_F(NodeTest, AClaimLargerThanARecordIsTooLargeAndKeepsTheBatch) {
  auto a = Open("a");
  auto b = Open("b");
  const std::uint64_t record = a->MaxRecordMessage(b->id(), {});
  {
    Batch batch = a->StartBatch(b->id());
    std::span<std::byte> payload;
    ASSERT_EQ(batch.TryClaim({}, 2, &payload), SendResult::kOk);
    std::memcpy(payload.data(), "ok", 2);
    EXPECT_EQ(batch.TryClaim({}, record + 1, &payload), SendResult::kTooLarge);
    EXPECT_EQ(batch.Commit(), SendResult::kOk);
  }
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAre("ok"));
  std::vector<std::byte> largest(record);
  Batch batch = a->StartBatch(b->id());
  std::span<std::byte> payload;
  EXPECT_EQ(batch.TryClaim({}, record, &payload), SendResult::kOk);
}

// ---- Written in place ----

TEST_F(NodeTest, AMessageIsWrittenIntoTheRingItself) {
  auto a = Open("a");
  auto b = Open("b");
  const auto write = [](std::span<std::byte> to) { std::memcpy(to.data(), "here", to.size()); };
  EXPECT_EQ(a->SendInPlace(b->id(), {}, 4, write), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b, 1), ElementsAre("here"));
  EXPECT_EQ(a->counter(Counter::kMessagesSent), 1U);
}

TEST_F(NodeTest, AMessageThatCannotBeWrittenIntoTheRingIsNotWritten) {
  auto a = Open("a");
  auto b = Open("b");
  const auto never = [](std::span<std::byte>) { FAIL(); };
  const std::uint64_t record = a->MaxRecordMessage(b->id(), {});
  EXPECT_EQ(a->SendInPlace(b->id(), {}, record + 1, never), SendResult::kTooLarge);
  EXPECT_EQ(a->SendInPlace({.slot = 1000, .incarnation = 1}, {}, 1, never), SendResult::kPeerGone);
  const auto fill = [](std::span<std::byte> to) { std::ranges::fill(to, std::byte{'x'}); };
  SendResult result = SendResult::kOk;
  while (result == SendResult::kOk) result = a->SendInPlace(b->id(), {}, record, fill);
  EXPECT_EQ(result, SendResult::kFull);
}

TEST_F(NodeTest, CountersAreSeenByOthers) {
  auto a = Open("a");
  auto b = Open("b");
  for (int i = 0; i < 5; ++i) ASSERT_EQ(a->Send(b->id(), "abc"), SendResult::kOk);
  a->Count(Counter::kUnhandled, 3);
  EXPECT_EQ(a->counter(Counter::kUnhandled), 3U);
  EXPECT_EQ(a->counter(Counter::kMessagesSent), 5U);
  EXPECT_EQ(a->counter(Counter::kBytesSent), 15U);
  EXPECT_TRUE(PollUntil(*b, kIgnore, [&] {
    const Result<PeerInfo> info = b->Lookup("a");
    return info.ok() && info->counters[static_cast<std::size_t>(Counter::kMessagesSent)] == 5 &&
           info->counters[static_cast<std::size_t>(Counter::kUnhandled)] == 3;
  }));
}

TEST_F(NodeTest, EveryResultHasAName) {
  for (int i = 0; i <= static_cast<int>(SendResult::kNoRoom); ++i) {
    EXPECT_NE(SendResultName(static_cast<SendResult>(i)), "unknown");
  }
}

}  // namespace
}  // namespace ivmq
