#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "ivmq/proto.h"

#include "test.pb.h"
#include "typed_pair.h"

namespace ivmq::test {
namespace {

using google::protobuf::util::MessageDifferencer;
using layout::Counter;
using testing::TypedPair;

Sample FullSample() {
  Sample sample;
  sample.set_number(~std::uint64_t{0});
  sample.set_text("Grüße, 世界");
  sample.set_data(std::string("\0\xff\x01", 3));
  for (int i = -50; i < 50; ++i) sample.add_list(i * 1000);
  Sample::Inner* inner = sample.mutable_inner();
  for (int depth = 0; depth < 20; ++depth) {
    inner->set_text("level " + std::to_string(depth));
    inner = inner->add_children();
  }
  (*sample.mutable_counts())["one"] = 1;
  (*sample.mutable_counts())["minus"] = -1;
  sample.mutable_nothing();
  return sample;
}

// A Blob that takes exactly `bytes` on the wire; 0 or at least 3.
Blob BlobOf(std::size_t bytes) {
  Blob blob;
  for (std::size_t data = bytes; data > 0; --data) {
    blob.mutable_data()->assign(data, static_cast<char>('a' + data % 26));
    if (blob.ByteSizeLong() == bytes) return blob;
    if (blob.ByteSizeLong() < bytes) break;
  }
  blob.Clear();
  return blob;
}

TEST(SendTest, EveryKindOfFieldArrivesByName) {
  TypedPair pair;
  Dispatcher dispatcher(*pair.receiver);
  Sample got;
  Message meta;
  std::string name;
  dispatcher.On<Sample>([&](const Sample& sample, const Message& message) {
    got = sample;
    meta = message;
    name = message.type_name;
  });
  const Sample sent = FullSample();
  ASSERT_EQ(Send(*pair.sender, pair.to(), sent), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 1));
  EXPECT_TRUE(MessageDifferencer::Equals(got, sent));
  EXPECT_EQ(meta.from, pair.sender->id());
  EXPECT_EQ(meta.kind, layout::FrameKind::kTypedByName);
  EXPECT_EQ(name, "ivmq.test.Sample");
  EXPECT_EQ(meta.payload.size(), sent.ByteSizeLong());
}

TEST(SendTest, ARegisteredIdReplacesTheName) {
  TypedPair pair;
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Sample>(0xfffffff0).ok());
  Dispatcher dispatcher(*pair.receiver, ids);
  Sample got;
  layout::FrameKind kind{};
  std::uint32_t id = 0;
  dispatcher.On<Sample>([&](const Sample& sample, const Message& message) {
    got = sample;
    kind = message.kind;
    id = message.type;
    EXPECT_EQ(message.type_name, "");
  });
  const Sample sent = FullSample();
  ASSERT_EQ(Send(*pair.sender, pair.to(), sent, ids), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 1));
  EXPECT_TRUE(MessageDifferencer::Equals(got, sent));
  EXPECT_EQ(kind, layout::FrameKind::kTypedById);
  EXPECT_EQ(id, 0xfffffff0);
}

TEST(SendTest, ASenderSendsMessagesOfAllSizesByNameAndById) {
  TypedPair pair;
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Sample>(5).ok());
  Dispatcher dispatcher(*pair.receiver, ids);
  std::vector<layout::FrameKind> kinds;
  dispatcher.On<Sample>([&](const Sample& got, const Message& message) {
    EXPECT_TRUE(MessageDifferencer::Equals(got, FullSample()));
    kinds.push_back(message.kind);
  });
  std::size_t large = 0;
  dispatcher.On<Blob>([&](const Blob& blob) { large = blob.data().size(); });
  for (const bool exclusive : {false, true}) {
    Result<Sender> sender = pair.sender->OpenSender(
        "receiver",
        {.exclusive = exclusive, .when_full = WhenFull::kWait, .timeout = testing::kLimit});
    ASSERT_TRUE(sender.ok());
    kinds.clear();
    ASSERT_EQ(sender->Send(FullSample()), SendResult::kOk);
    ASSERT_EQ(sender->Send(ById{FullSample(), ids}), SendResult::kOk);
    ASSERT_EQ(sender->Send(ById{FullSample(), ids}, {}), SendResult::kOk);
    ASSERT_TRUE(pair.Receive(dispatcher, 3));
    using enum layout::FrameKind;
    EXPECT_THAT(kinds, ::testing::ElementsAre(kTypedByName, kTypedById, kTypedById));
    Blob blob;
    blob.set_data(std::string(3 << 20, 'x'));
    std::thread sending([&] { EXPECT_EQ(sender->Send(blob), SendResult::kOk); });
    EXPECT_TRUE(pair.Receive(dispatcher, 1));
    sending.join();
    EXPECT_EQ(std::exchange(large, 0), blob.data().size());
  }
}

TEST(SendTest, BracesForOptionsAreOptions) {
  TypedPair pair;
  EXPECT_EQ(Send(*pair.sender, pair.to(), FullSample(), {}), SendResult::kOk);
}

