// Messages that lie in the heap of their sender: loans that are larger than a record.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/extent.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/arena_check.h"
#include "support/node_pair.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::BlockDescriptor;
using layout::Counter;
using layout::Frame;
using layout::FrameKind;
using testing::kIgnore;
using testing::kKiB;
using testing::kMiB;
using testing::kWait;
using testing::OpenNode;
using testing::PollUntil;

constexpr std::uint64_t kLarge = 1 * kMiB;

class HeapTest : public testing::NodeTest {
 protected:
  HeapTest() : NodeTest(32 * kMiB, {.max_peers = 8, .ring_capacity = 64 * kKiB}) {
    producer_ = OpenNamed("producer", 1);
    consumer_ = OpenNamed("consumer", 2);
  }

  std::unique_ptr<Node> OpenNamed(const std::string& name, std::uint16_t ivposition,
                                  NodeOptions options = {}) {
    options.name = name;
    options.on_report = [this](const Status& status) {
      if (status.code() == StatusCode::kDataLoss) ++losses_;
    };
    return OpenNode(hub_, ivposition, std::move(options));
  }
  void ReopenConsumer(NodeOptions options) {
    consumer_.reset();
    consumer_ = OpenNamed("consumer", 2, std::move(options));
  }
  void ReopenProducer(NodeOptions options) {
    producer_.reset();
    producer_ = OpenNamed("producer", 1, std::move(options));
  }
  // Sends a loan with the pattern of its number, which is also its type.
  SendResult SendLoan(std::uint32_t number, std::uint64_t bytes = kLarge,
                      const SendOptions& options = kWait) {
    Result<Sender> sender = producer_->OpenSender("consumer");
    EXPECT_TRUE(sender.ok());
    Loan loan = sender->Loan(bytes, {.type = number}, options);
    if (loan.result() != SendResult::kOk) return loan.result();
    testing::FillPattern(loan.payload(), number);
    return loan.Publish();
  }
  // The numbers of the next messages, which must have their patterns. Takes no more.
  std::vector<std::uint32_t> Receive(std::size_t count) {
    std::vector<std::uint32_t> received;
    while (received.size() < count) {
      const std::size_t polled = consumer_->Poll(
          [&](const Message& message) {
            EXPECT_TRUE(testing::HasPattern(message.payload, message.type)) << message.type;
            received.push_back(message.type);
          },
          count - received.size());
      if (polled == 0) (void)consumer_->Wait(testing::kPatience);
    }
    return received;
  }
  [[nodiscard]] static std::vector<std::uint32_t> Numbers(std::uint32_t from, std::uint32_t to) {
    std::vector<std::uint32_t> numbers;
    for (std::uint32_t number = from; number < to; ++number) numbers.push_back(number);
    return numbers;
  }
  [[nodiscard]] bool IsInRegion(std::span<const std::byte> bytes) const {
    const auto memory = hub_.memory();
    return bytes.data() >= memory.data() && bytes.data() < memory.data() + memory.size();
  }
  [[nodiscard]] std::uint64_t fragments() const {
    return consumer_->counter(Counter::kFragmentsReceived);
  }
  [[nodiscard]] std::uint32_t extents() const { return Arena(region()).Stats().extents; }

  std::atomic<int> losses_{0};
  std::unique_ptr<Node> producer_;
  std::unique_ptr<Node> consumer_;
};

// ---- Loans ----

TEST_F(HeapTest, ALoanLargerThanARecordGoesWithoutFragments) {
  Result<Sender> sender = producer_->OpenSender("consumer");
  Loan loan = sender->Loan(kLarge, {FrameKind::kTypedByName, 0, "pkg.Frame"});
  ASSERT_EQ(loan.result(), SendResult::kOk);
  EXPECT_TRUE(IsInRegion(loan.payload()));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(loan.payload().data()) % 64, 0U);
  testing::FillPattern(loan.payload(), 7);
  EXPECT_EQ(loan.Publish(), SendResult::kOk);
  bool received = false;
  EXPECT_TRUE(PollUntil(
      *consumer_,
      [&](const Message& message) {
        EXPECT_EQ(message.from, producer_->id());
        EXPECT_EQ(message.kind, FrameKind::kTypedByName);
        EXPECT_EQ(message.type_name, "pkg.Frame");
        EXPECT_EQ(message.payload.size(), kLarge);
        EXPECT_FALSE(IsInRegion(message.payload)) << "its sender could change it";
        EXPECT_TRUE(testing::HasPattern(message.payload, 7));
        received = true;
      },
      [&] { return received; }));
  EXPECT_EQ(fragments(), 0U);
  EXPECT_EQ(producer_->counter(Counter::kMessagesSent), 1U);
  EXPECT_EQ(producer_->counter(Counter::kBytesSent), kLarge);
  EXPECT_EQ(consumer_->counter(Counter::kBytesReceived), kLarge);
}

