// ivmq replay: sends what a recording holds, at its pace.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/node.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "interrupt.h"
#include "message_text.h"
#include "output.h"
#include "recording.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

constexpr const char* kReplayFooter =
    R"(Publishes the messages of FILE under the topics that they had, and sends those of a
pair to the peer that they went to, or to --to PEER; in the order and at the pace in
which they were recorded. --speed 2 is twice as fast, --speed max as fast as receivers
take them. Frames of calls are left out, since nobody waits for their answers.

--print sends nothing, and prints what the file holds; it needs no region.

Example:
  ivmq replay shm:/demo drive.ivmq
  ivmq replay shm:/demo drive.ivmq --speed max --loop 10 --wait-subscribers 1
  ivmq replay shm:/demo pair.ivmq --to carol
  ivmq replay drive.ivmq --print --json)";

struct ReplayFlags {
  std::string speed = "1";
  std::uint64_t loops = 1;
  std::string to;
  std::uint64_t wait_subscribers = 0;
  std::optional<nanoseconds> timeout;
  std::optional<nanoseconds> wait;
  std::string name;
  bool print = false;
  bool json = false;
};

// How much faster than it was; nothing: at once.
std::optional<double> ParseSpeed(const std::string& text) {
  if (text == "max") return std::nullopt;
  try {
    std::size_t end = 0;
    const double speed = std::stod(text, &end);
    if (end == text.size() && speed >= 1e-6 && speed <= 1e6) return speed;
  } catch (const std::exception&) {
    // below
  }
  WrongUsage(fmt::format("--speed: '{}' is neither a number, such as 0.5 or 2, nor max", text));
}

// ---- Printing ----

std::string TimeOf(std::int64_t at) { return fmt::format("{:.6f}", static_cast<double>(at) / 1e9); }

std::string WhoText(const std::string& from, const std::string& to, const std::string& topic) {
  std::string text = PrintableName(from);
  if (!to.empty()) text += " to " + PrintableName(to);
  if (!topic.empty()) text += "  " + PrintableName(topic);
  return text;
}

std::string Line(const recording::Entry& entry) {
  if (entry.has_missed()) {
    const recording::Missed& missed = entry.missed();
    return fmt::format("{:>12}  {}  missed: {} messages, {} bytes: {}\n", TimeOf(missed.at()),
                       WhoText(missed.from(), missed.to(), missed.topic()), missed.messages(),
                       missed.bytes(), Printable(missed.why()));
  }
  const recording::Message& recorded = entry.message();
  const Message message = MessageOf(recorded);
  std::string notes = recorded.is_history() ? "  (history)" : "";
  if (!recorded.topic().empty()) notes += fmt::format("  #{}", recorded.sequence());
  return fmt::format("{:>12}  {}{}  {}  {}  {}\n", TimeOf(recorded.at()),
                     WhoText(recorded.from(), recorded.to(), recorded.topic()), notes,
                     SizeText(message.payload.size()),
                     IsSendable(recorded) ? TypeText(message) : "call", PayloadText(message));
}

Json EntryJson(const recording::Entry& entry) {
  Json json;
  if (entry.has_missed()) {
    const recording::Missed& missed = entry.missed();
    json["at"] = missed.at();
    json["from"] = missed.from();
    if (!missed.to().empty()) json["to"] = missed.to();
    if (!missed.topic().empty()) json["topic"] = missed.topic();
    json["missed_messages"] = missed.messages();
    json["missed_bytes"] = missed.bytes();
    json["why"] = missed.why();
    return json;
  }
  const recording::Message& recorded = entry.message();
  json["at"] = recorded.at();
  json["from"] = recorded.from();
  if (!recorded.to().empty()) json["to"] = recorded.to();
  if (!recorded.topic().empty()) {
    json["topic"] = recorded.topic();
    json["sequence"] = recorded.sequence();
    json["is_history"] = recorded.is_history();
  }
  AddContent(MessageOf(recorded), &json);
  if (!IsSendable(recorded)) json["kind"] = "rpc";
  return json;
}

Json HeaderJson(const recording::Header& header) {
  Json json;
  json["written_by"] = header.written_by();
  json["address"] = header.address();
  json["region_id"] = HexDigits(std::as_bytes(std::span(header.region_id())));
  json["started_at"] = header.started_at();
  json["topics"] = std::vector<std::string>(header.topics().begin(), header.topics().end());
  json["pairs"] = Json::array();
  for (const recording::Pair& pair : header.pairs()) {
    json["pairs"].push_back({{"from", pair.from()}, {"to", pair.to()}});
  }
  json["salvaged"] = header.salvaged();
  return json;
}

