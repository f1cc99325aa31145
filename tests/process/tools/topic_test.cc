// topic list, echo, pub, hz and bw.
#include <chrono>
#include <csignal>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "ivmq/address.h"
#include "ivmq/internal/layout.h"
#include "ivmq/node.h"

#include "fixture.h"
#include "tool_process.h"

namespace ivmq::testing {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class TopicTest : public ToolTest {
 protected:
  TopicTest() { MakeRegion(); }

  // A peer of this process.
  [[nodiscard]] std::unique_ptr<Node> OpenNode(const std::string& name) const {
    auto node = Node::Open(address_, {.name = name});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *std::move(node);
  }
  static Topic Advertise(Node& node, const std::string& name, const TopicOptions& options = {}) {
    auto topic = node.Advertise(name, options);
    EXPECT_TRUE(topic.ok()) << topic.status().ToString();
    return *std::move(topic);
  }
  // The topics that `topic list` knows.
  [[nodiscard]] Json Listed() const {
    return RunTool({"topic", "list", address_, "--json"}).Json()["topics"];
  }
};

Json LastLine(const std::string& text) {
  const std::size_t end = text.find_last_not_of('\n');
  const std::size_t start = text.rfind('\n', end);
  return Json::parse(text.substr(start == std::string::npos ? 0 : start + 1), nullptr, false);
}

// ---- list ----

TEST_F(TopicTest, ListShowsWhoPublishesAndWhoHasSubscribed) {
  const auto vm1 = OpenNode("vm1");
  const Topic front = Advertise(*vm1, "camera/front", {.history = 2});
  const auto vm2 = OpenNode("vm2");
  const auto all = vm2->Subscribe("camera/*", [](const TopicMessage&) {},
                                  {.when_slow = WhenSlow::kWait, .depth = 3, .history = 1});
  ASSERT_TRUE(all.ok());
  const auto lonely = vm2->Subscribe("lidar/**", [](const TopicMessage&) {});
  ASSERT_TRUE(lonely.ok());
  EXPECT_EQ(Listed(), Json::parse(R"([
      {"topic": "camera/front",
       "publishers": [{"peer": "vm1", "role": "publisher", "history": 2}],
       "subscribers": [{"peer": "vm2", "role": "subscriber", "pattern": "camera/*",
                        "when_slow": "wait", "depth": 3, "history": 1}]},
      {"topic": "lidar/**",
       "publishers": [],
       "subscribers": [{"peer": "vm2", "role": "subscriber", "pattern": "lidar/**",
                        "when_slow": "drop oldest", "depth": 8, "history": 1024}]}])"));
  const std::string text = RunTool({"topic", "list", address_}).out;
  EXPECT_THAT(text, StartsWith("TOPIC "));
  EXPECT_THAT(text, HasSubstr("camera/front  vm1   publisher "));
  EXPECT_THAT(text, HasSubstr("camera/front  vm2   subscriber "));
  EXPECT_THAT(text, HasSubstr("-             vm2   subscriber "));
}

TEST_F(TopicTest, LsShowsTopicsWhereItShowsServices) {
  const auto vm1 = OpenNode("vm1");
  const Topic front = Advertise(*vm1, "camera/front", {.history = 2});
  const auto all = vm1->Subscribe("camera/*", [](const TopicMessage&) {});
  ASSERT_TRUE(all.ok());
  const Json peer = RunTool({"ls", address_, "--json"}).Json()["peers"][0];
  EXPECT_EQ(peer["topics"], Json::parse(R"([{"topic": "camera/front", "history": 2}])"));
  EXPECT_EQ(peer["subscriptions"][0]["pattern"], "camera/*");
  EXPECT_EQ(RunTool({"ls", address_, "--topics"}).out, RunTool({"topic", "list", address_}).out);
  EXPECT_EQ(RunTool({"ls", address_, "--topics", "--services"}).exit_code, 2);
}

TEST_F(TopicTest, ARegionWithoutTopicsHasNone) {
  const Outcome none = RunTool({"topic", "list", address_});
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_THAT(none.out, IsEmpty());
  EXPECT_THAT(none.err, HasSubstr("no topics"));
  EXPECT_TRUE(Listed().empty());
}

TEST_F(TopicTest, ListingChangesNothing) {
  const std::string before = ReadWholeFile("/dev/shm" + name_);
  EXPECT_EQ(RunTool({"topic", "list", address_}).exit_code, 0);
  EXPECT_TRUE(ReadWholeFile("/dev/shm" + name_) == before);
}

// ---- echo and pub ----

TEST_F(TopicTest, AMessageIsPrintedWithTopicPublisherNumberSizeTypeAndText) {
  Tool echo({"topic", "echo", address_, "camera/*"});
  echo.AwaitError("ready");
  Tool pub({"topic", "pub", address_, "camera/front", "--name", "vm1", "--type", "7"});
  pub.WriteInput("hello there\nagain\n");
  EXPECT_THAT(echo.AwaitOutput("hello"),
              StartsWith("camera/front  vm1  #1  11 bytes  type 7  hello there"));
  EXPECT_THAT(echo.AwaitOutput("again"), StartsWith("camera/front  vm1  #2"));
  pub.CloseInput();
  EXPECT_EQ(pub.Wait().exit_code, 0);
}

TEST_F(TopicTest, EchoSaysWhatIsPublishedWhenItIsReady) {
  const auto vm1 = OpenNode("vm1");
  const Topic front = Advertise(*vm1, "camera/front");
  const Topic rear = Advertise(*vm1, "camera/rear");
  Tool cameras({"topic", "echo", address_, "camera/*"});
  EXPECT_THAT(cameras.AwaitError("ready"), HasSubstr("camera/front, camera/rear"));
  Tool lidar({"topic", "echo", address_, "lidar"});
  EXPECT_THAT(lidar.AwaitError("ready"), HasSubstr("nothing yet"));
}

TEST_F(TopicTest, EchoEndsAfterItsCount) {
  Tool echo({"topic", "echo", address_, "numbers", "-n", "2"});
  echo.AwaitError("ready");
  EXPECT_EQ(RunTool({"topic", "pub", address_, "numbers", "-"}, "1\n2\n3\n").exit_code, 0);
  const Outcome ended = echo.Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.out, AllOf(HasSubstr("  1\n"), HasSubstr("  2\n"), Not(HasSubstr("  3\n"))));
}