TEST_F(HeapTest, LoansOfAllSizesArriveInOrder) {
  const std::vector<std::uint64_t> sizes = {
      100,           32 * kKiB - 16, 32 * kKiB, 32 * kKiB + 1, kMiB - 1, kMiB, kMiB + 1,
      3 * kMiB + 63, 5 * kMiB - 7,   16,        200 * kKiB};
  constexpr std::uint32_t kCount = 40;
  std::thread sending([&] {
    for (std::uint32_t number = 0; number < kCount; ++number) {
      EXPECT_EQ(SendLoan(number, sizes[number % sizes.size()]), SendResult::kOk);
    }
  });
  EXPECT_EQ(Receive(kCount), Numbers(0, kCount));
  sending.join();
}

TEST_F(HeapTest, ABlockIsUsedAgainOnceItsMessageWasHandled) {
  for (std::uint32_t number = 0; number < 50; ++number) {
    ASSERT_EQ(SendLoan(number), SendResult::kOk);
    EXPECT_EQ(Receive(1), Numbers(number, number + 1));
    EXPECT_EQ(extents(), 1U);
  }
  EXPECT_EQ(Arena(region()).Stats().extent_bytes, kLarge);
  EXPECT_EQ(fragments(), 0U);
}

TEST_F(HeapTest, ALoanThatIsNotPublishedGivesItsBlockBack) {
  Result<Sender> sender = producer_->OpenSender("consumer");
  const std::byte* first = nullptr;
  for (int i = 0; i < 10; ++i) {
    Loan loan = sender->Loan(kLarge);
    ASSERT_EQ(loan.result(), SendResult::kOk);
    if (first == nullptr) first = loan.payload().data();
    EXPECT_EQ(loan.payload().data(), first);
  }
  EXPECT_EQ(extents(), 1U);
}

TEST_F(HeapTest, WhatIsNotReadYetIsNeverOverwritten) {
  // More than the heap may take: the rest goes in fragments, for which a thread waits.
  constexpr std::uint32_t kCount = 60;
  std::thread sending([&] {
    for (std::uint32_t number = 0; number < kCount; ++number) {
      EXPECT_EQ(SendLoan(number), SendResult::kOk);
    }
  });
  while (extents() < 3) std::this_thread::yield();
  EXPECT_EQ(Receive(kCount), Numbers(0, kCount));
  sending.join();
  EXPECT_EQ(losses_, 0);
  testing::ExpectRunsDisjoint(region());
}

TEST_F(HeapTest, WithoutRoomInTheArenaALoanGoesInFragments) {
  testing::Hub small(kMiB, {.max_peers = 4});
  auto from = OpenNode(small, 1, {.name = "from"});
  auto to = OpenNode(small, 2, {.name = "to"});
  Result<Sender> sender = from->OpenSender("to");
  std::thread sending([&] {
    Loan loan = sender->Loan(kLarge, {}, kWait);
    ASSERT_EQ(loan.result(), SendResult::kOk);
    testing::FillPattern(loan.payload(), 3);
    EXPECT_EQ(loan.Publish(), SendResult::kOk);
  });
  testing::ReceivePattern(*to, from->id(), 3);
  sending.join();
  EXPECT_GT(to->counter(Counter::kFragmentsReceived), 0U);
  EXPECT_EQ(Arena(small.region()).Stats().extents, 0U);
}

