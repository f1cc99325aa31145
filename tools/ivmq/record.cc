// ivmq record: messages with their times, into a file.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/topic_name.h"
#include "ivmq/node.h"

#include "command.h"
#include "commands.h"
#include "common/ring_follower.h"
#include "exit_code.h"
#include "interrupt.h"
#include "opened_region.h"
#include "peers.h"
#include "receive.h"
#include "recording.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();
constexpr std::chrono::milliseconds kFlush{200};  // what is recorded is in the file after that

constexpr const char* kRecordFooter =
    R"(Writes the messages of topics into FILE, with their times, until SIGINT or a limit; all
topics, or those of the --topic PATTERNs. For that it subscribes to them like any other
peer, and "ready" on standard error means that publishers find it. It delays no
publisher, and the file says what it missed; with --wait it misses nothing, and
publishers wait for it as their options say.

With --pair it reads along what the peer FROM sends to the peer TO, and takes no slot.
Neither of them notices, so nothing waits for it: what is overwritten before it was
read is missed, and so may be large messages in a heap. The file and the last line say
how much that was.

docs/recording.md describes the file. `ivmq replay` sends what it holds.

Example:
  ivmq record shm:/demo drive.ivmq
  ivmq record shm:/demo drive.ivmq --topic 'camera/*' --topic gps --duration 10m
  ivmq record shm:/demo pair.ivmq --pair alice bob -n 1000)";

struct RecordFlags {
  std::vector<std::string> topics;
  std::vector<std::string> pair;  // FROM TO, or empty
  ReceiveLimits limits;
  std::string name;
  bool wait = false;
  bool force = false;
};

// Says what was recorded. `missed` is nothing, or what the file does not have.
int Finish(RecordingWriter& writer, const std::string& path, ReceiveEnd end,
           const ReceiveLimits& limits) {
  if (const Status status = writer.Finish(); !status.ok()) return Fail(status);
  std::string missed;
  if (writer.missed_messages() != 0) missed = fmt::format(", {} missed", writer.missed_messages());
  if (writer.missed_bytes() != 0) {
    missed += fmt::format(", records of {} missed", SizeText(writer.missed_bytes()));
  }
  Complain(fmt::format("{}: {} message{} of {}{}", path, writer.messages(),
                       writer.messages() == 1 ? "" : "s", SizeText(writer.payload_bytes()),
                       missed));
  return ReceiveExitCode(end, writer.messages(), limits);
}

Result<std::unique_ptr<RecordingWriter>> CreateRecording(const RecordFlags& flags,
                                                         const std::string& path,
                                                         const std::string& address,
                                                         const Region& region,
                                                         recording::Header header) {
  auto writer =
      RecordingWriter::Create(path, flags.force, address, region.geometry(), std::move(header));
  if (!writer.ok() && writer.status().code() == StatusCode::kAlreadyExists) {
    return Status(writer.status().code(), writer.status().message() + "; to replace it: --force");
  }
  return writer;
}

// ---- Topics ----

