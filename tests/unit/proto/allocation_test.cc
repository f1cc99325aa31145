// In steady state a typed message costs no allocation: not to send, not to receive.
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>

#include <gtest/gtest.h>

#include "ivmq/proto.h"

#include "support/allocations.h"
#include "test.pb.h"
#include "typed_pair.h"

namespace ivmq::test {
namespace {

using testing::TypedPair;

// Allocations of this thread while `count` messages are sent and received, after a few to warm up.
std::uint64_t AllocationsFor(TypedPair& pair, const TypeIds& ids, const Steady& message,
                             int count) {
  Dispatcher dispatcher(*pair.receiver, ids);
  std::uint64_t sum = 0;
  dispatcher.On<Steady>([&sum](const Steady& got) { sum += got.number(); });
  const auto run = [&](int messages) {
    for (int i = 0; i < messages; ++i) {
      if (Send(*pair.sender, pair.to(), message, ids) != SendResult::kOk) return false;
      while (pair.receiver->Poll(dispatcher) == 0) {
      }
    }
    return true;
  };
  EXPECT_TRUE(run(10));
  const std::uint64_t before = testing::AllocationsOfThisThread();
  EXPECT_TRUE(run(count));
  const std::uint64_t made = testing::AllocationsOfThisThread() - before;
  EXPECT_EQ(sum, static_cast<std::uint64_t>(count + 10) * message.number());
  return made;
}

Steady Typical() {
  Steady message;
  message.set_number(3);
  message.set_text("a text that is too long to be kept inside of a std::string");
  message.set_data(std::string(200, 'd'));
  for (int i = 0; i < 20; ++i) message.add_list(i);
  for (int i = 0; i < 3; ++i) {
    Steady::Row& row = *message.add_rows();
    row.set_text("another text that a string must allocate for");
    for (int j = 0; j < 10; ++j) row.add_values(j);
  }
  return message;
}

TEST(AllocationTest, TheCountSeesThoseOfProtobuf) {
  const std::uint64_t before = testing::AllocationsOfThisThread();
  (void)Steady(Typical());
  EXPECT_GT(testing::AllocationsOfThisThread(), before + 4);
}

TEST(AllocationTest, MessagesByNameAllocateNothing) {
  TypedPair pair;
  EXPECT_EQ(AllocationsFor(pair, {}, Typical(), 20000), 0U);
}

TEST(AllocationTest, MessagesByIdAllocateNothing) {
  TypedPair pair;
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Steady>(1).ok());
  EXPECT_EQ(AllocationsFor(pair, ids, Typical(), 20000), 0U);
}

TEST(AllocationTest, MessagesInFragmentsAllocateNothing) {
  TypedPair pair;
  Steady message = Typical();
  const std::uint64_t record = pair.sender->MaxRecordMessage(pair.to(), {});
  message.set_data(std::string(record + 1000, 'd'));
  EXPECT_EQ(AllocationsFor(pair, {}, message, 100), 0U);
}

}  // namespace
}  // namespace ivmq::test
