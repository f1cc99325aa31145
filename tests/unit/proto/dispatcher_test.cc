#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/proto.h"

#include "test.pb.h"
#include "typed_pair.h"

namespace ivmq::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TypedPair;

TEST(DispatcherTest, EachTypeGoesToItsHandlerInOrder) {
  TypedPair pair;
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Blob>(1).ok());
  Dispatcher dispatcher(*pair.receiver, ids);
  std::vector<std::string> calls;
  dispatcher.On<Blob>([&](const Blob& blob) { calls.push_back("blob " + blob.data()); });
  dispatcher.On<Sample>([&](const Sample& sample) { calls.push_back("sample " + sample.text()); });
  dispatcher.On<Sample::Inner>([&](const Sample::Inner&) { calls.push_back("inner"); });

  Blob blob;
  blob.set_data("a");
  Sample sample;
  sample.set_text("b");
  ASSERT_EQ(Send(*pair.sender, pair.to(), blob), SendResult::kOk);
  ASSERT_EQ(Send(*pair.sender, pair.to(), sample, ids), SendResult::kOk);
  blob.set_data("c");
  ASSERT_EQ(Send(*pair.sender, pair.to(), blob, ids), SendResult::kOk);
  ASSERT_EQ(Send(*pair.sender, pair.to(), Sample::Inner()), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 4));
  EXPECT_THAT(calls, ElementsAre("blob a", "sample b", "blob c", "inner"));
  EXPECT_THAT(pair.reports.All(), ElementsAre());
}

TEST(DispatcherTest, NothingOfTheLastMessageIsLeftInTheNext) {
  TypedPair pair;
  Dispatcher dispatcher(*pair.receiver);
  std::vector<std::string> got;
  dispatcher.On<Sample>([&](const Sample& sample) { got.push_back(sample.ShortDebugString()); });
  Sample sample;
  sample.set_text("text");
  sample.add_list(5);
  sample.mutable_inner()->add_children()->set_text("child");
  ASSERT_EQ(Send(*pair.sender, pair.to(), sample), SendResult::kOk);
  ASSERT_EQ(Send(*pair.sender, pair.to(), Sample()), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 2));
  EXPECT_THAT(got, ElementsAre(sample.ShortDebugString(), ""));
}

TEST(DispatcherTest, ANewHandlerReplacesTheOld) {
  TypedPair pair;
  Dispatcher dispatcher(*pair.receiver);
  int first = 0;
  int second = 0;
  dispatcher.On<Empty>([&](const Empty&) { ++first; });
  dispatcher.On<Empty>([&](const Empty&) { ++second; });
  ASSERT_EQ(Send(*pair.sender, pair.to(), Empty()), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 1));
  EXPECT_EQ(first, 0);
  EXPECT_EQ(second, 1);
}

TEST(DispatcherTest, AHandlerMayKeepState) {
  TypedPair pair;
  Dispatcher dispatcher(*pair.receiver);
  const auto total = std::make_shared<int>(0);
  dispatcher.On<Empty>([total, calls = 0](const Empty&) mutable { *total += ++calls; });
  for (int i = 0; i < 3; ++i) ASSERT_EQ(Send(*pair.sender, pair.to(), Empty()), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 3));
  EXPECT_EQ(*total, 1 + 2 + 3);
}

TEST(DispatcherTest, AHandlerMayAnswer) {
  TypedPair pair;
  Dispatcher serve(*pair.receiver);
  serve.On<Numbered>([&](const Numbered& numbered, const Message& message) {
    Numbered answer;
    answer.set_number(numbered.number() + 1);
    EXPECT_EQ(Send(*pair.receiver, message.from, answer), SendResult::kOk);
  });
  Dispatcher take(*pair.sender);
  std::uint32_t answer = 0;
  take.On<Numbered>([&](const Numbered& numbered) { answer = numbered.number(); });
  Numbered question;
  question.set_number(41);
  ASSERT_EQ(Send(*pair.sender, pair.to(), question), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(serve, 1));
  while (pair.sender->Poll(take) == 0) ASSERT_TRUE(pair.sender->Wait(testing::kLimit));
  EXPECT_EQ(answer, 42U);
}

TEST(DispatcherTest, ATypeNobodyHandlesIsCountedAndReported) {
  TypedPair pair;
  TypeIds ids;
  ASSERT_TRUE(ids.Add<Sample>(5).ok());
  Dispatcher dispatcher(*pair.receiver, ids);
  int calls = 0;
  dispatcher.On<Empty>([&](const Empty&) { ++calls; });
  Blob blob;
  blob.set_data("12345678");
  ASSERT_EQ(Send(*pair.sender, pair.to(), blob), SendResult::kOk);
  ASSERT_EQ(Send(*pair.sender, pair.to(), Sample(), ids), SendResult::kOk);
  ASSERT_EQ(pair.SendRaw(77, ""), SendResult::kOk);
  ASSERT_EQ(pair.sender->Send(pair.to(), "plain bytes"), SendResult::kOk);
  ASSERT_EQ(Send(*pair.sender, pair.to(), Empty()), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 5));
  EXPECT_EQ(calls, 1) << "what came after the unknown ones";
  EXPECT_EQ(pair.unhandled(), 4U);
  EXPECT_EQ(pair.unparsable(), 0U);
  const std::string from = "from slot " + std::to_string(pair.sender->id().slot) +
                           ", incarnation " + std::to_string(pair.sender->id().incarnation);
  EXPECT_THAT(
      pair.reports.Await(4),
      ElementsAre(AllOf(HasSubstr("UNIMPLEMENTED"), HasSubstr("'ivmq.test.Blob'"), HasSubstr(from)),
                  AllOf(HasSubstr("id 5"), HasSubstr("ivmq.test.Sample")), HasSubstr("id 77"),
                  HasSubstr("11 bytes")));
}

TEST(DispatcherTest, TheHandlerForTheRestTakesThemInPlaceOfTheReport) {
  TypedPair pair;
  Dispatcher dispatcher(*pair.receiver);
  std::vector<std::string> rest;
  dispatcher.OnUnhandled([&](const Message& message) {
    rest.push_back(std::string(message.type_name) + "/" + std::to_string(message.payload.size()));
  });
  ASSERT_EQ(Send(*pair.sender, pair.to(), Empty()), SendResult::kOk);
  ASSERT_EQ(pair.sender->Send(pair.to(), "plain"), SendResult::kOk);
  ASSERT_TRUE(pair.Receive(dispatcher, 2));
  EXPECT_THAT(rest, ElementsAre("ivmq.test.Empty/0", "/5"));
  EXPECT_EQ(pair.unhandled(), 2U);
  EXPECT_THAT(pair.reports.All(), ElementsAre());
}

TEST(DispatcherTest, AMessageAtWhichItsHandlerThrowsComesAgain) {
  TypedPair pair;
  Dispatcher dispatcher(*pair.receiver);
  std::vector<std::string> calls;
  dispatcher.On<Blob>([&](const Blob& blob, const Message& message) {
    calls.push_back(blob.data() + (message.redelivered ? "!" : ""));
    if (calls.size() == 1) throw std::runtime_error("no");
  });
  Blob blob;
  for (const char* const data : {"a", "b"}) {
    blob.set_data(data);
    ASSERT_EQ(Send(*pair.sender, pair.to(), blob), SendResult::kOk);
  }
  EXPECT_THROW((void)pair.receiver->Poll(dispatcher), std::runtime_error);
  ASSERT_TRUE(pair.Receive(dispatcher, 2));
  EXPECT_THAT(calls, ElementsAre("a", "a!", "b"));
}

}  // namespace
}  // namespace ivmq::test
