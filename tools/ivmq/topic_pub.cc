// ivmq topic pub: publishes messages of a topic.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <google/protobuf/dynamic_message.h>

#include "ivmq/address.h"
#include "ivmq/node.h"

#include "command.h"
#include "definitions.h"
#include "exit_code.h"
#include "interrupt.h"
#include "json_input.h"
#include "lines.h"
#include "message_json.h"
#include "read_file.h"
#include "text.h"
#include "topic_commands.h"

namespace ivmq::tool {
namespace {

namespace pb = google::protobuf;
using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

constexpr const char* kPubFooter =
    R"(Publishes DATA, or the content of a file, once; --count and --rate repeat it. Without
DATA, or with -, each line of standard input is a message. With --proto, messages
are JSON of the type --type. Slow subscribers get --wait at the end to take what
was kept for them.

Example:
  ivmq topic pub shm:/demo camera/front 'hello there'
  ivmq topic pub shm:/demo camera/front -f frame --rate 60 --count 600
  ivmq topic pub shm:/demo weather '{"celsius": 3}' --proto weather.proto --type pkg.Weather
  vmstat 1 | ivmq topic pub shm:/demo host/load --wait-subscribers 1)";

struct PubFlags {
  std::string file;
  std::optional<std::uint64_t> count;
  std::optional<double> rate;
  std::uint64_t wait_subscribers = 0;
  std::optional<nanoseconds> timeout;
  std::optional<nanoseconds> wait;
  std::uint32_t history = 0;
  ProtoFlags protos;
  std::string type;
  std::string name;
};

// JSON to messages of one type.
class JsonEncoder {
 public:
  static Result<std::unique_ptr<JsonEncoder>> Make(const PubFlags& flags) {
    auto definitions = ReadProtoFiles(flags.protos);
    if (!definitions.ok()) return definitions.status();
    const auto* const type = (*definitions)->pool().FindMessageTypeByName(flags.type);
    if (type == nullptr) {
      return Status(StatusCode::kNotFound,
                    fmt::format("the files of --proto do not define a message '{}'", flags.type));
    }
    return std::unique_ptr<JsonEncoder>(new JsonEncoder(*std::move(definitions), type));
  }

  Result<std::string> Encode(const std::string& json) const {
    if (Status status = ParseJson(json, *message_); !status.ok()) {
      return Status(status.code(), "the message is " + status.message());
    }
    return message_->SerializeAsString();
  }

 private:
  JsonEncoder(std::unique_ptr<Definitions> definitions, const pb::Descriptor* type)
      : definitions_(std::move(definitions)),
        factory_(&definitions_->pool()),
        message_(factory_.GetPrototype(type)->New()) {}

  std::unique_ptr<Definitions> definitions_;
  pb::DynamicMessageFactory factory_;
  std::unique_ptr<pb::Message> message_;
};

// The messages: one text again and again, or those of standard input.
class Messages {
 public:
  // `text`: nothing for standard input. `encoder`: nullptr if that is no JSON.
  Messages(std::optional<std::string> text, const JsonEncoder* encoder, const Interrupt& interrupt)
      : repeats_(text.has_value()),
        encoder_(encoder),
        message_(std::move(text)),
        lines_(interrupt, NodeOptions().max_message_bytes),
        values_(std::nullopt, interrupt) {}

  // The next one, until the next call; nullptr at the end of the input or after a signal.
  Result<const std::string*> Next() {
    if (repeats_) return &*message_;
    message_ = encoder_ == nullptr ? lines_.Next() : values_.Next();
    if (!message_) return nullptr;
    if (encoder_ != nullptr) {
      auto encoded = encoder_->Encode(*message_);
      if (!encoded.ok()) return encoded.status();
      message_ = *std::move(encoded);
    }
    return &*message_;
  }

