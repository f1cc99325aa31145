#include <array>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "ivmq/proto.h"

#include "test.pb.h"
#include "typed_pair.h"

namespace ivmq::test {
namespace {

using testing::TypedPair;

TEST(ProtoThreadsTest, MessagesOfTwoThreadsArriveWholeAndInEachThreadsOrder) {
  TypedPair pair(std::uint64_t{1} << 20);
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Numbered>(1).ok());
  Dispatcher dispatcher(*pair.receiver, ids);
  constexpr std::uint32_t kMessages = 3000;
  // Every hundredth is larger than a record of this region's rings.
  const auto data_of = [](std::uint32_t sender, std::uint32_t number) {
    const std::size_t size = number % 100 == 99 ? 100000 : number % 700;
    return std::string(size, static_cast<char>(sender * 100 + number % 100));
  };
  std::array<std::uint32_t, 2> next{};
  std::uint32_t wrong = 0;
  dispatcher.On<Numbered>([&](const Numbered& message) {
    const std::uint32_t sender = message.sender();
    if (sender >= next.size() || message.number() != next[sender]++ ||
        message.data() != data_of(sender, message.number())) {
      ++wrong;
    }
  });
  std::array<std::thread, 2> senders;
  for (std::uint32_t sender = 0; sender < senders.size(); ++sender) {
    senders[sender] = std::thread([&, sender] {
      const SendOptions wait{.when_full = WhenFull::kWait, .timeout = testing::kLimit};
      Numbered message;
      message.set_sender(sender);
      for (std::uint32_t number = 0; number < kMessages; ++number) {
        message.set_number(number);
        message.set_data(data_of(sender, number));
        // One thread by id, the other by name.
        ASSERT_EQ(sender == 0 ? Send(*pair.sender, pair.to(), message, ids, wait)
                              : Send(*pair.sender, pair.to(), message, wait),
                  SendResult::kOk);
      }
    });
  }
  EXPECT_TRUE(pair.Receive(dispatcher, 2 * kMessages));
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(next[0], kMessages);
  EXPECT_EQ(next[1], kMessages);
  EXPECT_EQ(pair.unparsable() + pair.unhandled(), 0U);
}

TEST(ProtoThreadsTest, OneMessageMayBeSentByTwoThreadsAtOnce) {
  TypedPair pair;
  Dispatcher dispatcher(*pair.receiver);
  Sample sample;
  sample.set_text("shared");
  sample.mutable_inner()->add_children()->set_text("child");
  const std::string expected = sample.SerializeAsString();
  std::uint32_t same = 0;
  dispatcher.On<Sample>([&](const Sample& got) { same += got.SerializeAsString() == expected; });
  constexpr std::uint32_t kMessages = 1000;
  std::array<std::thread, 2> senders;
  for (std::thread& sender : senders) {
    sender = std::thread([&] {
      const SendOptions wait{.when_full = WhenFull::kWait, .timeout = testing::kLimit};
      for (std::uint32_t i = 0; i < kMessages; ++i) {
        ASSERT_EQ(Send(*pair.sender, pair.to(), sample, wait), SendResult::kOk);
      }
    });
  }
  EXPECT_TRUE(pair.Receive(dispatcher, 2 * kMessages));
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(same, 2 * kMessages);
}

}  // namespace
}  // namespace ivmq::test