int RecordTopics(const RecordFlags& flags, const std::string& address, const std::string& path) {
  std::vector<std::string> patterns = flags.topics;
  if (patterns.empty()) patterns.emplace_back("**");
  for (const std::string& pattern : patterns) {
    if (const Status status = CheckTopicPattern(pattern); !status.ok()) return Fail(status);
  }
  HoldSignals();
  NodeOptions options;
  options.name = flags.name;
  options.on_report = [](const Status& status) { Complain(status); };
  const auto opened = Node::Open(address, std::move(options));
  if (!opened.ok()) return Fail(opened.status());
  Node& node = **opened;
  const Interrupt interrupt([&node] { node.Wake(); });

  recording::Header header;
  for (const std::string& pattern : patterns) header.add_topics(RecordedText(pattern));
  auto writer = CreateRecording(flags, path, address, node.region(), std::move(header));
  if (!writer.ok()) return Fail(writer.status());

  Status failure;
  const auto take = [&](std::size_t index, const TopicMessage& message) {
    // Each message once, however many patterns it fits.
    for (std::size_t earlier = 0; earlier < index; ++earlier) {
      if (TopicMatches(patterns[earlier], message.topic)) return;
    }
    recording::Message entry;
    entry.set_from(RecordedText(NameOf(node, message.publisher)));
    entry.set_topic(RecordedText(message.topic));
    if (message.missed != 0) {
      recording::Missed missed;
      missed.set_from(entry.from());
      missed.set_topic(entry.topic());
      missed.set_messages(message.missed);
      missed.set_why("the recorder was too slow");
      failure = (*writer)->WriteMissed(std::move(missed));
    }
    entry.set_sequence(message.sequence);
    entry.set_is_history(message.is_history);
    SetContent(message.message.kind, message.message.type, message.message.type_name,
               message.message.text(), &entry);
    failure = (*writer)->Write(std::move(entry));
  };
  std::vector<Subscription> subscriptions;
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    auto subscription =
        node.Subscribe(patterns[i], [&take, i](const TopicMessage& message) { take(i, message); },
                       {.when_slow = flags.wait ? WhenSlow::kWait : WhenSlow::kDropOldest,
                        .depth = kMaxTopicDepth});
    if (!subscription.ok()) return Fail(subscription.status());
    subscriptions.push_back(*std::move(subscription));
  }
  Complain(fmt::format("ready at {}", node.transport().info().address));

  const Receiving receiving{
      .handler = [](const Message& /*no message of a topic*/) {},
      // A file that takes no more is as good as full.
      .received = [&] { return failure.ok() ? (*writer)->messages() : kNoLimit; },
      .interval = kFlush,
      .at_interval = [&] { failure = (*writer)->Flush(); }};
  const ReceiveEnd end = ReceiveAll(node, receiving, flags.limits, interrupt);
  subscriptions.clear();
  return Finish(**writer, path, end, flags.limits);
}

// ---- A pair ----

// An end of the pair.
struct End {
  std::uint32_t slot = 0;
  std::string name;
};

Result<End> FindEnd(const OpenedRegion& opened, const std::string& word) {
  const auto slot = SlotOf(opened, word);
  if (!slot.ok()) return slot.status();
  const auto peer = PeerTable(opened.region).Read(*slot);
  return End{*slot, peer ? peer->name : fmt::format("slot {}", *slot)};
}

// Whether the peer may still send or receive, in this life or a later one.
bool IsThere(const Region& region, const End& end) {
  const auto peer = PeerTable(region).Read(end.slot);
  return peer && peer->name == end.name &&
         (peer->state != layout::PeerState::kDead || peer->durable);
}

