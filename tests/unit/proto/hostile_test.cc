// What a peer may send that no correct one does.
#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include "ivmq/proto.h"

#include "support/random.h"
#include "test.pb.h"
#include "test_proto2.pb.h"
#include "typed_pair.h"

namespace ivmq::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TypedPair;

// A receiver of Sample, and the proof that it still works.
struct Victim {
  TypedPair pair;
  TypeIds ids = [] {
    TypeIds made;
    EXPECT_TRUE(made.Add<Sample>(1).ok());
    EXPECT_TRUE(made.Add<Strict>(2).ok());
    EXPECT_TRUE(made.Add<Tree>(3).ok());
    return made;
  }();
  Dispatcher dispatcher{*pair.receiver, ids};
  std::uint64_t handled = 0;
  std::string last;

  Victim() {
    dispatcher.On<Sample>([this](const Sample& sample) {
      ++handled;
      last = sample.text();
    });
    dispatcher.On<Strict>([this](const Strict&) { ++handled; });
    dispatcher.On<Tree>([this](const Tree&) { ++handled; });
  }
  ~Victim() {
    Sample sample;
    sample.set_text("still here");
    EXPECT_EQ(Send(*pair.sender, pair.to(), sample, ids), SendResult::kOk);
    EXPECT_TRUE(pair.Receive(dispatcher, 1));
    EXPECT_EQ(last, "still here");
  }
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;
};

TEST(HostileTest, RandomBytesAreCountedAndBreakNothing) {
  Victim victim;
  google::protobuf::LogSilencer quiet;  // protobuf itself logs text that is not UTF-8
  testing::Random random(testing::TestSeed());
  constexpr std::uint64_t kMessages = 20000;
  for (std::uint64_t i = 0; i < kMessages; ++i) {
    std::string bytes(testing::SkewedSize(random, 3000), '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    const bool by_name = (random() & 1) != 0;
    ASSERT_EQ(
        by_name ? victim.pair.SendRaw("ivmq.test.Sample", bytes) : victim.pair.SendRaw(1, bytes),
        SendResult::kOk);
    ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 1));
  }
  EXPECT_EQ(victim.handled + victim.pair.unparsable(), kMessages);
  EXPECT_GT(victim.pair.unparsable(), kMessages / 2);
  EXPECT_EQ(victim.pair.reports.Await(victim.pair.unparsable()).size(), victim.pair.unparsable());
}

TEST(HostileTest, ACutOffMessageIsUnparsableOrAShorterMessage) {
  Victim victim;
  Sample sample;
  sample.set_number(300);
  sample.set_text("some text");
  sample.mutable_inner()->set_text("inner");
  (*sample.mutable_counts())["key"] = 5;
  const std::string whole = sample.SerializeAsString();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    ASSERT_EQ(victim.pair.SendRaw(1, whole.substr(0, size)), SendResult::kOk);
    ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 1));
  }
  EXPECT_EQ(victim.handled + victim.pair.unparsable(), whole.size());
  EXPECT_GT(victim.pair.unparsable(), whole.size() / 2);
  EXPECT_THAT(victim.pair.reports.Await(1).front(),
              AllOf(HasSubstr("DATA_LOSS"), HasSubstr("ivmq.test.Sample")));
}

TEST(HostileTest, AnotherTypeThanTheIdSaysIsUnparsable) {
  Victim victim;
  Blob blob;
  blob.set_data("field 1 of Sample is a number");
  TypeIds wrong;
  ASSERT_TRUE(wrong.Add<Blob>(1).ok());
  Tree tree;
  tree.mutable_child()->mutable_child();
  ASSERT_TRUE(wrong.Add<Tree>(2).ok());
  ASSERT_EQ(Send(*victim.pair.sender, victim.pair.to(), tree, wrong), SendResult::kOk);
  ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 1));
  EXPECT_EQ(victim.pair.unparsable(), 1U);
  EXPECT_EQ(victim.handled, 0U);
  // Where protobuf takes the bytes for unknown fields, it is a message without known ones.
  ASSERT_EQ(Send(*victim.pair.sender, victim.pair.to(), blob, wrong), SendResult::kOk);
  ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 1));
  EXPECT_EQ(victim.handled, 1U);
  EXPECT_EQ(victim.last, "");
}

TEST(HostileTest, AMissingRequiredFieldIsUnparsableAndWritesNoLog) {
  Victim victim;
  ::testing::internal::CaptureStderr();
  ASSERT_EQ(victim.pair.SendRaw("ivmq.test.Strict", ""), SendResult::kOk);
  ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 1));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(victim.pair.unparsable(), 1U);
  Lax lax;
  lax.set_must(5);
  ASSERT_EQ(victim.pair.SendRaw("ivmq.test.Strict", lax.SerializeAsString()), SendResult::kOk);
  ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 1));
  EXPECT_EQ(victim.handled, 1U);
}