TEST_F(HeapTest, AFullRingIsAsTheSenderChose) {
  ASSERT_EQ(producer_->Send(consumer_->id(), "first"), SendResult::kOk);
  while (producer_->Send(consumer_->id(), "") == SendResult::kOk) {
  }
  EXPECT_EQ(SendLoan(1, kLarge, {.when_full = WhenFull::kFail}), SendResult::kFull);
  EXPECT_EQ(SendLoan(1, kLarge, {.when_full = WhenFull::kDrop}), SendResult::kDropped);
  std::thread sending([&] { EXPECT_EQ(SendLoan(7), SendResult::kOk); });
  bool received = false;
  EXPECT_TRUE(PollUntil(
      *consumer_, [&](const Message& m) { received |= m.payload.size() == kLarge; },
      [&] { return received; }));
  sending.join();
}

// ---- Receiving ----

TEST_F(HeapTest, ATrustingReceiverHandlesAMessageWhereItLies) {
  ReopenConsumer({.trust_peers = true});
  Result<Sender> sender = producer_->OpenSender("consumer");
  Loan loan = sender->Loan(kLarge);
  ASSERT_EQ(loan.result(), SendResult::kOk);
  const std::byte* const written = loan.payload().data();
  EXPECT_EQ(loan.Publish(), SendResult::kOk);
  bool received = false;
  EXPECT_TRUE(PollUntil(
      *consumer_,
      [&](const Message& message) {
        EXPECT_EQ(message.payload.data(), written);
        received = true;
      },
      [&] { return received; }));
}

class KeptBlockTest : public HeapTest, public ::testing::WithParamInterface<bool> {};