TEST_F(TopicTest, NothingInTimeIsATimeoutOfEcho) {
  const Outcome silent = RunTool({"topic", "echo", address_, "numbers", "--timeout", "10ms"});
  EXPECT_EQ(silent.exit_code, 4);
  EXPECT_THAT(silent.err, HasSubstr("nothing came within 10 ms"));
}

TEST_F(TopicTest, AnInterruptedEchoSaysHowMuchCame) {
  Tool echo({"topic", "echo", address_, "numbers"});
  echo.AwaitError("ready");
  ASSERT_EQ(RunTool({"topic", "pub", address_, "numbers", "1"}).exit_code, 0);
  echo.AwaitOutput("1");
  echo.Signal(SIGINT);
  const Outcome ended = echo.Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.err, HasSubstr("1 message, 0 missed"));
  EXPECT_TRUE(Listed().empty());
}

TEST_F(TopicTest, JsonHasOneObjectAMessage) {
  Tool echo({"topic", "echo", address_, "**", "-n", "2", "--json"});
  echo.AwaitError("ready");
  const auto vm1 = OpenNode("vm1");
  Topic front = Advertise(*vm1, "camera/front");
  ASSERT_EQ(front.Publish("say \"hi\""), SendResult::kOk);
  ASSERT_EQ(front.Publish("\xff"), SendResult::kOk);
  const Json first = Json::parse(echo.AwaitOutput("{"));
  EXPECT_EQ(first["topic"], "camera/front");
  EXPECT_EQ(first["publisher"], "vm1");
  EXPECT_EQ(first["sequence"], 1);
  EXPECT_EQ(first["missed"], 0);
  EXPECT_EQ(first["is_history"], false);
  EXPECT_EQ(first["kind"], "bytes");
  EXPECT_EQ(first["size"], 8);
  EXPECT_EQ(first["text"], "say \"hi\"");
  EXPECT_EQ(Json::parse(echo.AwaitOutput("{"))["hex"], "ff");
  EXPECT_EQ(echo.Wait().exit_code, 0);
}