// A Tree of `levels` messages within each other.
std::string Nested(std::size_t levels) {
  std::string bytes;
  for (std::size_t i = 1; i < levels; ++i) {
    std::string length;
    for (std::size_t n = bytes.size();; n >>= 7) {
      length += static_cast<char>((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
      if (n <= 0x7f) break;
    }
    bytes.insert(0, length);
    bytes.insert(0, 1, '\x0a');
  }
  return bytes;
}

TEST(HostileTest, DeepNestingIsUnparsable) {
  Victim victim;
  ASSERT_EQ(victim.pair.SendRaw(3, Nested(100)), SendResult::kOk);
  ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 1));
  EXPECT_EQ(victim.handled, 1U) << "100 levels are allowed";
  ASSERT_EQ(victim.pair.SendRaw(3, Nested(102)), SendResult::kOk);
  ASSERT_EQ(victim.pair.SendRaw(3, Nested(10000)), SendResult::kOk);
  ASSERT_EQ(victim.pair.SendRaw(1, std::string(100000, '\x0b')), SendResult::kOk);  // groups
  ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 3));
  EXPECT_EQ(victim.handled, 1U);
  EXPECT_EQ(victim.pair.unparsable(), 3U);
}

TEST(HostileTest, LengthsBeyondTheMessageAreUnparsable) {
  Victim victim;
  for (const char* const bytes :
       {"\x12\x7f", "\x12\xff\xff\xff\xff\x07", "\x12\xff\xff\xff\xff\x0f",
        "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x22\x05\x80"}) {
    ASSERT_EQ(victim.pair.SendRaw(1, bytes), SendResult::kOk);
    ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 1));
  }
  EXPECT_EQ(victim.pair.unparsable(), 5U);
  EXPECT_EQ(victim.handled, 0U);
}

TEST(HostileTest, TypeNamesAreMadeHarmlessInReports) {
  Victim victim;
  const std::string escape = "\x1b[2J\r\n\a<b>%s%n\x7f";
  const std::string not_utf8 = "caf\xe9.\xff\xfe\xc0\x80";
  const std::string zeros(7, '\0');
  std::string longest(kMaxTypeName, '\0');
  for (std::size_t i = 0; i < longest.size(); ++i) longest[i] = static_cast<char>(i);
  const auto names = {escape, not_utf8, zeros, longest, std::string()};
  for (const std::string& name : names) {
    ASSERT_EQ(victim.pair.SendRaw(name, "x"), SendResult::kOk);
    ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 1));
  }
  EXPECT_EQ(victim.pair.unhandled(), names.size());
  const std::vector<std::string> reports = victim.pair.reports.Await(names.size());
  ASSERT_EQ(reports.size(), names.size());
  for (const std::string& report : reports) {
    EXPECT_TRUE(std::ranges::all_of(report, [](char c) { return c >= ' ' && c <= '~'; })) << report;
    EXPECT_LT(report.size(), 400U);
  }
  EXPECT_THAT(reports, ElementsAre(HasSubstr("type '??2J???"),
                                   HasSubstr("type 'caf?.????"
                                             "'"),
                                   HasSubstr("type '???????"
                                             "'"),
                                   HasSubstr("... (1024 bytes)'"), HasSubstr("type ''")));
  EXPECT_EQ(victim.pair.SendRaw(longest + "x", "x"), SendResult::kTooLarge);
}

TEST(HostileTest, NamesThatOnlyBeginLikeATypeAreUnknown) {
  Victim victim;
  for (const char* const name : {"ivmq.test.Sampl", "ivmq.test.Sample2", ".ivmq.test.Sample",
                                 "IVMQ.TEST.SAMPLE", "ivmq.test.Sample.Inner"}) {
    ASSERT_EQ(victim.pair.SendRaw(name, ""), SendResult::kOk);
  }
  ASSERT_EQ(victim.pair.SendRaw(std::string("ivmq.test.Sample\0", 17), ""), SendResult::kOk);
  ASSERT_TRUE(victim.pair.Receive(victim.dispatcher, 6));
  EXPECT_EQ(victim.pair.unhandled(), 6U);
  EXPECT_EQ(victim.handled, 0U);
}

// A message object that is used again keeps what its largest fields took, so a peer that makes
// another field large each time would grow it without bound.
TEST(HostileTest, AReusedMessageDoesNotGrowWithoutBound) {
  TypedPair pair;
  Dispatcher dispatcher(*pair.receiver);
  std::size_t most = 0;
  dispatcher.On<Texts>([&](const Texts& texts) { most = std::max(most, texts.SpaceUsedLong()); });
  constexpr std::size_t kLarge = 256 << 10;
  constexpr int kMessages = 200;  // 50 MiB in all
  for (int large = 0; large < kMessages; ++large) {
    Texts texts;
    for (int i = 0; i <= large; ++i) texts.add_text(i == large ? std::string(kLarge, 'x') : "");
    ASSERT_EQ(Send(*pair.sender, pair.to(), texts), SendResult::kOk);
    ASSERT_TRUE(pair.Receive(dispatcher, 1));
  }
  EXPECT_GT(most, kLarge);
  EXPECT_LT(most, std::size_t{12} << 20);
}

}  // namespace
}  // namespace ivmq::test