TEST(SendTest, ATypeWithoutIdGoesByName) {
  TypedPair pair;
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Sample>(1).ok());
  Dispatcher dispatcher(*pair.receiver, ids);
  std::string name;
  dispatcher.On<Blob>([&](const Blob&, const Message& message) { name = message.type_name; });
  ASSERT_EQ(Send(*pair.sender, pair.to(), Blob(), ids), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 1));
  EXPECT_EQ(name, "ivmq.test.Blob");
}

TEST(SendTest, AnEmptyMessageIsAMessage) {
  TypedPair pair;
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Empty>(1).ok());
  Dispatcher dispatcher(*pair.receiver, ids);
  int calls = 0;
  dispatcher.On<Empty>([&](const Empty&, const Message& message) {
    ++calls;
    EXPECT_EQ(message.payload.size(), 0U);
  });
  ASSERT_EQ(Send(*pair.sender, pair.to(), Empty()), SendResult::kOk);
  ASSERT_EQ(Send(*pair.sender, pair.to(), Empty(), ids), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 2));
  EXPECT_EQ(calls, 2);
}

TEST(SendTest, ATypeKnownOnlyAtRunTimeArrivesByName) {
  google::protobuf::FileDescriptorProto file;
  Blob::descriptor()->file()->CopyTo(&file);
  google::protobuf::DescriptorPool pool;
  ASSERT_NE(pool.BuildFile(file), nullptr);
  google::protobuf::DynamicMessageFactory factory(&pool);
  const auto* const type = pool.FindMessageTypeByName("ivmq.test.Blob");
  const std::unique_ptr<google::protobuf::Message> dynamic(factory.GetPrototype(type)->New());
  dynamic->GetReflection()->SetString(dynamic.get(), type->FindFieldByName("data"), "made here");

  TypedPair pair;
  Dispatcher dispatcher(*pair.receiver);
  std::string got;
  dispatcher.On<Blob>([&](const Blob& blob) { got = blob.data(); });
  ASSERT_EQ(Send(*pair.sender, pair.to(), *dynamic), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 1));
  EXPECT_EQ(got, "made here");
}

TEST(SendTest, SizesAroundTheLargestRecordArriveWhole) {
  TypedPair pair;
  Dispatcher dispatcher(*pair.receiver);
  std::string got;
  dispatcher.On<Blob>([&](const Blob& blob) { got = blob.data(); });
  const std::uint64_t record = pair.sender->MaxRecordMessage(
      pair.to(), {.kind = layout::FrameKind::kTypedByName, .type = 0, .name = "ivmq.test.Blob"});
  ASSERT_GT(record, 4096U);
  const std::uint64_t fragments = pair.receiver->counter(Counter::kFragmentsReceived);
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{3}, record - 1, record}) {
    const Blob sent = BlobOf(bytes);
    ASSERT_EQ(sent.ByteSizeLong(), bytes);
    ASSERT_EQ(Send(*pair.sender, pair.to(), sent), SendResult::kOk);
    ASSERT_TRUE(pair.Receive(dispatcher, 1));
    ASSERT_TRUE(got == sent.data()) << bytes;
  }
  EXPECT_EQ(pair.receiver->counter(Counter::kFragmentsReceived), fragments)
      << "what fits a record went in fragments";
  for (const std::uint64_t bytes : {record + 1, record + 8}) {
    const Blob sent = BlobOf(bytes);
    ASSERT_EQ(sent.ByteSizeLong(), bytes);
    ASSERT_EQ(Send(*pair.sender, pair.to(), sent), SendResult::kOk);
    ASSERT_TRUE(pair.Receive(dispatcher, 1));
    ASSERT_TRUE(got == sent.data()) << bytes;
  }
  EXPECT_GT(pair.receiver->counter(Counter::kFragmentsReceived), fragments);
}

TEST(SendTest, MegabytesArriveWholeThroughASmallRing) {
  TypedPair pair(std::uint64_t{1} << 20);
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Blob>(1).ok());
  Dispatcher dispatcher(*pair.receiver, ids);
  std::vector<std::string> got;
  dispatcher.On<Blob>([&](const Blob& blob) { got.push_back(blob.data()); });
  const std::vector<std::size_t> sizes = {1 << 20, (3 << 20) + 1, 9 << 20, 5};
  std::thread sending([&] {
    const SendOptions wait{.when_full = WhenFull::kWait, .timeout = testing::kLimit};
    for (const std::size_t size : sizes) {
      EXPECT_EQ(Send(*pair.sender, pair.to(), BlobOf(size), ids, wait), SendResult::kOk);
    }
  });
  EXPECT_TRUE(pair.Receive(dispatcher, sizes.size()));
  sending.join();
  ASSERT_EQ(got.size(), sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_TRUE(got[i] == BlobOf(sizes[i]).data()) << sizes[i];
  }
  EXPECT_EQ(pair.unparsable(), 0U);
}