TEST_F(TopicTest, EchoFirstGetsTheHistory) {
  const auto vm1 = OpenNode("vm1");
  Topic numbers = Advertise(*vm1, "numbers", {.history = 2});
  for (const char* number : {"1", "2", "3"}) ASSERT_EQ(numbers.Publish(number), SendResult::kOk);
  const Outcome all = RunTool({"topic", "echo", address_, "numbers", "-n", "2"});
  EXPECT_THAT(all.out, AllOf(HasSubstr("#2  1 byte  type 0  (history)  2\n"),
                             HasSubstr("#3  1 byte  type 0  (history)  3\n")));
  const Json last =
      RunTool({"topic", "echo", address_, "numbers", "-n", "1", "--history", "1", "--json"}).Json();
  EXPECT_EQ(last["sequence"], 3);
  EXPECT_EQ(last["is_history"], true);
}

TEST_F(TopicTest, EchoSaysHowManyMessagesAreMissing) {
  Tool echo({"topic", "echo", address_, "numbers", "-n", "2", "--depth", "1"});
  echo.AwaitError("ready");
  echo.Freeze();
  const auto vm1 = OpenNode("vm1");
  Topic numbers = Advertise(*vm1, "numbers");
  for (const char* number : {"1", "2", "3", "4", "5"}) {
    ASSERT_EQ(numbers.Publish(number), SendResult::kOk);
  }
  echo.Signal(SIGCONT);
  echo.AwaitOutput("#1");
  EXPECT_THAT(echo.AwaitOutput("#5"), HasSubstr("(3 missed)"));
  EXPECT_THAT(echo.Wait().err, HasSubstr("2 messages, 3 missed"));
}