int RecordPair(const RecordFlags& flags, const std::string& address, const std::string& path) {
  const auto opened = OpenFormatted(address);
  if (!opened.ok()) return Fail(opened.status());
  const auto from = FindEnd(*opened, flags.pair[0]);
  const auto to = from.ok() ? FindEnd(*opened, flags.pair[1]) : from;
  if (!to.ok()) return Fail(to.status());
  HoldSignals();
  const Interrupt interrupt([] {});
  recording::Header header;
  recording::Pair* const pair = header.add_pairs();
  pair->set_from(RecordedText(from->name));
  pair->set_to(RecordedText(to->name));
  auto writer = CreateRecording(flags, path, address, opened->region, std::move(header));
  if (!writer.ok()) return Fail(writer.status());
  inspect::RingFollower follower(opened->region, from->slot, to->slot);
  Complain(fmt::format("ready at {}: {} to {}", opened->memory.address, from->name, to->name));

  const std::uint64_t wanted = flags.limits.count == 0 ? kNoLimit : flags.limits.count;
  Status failure;
  const auto take = [&](const inspect::RingMessage& message) {
    if ((*writer)->messages() >= wanted || !failure.ok()) return;
    recording::Message entry;
    entry.set_from(RecordedText(from->name));
    entry.set_to(RecordedText(to->name));
    entry.set_topic(RecordedText(message.topic));
    entry.set_sequence(message.sequence);
    entry.set_is_history(message.is_history);
    SetContent(message.kind, message.type, message.type_name,
               {reinterpret_cast<const char*>(message.payload.data()), message.payload.size()},
               &entry);
    failure = (*writer)->Write(std::move(entry));
  };
  // Nobody rings for it: it looks often while there is something, and seldom while there is not.
  constexpr nanoseconds kShortest = std::chrono::microseconds(50);
  constexpr nanoseconds kLongest = std::chrono::milliseconds(1);
  nanoseconds pause = kShortest;
  std::uint64_t missed_bytes = 0;
  std::uint64_t lost = 0;
  const Clock::time_point start = Clock::now();
  Clock::time_point last = start;
  Clock::time_point flushed = start;
  ReceiveEnd end = ReceiveEnd::kCount;
  while ((*writer)->messages() < wanted && failure.ok()) {
    const std::size_t passed = follower.Look(take);
    const Clock::time_point now = Clock::now();
    if (follower.missed_bytes() != missed_bytes || follower.lost_messages() != lost) {
      recording::Missed missed;
      missed.set_from(RecordedText(from->name));
      missed.set_to(RecordedText(to->name));
      missed.set_bytes(follower.missed_bytes() -
                       std::exchange(missed_bytes, follower.missed_bytes()));
      missed.set_messages(follower.lost_messages() - std::exchange(lost, follower.lost_messages()));
      missed.set_why("overwritten before it was read");
      failure = (*writer)->WriteMissed(std::move(missed));
    }
    if (passed != 0) {
      last = now;
      pause = kShortest;
      if (!interrupt.requested()) continue;
    }
    if (now - flushed > kFlush) {
      failure = (*writer)->Flush();
      flushed = now;
    }
    end = ReceiveEnd::kSignal;
    if (interrupt.requested()) break;
    end = ReceiveEnd::kDuration;
    if (flags.limits.duration && now - start >= *flags.limits.duration) break;
    end = ReceiveEnd::kTimeout;
    if (flags.limits.timeout && now - last >= *flags.limits.timeout) break;
    if (const End* const gone = !IsThere(opened->region, *from) ? &*from
                                : !IsThere(opened->region, *to) ? &*to
                                                                : nullptr;
        gone != nullptr) {
      Complain(fmt::format("{}: {} has left", opened->memory.address, gone->name));
      end = ReceiveEnd::kSignal;
      break;
    }
    end = ReceiveEnd::kCount;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kLongest);
  }
  return Finish(**writer, path, end, flags.limits);
}

}  // namespace

void AddRecord(CLI::App& app, int* exit_code) {
  const auto flags = std::make_shared<RecordFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "record",
                  .summary = "Record the messages of topics, or of a pair, into a file",
                  .words = "FILE",
                  .min_words = 1,
                  .max_words = 1,
                  .footer = kRecordFooter},
                 [flags](const std::string& address, const std::vector<std::string>& words) {
                   if (flags->pair.empty()) return RecordTopics(*flags, address, words[0]);
                   if (!flags->topics.empty()) WrongUsage("both --pair and --topic; use one");
                   if (flags->wait)
                     WrongUsage("--wait is for topics: nobody waits for who reads along");
                   return RecordPair(*flags, address, words[0]);
                 });
  command->add_option("--topic", flags->topics, "Record the topics of this pattern (all)")
      ->type_name("PATTERN")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--pair", flags->pair, "Record what one peer sends to another")
      ->expected(2)
      ->type_name("FROM TO");
  AddReceiveLimits(command, &flags->limits);
  AddDuration(command, "--duration", &flags->limits.duration, "End after this time");
  command->add_flag("--wait", flags->wait, "Miss nothing: slow publishers down instead");
  AddPeerName(command, &flags->name);
  command->add_flag("--force", flags->force, "Replace FILE if it exists");
}

}  // namespace ivmq::tool