TEST(SendTest, MoreThanTheNodesLimitIsTooLarge) {
  NodeOptions options;
  options.max_message_bytes = 4096;
  TypedPair pair(16 << 20, options);
  Dispatcher dispatcher(*pair.receiver);
  int calls = 0;
  dispatcher.On<Blob>([&](const Blob&) { ++calls; });
  EXPECT_EQ(Send(*pair.sender, pair.to(), BlobOf(4097)), SendResult::kTooLarge);
  EXPECT_EQ(Send(*pair.sender, pair.to(), BlobOf(4096)), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 1));
  EXPECT_EQ(calls, 1);
}

TEST(SendTest, APeerThatLeftIsGone) {
  TypedPair pair;
  const PeerId to = pair.to();
  ASSERT_EQ(Send(*pair.sender, to, Empty()), SendResult::kOk);
  pair.receiver.reset();
  EXPECT_EQ(Send(*pair.sender, to, Empty()), SendResult::kPeerGone);
  EXPECT_EQ(Send(*pair.sender, {1000000, 1}, Empty()), SendResult::kPeerGone);
}

// Fills the ring with Blobs of 1 KiB and returns how many it took.
std::size_t FillRing(const TypedPair& pair) {
  const Blob blob = BlobOf(1024);
  std::size_t sent = 0;
  while (Send(*pair.sender, pair.to(), blob) == SendResult::kOk) ++sent;
  return sent;
}

TEST(SendTest, AFullRingFailsAtOnceAndLosesNothing) {
  TypedPair pair(std::uint64_t{1} << 20);
  Dispatcher dispatcher(*pair.receiver);
  std::size_t got = 0;
  dispatcher.On<Blob>([&](const Blob&) { ++got; });
  const std::size_t sent = FillRing(pair);
  ASSERT_GT(sent, 4U);
  EXPECT_EQ(Send(*pair.sender, pair.to(), BlobOf(1024)), SendResult::kFull);
  EXPECT_GE(pair.sender->counter(Counter::kRingsFull), 2U);
  ASSERT_TRUE(pair.Receive(dispatcher, sent));
  EXPECT_EQ(got, sent);
  EXPECT_EQ(pair.receiver->Poll(dispatcher), 0U) << "a refused message arrived";
}

TEST(SendTest, AFullRingDropsAndCountsIfToldSo) {
  TypedPair pair(std::uint64_t{1} << 20);
  Dispatcher dispatcher(*pair.receiver);
  dispatcher.On<Blob>([](const Blob&) {});
  const std::size_t sent = FillRing(pair);
  const SendOptions drop{.when_full = WhenFull::kDrop};
  EXPECT_EQ(Send(*pair.sender, pair.to(), BlobOf(1024), drop), SendResult::kDropped);
  EXPECT_EQ(Send(*pair.sender, pair.to(), BlobOf(1 << 20), drop), SendResult::kDropped);
  EXPECT_EQ(pair.sender->counter(Counter::kDropped), 2U);
  ASSERT_TRUE(pair.Receive(dispatcher, sent));
  EXPECT_EQ(pair.receiver->Poll(dispatcher), 0U) << "a dropped message arrived";
}

TEST(SendTest, WaitingForRoomEndsAtTheDeadline) {
  TypedPair pair(std::uint64_t{1} << 20);
  ASSERT_GT(FillRing(pair), 4U);
  const SendOptions brief{.when_full = WhenFull::kWait, .timeout = std::chrono::milliseconds(5)};
  EXPECT_EQ(Send(*pair.sender, pair.to(), BlobOf(1024), brief), SendResult::kTimedOut);
  EXPECT_EQ(Send(*pair.sender, pair.to(), BlobOf(1 << 20), brief), SendResult::kTimedOut);
}

TEST(SendTest, AWaitingSenderGoesOnWhenThereIsRoom) {
  TypedPair pair(std::uint64_t{1} << 20);
  Dispatcher dispatcher(*pair.receiver);
  std::vector<std::size_t> sizes;
  dispatcher.On<Blob>([&](const Blob& blob) { sizes.push_back(blob.ByteSizeLong()); });
  const std::size_t sent = FillRing(pair);
  const std::uint64_t full = pair.sender->counter(Counter::kRingsFull);
  std::thread waiting([&] {
    const SendOptions wait{.when_full = WhenFull::kWait, .timeout = testing::kLimit};
    EXPECT_EQ(Send(*pair.sender, pair.to(), BlobOf(2048), wait), SendResult::kOk);
  });
  // The sender counts when it begins to wait in earnest.
  while (pair.sender->counter(Counter::kRingsFull) == full) std::this_thread::yield();
  EXPECT_TRUE(pair.Receive(dispatcher, sent + 1));
  waiting.join();
  ASSERT_EQ(sizes.size(), sent + 1);
  EXPECT_EQ(sizes.back(), 2048U);
}

}  // namespace
}  // namespace ivmq::test