TEST_F(TopicTest, EchoOfAPatternThatIsNoneIsWrongUsage) {
  const Outcome wrong = RunTool({"topic", "echo", address_, "a**"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("a**"));
  EXPECT_EQ(RunTool({"topic", "pub", address_, "a/*", "hello"}).exit_code, 2);
  EXPECT_EQ(RunTool({"topic", "echo", address_, "a", "--depth", "0"}).exit_code, 2);
}

TEST_F(TopicTest, AFileIsPublishedAsOneMessage) {
  std::string content(50'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * i >> 8);
  const std::string path = folder_.Write("photo", content);
  Tool echo({"topic", "echo", address_, "camera", "-n", "1", "--raw"});
  echo.AwaitError("ready");
  EXPECT_EQ(RunTool({"topic", "pub", address_, "camera", "-f", path}).exit_code, 0);
  EXPECT_TRUE(echo.Wait().out == content);
  EXPECT_EQ(RunTool({"topic", "pub", address_, "camera", "-f", folder_ / "none"}).exit_code, 3);
  EXPECT_EQ(RunTool({"topic", "pub", address_, "camera", "data", "-f", path}).exit_code, 2);
}

TEST_F(TopicTest, DataIsPublishedAsOftenAsCountSays) {
  Tool echo({"topic", "echo", address_, "beat", "-n", "6"});
  echo.AwaitError("ready");
  EXPECT_EQ(RunTool({"topic", "pub", address_, "beat", "x", "--count", "3"}).exit_code, 0);
  EXPECT_EQ(
      RunTool({"topic", "pub", address_, "beat", "x", "--rate", "1000", "--count", "3"}).exit_code,
      0);
  EXPECT_EQ(echo.Wait().exit_code, 0);
  EXPECT_EQ(RunTool({"topic", "pub", address_, "beat", "x", "--rate", "0"}).exit_code, 2);
}

TEST_F(TopicTest, ARateWithoutACountGoesOnUntilASignal) {
  Tool echo({"topic", "echo", address_, "beat", "-n", "2"});
  echo.AwaitError("ready");
  Tool pub({"topic", "pub", address_, "beat", "x", "--rate", "1000"});
  EXPECT_EQ(echo.Wait().exit_code, 0);
  pub.Signal(SIGINT);
  EXPECT_EQ(pub.Wait().exit_code, 0);
}

TEST_F(TopicTest, PubMayWaitForSubscribers) {
  Tool pub({"topic", "pub", address_, "numbers", "42", "--wait-subscribers", "1"});
  Tool echo({"topic", "echo", address_, "numbers", "-n", "1"});
  EXPECT_THAT(echo.Wait().out, EndsWith("  42\n"));
  EXPECT_EQ(pub.Wait().exit_code, 0);
  const Outcome alone = RunTool(
      {"topic", "pub", address_, "numbers", "42", "--wait-subscribers", "1", "--timeout", "10ms"});
  EXPECT_EQ(alone.exit_code, 4);
  EXPECT_THAT(alone.err, HasSubstr("0 of 1"));
}

TEST_F(TopicTest, PubWaitingForSubscribersEndsAtASignal) {
  Tool pub({"topic", "pub", address_, "numbers", "42", "--wait-subscribers", "1", "--name", "vm1"});
  const auto node = OpenNode("vm2");
  ASSERT_TRUE(node->Await("vm1", std::chrono::minutes(1)).ok());
  pub.Signal(SIGINT);
  EXPECT_EQ(pub.Wait().exit_code, 130);
}

TEST_F(TopicTest, PubSaysThatNobodyHasSubscribed) {
  const Outcome alone = RunTool({"topic", "pub", address_, "numbers", "42"});
  EXPECT_EQ(alone.exit_code, 0);
  EXPECT_THAT(alone.err, HasSubstr("nobody has subscribed to 'numbers'"));
}

TEST_F(TopicTest, DataMayBeTheNameOfACommand) {
  Tool echo({"topic", "echo", address_, "words", "-n", "1"});
  echo.AwaitError("ready");
  EXPECT_EQ(RunTool({"topic", "pub", address_, "words", "list"}).exit_code, 0);
  EXPECT_THAT(echo.Wait().out, EndsWith("  list\n"));
}

TEST_F(TopicTest, ASubscriberThatDoesNotReadInTimeIsATimeoutOfPub) {
  const auto bob = OpenNode("bob");
  const auto slow = bob->Subscribe("numbers", [](const TopicMessage&) {},
                                   {.when_slow = WhenSlow::kWait, .depth = 1});
  ASSERT_TRUE(slow.ok());
  const Outcome waited =
      RunTool({"topic", "pub", address_, "numbers", "x", "--count", "2", "--wait", "10ms"});
  EXPECT_EQ(waited.exit_code, 4);
  EXPECT_THAT(waited.err, HasSubstr("numbers"));
}

TEST_F(TopicTest, PubEndsWhenSlowSubscribersHaveTheLastMessage) {
  Tool echo({"topic", "echo", address_, "numbers", "-n", "2", "--depth", "1"});
  echo.AwaitError("ready");
  echo.Freeze();
  Tool pub(
      {"topic", "pub", address_, "numbers", "x", "--count", "5", "--name", "vm1", "--wait", "1m"});
  const auto bob = OpenNode("bob");
  const auto vm1 = bob->Await("vm1", std::chrono::minutes(1));
  ASSERT_TRUE(vm1.ok()) << vm1.status().ToString();
  // One is on its way, the last one is kept, and all have been published.
  const auto& counters = bob->region().slot(vm1->id.slot).counters;
  const auto& dropped = counters[static_cast<std::size_t>(layout::Counter::kTopicsDropped)];
  while (bob->IsLive(vm1->id) && dropped != 3) std::this_thread::yield();
  echo.Signal(SIGCONT);
  EXPECT_THAT(echo.AwaitOutput("#5"), HasSubstr("(3 missed)"));
  EXPECT_EQ(pub.Wait().exit_code, 0);
}

// ---- Protobuf messages ----

constexpr const char* kRequest = "ivmq.test.Request";

TEST_F(TopicTest, ProtobufMessagesGoAsJson) {
  Tool echo({"topic", "echo", address_, "**", "-n", "1", "--proto", ECHO_PROTO});
  Tool json({"topic", "echo", address_, "**", "-n", "1", "--proto", ECHO_PROTO, "--json"});
  echo.AwaitError("ready");
  json.AwaitError("ready");
  const Outcome pub =
      RunTool({"topic", "pub", address_, "requests", R"({"text": "hi", "count": 3})", "--proto",
               ECHO_PROTO, "--type", kRequest});
  EXPECT_EQ(pub.exit_code, 0) << pub.err;
  EXPECT_THAT(echo.Wait().out, EndsWith("  ivmq.test.Request  {\"text\":\"hi\",\"count\":3}\n"));
  const Json printed = json.Wait().Json();
  EXPECT_EQ(printed["type_name"], kRequest);
  EXPECT_EQ(printed["message"], Json::parse(R"({"text": "hi", "count": 3})"));
  EXPECT_FALSE(printed.contains("hex") || printed.contains("text"));
}

TEST_F(TopicTest, JsonObjectsOfTheInputAreMessages) {
  Tool echo({"topic", "echo", address_, "requests", "-n", "2", "--proto", ECHO_PROTO});
  echo.AwaitError("ready");
  Tool pub({"topic", "pub", address_, "requests", "--proto", ECHO_PROTO, "--type", kRequest});
  pub.WriteInput("{\"text\":\n\"one\"}\n");
  EXPECT_THAT(echo.AwaitOutput("one"), EndsWith("{\"text\":\"one\"}"));
  pub.WriteInput("{\"text\": \"two\"}\n");
  echo.AwaitOutput("two");
  pub.WriteInput("{\"nothing\": 1}\n");
  const Outcome wrong = pub.Wait();
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, AllOf(HasSubstr(kRequest), HasSubstr("nothing")));
}

TEST_F(TopicTest, ATypeMayBeSaidForMessagesThatDoNotCarryIt) {
  Tool echo({"topic", "echo", address_, "requests", "-n", "2", "--proto", ECHO_PROTO, "--type",
             kRequest});
  echo.AwaitError("ready");
  const auto vm1 = OpenNode("vm1");
  Topic requests = Advertise(*vm1, "requests");
  ASSERT_EQ(requests.Publish("\x0a\x02hi"), SendResult::kOk);
  EXPECT_THAT(echo.AwaitOutput("#1"), EndsWith("{\"text\":\"hi\"}"));
  // Not such a message: it is shown as it is.
  ASSERT_EQ(requests.Publish("\x0a\x09hi"), SendResult::kOk);
  EXPECT_THAT(echo.AwaitOutput("#2"), EndsWith("hi"));
  EXPECT_EQ(echo.Wait().exit_code, 0);
}

TEST_F(TopicTest, ATypeWithoutDefinitionIsToldBeforeAnythingIsPublished) {
  const std::vector<std::string> proto = {"--proto", ECHO_PROTO, "--type", "ivmq.test.None"};
  for (std::vector<std::string> command :
       {std::vector<std::string>{"topic", "echo", address_, "a"},
        std::vector<std::string>{"topic", "pub", address_, "a", "{}"}}) {
    command.insert(command.end(), proto.begin(), proto.end());
    const Outcome unknown = RunTool(command);
    EXPECT_EQ(unknown.exit_code, 3);
    EXPECT_THAT(unknown.err, HasSubstr("ivmq.test.None"));
  }
  EXPECT_EQ(RunTool({"topic", "pub", address_, "a", "{}", "--proto", ECHO_PROTO}).exit_code, 2);
  EXPECT_EQ(RunTool({"topic", "echo", address_, "a", "--type", kRequest}).exit_code, 2);
}

// ---- hz and bw ----

TEST_F(TopicTest, HzMeasuresEachTopic) {
  Tool hz({"topic", "hz", address_, "beat/*", "-n", "5", "--json"});
  hz.AwaitError("ready");
  const auto vm1 = OpenNode("vm1");
  Topic fast = Advertise(*vm1, "beat/fast");
  Topic slow = Advertise(*vm1, "beat/slow");
  ASSERT_EQ(slow.Publish("x"), SendResult::kOk);
  for (int i = 0; i < 4; ++i) ASSERT_EQ(fast.Publish("x"), SendResult::kOk);
  const Outcome measured = hz.Wait();
  EXPECT_EQ(measured.exit_code, 0);
  const Json last = LastLine(measured.out);
  EXPECT_EQ(last["topic"], "beat/slow");
  EXPECT_EQ(last["received"], 1);
  const std::size_t line = measured.out.rfind("{\"topic\":\"beat/fast\"");
  ASSERT_NE(line, std::string::npos) << measured.out;
  const Json rate = Json::parse(measured.out.substr(line, measured.out.find('\n', line) - line));
  EXPECT_EQ(rate["received"], 4);
  EXPECT_EQ(rate["window"], 4);
  EXPECT_EQ(rate["missed"], 0);
  EXPECT_GT(rate["messages_per_second"], 0);
  EXPECT_LE(rate["interval_min_ns"], rate["interval_mean_ns"]);
  EXPECT_LE(rate["interval_mean_ns"], rate["interval_max_ns"]);
  EXPECT_GE(rate["interval_std_dev_ns"], 0);
}

TEST_F(TopicTest, HzCountsTheLastMessagesOfItsWindow) {
  Tool hz({"topic", "hz", address_, "beat", "-n", "5", "--window", "2", "--json"});
  hz.AwaitError("ready");
  ASSERT_EQ(RunTool({"topic", "pub", address_, "beat", "x", "--count", "5"}).exit_code, 0);
  const Json last = LastLine(hz.Wait().out);
  EXPECT_EQ(last["window"], 2);
  EXPECT_EQ(last["received"], 5);
  EXPECT_EQ(last["interval_min_ns"], last["interval_max_ns"]);
}

TEST_F(TopicTest, HzReportsWhileItGoesOn) {
  Tool hz({"topic", "hz", address_, "beat", "--interval", "10ms"});
  hz.AwaitError("ready");
  Tool pub({"topic", "pub", address_, "beat"});
  pub.WriteInput("1\n");
  EXPECT_THAT(hz.AwaitOutput("beat"), HasSubstr("one message"));
  pub.WriteInput("2\n");
  EXPECT_THAT(hz.AwaitOutput("(2 messages"), HasSubstr(" Hz  every "));
  hz.Signal(SIGINT);
  const Outcome ended = hz.Wait();
  EXPECT_EQ(ended.exit_code, 0);
  EXPECT_THAT(ended.err, HasSubstr("2 messages, 0 missed"));
}

TEST_F(TopicTest, BwMeasuresBytes) {
  Tool bw({"topic", "bw", address_, "load", "-n", "3", "--json"});
  Tool text({"topic", "bw", address_, "load", "-n", "3"});
  bw.AwaitError("ready");
  text.AwaitError("ready");
  ASSERT_EQ(RunTool({"topic", "pub", address_, "load"}, "1\n22\n333\n").exit_code, 0);
  const Json measured = LastLine(bw.Wait().out);
  EXPECT_EQ(measured["topic"], "load");
  EXPECT_EQ(measured["size_min"], 1);
  EXPECT_EQ(measured["size_mean"], 2);
  EXPECT_EQ(measured["size_max"], 3);
  EXPECT_GT(measured["bytes_per_second"], 0);
  EXPECT_THAT(text.Wait().out, HasSubstr("/s  messages of 1 byte to 3 bytes, mean 2 bytes"));
}

// ---- The group ----

TEST_F(TopicTest, WrongUsageNamesTheCommand) {
  const Outcome none = RunTool({"topic"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.err, HasSubstr("`ivmq topic --help`"));
  const Outcome few = RunTool({"topic", "echo", address_});
  EXPECT_EQ(few.exit_code, 2);
  EXPECT_THAT(few.err, HasSubstr("`ivmq topic echo --help`"));
}

TEST_F(TopicTest, EachCommandHasHelpWithAnExample) {
  EXPECT_THAT(RunTool({"topic", "--help"}).out, HasSubstr("Example:\n"));
  for (const char* command : {"list", "echo", "pub", "hz", "bw"}) {
    const Outcome help = RunTool({"topic", command, "--help"});
    EXPECT_EQ(help.exit_code, 0) << command;
    EXPECT_THAT(help.out, HasSubstr(std::string("Usage: ivmq topic ") + command + " [ADDR]"));
    EXPECT_THAT(help.out, HasSubstr(std::string("Example:\n  ivmq topic ") + command));
  }
}

}  // namespace
}  // namespace ivmq::testing
