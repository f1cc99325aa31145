// Typed messages between two processes over a file.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "ivmq/address.h"
#include "ivmq/node.h"
#include "ivmq/proto.h"

#include "numbered.pb.h"
#include "support/child.h"
#include "support/random.h"
#include "support/temp_folder.h"

namespace ivmq::test {
namespace {

using std::chrono::seconds;
using testing::Child;

constexpr seconds kLimit{30};
constexpr std::uint32_t kId = 7;

// Sizes from nothing to several records.
std::size_t SizeOf(std::uint32_t number) {
  return number % 50 == 49 ? 300000 : (number * 37) % 3000;
}

class ProtoProcessTest : public ::testing::Test {
 protected:
  ProtoProcessTest() {
    EXPECT_TRUE(ids_.Add<Numbered>(kId).ok());
    const Status made = CreateRegionFile(address_, 2 << 20, {.format = {.max_peers = 8}});
    EXPECT_TRUE(made.ok()) << made.ToString();
  }

  [[nodiscard]] std::unique_ptr<Node> Open(const std::string& name) const {
    auto node = Node::Open(address_, {.name = name});
    if (!node.ok()) ADD_FAILURE() << node.status().ToString();
    return node.ok() ? *std::move(node) : nullptr;
  }

  // A process that sends `count` messages, the even ones by id, the odd ones by name.
  [[nodiscard]] Child StartSender(std::uint32_t count) const {
    return Child::Fork([this, count] {
      const auto node = Open("");
      ASSERT_NE(node, nullptr);
      const auto receiver = node->Await("receiver", kLimit);
      ASSERT_TRUE(receiver.ok()) << receiver.status().ToString();
      Numbered message;
      for (std::uint32_t number = 0; number < count; ++number) {
        message.set_number(number);
        message.set_data(testing::AsText(testing::Pattern(SizeOf(number), number)));
        const SendOptions wait{.when_full = WhenFull::kWait, .timeout = kLimit};
        ASSERT_EQ(number % 2 == 0 ? Send(*node, receiver->id, message, ids_, wait)
                                  : Send(*node, receiver->id, message, wait),
                  SendResult::kOk);
      }
    });
  }

  // Counts messages, and those that are not the next one with the right content.
  void Watch(Dispatcher& dispatcher) {
    dispatcher.On<Numbered>([this](const Numbered& message) {
      if (message.number() != received_ || message.data().size() != SizeOf(message.number()) ||
          !testing::HasPattern(std::as_bytes(std::span(message.data())), message.number())) {
        ++wrong_;
      }
      ++received_;
    });
  }

  // Receives until `count` messages have come.
  void Receive(Node& node, Dispatcher& dispatcher, std::uint32_t count) const {
    while (received_ < count) {
      if (node.Poll(dispatcher) != 0) continue;
      ASSERT_TRUE(node.Wait(kLimit)) << "after " << received_ << " messages";
    }
  }

  const testing::TempFolder folder_;
  const std::string address_ = "file:" + folder_ / "region";
  TypeIds ids_;
  std::uint32_t received_ = 0;
  std::uint32_t wrong_ = 0;
};

TEST_F(ProtoProcessTest, MessagesOfAnotherProcessArriveWholeAndInOrder) {
  constexpr std::uint32_t kCount = 5000;
  Child sender = StartSender(kCount);
  const auto node = Open("receiver");
  ASSERT_NE(node, nullptr);
  Dispatcher dispatcher(*node, ids_);
  Watch(dispatcher);
  Receive(*node, dispatcher, kCount);
  EXPECT_EQ(sender.Wait(), 0);
  EXPECT_EQ(received_, kCount);
  EXPECT_EQ(wrong_, 0U);
  EXPECT_GT(node->counter(layout::Counter::kFragmentsReceived), 0U);
  EXPECT_EQ(node->counter(layout::Counter::kUnparsable), 0U);
}

TEST_F(ProtoProcessTest, ASenderKilledMidwayLeavesWholeMessagesOnly) {
  testing::Random random(testing::TestSeed());
  // Each is forked while this process has no other threads.
  for (int round = 0; round < 4; ++round) {
    received_ = 0;
    wrong_ = 0;
    Child sender = StartSender(UINT32_MAX);
    {
      const auto node = Open("receiver");
      ASSERT_NE(node, nullptr);
      Dispatcher dispatcher(*node, ids_);
      Watch(dispatcher);
      Receive(*node, dispatcher, 1 + static_cast<std::uint32_t>(testing::Below(random, 2000)));
      sender.Kill();
      // What it had sent is still there; then its name goes.
      while (node->Peers().peers.size() > 1 || node->Poll(dispatcher) != 0) {
        if (node->Poll(dispatcher) == 0) (void)node->Wait(std::chrono::milliseconds(50));
      }
      EXPECT_EQ(wrong_, 0U) << "of " << received_;
      EXPECT_EQ(node->counter(layout::Counter::kUnparsable), 0U);
      EXPECT_EQ(node->counter(layout::Counter::kUnhandled), 0U);
    }
  }
}

}  // namespace
}  // namespace ivmq::test
