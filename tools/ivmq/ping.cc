// ivmq ping: measures round trips to a peer that sends messages back.
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
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
#include "latencies.h"
#include "output.h"
#include "peers.h"
#include "pinger.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using std::chrono::nanoseconds;

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
  if (options.size < kMinPingSize || options.size > NodeOptions().max_message_bytes) {
    WrongUsage(fmt::format("--size: 8 to {}", SizeText(NodeOptions().max_message_bytes)));
  }
  HoldSignals();
  NodeOptions node_options;
  node_options.name = options.name;
  node_options.spin_budget = options.spin.value_or(node_options.spin_budget);
  node_options.on_report = [](const Status& status) { Complain(status); };
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

  Pinger pinger(**node, *peer, options.size, options.timeout.value_or(std::chrono::seconds(1)),
                interrupt);
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
  AddPeerName(command, &options->name);
  command->add_flag("--json", options->json, "Print JSON");
}

}  // namespace ivmq::tool