 private:
  const bool repeats_;
  const JsonEncoder* const encoder_;
  std::optional<std::string> message_;
  Lines lines_;
  JsonInput values_;
};

// Polls until `is_done` or a signal says that it is enough. False at the deadline.
template <typename IsDone>
bool PollUntil(Node& node, const Interrupt& interrupt, std::optional<Clock::time_point> deadline,
               IsDone is_done) {
  for (;;) {
    while (node.Poll([](const Message& /*nobody's*/) {}) != 0) {
    }
    if (is_done() || interrupt.requested()) return true;
    nanoseconds left = nanoseconds::max();
    if (deadline) {
      left = *deadline - Clock::now();
      if (left <= nanoseconds(0)) return false;
    }
    (void)node.Wait(left);
  }
}

Status AwaitSubscribers(Node& node, const Topic& topic, const PubFlags& flags,
                        const Interrupt& interrupt) {
  std::optional<Clock::time_point> deadline;
  if (flags.timeout) deadline = Clock::now() + *flags.timeout;
  node.SetPeerWatcher([](const PeerSnapshot& /*wakes*/) {});
  const auto are_there = [&] { return topic.subscribers() >= flags.wait_subscribers; };
  const bool came = PollUntil(node, interrupt, deadline, are_there);
  node.SetPeerWatcher(nullptr);
  if (came) return {};
  return {StatusCode::kDeadlineExceeded,
          fmt::format("{}: '{}' has {} of {} subscribers after {}; `ivmq topic list` shows them",
                      node.transport().info().address, topic.name(), topic.subscribers(),
                      flags.wait_subscribers, DurationText(*flags.timeout))};
}

MessageType TypeOf(const PubFlags& flags) {
  if (flags.type.empty()) return {};
  if (const auto number = ParseNumber(flags.type, std::numeric_limits<std::uint32_t>::max());
      number && !HasProtos(flags.protos)) {
    return {.type = static_cast<std::uint32_t>(*number)};
  }
  return {.kind = FrameKind::kTypedByName, .name = flags.type};
}

// Publishes `count` messages, or all that there are if it is 0.
Status PublishAll(Node& node, Topic& topic, Messages& messages, const PubFlags& flags,
                  std::uint64_t count, const Interrupt& interrupt) {
  const MessageType type = TypeOf(flags);
  const nanoseconds period(flags.rate ? std::llround(1e9 / *flags.rate) : 0);
  Clock::time_point due = Clock::now();
  for (std::uint64_t i = 0; (count == 0 || i < count) && !interrupt.requested(); ++i) {
    const auto message = messages.Next();
    if (!message.ok()) return message.status();
    if (*message == nullptr) return {};
    if (flags.rate && i != 0) {
      // What could not be published in time is not made up for.
      due = std::max(due + period, Clock::now() - period);
      (void)PollUntil(node, interrupt, due, [] { return false; });
      if (interrupt.requested()) return {};
    }
    const SendResult result = topic.PublishTyped(type, std::as_bytes(std::span(**message)));
    if (result != SendResult::kOk) return topic.Explain(result);
  }
  return {};
}

void CheckFlags(const PubFlags& flags, bool has_data) {
  if (has_data && !flags.file.empty()) {
    WrongUsage(fmt::format("both DATA and -f {}; use one", flags.file));
  }
  if (flags.rate && !(*flags.rate > 1e-6 && *flags.rate <= 1e9)) {
    WrongUsage("--rate: messages a second, more than 0");
  }
  if (HasProtos(flags.protos) && flags.type.empty()) WrongUsage("--proto without --type");
  if (flags.timeout && flags.wait_subscribers == 0) {
    WrongUsage("--timeout without --wait-subscribers");
  }
}

// `text`: nothing for standard input.
int RunPub(const PubFlags& flags, const std::string& address, const std::string& name,
           std::optional<std::string> text) {
  CheckFlags(flags, text.has_value());
  std::unique_ptr<JsonEncoder> encoder;
  if (HasProtos(flags.protos)) {
    auto made = JsonEncoder::Make(flags);
    if (!made.ok()) return Fail(made.status());
    encoder = *std::move(made);
  }
  if (!flags.file.empty()) {
    auto content = ReadFile(flags.file);
    if (!content.ok()) return Fail(content.status());
    text = *std::move(content);
  }
  if (text && encoder != nullptr) {
    auto encoded = encoder->Encode(*text);
    if (!encoded.ok()) return Fail(encoded.status());
    text = *std::move(encoded);
  }
  const bool repeats = text.has_value();
  const std::uint64_t count = flags.count.value_or(repeats && !flags.rate ? 1 : 0);

  HoldSignals();
  NodeOptions node_options;
  node_options.name = flags.name;
  node_options.on_report = [](const Status& status) { Complain(status); };
  const auto opened = Node::Open(address, std::move(node_options));
  if (!opened.ok()) return Fail(opened.status());
  Node& node = **opened;
  const Interrupt interrupt([&node] { node.Wake(); });
  const nanoseconds wait = flags.wait.value_or(std::chrono::seconds(5));
  auto topic = node.Advertise(name, {.history = flags.history, .timeout = wait});
  if (!topic.ok()) return Fail(topic.status());
  if (const Status status = AwaitSubscribers(node, *topic, flags, interrupt); !status.ok()) {
    return Fail(status);
  }
  Messages messages(std::move(text), encoder.get(), interrupt);
  Status status = PublishAll(node, *topic, messages, flags, count, interrupt);
  if (status.ok() && !interrupt.requested()) {
    if (topic->Flush(wait) != SendResult::kOk) {
      status = {StatusCode::kDeadlineExceeded,
                fmt::format("a subscriber of '{}' has not taken the last messages within {}", name,
                            DurationText(wait))};
    }
  }
  if (topic->published() != 0 && topic->subscribers() == 0) {
    Complain(fmt::format("nobody has subscribed to '{}'", name));
  }
  if (topic->dropped() != 0) {
    Complain(
        fmt::format("{} messages were dropped, since a subscriber was too slow", topic->dropped()));
  }
  if (!status.ok()) return Fail(status);
  const bool endless = repeats && count == 0;
  return interrupt.requested() && !endless ? kExitInterrupted : kExitOk;
}

}  // namespace

