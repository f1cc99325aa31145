// ivmq topic echo: prints the messages of topics.
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <google/protobuf/dynamic_message.h>

#include "ivmq/internal/peer_table.h"

#include "command.h"
#include "definitions.h"
#include "exit_code.h"
#include "message_json.h"
#include "message_text.h"
#include "output.h"
#include "peers.h"
#include "subscriber.h"
#include "text.h"
#include "topic_commands.h"

namespace ivmq::tool {
namespace {

namespace pb = google::protobuf;

constexpr const char* kEchoFooter =
    R"(Prints the topic, publisher, number, size and type of each message, and its text, or
hex if it is not text. "ready" on standard error means that publishers find the
subscription; earlier messages that they keep for new subscribers come first. It
delays no publisher: beyond --depth messages, the oldest ones are missed.

With --proto, messages that carry the name of their type are printed as JSON; with
--type, those that do not are taken to be of that type.

Example:
  ivmq topic echo shm:/demo camera/front
  ivmq topic echo shm:/demo '**' -n 10 --json
  ivmq topic echo shm:/demo weather --proto weather.proto
  ivmq topic echo shm:/demo camera/front -n 1 --raw > frame)";

struct EchoFlags {
  SubscriberFlags subscriber;
  SubscribeOptions subscription{.depth = 64};
  ProtoFlags protos;
  std::string type;
  bool raw = false;
};

// Messages of types that --proto defines.
class Decoder {
 public:
  // `type`: of messages that carry no name of a type; empty: unknown.
  Decoder(std::unique_ptr<Definitions> definitions, std::string type)
      : definitions_(std::move(definitions)),
        factory_(&definitions_->pool()),
        type_(std::move(type)) {}

  // The type there is no definition of.
  [[nodiscard]] Status Check() const {
    if (type_.empty() || definitions_->pool().FindMessageTypeByName(type_) != nullptr) return {};
    return {StatusCode::kNotFound,
            fmt::format("the files of --proto do not define a message '{}'", type_)};
  }

  // As JSON in one line. Empty: it is of no known type, or not what its type says.
  std::string Decode(const Message& message) {
    const std::string name =
        message.kind == FrameKind::kTypedByName ? std::string(message.type_name) : type_;
    const pb::Descriptor* const type = definitions_->pool().FindMessageTypeByName(name);
    if (type == nullptr) return "";
    const std::unique_ptr<pb::Message> parsed(factory_.GetPrototype(type)->New());
    // Its size has been checked when it came.
    if (!parsed->ParsePartialFromArray(message.payload.data(),
                                       static_cast<int>(message.payload.size()))) {
      return "";
    }
    const auto json = JsonOfMessage(*parsed);
    return json.ok() ? *json : "";
  }

 private:
  std::unique_ptr<Definitions> definitions_;
  pb::DynamicMessageFactory factory_;
  std::string type_;
};

class Printer {
 public:
  Printer(const EchoFlags& flags, Decoder* decoder) : flags_(flags), decoder_(decoder) {}

  void Take(const Node& node, const TopicMessage& message) const {
    if (flags_.raw) return Print(message.message.text());
    const std::string decoded = decoder_ == nullptr ? "" : decoder_->Decode(message.message);
    if (flags_.subscriber.json) {
      Print(JsonText(ToJson(node, message, decoded), JsonStyle::kOneLine));
    } else {
      Print(Line(node, message, decoded));
    }
  }

 private:
  static std::string Line(const Node& node, const TopicMessage& message,
                          const std::string& decoded) {
    std::string notes = message.is_history ? "  (history)" : "";
    if (message.missed != 0) notes += fmt::format("  ({} missed)", message.missed);
    return fmt::format("{}  {}  #{}  {}  {}{}  {}\n", PrintableName(message.topic),
                       NameOf(node, message.publisher), message.sequence,
                       SizeText(message.message.payload.size()), TypeText(message.message), notes,
                       decoded.empty() ? PayloadText(message.message) : decoded);
  }

  static Json ToJson(const Node& node, const TopicMessage& message, const std::string& decoded) {
    Json json;
    json["topic"] = message.topic;
    const auto from = PeerTable(node.region()).Read(message.publisher.slot);
    json["publisher"] = from && from->id == message.publisher ? Json(from->name) : Json(nullptr);
    json["slot"] = message.publisher.slot;
    json["incarnation"] = message.publisher.incarnation;
    json["sequence"] = message.sequence;
    json["missed"] = message.missed;
    json["is_history"] = message.is_history;
    AddContent(message.message, &json);
    if (!decoded.empty()) {
      json.erase("text");
      json.erase("hex");
      json["message"] = Json::parse(decoded);
    }
    return json;
  }

  const EchoFlags& flags_;
  Decoder* const decoder_;  // nullptr: without --proto
};

int RunEcho(const EchoFlags& flags, const std::string& address, const std::string& pattern) {
  if (flags.raw && flags.subscriber.json) WrongUsage("both --raw and --json; use one");
  if (!flags.type.empty() && !HasProtos(flags.protos)) WrongUsage("--type without --proto");
  std::unique_ptr<Decoder> decoder;
  if (HasProtos(flags.protos)) {
    auto definitions = ReadProtoFiles(flags.protos);
    if (!definitions.ok()) return Fail(definitions.status());
    decoder = std::make_unique<Decoder>(*std::move(definitions), flags.type);
    if (const Status status = decoder->Check(); !status.ok()) return Fail(status);
  }
  const Printer printer(flags, decoder.get());
  return RunSubscriber(
      address,
      {.pattern = pattern,
       .options = flags.subscription,
       .take = [&](const Node& node, const TopicMessage& message) { printer.Take(node, message); }},
      flags.subscriber);
}

}  // namespace

void AddTopicEcho(CLI::App& topic, int* exit_code) {
  const auto flags = std::make_shared<EchoFlags>();
  CLI::App* const command =
      AddCommand(topic, exit_code,
                 {.name = "echo",
                  .summary = "Print the messages of topics",
                  .words = "PATTERN",
                  .min_words = 1,
                  .max_words = 1,
                  .footer = kEchoFooter},
                 [flags](const std::string& address, const std::vector<std::string>& words) {
                   return RunEcho(*flags, address, words[0]);
                 });
  AddSubscriberFlags(command, &flags->subscriber);
  command->add_flag("--raw", flags->raw, "Print only the bytes of the messages");
  command
      ->add_option("--depth", flags->subscription.depth,
                   "How many messages may be on their way (64)")
      ->type_name("N");
  command
      ->add_option("--history", flags->subscription.history,
                   "How many earlier messages of each topic at most (all that are kept)")
      ->type_name("N");
  AddProtoFlags(command, &flags->protos, "Print messages of the types in this file as JSON");
  command->add_option("--type", flags->type, "Type of messages that do not carry its name")
      ->type_name("pkg.Name");
}

}  // namespace ivmq::tool