int PrintAll(RecordingReader& reader, const std::string& path, bool json) {
  const recording::Header& header = reader.header();
  if (json) {
    Print(JsonText(HeaderJson(header), JsonStyle::kOneLine));
  } else {
    Print(fmt::format("{}: {} from {}, {}\n", Printable(path),
                      header.salvaged() ? "salvaged" : "recorded", Printable(header.address()),
                      TimeText(static_cast<std::uint64_t>(header.started_at()))));
  }
  for (;;) {
    const auto entry = reader.Next();
    if (!entry.ok()) return Fail(entry.status());
    if (*entry == nullptr) break;
    Print(json ? JsonText(EntryJson(**entry), JsonStyle::kOneLine) : Line(**entry));
  }
  if (!reader.is_complete()) Complain(path + ": the recording was cut off here");
  return kExitOk;
}

// ---- Replaying ----

// A recording as a whole, before any of it is sent.
struct Contents {
  std::set<std::string> topics;
  std::uint64_t sendable = 0;  // messages
};

Result<Contents> LookThrough(const std::string& path) {
  auto reader = RecordingReader::Open(path);
  if (!reader.ok()) return reader.status();
  Contents contents;
  for (;;) {
    const auto entry = (*reader)->Next();
    if (!entry.ok()) {
      Complain(entry.status().message() + "; what is before it is replayed");
      return contents;
    }
    if (*entry == nullptr) break;
    if (!(*entry)->has_message() || !IsSendable((*entry)->message())) continue;
    const recording::Message& message = (*entry)->message();
    ++contents.sendable;
    if (!message.topic().empty()) contents.topics.insert(message.topic());
  }
  if (!(*reader)->is_complete()) {
    Complain(path + ": the recording was cut off; what there is is replayed");
  }
  return contents;
}

class Replayer {
 public:
  Replayer(Node& node, const ReplayFlags& flags, const Interrupt& interrupt)
      : node_(node),
        flags_(flags),
        interrupt_(interrupt),
        speed_(ParseSpeed(flags.speed)),
        wait_(flags.wait.value_or(std::chrono::seconds(5))) {}

  Status Advertise(const Contents& contents) {
    for (const std::string& name : contents.topics) {
      auto topic = node_.Advertise(name, {.timeout = wait_});
      if (!topic.ok()) return topic.status();
      topics_.emplace(name, *std::move(topic));
    }
    return {};
  }

  // Until each topic has so many subscribers.
  Status AwaitSubscribers() {
    const Clock::time_point deadline =
        Clock::now() + flags_.timeout.value_or(std::chrono::years(100));
    node_.SetPeerWatcher([](const PeerSnapshot& /*wakes*/) {});
    Status status;
    for (auto& [name, topic] : topics_) {
      while (topic.subscribers() < flags_.wait_subscribers && !interrupt_.requested()) {
        if (Clock::now() >= deadline) {
          status = {StatusCode::kDeadlineExceeded,
                    fmt::format("{}: '{}' has {} of {} subscribers; `ivmq topic list` shows them",
                                node_.transport().info().address, name, topic.subscribers(),
                                flags_.wait_subscribers)};
          break;
        }
        Attend(std::min<nanoseconds>(deadline - Clock::now(), std::chrono::milliseconds(250)));
      }
      if (!status.ok()) break;
    }
    node_.SetPeerWatcher(nullptr);
    return status;
  }

  // Once through the file.
  Status Replay(RecordingReader& reader) {
    const Clock::time_point start = Clock::now();
    while (!interrupt_.requested()) {
      const auto entry = reader.Next();
      if (!entry.ok() || *entry == nullptr) return {};  // LookThrough() has said so
      if (!(*entry)->has_message()) continue;
      const recording::Message& message = (*entry)->message();
      if (!IsSendable(message)) {
        ++left_out_;
        continue;
      }
      if (speed_) {
        const nanoseconds at(std::llround(static_cast<double>(message.at()) / *speed_));
        while (Clock::now() < start + at && !interrupt_.requested()) {
          Attend(start + at - Clock::now());
        }
        if (interrupt_.requested()) break;
      } else {
        Attend(nanoseconds(0));
      }
      if (Status status = Send(message); !status.ok()) return status;
      ++sent_;
    }
    return {};
  }

  Status Flush() {
    const Clock::time_point deadline = Clock::now() + wait_;
    for (auto& [name, topic] : topics_) {
      const SendResult result = topic.Flush(std::max<nanoseconds>(deadline - Clock::now(), {}));
      if (result != SendResult::kOk) return topic.Explain(result);
    }
    return {};
  }

  [[nodiscard]] std::uint64_t sent() const noexcept { return sent_; }
  [[nodiscard]] std::uint64_t left_out() const noexcept { return left_out_; }

 private:
  // Takes what comes, which is not for anybody, and sleeps.
  void Attend(nanoseconds timeout) {
    while (node_.Poll([](const Message& /*nobody's*/) {}) != 0) {
    }
    if (timeout > nanoseconds(0)) (void)node_.Wait(timeout);
  }

