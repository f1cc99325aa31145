// ivmq ping: round trips to a peer that sends messages back.
//
// A ping is an ordinary message of bytes: FrameKind::kBytes, type kPingType, and a payload that
// begins with an 8-byte little-endian number. Whoever sends it back unchanged, type and bytes,
// answers it.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/node.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "interrupt.h"
#include "latencies.h"
#include "output.h"
#include "peers.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kPingType = 0x676e6970;  // the bytes "ping"
constexpr std::uint64_t kMinSize = sizeof(std::uint64_t);

constexpr const char* kPingFooter =
    R"(The peer must send pings back: `ivmq recv --echo` does so, and any program can.
A ping is a message of bytes (FrameKind::kBytes) with type 0x676e6970; the answer
is the same type with the same bytes:
  if (message.type == 0x676e6970) {
    node->Send(message.from, {message.kind, message.type}, message.payload);
  }

Example:
  ivmq recv shm:/demo --name bob --echo &
  ivmq ping shm:/demo bob -c 100000)";

struct PingFlags {
  std::uint64_t count = 1000;
  std::uint64_t size = 64;
  std::optional<nanoseconds> interval;
  std::optional<nanoseconds> timeout;
  std::optional<nanoseconds> await;
  std::optional<nanoseconds> spin;
  std::string name;
  bool json = false;
};

class Pinger {
 public:
  Pinger(Node& node, const PeerInfo& peer, const PingFlags& options, const Interrupt& interrupt)
      : node_(node),
        peer_(peer),
        interrupt_(interrupt),
        timeout_(options.timeout.value_or(std::chrono::seconds(1))),
        payload_(options.size) {
    for (std::size_t i = 0; i < payload_.size(); ++i) payload_[i] = static_cast<std::byte>(i);
  }

  // One round trip. False if there was no answer, or not the right one: see failure(), which is OK
  // if a signal came.
  bool RoundTrip() {
    ++sequence_;
    std::memcpy(payload_.data(), &sequence_, sizeof(sequence_));
    answer_ = Answer::kNone;
    sent_at_ = Clock::now();
    const SendResult result =
        node_.Send(peer_.id, {.kind = layout::FrameKind::kBytes, .type = kPingType, .name = {}},
                   payload_, {.when_full = WhenFull::kWait, .timeout = timeout_});
    if (result != SendResult::kOk) {
      failure_ = SendFailure(node_, peer_, result);
      return false;
    }
    PollUntil(sent_at_ + timeout_, /*for_answer=*/true);
    if (answer_ == Answer::kRight) {
      latencies_.Add(answered_at_ - sent_at_);
      return true;
    }
    if (answer_ == Answer::kWrong) {
      failure_ = {
          StatusCode::kDataLoss,
          fmt::format("{}: {}: the answer differs from what was sent", address(), peer_.name)};
    } else if (!interrupt_.requested()) {
      failure_ = NoAnswer();
    }
    return false;
  }

  // Waits for the next ping's time.
  void Pause(nanoseconds interval) { PollUntil(sent_at_ + interval, /*for_answer=*/false); }

  [[nodiscard]] const Latencies& latencies() const noexcept { return latencies_; }
  [[nodiscard]] const Status& failure() const noexcept { return failure_; }

 private:
  enum class Answer : std::uint8_t { kNone, kRight, kWrong };

  [[nodiscard]] const std::string& address() const { return node_.transport().info().address; }

  void PollUntil(Clock::time_point deadline, bool for_answer) {
    // A peer that died is not waited for.
    constexpr nanoseconds kLook = std::chrono::milliseconds(250);
    for (;;) {
      const bool idle = node_.Poll([this](const Message& message) { Take(message); }) == 0;
      if (for_answer && answer_ != Answer::kNone) return;
      const nanoseconds left = deadline - Clock::now();
      if (left <= nanoseconds(0) || interrupt_.requested()) return;
      if (idle && !node_.Wait(std::min(left, kLook)) && !PeerIsThere()) return;
    }
  }

  [[nodiscard]] bool PeerIsThere() const {
    const auto peer = PeerTable(node_.region()).Read(peer_.id.slot);
    return peer && peer->id == peer_.id && peer->state == layout::PeerState::kLive;
  }

  void Take(const Message& message) {
    const Clock::time_point now = Clock::now();
    std::uint64_t sequence = 0;
    if (message.from != peer_.id || message.kind != layout::FrameKind::kBytes ||
        message.type != kPingType || message.payload.size() < sizeof(sequence)) {
      return;  // not an answer
    }
    std::memcpy(&sequence, message.payload.data(), sizeof(sequence));
    if (sequence != sequence_) return;
    answered_at_ = now;
    answer_ = std::ranges::equal(message.payload, payload_) ? Answer::kRight : Answer::kWrong;
  }