void AddTopicPub(CLI::App& topic, int* exit_code) {
  const auto flags = std::make_shared<PubFlags>();
  CLI::App* const command = AddCommand(
      topic, exit_code,
      {.name = "pub",
       .summary = "Publish messages of a topic",
       .words = "TOPIC [DATA]",
       .min_words = 1,
       .max_words = 2,
       .footer = kPubFooter},
      [flags](const std::string& address, const std::vector<std::string>& words) {
        const bool has_data = words.size() > 1 && words[1] != "-";
        return RunPub(*flags, address, words[0], has_data ? std::optional(words[1]) : std::nullopt);
      });
  command->add_option("-f,--file", flags->file, "Publish the content of this file as one message")
      ->type_name("FILE");
  command
      ->add_option("-n,--count", flags->count,
                   "End after so many messages; 0: at SIGINT (1; with --rate 0)")
      ->type_name("COUNT");
  command->add_option("--rate", flags->rate, "Publish so many messages a second")->type_name("HZ");
  command
      ->add_option("--wait-subscribers", flags->wait_subscribers,
                   "First wait until so many have subscribed")
      ->type_name("N");
  AddDuration(command, "--timeout", &flags->timeout, "How long to wait for them (without end)");
  AddDuration(command, "--wait", &flags->wait,
              "How long to wait for slow subscribers, if they ask for it and at the end (5s)");
  command->add_option("--history", flags->history, "Keep so many messages for new subscribers (0)")
      ->type_name("N");
  AddProtoFlags(command, &flags->protos, "Messages are JSON of a type that this file defines");
  command->add_option("--type", flags->type, "Type of the messages: a name, or a number (0)")
      ->type_name("pkg.Name");
  AddPeerName(command, &flags->name);
}

}  // namespace ivmq::tool