  Status Send(const recording::Message& recorded) {
    const Message message = MessageOf(recorded);
    const MessageType type{.kind = message.kind, .type = message.type, .name = message.type_name};
    if (!recorded.topic().empty()) {
      Topic& topic = topics_.at(recorded.topic());
      return topic.Explain(topic.PublishTyped(type, message.payload));
    }
    const std::string& name = flags_.to.empty() ? recorded.to() : flags_.to;
    auto at = peers_.find(name);
    if (at == peers_.end() || !node_.IsLive(at->second)) {
      const auto peer = node_.Lookup(name);
      if (!peer.ok()) return peer.status();
      at = peers_.insert_or_assign(name, peer->id).first;
    }
    const SendResult result = node_.Send(at->second, type, message.payload,
                                         {.when_full = WhenFull::kWait, .timeout = wait_});
    return node_.Explain(result, at->second);
  }

  Node& node_;
  const ReplayFlags& flags_;
  const Interrupt& interrupt_;
  const std::optional<double> speed_;
  const nanoseconds wait_;
  std::map<std::string, Topic> topics_;
  std::map<std::string, PeerId> peers_;
  std::uint64_t sent_ = 0;
  std::uint64_t left_out_ = 0;
};

int RunReplay(const ReplayFlags& flags, const std::string& address, const std::string& path) {
  if (flags.json && !flags.print) WrongUsage("--json without --print");
  if (flags.timeout && flags.wait_subscribers == 0) {
    WrongUsage("--timeout without --wait-subscribers");
  }
  (void)ParseSpeed(flags.speed);
  if (flags.print) {
    const auto reader = RecordingReader::Open(path);
    return reader.ok() ? PrintAll(**reader, path, flags.json) : Fail(reader.status());
  }
  const auto contents = LookThrough(path);
  if (!contents.ok()) return Fail(contents.status());
  HoldSignals();
  NodeOptions options;
  options.name = flags.name;
  options.on_report = [](const Status& status) { Complain(status); };
  const auto opened = Node::Open(address, std::move(options));
  if (!opened.ok()) return Fail(opened.status());
  Node& node = **opened;
  const Interrupt interrupt([&node] { node.Wake(); });

  Replayer replayer(node, flags, interrupt);
  Status status = replayer.Advertise(*contents);
  if (status.ok() && flags.wait_subscribers != 0) status = replayer.AwaitSubscribers();
  const Clock::time_point start = Clock::now();
  for (std::uint64_t loop = 0; status.ok() && contents->sendable != 0 && !interrupt.requested() &&
                               (flags.loops == 0 || loop < flags.loops);
       ++loop) {
    const auto reader = RecordingReader::Open(path);
    status = reader.ok() ? replayer.Replay(**reader) : reader.status();
  }
  if (status.ok() && !interrupt.requested()) status = replayer.Flush();
  Complain(fmt::format("{}: {} message{} sent in {}{}", path, replayer.sent(),
                       replayer.sent() == 1 ? "" : "s", DurationText(Clock::now() - start),
                       replayer.left_out() == 0
                           ? ""
                           : fmt::format(", {} frames of calls left out", replayer.left_out())));
  if (!status.ok()) return Fail(status);
  return interrupt.requested() && flags.loops != 0 ? kExitInterrupted : kExitOk;
}

}  // namespace

void AddReplay(CLI::App& app, int* exit_code) {
  const auto flags = std::make_shared<ReplayFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "replay",
                  .summary = "Send what a recording holds, or print it",
                  .words = "FILE",
                  .min_words = 1,
                  .max_words = 1,
                  .footer = kReplayFooter},
                 [flags](const std::string& address, const std::vector<std::string>& words) {
                   return RunReplay(*flags, address, words[0]);
                 });
  command->add_option("--speed", flags->speed, "How much faster than recorded, or max (1)")
      ->type_name("X");
  command->add_option("--loop", flags->loops, "How often; 0: until SIGINT (1)")->type_name("N");
  command->add_option("--to", flags->to, "The peer that gets the messages of a pair (as recorded)")
      ->type_name("PEER");
  command
      ->add_option("--wait-subscribers", flags->wait_subscribers,
                   "First wait until each topic has so many subscribers")
      ->type_name("N");
  AddDuration(command, "--timeout", &flags->timeout, "How long to wait for them (without end)");
  AddDuration(command, "--wait", &flags->wait,
              "How long to wait for slow receivers, and for subscribers at the end (5s)");
  AddPeerName(command, &flags->name);
  command->add_flag("--print", flags->print, "Print the messages instead of sending them");
  command->add_flag("--json", flags->json, "With --print: one JSON object per line");
}

}  // namespace ivmq::tool