  [[nodiscard]] Status NoAnswer() const {
    const std::string who =
        fmt::format("{}: {} (slot {}, pid {})", address(), peer_.name, peer_.id.slot, peer_.pid);
    if (!PeerIsThere()) {
      return {StatusCode::kUnavailable, who + " has left the region"};
    }
    const auto now = node_.Lookup(peer_.name);
    return {StatusCode::kDeadlineExceeded,
            fmt::format("{} did not answer within {}: {}", who, DurationText(timeout_),
                        now.ok() && now->suspected
                            ? "its heartbeat has stopped"
                            : "does it send pings back, as `ivmq recv --echo` does?")};
  }

  Node& node_;
  const PeerInfo& peer_;
  const Interrupt& interrupt_;
  nanoseconds timeout_;
  std::vector<std::byte> payload_;
  std::uint64_t sequence_ = 0;
  Clock::time_point sent_at_;
  Clock::time_point answered_at_;
  Answer answer_ = Answer::kNone;
  Latencies latencies_;
  Status failure_;
};

void PrintStatistics(const Latencies& latencies, const Node& node, const PeerInfo& peer,
                     const PingFlags& options) {
  const std::uint64_t count = latencies.count();
  if (options.json) {
    Json json;
    json["address"] = node.transport().info().address;
    json["peer"] = peer.name;
    json["size"] = options.size;
    json["round_trips"] = count;
    if (count != 0) {
      json["min_ns"] = latencies.min().count();
      json["p50_ns"] = latencies.Percentile(0.5).count();
      json["p99_ns"] = latencies.Percentile(0.99).count();
      json["max_ns"] = latencies.max().count();
    }
    Print(JsonText(json));
    return;
  }
  if (count == 0) return;
  Print(fmt::format("{}: {} round trip{} of {}: min {}, p50 {}, p99 {}, max {}\n",
                    PrintableName(peer.name), count, count == 1 ? "" : "s", SizeText(options.size),
                    DurationText(latencies.min()), DurationText(latencies.Percentile(0.5)),
                    DurationText(latencies.Percentile(0.99)), DurationText(latencies.max())));
}

int RunPing(const PingFlags& options, const std::string& address, const std::string& peer_name) {
  if (options.size < kMinSize || options.size > NodeOptions().max_message_bytes) {
    WrongUsage(fmt::format("--size: 8 to {}", SizeText(NodeOptions().max_message_bytes)));
  }
  HoldSignals();
  NodeOptions node_options;
  node_options.name = options.name;
  node_options.spin_budget = options.spin.value_or(node_options.spin_budget);
  node_options.on_report = [](const Status& status) { Complain(status.message()); };
  const auto node = Node::Open(address, std::move(node_options));
  if (!node.ok()) return Fail(node.status());
  const Interrupt interrupt([&node] { (*node)->Wake(); });

  const auto peer = FindPeer(**node, peer_name, options.await, interrupt);
  if (interrupt.requested()) return kExitInterrupted;
  if (!peer.ok()) return Fail(peer.status());
  if (peer->state != layout::PeerState::kLive) {
    return Fail({StatusCode::kNotFound, fmt::format("{}: {} is {}: nobody can answer", address,
                                                    peer->name, StateText(*peer))});
  }

  Pinger pinger(**node, *peer, options, interrupt);
  const bool endless = options.count == 0;
  while ((endless || pinger.latencies().count() < options.count) && !interrupt.requested()) {
    if (!pinger.RoundTrip()) break;
    if (options.interval) pinger.Pause(*options.interval);
  }
  PrintStatistics(pinger.latencies(), **node, *peer, options);
  if (!pinger.failure().ok()) return Fail(pinger.failure());
  return endless || pinger.latencies().count() == options.count ? kExitOk : kExitInterrupted;
}

}  // namespace

void AddPing(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<PingFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "ping",
                  .summary = "Measure round trips to a peer that echoes",
                  .words = "PEER",
                  .min_words = 1,
                  .max_words = 1,
                  .footer = kPingFooter},
                 [options](const std::string& address, const std::vector<std::string>& words) {
                   return RunPing(*options, address, words[0]);
                 });
  command->add_option("-c,--count", options->count, "Number of round trips; 0: until SIGINT (1000)")
      ->type_name("N");
  AddSize(command, "--size", &options->size, "Size of each message, at least 8 bytes (64)");
  AddDuration(command, "-i,--interval", &options->interval,
              "Time from one message to the next (sent when the answer arrives)");
  AddDuration(command, "--timeout", &options->timeout, "How long to wait for an answer (1s)");
  AddDuration(command, "--await", &options->await, "How long to wait for the peer to join");
  AddDuration(command, "--spin", &options->spin, "How long to spin before sleeping (50us)");
  command->add_option("--name", options->name, "Name of this peer (anonymous-...)")
      ->type_name("NAME");
  command->add_flag("--json", options->json, "Print JSON");
}

}  // namespace ivmq::tool
