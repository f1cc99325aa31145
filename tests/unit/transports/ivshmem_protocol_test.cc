#include "src/ivshmem_protocol.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <utility>

#include <gtest/gtest.h>

#include "fake_ivshmem_server.h"
#include "support/child.h"

namespace ivmq::ivshmem {
namespace {

using ivmq::testing::Child;
using ivmq::testing::Conversation;
using ivmq::testing::CountDescriptors;
using ivmq::testing::MakeEventfd;

class IvshmemProtocolTest : public ::testing::Test {
 protected:
  IvshmemProtocolTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    client_.reset(ends[0]);
    server_.reset(ends[1]);
  }

  [[nodiscard]] Conversation server() const { return Conversation(server_.get()); }
  ReadResult Read() { return reader_.Read(client_.get(), &message_); }

  UniqueFd client_;
  UniqueFd server_;
  MessageReader reader_;
  Message message_;
};

TEST_F(IvshmemProtocolTest, CarriesValuesOfAnySign) {
  for (const std::int64_t value :
       {std::int64_t{0}, std::int64_t{-1}, std::int64_t{65535}, INT64_MIN}) {
    ASSERT_EQ(SendMessage(server_.get(), value), SendResult::kSent);
    ASSERT_EQ(Read(), ReadResult::kMessage);
    EXPECT_EQ(message_.value, value);
    EXPECT_FALSE(message_.fd.valid());
  }
}

TEST_F(IvshmemProtocolTest, IsLittleEndianOnTheWire) {
  ASSERT_EQ(SendMessage(server_.get(), 0x0102), SendResult::kSent);
  std::array<unsigned char, 8> wire{};
  ASSERT_EQ(recv(client_.get(), wire.data(), wire.size(), 0), 8);
  EXPECT_EQ(wire, (std::array<unsigned char, 8>{0x02, 0x01}));
}

TEST_F(IvshmemProtocolTest, EachMessageHasItsOwnDescriptor) {
  const UniqueFd first = MakeEventfd();
  const UniqueFd second = MakeEventfd();
  const std::uint64_t one = 1;
  ASSERT_EQ(write(second.get(), &one, sizeof(one)), 8);
  server().Send(1, first.get());
  server().Send(2);
  server().Send(3, second.get());
  ASSERT_EQ(Read(), ReadResult::kMessage);
  EXPECT_EQ(message_.value, 1);
  ASSERT_TRUE(message_.fd.valid());
  EXPECT_EQ(testing::Drain(message_.fd.get()), 0U);
  ASSERT_EQ(Read(), ReadResult::kMessage);
  EXPECT_EQ(message_.value, 2);
  EXPECT_FALSE(message_.fd.valid());
  ASSERT_EQ(Read(), ReadResult::kMessage);
  EXPECT_EQ(message_.value, 3);
  EXPECT_EQ(testing::Drain(message_.fd.get()), 1U);
}

TEST_F(IvshmemProtocolTest, MessageInEightPiecesIsOneMessageWithItsDescriptor) {
  const UniqueFd fd = MakeEventfd();
  const std::int64_t value = 7;
  const auto bytes = std::as_bytes(std::span(&value, 1));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_EQ(Read(), ReadResult::kWouldBlock);
    server().SendBytes(bytes.subspan(i, 1), i == 0 ? std::vector{fd.get()} : std::vector<int>{});
  }
  ASSERT_EQ(Read(), ReadResult::kMessage);
  EXPECT_EQ(message_.value, 7);
  EXPECT_TRUE(message_.fd.valid());
}

TEST_F(IvshmemProtocolTest, EndBetweenMessagesAndWithinOneDiffer) {
  const std::array<std::byte, 3> part{};
  server().SendBytes(part);
  EXPECT_EQ(Read(), ReadResult::kWouldBlock);
  server().Close();
  EXPECT_EQ(Read(), ReadResult::kTruncated);
  MessageReader fresh;
  EXPECT_EQ(fresh.Read(client_.get(), &message_), ReadResult::kClosed);
}

TEST_F(IvshmemProtocolTest, SeveralDescriptorsAtOnceAreRefusedAndNotLeaked) {
  const UniqueFd fd = MakeEventfd();
  const std::size_t before = CountDescriptors();
  const std::array<std::byte, 8> bytes{};
  server().SendBytes(bytes, std::vector(20, fd.get()));
  EXPECT_EQ(Read(), ReadResult::kLostDescriptor);
  reader_ = {};
  EXPECT_EQ(CountDescriptors(), before);
}

TEST_F(IvshmemProtocolTest, DescriptorInEachHalfOfAMessageIsRefusedAndNotLeaked) {
  const UniqueFd fd = MakeEventfd();
  const std::size_t before = CountDescriptors();
  const std::array<std::byte, 4> half{};
  server().SendBytes(half, {fd.get()});
  server().SendBytes(half, {fd.get()});
  EXPECT_EQ(Read(), ReadResult::kTwoDescriptors);
  reader_ = {};
  EXPECT_EQ(CountDescriptors(), before);
}

TEST_F(IvshmemProtocolTest, DescriptorLostToTheLimitIsSeen) {
  const UniqueFd fd = MakeEventfd();
  server().Send(5, fd.get());
  Child child = Child::Fork([this] {
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 3;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    EXPECT_EQ(Read(), ReadResult::kLostDescriptor);
  });
  EXPECT_EQ(child.Wait(), 0);
}

TEST_F(IvshmemProtocolTest, FullSocketWouldBlockAndLosesNothing) {
  std::int64_t sent = 0;
  SendResult result = SendResult::kSent;
  while ((result = SendMessage(server_.get(), sent)) == SendResult::kSent) ++sent;
  EXPECT_EQ(result, SendResult::kWouldBlock);
  for (std::int64_t i = 0; i < sent; ++i) {
    ASSERT_EQ(Read(), ReadResult::kMessage);
    ASSERT_EQ(message_.value, i);
  }
  EXPECT_EQ(Read(), ReadResult::kWouldBlock);
}

TEST_F(IvshmemProtocolTest, SendingToAClosedSocketIsAnErrorAndNoSignal) {
  client_.reset();
  EXPECT_EQ(SendMessage(server_.get(), 0), SendResult::kError);
}

TEST_F(IvshmemProtocolTest, OrdinaryClientIsNoObserver) { EXPECT_FALSE(IsObserver(server_.get())); }

}  // namespace
}  // namespace ivmq::ivshmem