TEST_P(KeptBlockTest, AKeptMessageStaysAsItWas) {
  ReopenConsumer({.trust_peers = GetParam()});
  std::deque<Message> kept;
  for (std::uint32_t number = 0; number < 30; ++number) {
    ASSERT_EQ(SendLoan(number), SendResult::kOk);
    EXPECT_TRUE(PollUntil(
        *consumer_,
        [&](const Message& message) {
          kept.push_back(message.Keep());
          EXPECT_TRUE(kept.back().is_kept());
        },
        [&] { return !kept.empty() && kept.back().type == number; }));
    for (const Message& message : kept) {
      ASSERT_TRUE(testing::HasPattern(message.payload, message.type));
    }
    if (kept.size() > 4) kept.pop_front();
  }
  EXPECT_EQ(fragments(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Trust, KeptBlockTest, ::testing::Bool(),
                         [](const auto& trusts) { return trusts.param ? "Trusts" : "Copies"; });

TEST_F(HeapTest, AMessageAtWhichItsHandlerThrowsComesAgain) {
  ASSERT_EQ(SendLoan(5), SendResult::kOk);
  std::vector<bool> redelivered;
  Message kept;
  while (redelivered.size() < 3) {
    try {
      (void)consumer_->Poll([&](const Message& message) {
        EXPECT_TRUE(testing::HasPattern(message.payload, 5));
        redelivered.push_back(message.redelivered);
        if (redelivered.size() > 2) return;
        kept = message.Keep();
        throw std::runtime_error("again");
      });
    } catch (const std::runtime_error&) {
    }
  }
  EXPECT_EQ(redelivered, (std::vector<bool>{false, true, true}));
  EXPECT_TRUE(testing::HasPattern(kept.payload, 5));
}

// The pieces behind it could not come if it waited for the memory that their message has.
TEST_F(HeapTest, AMessageBetweenTheFragmentsOfAnotherNeedsNoneOfTheirMemory) {
  ReopenConsumer({.max_message_bytes = kMiB, .reassembly_bytes = kMiB});
  Result<Sender> sender = producer_->OpenSender("consumer");
  const std::vector<std::byte> whole = testing::Pattern(kLarge, 8);
  std::thread sending(
      [&] { EXPECT_EQ(sender->SendTyped({.type = 8}, whole, kWait), SendResult::kOk); });
  EXPECT_TRUE(PollUntil(*consumer_, kIgnore, [&] { return fragments() != 0; }));
  // Into the same ring, where there is room for it while the pieces are taken.
  std::thread lending([&] { EXPECT_EQ(SendLoan(5), SendResult::kOk); });
  std::vector<std::uint32_t> received = Receive(2);
  std::sort(received.begin(), received.end());
  EXPECT_EQ(received, (std::vector<std::uint32_t>{5, 8}));
  sending.join();
  lending.join();
}

TEST_F(HeapTest, AReceiverDropsAMessageBeyondItsLimit) {
  ReopenConsumer({.max_message_bytes = kMiB, .reassembly_bytes = kMiB});
  ASSERT_EQ(SendLoan(1, kMiB + 1), SendResult::kOk);
  ASSERT_EQ(SendLoan(2, kMiB), SendResult::kOk);
  EXPECT_EQ(Receive(1), Numbers(2, 3));
  EXPECT_EQ(consumer_->counter(Counter::kDropped), 1U);
}

// ---- Ends of lives ----

TEST_F(HeapTest, WhatADeadSenderSentIsRead) {
  for (std::uint32_t number = 0; number < 3; ++number) {
    ASSERT_EQ(SendLoan(number), SendResult::kOk);
  }
  producer_.reset();
  EXPECT_GE(extents(), 2U);
  EXPECT_EQ(Receive(3), Numbers(0, 3));
  EXPECT_TRUE(PollUntil(*consumer_, kIgnore, [&] { return extents() == 0; }))
      << "its heap goes with its slot";
}

TEST_F(HeapTest, AKeptMessageOutlivesItsSender) {
  ReopenConsumer({.trust_peers = true});
  ASSERT_EQ(SendLoan(4), SendResult::kOk);
  Message kept;
  EXPECT_TRUE(PollUntil(
      *consumer_, [&](const Message& message) { kept = message.Keep(); },
      [&] { return kept.is_kept(); }));
  producer_.reset();
  // Others would take the memory if they could.
  auto other = OpenNamed("other", 3);
  Result<Sender> sender = other->OpenSender("consumer");
  for (int i = 0; i < 20; ++i) {
    Loan loan = sender->Loan(kLarge);
    ASSERT_EQ(loan.result(), SendResult::kOk);
    testing::FillPattern(loan.payload(), 99);
    (void)consumer_->Poll(kIgnore);
  }
  EXPECT_TRUE(testing::HasPattern(kept.payload, 4));
  kept = {};
  EXPECT_TRUE(PollUntil(*consumer_, kIgnore, [&] { return extents() == 1; }));
}

TEST_F(HeapTest, TheBlocksOfAReceiverThatDiedAreUsedAgain) {
  for (std::uint32_t number = 0; number < 3; ++number) {
    ASSERT_EQ(SendLoan(number), SendResult::kOk);
  }
  const std::uint64_t before = Arena(region()).Stats().extent_bytes;
  consumer_.reset();
  consumer_ = OpenNamed("consumer", 2);
  (void)producer_->Poll(kIgnore);  // finds out
  for (std::uint32_t number = 10; number < 13; ++number) {
    ASSERT_EQ(SendLoan(number), SendResult::kOk);
  }
  EXPECT_EQ(Receive(3), Numbers(10, 13));
  EXPECT_EQ(Arena(region()).Stats().extent_bytes, before);
  EXPECT_EQ(fragments(), 0U);
}

TEST_F(HeapTest, ADurableReceiverThatReturnsReadsWhatItHadNotHandled) {
  ReopenConsumer({.durable = true});
  for (std::uint32_t number = 0; number < 4; ++number) {
    ASSERT_EQ(SendLoan(number), SendResult::kOk);
  }
  EXPECT_EQ(Receive(1).front(), 0U);
  ReopenConsumer({.durable = true});
  ASSERT_EQ(SendLoan(4), SendResult::kOk);
  EXPECT_EQ(Receive(4), Numbers(1, 5));
  EXPECT_EQ(losses_, 0);
}

TEST_F(HeapTest, ADurableSenderThatReturnsOverwritesNothingThatIsUnread) {
  ReopenProducer({.durable = true});
  for (std::uint32_t number = 0; number < 3; ++number) {
    ASSERT_EQ(SendLoan(number), SendResult::kOk);
  }
  const std::uint64_t before = Arena(region()).Stats().extent_bytes;
  ReopenProducer({.durable = true});
  EXPECT_EQ(Arena(region()).Stats().extent_bytes, before);
  for (std::uint32_t number = 3; number < 6; ++number) {
    ASSERT_EQ(SendLoan(number), SendResult::kOk);
  }
  EXPECT_EQ(Receive(6), Numbers(0, 6));
  EXPECT_EQ(losses_, 0);
  // Now that it is read, the predecessor's memory is used like any other.
  const std::uint64_t most = Arena(region()).Stats().extent_bytes;
  for (std::uint32_t number = 6; number < 12; ++number) {
    ASSERT_EQ(SendLoan(number), SendResult::kOk);
    EXPECT_EQ(Receive(1), Numbers(number, number + 1));
  }
  EXPECT_EQ(Arena(region()).Stats().extent_bytes, most);
}

TEST_F(HeapTest, TheMemoryOfAPredecessorIsUsedThoughNothingIsSentToItsReceiver) {
  ReopenProducer({.durable = true});
  ASSERT_EQ(SendLoan(0), SendResult::kOk);
  producer_.reset();
  EXPECT_EQ(Receive(1), Numbers(0, 1));
  (void)consumer_->Arm();  // tells what it has released
  producer_ = OpenNamed("producer", 1, {.durable = true});
  auto other = OpenNamed("other", 3);
  Result<Sender> sender = producer_->OpenSender("other");
  Loan loan = sender->Loan(kLarge);
  ASSERT_EQ(loan.result(), SendResult::kOk);
  EXPECT_EQ(extents(), 1U);
}

// ---- Damage ----

TEST_F(HeapTest, DamageToAnExtentDoesNotLast) {
  ASSERT_EQ(SendLoan(0), SendResult::kOk);
  EXPECT_EQ(Receive(1), Numbers(0, 1));
  const std::uint32_t index = region().HeapCellIndex(producer_->id().slot, 0);
  layout::Word& cell = region().cell(index);
  const std::uint64_t word = cell.load();
  const layout::Cell carved = layout::Cell::FromWord(word);
  layout::Word& owner = region().owner(carved.first_unit + 3);
  const std::uint64_t owner_word = owner.load();
  const ExtentView extent = *ExtentOf(region(), carved);
  for (const std::uint64_t damage : {std::uint64_t{0}, ~std::uint64_t{0}, word + 8}) {
    cell.store(damage);
    owner.store(damage);
    extent.header->magic.store(17);
    extent.header->generation.store(99);
    const auto is_right = [&] {
      return cell.load() == word && owner.load() == owner_word && extent.IsDescribed(index, carved);
    };
    while (!is_right()) std::this_thread::yield();
  }
  ASSERT_EQ(SendLoan(1), SendResult::kOk);
  EXPECT_EQ(Receive(1), Numbers(1, 2));
  EXPECT_EQ(losses_, 0);
}

TEST_F(HeapTest, AnExtentThatAnotherPeerHasGotIsGivenUp) {
  ASSERT_EQ(SendLoan(0), SendResult::kOk);
  EXPECT_EQ(Receive(1), Numbers(0, 1));
  const std::uint32_t index = region().HeapCellIndex(producer_->id().slot, 0);
  const layout::Cell carved = layout::Cell::FromWord(region().cell(index).load());
  testing::StealUnits(region(), carved, region().HeapCellIndex(5, 0));
  while (losses_ == 0) std::this_thread::yield();
  EXPECT_EQ(layout::Cell::FromWord(region().cell(index).load()).state, layout::CellState::kEmpty);
  ASSERT_EQ(SendLoan(1), SendResult::kOk);
  EXPECT_EQ(Receive(1), Numbers(1, 2));
  testing::ExpectRunsDisjoint(region());
}

// ---- Hostile senders ----

class HostileBlockTest : public HeapTest {
 protected:
  // Sends a record with that descriptor, and `frame` and `more` behind it.
  void SendDescriptor(const BlockDescriptor& descriptor, const Frame& frame,
                      std::string_view more = {}) {
    std::string bytes(sizeof(descriptor) + sizeof(frame), '\0');
    std::memcpy(bytes.data(), &descriptor, sizeof(descriptor));
    std::memcpy(bytes.data() + sizeof(descriptor), &frame, sizeof(frame));
    bytes += more;
    ASSERT_EQ(producer_->Send(consumer_->id(), {.kind = FrameKind::kBlock},
                              std::as_bytes(std::span(bytes)), kWait),
              SendResult::kOk);
  }
  // The consumer gives the ring up, and the next one works.
  void ExpectRefused() {
    const int before = losses_;
    EXPECT_TRUE(PollUntil(
        *consumer_, [](const Message&) { ADD_FAILURE() << "a message"; },
        [&] { return losses_ != before; }));
    EXPECT_TRUE(PollUntil(*producer_, kIgnore, [&] {
      return producer_->Send(consumer_->id(), {.type = 77}, testing::Pattern(9, 77)) ==
             SendResult::kOk;
    }));
    // The ring that was given up may still have taken it.
    bool received = false;
    EXPECT_TRUE(PollUntil(
        *consumer_, [&](const Message& message) { received |= message.type == 77; },
        [&] {
          if (!received) {
            (void)producer_->Poll(kIgnore);
            (void)producer_->Send(consumer_->id(), {.type = 77}, testing::Pattern(9, 77));
          }
          return received;
        }));
    while (consumer_->Poll(kIgnore) != 0) {
    }
  }
};

TEST_F(HostileBlockTest, ADescriptorThatLeadsNowhereIsReportedAndItsRingGivenUp) {
  for (const bool trusts : {false, true}) {
    ReopenConsumer({.trust_peers = trusts});
    ASSERT_EQ(SendLoan(0), SendResult::kOk);
    EXPECT_EQ(Receive(1), Numbers(0, 1));
    const std::uint32_t slot = producer_->id().slot;
    const std::uint32_t generation =
        layout::Cell::FromWord(region().cell(region().HeapCellIndex(slot, 0)).load()).generation;
    const Frame bytes{.kind = FrameKind::kBytes};
    const std::vector<BlockDescriptor> bad = {
        {1, generation, 0, 100},
        {layout::kHeapExtents, generation, 0, 100},
        {~0U, generation, 0, 100},
        {0, generation + 1, 0, 100},
        {0, generation, 4, 100},
        {0, generation, 64, kMiB},
        {0, generation, ~std::uint64_t{63}, 100},
        {0, generation, 64, ~std::uint64_t{0}},
        {0, generation, 0, 0},
    };
    for (const BlockDescriptor& descriptor : bad) {
      SendDescriptor(descriptor, bytes);
      ExpectRefused();
    }
    const BlockDescriptor good{0, generation, 0, 100};
    for (const Frame frame :
         {Frame{.kind = FrameKind::kBlock}, Frame{.kind = FrameKind::kFragment},
          Frame{.kind = FrameKind::kSuccessor}, Frame{.kind = static_cast<FrameKind>(0)},
          Frame{.kind = FrameKind::kTypedByName, .name_bytes = 1}}) {
      SendDescriptor(good, frame);
      ExpectRefused();
    }
    SendDescriptor(good, bytes, "x");
    ExpectRefused();
    ASSERT_EQ(producer_->Send(consumer_->id(), {.kind = FrameKind::kBlock}, testing::Pattern(20, 1),
                              kWait),
              SendResult::kOk);
    ExpectRefused();
    // The heap itself is as good as before.
    ASSERT_EQ(SendLoan(2), SendResult::kOk);
    EXPECT_EQ(Receive(1), Numbers(2, 3));
  }
}

TEST_F(HostileBlockTest, AMessageThatItsSenderChangesMeanwhileDoesNotChangeForItsHandler) {
  Result<Sender> sender = producer_->OpenSender("consumer");
  Loan loan = sender->Loan(kLarge);
  ASSERT_EQ(loan.result(), SendResult::kOk);
  const std::span<std::byte> written = loan.payload();
  testing::FillPattern(written, 1);
  ASSERT_EQ(loan.Publish(), SendResult::kOk);
  bool received = false;
  EXPECT_TRUE(PollUntil(
      *consumer_,
      [&](const Message& message) {
        testing::FillPattern(written, 2);
        EXPECT_TRUE(testing::HasPattern(message.payload, 1));
        received = true;
      },
      [&] { return received; }));
}

}  // namespace
}  // namespace ivmq
