// ivmq send: messages to a peer.
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
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
#include "lines.h"
#include "peers.h"
#include "read_file.h"

namespace ivmq::tool {
namespace {

using std::chrono::nanoseconds;

constexpr const char* kSendFooter =
    R"(Sends MESSAGE, or the content of a file, or each line of standard input. A
durable peer that is away receives the messages when it returns.

Example:
  ivmq send shm:/demo bob 'hello there'
  ivmq send shm:/demo bob -f photo.jpg --type 7
  dmesg | ivmq send shm:/demo bob --drop)";

struct SendFlags {
  std::string file;
  std::uint32_t type = 0;
  std::optional<nanoseconds> wait;
  bool drop = false;
  std::optional<nanoseconds> await;
  std::string name;
};

class Sender {
 public:
  Sender(Node& node, const PeerInfo& peer, const SendFlags& options)
      : node_(node),
        peer_(peer),
        type_{.kind = layout::FrameKind::kBytes, .type = options.type, .name = {}},
        send_options_{.when_full = options.drop ? WhenFull::kDrop : WhenFull::kWait,
                      .timeout = options.wait.value_or(std::chrono::seconds(5))} {}

  Status Send(const std::string& message) {
    const SendResult result =
        node_.Send(peer_.id, type_, std::as_bytes(std::span(message)), send_options_);
    ++tried_;
    if (result == SendResult::kDropped) {
      ++dropped_;
      return {};
    }
    return SendFailure(node_, peer_, result);
  }

  int ExitCodeAtEnd() const {
    if (dropped_ == 0) return kExitOk;
    Complain(fmt::format("{}: {} of {} messages dropped: its ring was full", peer_.name, dropped_,
                         tried_));
    return kExitDropped;
  }

 private:
  Node& node_;
  const PeerInfo& peer_;
  MessageType type_;
  SendOptions send_options_;
  std::uint64_t tried_ = 0;
  std::uint64_t dropped_ = 0;
};

// `message`: nothing to send the lines of standard input.
int RunSend(const SendFlags& options, const std::string& address, const std::string& peer_name,
            std::optional<std::string> message) {
  if (message && !options.file.empty()) {
    WrongUsage(fmt::format("both MESSAGE and -f {}; use one", options.file));
  }
  if (options.drop && options.wait) WrongUsage("both --drop and --wait; use one");
  if (!options.file.empty()) {
    auto content = ReadFile(options.file);
    if (!content.ok()) return Fail(content.status());
    message = *std::move(content);
  }
  HoldSignals();
  NodeOptions node_options;
  node_options.name = options.name;
  node_options.on_report = [](const Status& status) { Complain(status); };
  const auto node = Node::Open(address, std::move(node_options));
  if (!node.ok()) return Fail(node.status());
  const Interrupt interrupt([&node] { (*node)->Wake(); });
  const auto peer = FindPeer(**node, peer_name, options.await, interrupt);
  if (interrupt.requested()) return kExitInterrupted;
  if (!peer.ok()) return Fail(peer.status());

  Sender sender(**node, *peer, options);
  Status status;
  if (message) {
    status = sender.Send(*message);
  } else {
    Lines lines(interrupt, NodeOptions().max_message_bytes);
    while (status.ok()) {
      const auto line = lines.Next();
      if (!line) break;
      status = sender.Send(*line);
    }
  }
  if (!status.ok()) return Fail(status);
  const int exit_code = sender.ExitCodeAtEnd();
  return interrupt.requested() ? kExitInterrupted : exit_code;
}

}  // namespace

void AddSend(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<SendFlags>();
  CLI::App* const command =
      AddCommand(app, exit_code,
                 {.name = "send",
                  .summary = "Send messages to a peer",
                  .words = "PEER [MESSAGE]",
                  .min_words = 1,
                  .max_words = 2,
                  .footer = kSendFooter},
                 [options](const std::string& address, const std::vector<std::string>& words) {
                   return RunSend(*options, address, words[0],
                                  words.size() > 1 ? std::optional(words[1]) : std::nullopt);
                 });
  command->add_option("-f,--file", options->file, "Send the content of this file as one message")
      ->type_name("FILE");
  command->add_option("--type", options->type, "Type number of the message (0)")->type_name("N");
  AddDuration(command, "--wait", &options->wait, "How long to wait for room in a full ring (5s)");
  command->add_flag("--drop", options->drop, "Do not wait for room: drop what does not fit");
  AddDuration(command, "--await", &options->await, "How long to wait for the peer to join");
  AddPeerName(command, &options->name);
}

}  // namespace ivmq::tool
